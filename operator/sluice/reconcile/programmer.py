"""Programs gateways: cache and traffic table in, resources of the ADS server out.

Synchronous and quick, because a weight must leave the canary within milliseconds: no queue and no API server in between.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from sluice.api import gateway, modeldeployment, naming
from sluice.kube import cache as kube_cache
from sluice.kube import resources
from sluice.reconcile import lookup as lookup_
from sluice.reconcile import traffic as traffic_
from sluice.reconcile.gateways import status
from sluice.rollout import traffic as rollout_traffic
from sluice.routing import inputs, shield, translate
from sluice.workloads import pod_template
from sluice.xds import server
from sluice.xds import translate as xds_translate

SERVICE_NAME_LABEL: Final = "kubernetes.io/service-name"
_SHA256: Final = re.compile(r"^[0-9a-f]{64}$")


@dataclasses.dataclass(frozen=True)
class Programmed:
    """What a gateway was told last."""

    version: int
    translation: translate.Translation
    problems: tuple[status.Problem, ...]


@dataclasses.dataclass
class Programmer:
    """Turns what is known into what proxies run."""

    cache: kube_cache.Cache
    lookup: lookup_.Lookup
    table: traffic_.TrafficTable
    ads: server.AdsServer
    on_change: Callable[[naming.ObjectKey], None] = lambda _: None
    """Told of each gateway of which something else is to be said, so that its status and its policies' follow."""
    in_flight: Callable[[naming.ObjectKey, str], float | None] = lambda *_: None
    """Requests under way to a cluster in one proxy of a gateway, the mean over its proxies. None: not known."""
    _said: dict[naming.ObjectKey, object] = dataclasses.field(default_factory=dict)
    _in_flight: dict[naming.ObjectKey, dict[str, int]] = dataclasses.field(default_factory=dict)
    """The steadied number that each gateway's shields were made by, by cluster of the stable revision."""
    _is_held: bool = False

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Inside, `program_for` does nothing: for a caller that programs every gateway afterwards anyway.

        While ADS is closed no proxy waits, and a gateway with a thousand models would else be translated a thousand times.
        """
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False

    def program(self, owner: gateway.Gateway) -> Programmed:
        """Sets the gateway's resources and records which models' traffic they carry."""
        key = lookup_.gateway_key(owner)
        models = tuple(self.lookup.models_of(owner))
        keys, problems = self._api_keys(owner)
        self._in_flight[key] = dict(self._steadied(key, models))
        translation = translate.translate(
            inputs.GatewayInputs(
                gateway=owner,
                models=tuple(self._model(owner, model) for model in models),
                policies=tuple(
                    policy
                    for policy in self.lookup.policies(owner.metadata.namespace)
                    if any(ref.name == owner.metadata.name for ref in policy.spec.target_refs)
                ),
                api_keys=keys,
            )
        )
        version = self.ads.set_resources((key.namespace, key.name), xds_translate.build_resources(translation.ir))
        for model in models:
            self.table.told(lookup_.model_key(model), key, version)
        said = (translation.routes, translation.policies, problems)
        if self._said.get(key) != said:
            self._said[key] = said
            self.on_change(key)
        return Programmed(version, translation, problems)

    def program_for(self, model: modeldeployment.ModelDeployment) -> None:
        """Programs every gateway that the ModelDeployment refers to."""
        if self._is_held:
            return
        for namespace, name in sorted(lookup_.gateway_refs(model)):
            owner = self.lookup.gateway(namespace, name)
            if owner is not None:
                self.program(owner)

    def follow_in_flight(self, model: modeldeployment.ModelDeployment) -> None:
        """Programs the model's gateways whose shields are to let more or less through. Cheap where none is."""
        for namespace, name in sorted(lookup_.gateway_refs(model)) if not self._is_held else ():
            key = naming.ObjectKey(gateway.KIND, namespace, name)
            known = self._in_flight.get(key, {})
            if any(known.get(cluster) != in_flight for cluster, in_flight in self._steadied(key, (model,))):
                owner = self.lookup.gateway(namespace, name)
                if owner is not None:
                    self.program(owner)

    def acknowledged(self, model: modeldeployment.ModelDeployment) -> int:
        """The epoch in force if every connected proxy of every gateway runs it, else -1."""
        key = lookup_.model_key(model)
        in_force = self.table.traffic(key)
        if in_force is None:
            return -1
        for namespace, name in lookup_.gateway_refs(model):
            gateway_key = naming.ObjectKey(gateway.KIND, namespace, name)
            version = self.table.version(key, gateway_key)
            if version is None or not self.ads.acknowledged((namespace, name), version):
                return -1
        return in_force.epoch

    def _model(self, owner: gateway.Gateway, model: modeldeployment.ModelDeployment) -> inputs.ModelInput:
        metadata = model.metadata
        # Without a decision yet, what served goes on serving: one model that can't be decided must not lose its users.
        in_force = self.table.traffic(lookup_.model_key(model)) or rollout_traffic.Traffic(stable=model.status.stable_revision)
        return inputs.ModelInput(
            namespace=metadata.namespace,
            name=metadata.name,
            created=metadata.creation_timestamp or "",
            served_name=pod_template.served_name(metadata.name, model.spec.template),
            gateway_allowed=self.lookup.allows(owner, metadata.namespace),
            refers=(owner.metadata.namespace, owner.metadata.name) in lookup_.gateway_refs(model),
            adapters=self._adapters(model, in_force.stable),
            split=self._split(lookup_.gateway_key(owner), model, in_force),
        )

    def _steadied(
        self, owner: naming.ObjectKey, models: Iterable[modeldeployment.ModelDeployment]
    ) -> Iterator[tuple[str, int]]:
        """Stable clusters of rollouts with a bounded shield, and their requests in flight as far as they are known."""
        known = self._in_flight.get(owner, {})
        for model in models:
            in_force = self.table.traffic(lookup_.model_key(model))
            if in_force is None or in_force.canary is None or in_force.stable is None:
                continue
            cluster = naming.revision_cluster(model.metadata.namespace, model.metadata.name, in_force.stable)
            measured, held = self.in_flight(owner, cluster), known.get(cluster)
            if measured is not None:
                yield cluster, shield.steady(measured, held)
            elif held is not None:
                yield cluster, held  # one reading that failed is no reason to change a cluster

    def _split(
        self, owner: naming.ObjectKey, model: modeldeployment.ModelDeployment, in_force: rollout_traffic.Traffic
    ) -> inputs.Split:
        asked = in_force.rules.override if in_force.override else None
        stable = self._revision(model, in_force.stable)
        return inputs.Split(
            stable=stable,
            canary=self._revision(model, in_force.canary),
            weight=in_force.weight,
            mirror=in_force.mirror,
            stickiness=in_force.rules.stickiness,
            override=asked,
            shield=in_force.rules.shield,
            stable_in_flight=self._in_flight.get(owner, {}).get(stable.cluster) if stable is not None else None,
        )

    def _adapters(self, model: modeldeployment.ModelDeployment, stable: str | None) -> tuple[str, ...]:
        """Names of the adapters of the revision that serves: one that is new, or gone from the spec, changes hands with it."""
        if stable is None:
            return ()
        namespace, name = model.metadata.namespace, naming.revision_name(model.metadata.name, stable)
        stored = self.cache.get(resources.CONTROLLER_REVISIONS, namespace, name)
        adapters = stored["data"]["template"]["model"].get("adapters") if stored is not None else None
        return tuple(sorted(adapter["name"] for adapter in adapters or ()))

    def _revision(self, model: modeldeployment.ModelDeployment, revision_hash: str | None) -> inputs.Revision | None:
        if revision_hash is None:
            return None
        namespace, name = model.metadata.namespace, model.metadata.name
        return inputs.Revision(
            cluster=naming.revision_cluster(namespace, name, revision_hash),
            endpoints=tuple(self._endpoints(namespace, name, revision_hash)),
        )

    def _endpoints(self, namespace: str, model: str, revision_hash: str) -> Iterator[inputs.Endpoint]:
        # The label of the model, which slices have from their Service, is the one that the cache has an index of.
        labels = {naming.LABEL_MODEL_DEPLOYMENT: model, SERVICE_NAME_LABEL: naming.revision_name(model, revision_hash)}
        slices = self.cache.list(resources.ENDPOINT_SLICES, namespace, labels=labels)
        found = {(address, port) for obj in slices for address, port in _ready_addresses(obj)}
        return (inputs.Endpoint(address, port) for address, port in sorted(found))

    def _api_keys(self, owner: gateway.Gateway) -> tuple[dict[str, str], tuple[status.Problem, ...]]:
        """SHA-256 of each key with its client's name, and what is wrong with the Secrets."""
        keys: dict[str, str] = {}
        problems: list[status.Problem] = []
        namespace = owner.metadata.namespace
        for index, source in enumerate(owner.spec.clients.api_keys):
            field, name = f"spec.clients.apiKeys[{index}].secretRef", source.secret_ref.name
            secret = self.cache.get(resources.SECRETS, namespace, name)
            if secret is None or not _is_api_keys(secret):
                problems.append(_missing_secret(field, namespace, name))
                continue
            for client, digest in _decoded(secret).items():
                if _SHA256.match(digest):
                    keys[digest] = client
                else:
                    problems.append(
                        status.Problem(
                            status.Reason.INVALID_API_KEYS,
                            f"Cannot use key {client!r} of Secret {namespace}/{name} ({field}): its value is no SHA-256 in "
                            "lower-case hex. Store `printf %s \"$KEY\" | sha256sum | cut -d' ' -f1`",
                        )
                    )
        if not owner.spec.clients.api_keys and not owner.spec.clients.anonymous:
            problems.append(
                status.Problem(
                    status.Reason.NO_CLIENTS,
                    "Nobody may call this gateway: set spec.clients.apiKeys, or spec.clients.anonymous: true",
                )
            )
        return keys, tuple(problems)


