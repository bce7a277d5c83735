"""`Gateway`: an Envoy that speaks the OpenAI API and routes by the request's `model`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import pydantic

from sluice.api import base
from sluice.api import conditions as cond  # a field is named conditions

KIND: Final = "Gateway"
PLURAL: Final = "gateways"


class LabelSelector(base.ApiModel):
    """Selects namespaces by their labels."""

    match_labels: Annotated[
        Mapping[str, Annotated[str, pydantic.Field(max_length=63)]],
        pydantic.Field(min_length=1, max_length=16, description="Labels that must all be there."),
    ]


class AllowedNamespaces(base.ApiModel):
    """Namespaces whose ModelDeployments may use this gateway."""

    from_: Annotated[
        Literal["Same", "All", "Selector"],
        pydantic.Field(
            alias="from", description="Same: the gateway's own; All: every one; Selector: those that `selector` selects."
        ),
    ] = "Same"
    selector: Annotated[LabelSelector | None, pydantic.Field(description="Required for Selector, refused otherwise.")] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel(
                "has(self.selector) || !has(self.from) || self.from != 'Selector'",
                "from: Selector needs selector: say which namespaces by selector.matchLabels",
            ),
            base.cel(
                "!has(self.selector) || (has(self.from) && self.from == 'Selector')",
                "selector has an effect with from: Selector only: set that, or remove selector",
            ),
        )
    )


class AllowedModels(base.ApiModel):
    """Which ModelDeployments may use this gateway."""

    namespaces: Annotated[AllowedNamespaces, pydantic.Field(description="By their namespace.")] = AllowedNamespaces()


class Service(base.ApiModel):
    """How the gateway is exposed."""

    type: Annotated[Literal["ClusterIP", "NodePort", "LoadBalancer"], pydantic.Field(description="Type of the Service.")] = (
        "ClusterIP"
    )


class Listener(base.ApiModel):
    """A port that speaks HTTP."""

    name: Annotated[base.DnsLabel, pydantic.Field(description="Name of the listener.")]
    port: Annotated[
        int,
        pydantic.Field(
            ge=1024,
            le=65535,
            description="Port of the pods and of the Service.",
            json_schema_extra=base.validations(
                base.cel("self < 9900 || self > 9909", "ports 9900-9909 are Sluice's own: choose another port, such as 8080")
            ),
        ),
    ]


class ApiKeys(base.ApiModel):
    """A Secret of hashed keys: client name -> SHA-256 of the client's key, in hex."""

    secret_ref: Annotated[
        base.LocalObjectRef,
        pydantic.Field(description="A Secret of this namespace with the label sluice.dev/secret-type: api-keys."),
    ]


class Clients(base.ApiModel):
    """Who may call."""

    api_keys: Annotated[
        tuple[ApiKeys, ...],
        pydantic.Field(max_length=16, description="Secrets of hashed keys."),
    ] = ()
    anonymous: Annotated[bool, pydantic.Field(description="Whether requests without a key are let through.")] = False


class ProviderCredentials(base.ApiModel):
    """The key with which the gateway calls a provider."""

    key: Annotated[base.ConfigKey, pydantic.Field(description="Key of the Secret that credentialsSecretRef names.")]


class Provider(base.ApiModel):
    """An external provider."""

    name: Annotated[base.DnsLabel, pydantic.Field(description="Name of the provider; unique in the gateway.")]
    type: Annotated[Literal["OpenAICompatible"], pydantic.Field(description="Which API it speaks.")]
    url: Annotated[
        str,
        pydantic.Field(
            max_length=512,
            pattern=r"^https?://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$",
            description="Scheme, host and port, such as https://api.openai.com. Requests keep their path (/v1/…).",
            json_schema_extra=base.hint("must be scheme, host and perhaps port, such as https://api.openai.com, with no path"),
        ),
    ]
    credentials: Annotated[ProviderCredentials | None, pydantic.Field(description="Sent as a bearer token.")] = None


class ModelDeploymentBackend(base.ApiModel):
    """A ModelDeployment as a backend; expands to its stable and canary revisions."""

    name: Annotated[str, pydantic.Field(min_length=1, max_length=50, description="The ModelDeployment's name.")]
    namespace: Annotated[base.DnsLabel | None, pydantic.Field(description="Its namespace. Default: the gateway's.")] = None


class ProviderBackend(base.ApiModel):
    """A provider as a backend. The request's `model` is passed on as it is."""

    name: Annotated[base.DnsLabel, pydantic.Field(description="The provider's name in spec.providers.")]


