"""`spec.networkPolicy` and `spec.disruption`: who else may reach the engines, what they may reach, and how many may go at once.

Outside the template: changing them touches no pod and starts no rollout. Peers and rules are those of Kubernetes'
NetworkPolicy, bounded; they add to what Sluice allows by itself, and take nothing of it away.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import pydantic

from sluice.api import affinity, base

PORT_MAX: Final = 65535
PERCENT_PATTERN: Final = r"^(100|[0-9]{1,2})%$"

Cidr = Annotated[
    str,
    pydantic.Field(
        min_length=1,
        max_length=43,
        description="Addresses such as 10.0.0.0/8 or 2001:db8::/64.",
        json_schema_extra=base.validations(base.cel("isCIDR(self)", "must be addresses with a prefix, such as 10.0.0.0/8")),
    ),
]


class IpBlock(base.ApiModel):
    """Peers by their addresses."""

    cidr: Cidr
    except_: Annotated[
        tuple[Cidr, ...] | None,
        pydantic.Field(alias="except", max_length=16, description="Parts of them that are left out."),
    ] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel(
                "!has(self.except) || !isCIDR(self.cidr) || self.except.all(part, !isCIDR(part) || "
                "(cidr(self.cidr).containsCIDR(part) && cidr(part).prefixLength() > cidr(self.cidr).prefixLength()))",
                "each of except is a smaller part of cidr: correct it, or remove it",
                field_path=".except",
            )
        )
    )


class Peer(base.ApiModel):
    """Pods by their labels and those of their namespaces, or addresses."""

    pod_selector: Annotated[
        affinity.LabelSelector | None,
        pydantic.Field(description="Pods by their labels: of this namespace, or of those that namespaceSelector selects."),
    ] = None
    namespace_selector: Annotated[
        affinity.LabelSelector | None,
        pydantic.Field(description="Namespaces by their labels: all their pods, or those that podSelector selects."),
    ] = None
    ip_block: Annotated[IpBlock | None, pydantic.Field(description="Addresses, for what is no pod.")] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel(
                "has(self.ipBlock) != (has(self.podSelector) || has(self.namespaceSelector))",
                "a peer has either ipBlock or selectors: set podSelector, namespaceSelector or both, or ipBlock alone",
            )
        )
    )


class Port(base.ApiModel):
    """One port, or a range of ports."""

    protocol: Annotated[
        Literal["TCP", "UDP", "SCTP"] | None, pydantic.Field(description="Protocol of the port. Unset: TCP.")
    ] = None
    port: Annotated[int, pydantic.Field(ge=1, le=PORT_MAX, description="The port of the peer's pod, not of a Service.")]
    end_port: Annotated[
        int | None, pydantic.Field(ge=1, le=PORT_MAX, description="Last port of a range that begins with port.")
    ] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel(
                "!has(self.endPort) || self.endPort >= self.port",
                "endPort may not be below port: exchange them, or remove endPort",
                field_path=".endPort",
            )
        )
    )


class EgressRule(base.ApiModel):
    """What engines may reach: peers, ports, or ports of peers."""

    to: Annotated[tuple[Peer, ...] | None, pydantic.Field(min_length=1, max_length=8, description="The peers. Unset: all.")] = (
        None
    )
    ports: Annotated[
        tuple[Port, ...] | None, pydantic.Field(min_length=1, max_length=8, description="Their ports. Unset: all.")
    ] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel(
                "has(self.to) || has(self.ports)",
                "an egress rule names peers, ports or both: without any it would allow everything. For that, say so by "
                "to: [{ipBlock: {cidr: 0.0.0.0/0}}, {namespaceSelector: {}}]",
            )
        )
    )


class NetworkPolicy(base.ApiModel):
    """What the engines' NetworkPolicies allow beyond what Sluice needs."""

    ingress: Annotated[
        tuple[Peer, ...] | None,
        pydantic.Field(
            max_length=16,
            description=(
                "Who else may reach the engines' port, such as Prometheus or clients that use no gateway. Always in: the "
                "proxies of allowed Gateways in gatewayRefs, eval pods, the operator and its metrics server."
            ),
        ),
    ] = None
    egress: Annotated[
        tuple[EgressRule, ...] | None,
        pydantic.Field(
            max_length=8,
            description=(
                "What else the engines may reach, such as a collector of traces or a bucket inside the cluster. Always out: "
                "DNS, and TCP 443 for hf://, s3:// and gs:// sources."
            ),
        ),
    ] = None


class Disruption(base.ApiModel):
    """How many pods of a revision may be taken away at a time, by drains of nodes."""

    max_unavailable: Annotated[
        int | str,
        pydantic.Field(
            description='Pods, or a percentage of them such as "25%" (rounded up). 0 forbids every drain. Default: 1.',
            json_schema_extra={
                "x-kubernetes-int-or-string": True,
                "minimum": 0,
                "maximum": 1000,
                "maxLength": 4,
                **base.validations(
                    base.cel(
                        f"type(self) == int || self.matches(r'{PERCENT_PATTERN}')",
                        'maxUnavailable must be a number of pods, such as 1, or a percentage, such as "25%"',
                    )
                ),
            },
        ),
    ]