def _missing_secret(field: str, namespace: str, name: str) -> status.Problem:
    label = f"{naming.LABEL_SECRET_TYPE}={naming.SECRET_TYPE_API_KEYS}"
    return status.Problem(
        status.Reason.SECRET_NOT_FOUND,
        f"Cannot resolve {field}: there is no Secret {namespace}/{name} with the label {label}. Create it, or label it: "
        f"kubectl label secret -n {namespace} {name} {label}",
    )


def _is_api_keys(secret: Mapping[str, Any]) -> bool:
    labels = secret["metadata"].get("labels") or {}
    return bool(labels.get(naming.LABEL_SECRET_TYPE) == naming.SECRET_TYPE_API_KEYS)


def _decoded(secret: Mapping[str, Any]) -> dict[str, str]:
    """The Secret's data as text; what is no text is left empty, and so is refused as a key."""
    decoded = {}
    for name, value in (secret.get("data") or {}).items():
        try:
            decoded[name] = base64.b64decode(value).decode().strip()
        except ValueError:
            decoded[name] = ""
    return decoded


def _ready_addresses(obj: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    ports = [port["port"] for port in obj.get("ports") or () if port.get("name") == pod_template.PORT_NAME]
    for endpoint in obj.get("endpoints") or ():
        if (endpoint.get("conditions") or {}).get("ready"):
            yield from ((address, port) for address in endpoint["addresses"] for port in ports)