class Backend(base.ApiModel):
    """Something that can answer."""

    type: Annotated[
        Literal["ModelDeployment", "Provider"], pydantic.Field(description="The member of the same name says which.")
    ]
    model_deployment: Annotated[ModelDeploymentBackend | None, pydantic.Field(description="For type ModelDeployment.")] = None
    provider: Annotated[ProviderBackend | None, pydantic.Field(description="For type Provider.")] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel(
                "(self.type == 'ModelDeployment') == has(self.modelDeployment) && "
                "(self.type == 'Provider') == has(self.provider)",
                "a backend needs exactly the member that its type names: modelDeployment or provider",
            )
        )
    )


class ChainGroup(base.ApiModel):
    """One group of the chain; the next is tried when it fails before the response starts."""

    backends: Annotated[tuple[Backend, ...], pydantic.Field(min_length=1, max_length=1, description="The group's backend.")]


class Match(base.ApiModel):
    """Which requests a route is for."""

    models: Annotated[
        tuple[base.ModelName, ...],
        pydantic.Field(min_length=1, max_length=16, description="Values of the request's `model`."),
    ]


FIRST_BYTE: Final = "30s"
"""`timeouts.firstByte` where it is unset and something else can take over."""


def _duration(field: str, otherwise: str) -> str:
    """CEL: the field as a duration; `otherwise` for text that is none, which has a message of its own."""
    return f"(self.{field}.matches(r'{base.DURATION_PATTERN}') ? duration(self.{field}) : duration('{otherwise}'))"


class Timeouts(base.ApiModel):
    """Time limits of a route."""

    request: Annotated[
        base.Duration,
        pydantic.Field(
            description="Longest time of a whole request, all its attempts included.",
            json_schema_extra=base.duration_between("timeouts.request", "1s", "24h"),
        ),
    ] = "300s"
    first_byte: Annotated[
        base.Duration | None,
        pydantic.Field(
            description=(
                "Longest time until an attempt of a streaming request (`stream: true`) begins to answer; then the next backend "
                f"or the stable revision takes over. Unset: {FIRST_BYTE} where something can take over, else no limit."
            ),
            json_schema_extra=base.duration_between("timeouts.firstByte", "100ms", "1h"),
        ),
    ] = None
    idle: Annotated[
        base.Duration | None,
        pydantic.Field(
            description=(
                "Longest silence of a streaming request, until its first token too, all attempts included. "
                "Unset: as long as the request may take."
            ),
            json_schema_extra=base.duration_between("timeouts.idle", "1s", "1h"),
        ),
    ] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel(
                f"!has(self.firstByte) || {_duration('firstByte', '0s')} < {_duration('request', '24h')}",
                "firstByte must be shorter than request (300s unless set), or nothing is left for who takes over",
                field_path=".firstByte",
            ),
            base.cel(
                f"!has(self.idle) || {_duration('idle', '24h')} > "
                f"(has(self.firstByte) ? {_duration('firstByte', '0s')} : duration('{FIRST_BYTE}'))",
                f"idle must be longer than firstByte ({FIRST_BYTE} unless set): silence before the first token counts too",
                field_path=".idle",
            ),
        )
    )


class Route(base.ApiModel):
    """A chain of backends for some models. It wins over the route that a ModelDeployment with a gatewayRef gets by itself."""

    name: Annotated[base.DnsLabel, pydantic.Field(description="Name of the route; unique in the gateway.")]
    match: Annotated[Match, pydantic.Field(description="Which requests it is for.")]
    chain: Annotated[
        tuple[ChainGroup, ...],
        pydantic.Field(min_length=1, max_length=4, description="Groups in order: the first that can serve answers."),
    ]
    timeouts: Annotated[Timeouts, pydantic.Field(description="Time limits.")] = Timeouts()


class GatewayResources(base.ApiModel):
    """Resources of one proxy pod."""

    requests: Annotated[Mapping[str, base.Quantity] | None, pydantic.Field(max_length=8, description="Requested amounts.")] = (
        None
    )
    limits: Annotated[
        Mapping[str, base.Quantity] | None, pydantic.Field(max_length=8, description="Most that may be used.")
    ] = None


_UNKNOWN_PROVIDER: Final = (
    "r.chain.exists(g, g.backends.exists(b, has(b.provider) && "
    "!(has(self.providers) && self.providers.exists(p, p.name == b.provider.name))))"
)
"""CEL: whether route `r` names a provider that is not there."""


class GatewaySpec(base.ApiModel):
    """Proxies, who may call them and where requests go."""

    replicas: Annotated[int, pydantic.Field(ge=0, le=64, description="Proxy pods.")] = 1
    image: Annotated[
        str | None,
        pydantic.Field(
            min_length=1,
            max_length=512,
            pattern=r"^[^\s]+$",
            description="Envoy image. Default: the operator's.",
            json_schema_extra=base.hint("must be an image without blanks, such as envoyproxy/envoy:v1.40.0"),
        ),
    ] = None
    resources: Annotated[GatewayResources | None, pydantic.Field(description="Resources of one proxy pod.")] = None
    service: Annotated[Service, pydantic.Field(description="How the gateway is exposed.")] = Service()
    allowed_models: Annotated[AllowedModels, pydantic.Field(description="Which ModelDeployments may use this gateway.")] = (
        AllowedModels()
    )
    listeners: Annotated[
        tuple[Listener, ...],
        pydantic.Field(
            min_length=1, max_length=1, description="The port that speaks HTTP.", json_schema_extra=base.map_list("name")
        ),
    ] = (Listener(name="http", port=8080),)
    clients: Annotated[Clients, pydantic.Field(description="Who may call.")] = Clients()
    credentials_secret_ref: Annotated[
        base.LocalObjectRef | None,
        pydantic.Field(
            description=(
                "Secret of this namespace with the providers' keys, mounted into the proxies; the operator never reads it."
            )
        ),
    ] = None
    providers: Annotated[
        tuple[Provider, ...],
        pydantic.Field(max_length=16, description="External providers.", json_schema_extra=base.map_list("name")),
    ] = ()
    routes: Annotated[
        tuple[Route, ...],
        pydantic.Field(
            max_length=64,
            description="Explicit chains; a ModelDeployment with a gatewayRef needs none.",
            json_schema_extra=base.map_list("name"),
        ),
    ] = ()

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel(
                "!has(self.providers) || has(self.credentialsSecretRef) || self.providers.all(p, !has(p.credentials))",
                "spec.credentialsSecretRef is required when a provider has credentials: name the Secret that holds its key",
                field_path=".credentialsSecretRef",
            ),
            base.cel(
                f"!has(self.routes) || !self.routes.exists(r, {_UNKNOWN_PROVIDER})",
                "a provider.name in routes must be the name of an entry in spec.providers: add it there or correct the name",
                field_path=".routes",
            ),
        )
    )


class ProxyStatus(base.ApiModel):
    """How many proxies run what."""

    connected: Annotated[int, pydantic.Field(ge=0, description="Proxies with a configuration stream to the operator.")] = 0
    in_sync: Annotated[int, pydantic.Field(ge=0, description="Those that have acknowledged the latest configuration.")] = 0
    rejected: Annotated[int, pydantic.Field(ge=0, description="Those that refused a part of it.")] = 0


class RouteStatus(base.ApiModel):
    """The state of one route."""

    name: Annotated[str, pydantic.Field(max_length=160, description="The route, or <namespace>/<name> of a ModelDeployment.")]
    models: Annotated[tuple[base.ModelName, ...], pydantic.Field(max_length=16, description="Models it answers for.")] = ()
    conditions: Annotated[
        tuple[cond.Condition, ...],
        pydantic.Field(max_length=8, description="Accepted and ResolvedRefs.", json_schema_extra=base.map_list("type")),
    ] = ()


class GatewayStatus(base.ApiModel):
    """What the proxies run."""

    observed_generation: Annotated[int, pydantic.Field(description="The generation this status speaks of.")] = -1
    conditions: Annotated[
        tuple[cond.Condition, ...],
        pydantic.Field(max_length=16, description="State for people and tools.", json_schema_extra=base.map_list("type")),
    ] = ()
    address: Annotated[str | None, pydantic.Field(max_length=512, description="Base URL inside the cluster.")] = None
    proxies: Annotated[ProxyStatus, pydantic.Field(description="Proxies that are connected.")] = ProxyStatus()
    routes: Annotated[
        tuple[RouteStatus, ...],
        pydantic.Field(
            max_length=256,
            description="Explicit routes and those of ModelDeployments.",
            json_schema_extra=base.map_list("name"),
        ),
    ] = ()


class Gateway(base.ApiModel):
    """An Envoy that speaks the OpenAI API."""

    metadata: base.NamedObject
    spec: GatewaySpec
    status: GatewayStatus = GatewayStatus()


def parse(obj: Mapping[str, Any]) -> Gateway:
    """The typed form of an object that the API server admitted."""
    return Gateway.model_validate(obj)
