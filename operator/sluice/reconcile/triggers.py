"""Which keys are looked at again when an object changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sluice.api import evalgate, gateway, modeldeployment, naming, ratelimitpolicy
from sluice.kube import resources
from sluice.reconcile import lookup as lookup_
from sluice.reconcile import policies
from sluice.reconcile.models import autoscaling

_OURS: Final = frozenset(lookup_.PARSERS)


def _own_key(resource: resources.Resource, obj: Mapping[str, Any]) -> naming.ObjectKey:
    return naming.ObjectKey(resource.kind, obj["metadata"]["namespace"], obj["metadata"]["name"])


def _wish(obj: Mapping[str, Any]) -> tuple[object, ...]:
    """What others read of an object of ours: its spec, whether it stays, which revision serves. Not the rest of its status."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    return metadata.get("uid"), metadata.get("generation"), metadata.get("deletionTimestamp"), status.get("stableRevision")


@dataclasses.dataclass
class Triggers:
    """From a changed object to keys. Too many are harmless, too few are a defect."""

    lookup: lookup_.Lookup

    def keys(self, resource: resources.Resource, *versions: Mapping[str, Any] | None) -> set[naming.ObjectKey]:
        """Keys for the old and the new version of an object; None is absent."""
        present = [obj for obj in versions if obj is not None]
        if resource is resources.HORIZONTAL_POD_AUTOSCALERS and len({autoscaling.gist(obj) for obj in present}) < len(present):
            return set()  # its controller writes new readings every 15 s
        if resource in _OURS and len(present) > 1 and len({_wish(obj) for obj in present}) == 1:
            # With a thousand models at a gateway, each status that is written would else make a thousand reconciles.
            return {_own_key(resource, obj) for obj in present}
        return {key for obj in present for key in self._keys(resource, obj)}

    def _keys(self, resource: resources.Resource, obj: Mapping[str, Any]) -> Iterator[naming.ObjectKey]:
        namespace, name = obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
        by_name = {
            resources.MODEL_DEPLOYMENTS: self._of_model,
            resources.GATEWAYS: self._of_gateway,
            resources.RATE_LIMIT_POLICIES: self._of_policy,
            resources.EVAL_GATES: self._of_gate,
        }
        if resource in by_name:
            yield from by_name[resource](namespace, name, obj)
        elif resource is resources.NAMESPACES:
            yield from self._of_namespace(name)
        elif resource is resources.SECRETS:
            yield from (lookup_.gateway_key(owner) for owner in self.lookup.gateways(namespace))
        else:
            yield from self._owners(namespace, obj)
        if resource is resources.ENDPOINT_SLICES:
            yield from self._gateways_of_endpoints(namespace, obj)

    def _of_model(self, namespace: str, name: str, obj: Mapping[str, Any]) -> Iterator[naming.ObjectKey]:
        yield naming.ObjectKey(modeldeployment.KIND, namespace, name)
        for reference in obj["spec"].get("gatewayRefs") or ():
            yield naming.ObjectKey(gateway.KIND, reference.get("namespace") or namespace, reference["name"])
        yield from (naming.ObjectKey(evalgate.KIND, namespace, gate.metadata.name) for gate in self.lookup.gates(namespace))
        for owner in self.lookup.gateways():
            if (namespace, name) in lookup_.routed_models(owner):  # a deleted one is in no cache any more
                yield lookup_.gateway_key(owner)

    def _of_gateway(self, namespace: str, name: str, _: Mapping[str, Any]) -> Iterator[naming.ObjectKey]:
        yield naming.ObjectKey(gateway.KIND, namespace, name)
        for model in self.lookup.models():
            if (namespace, name) in lookup_.gateway_refs(model):
                yield lookup_.model_key(model)
        for policy in self.lookup.policies(namespace):
            if any(reference.name == name for reference in policy.spec.target_refs):
                yield naming.ObjectKey(ratelimitpolicy.KIND, namespace, policy.metadata.name)

    def _of_policy(self, namespace: str, name: str, obj: Mapping[str, Any]) -> Iterator[naming.ObjectKey]:
        yield naming.ObjectKey(ratelimitpolicy.KIND, namespace, name)
        for reference in obj["spec"].get("targetRefs") or ():
            yield naming.ObjectKey(gateway.KIND, namespace, reference["name"])

    def _of_gate(self, namespace: str, name: str, _: Mapping[str, Any]) -> Iterator[naming.ObjectKey]:
        yield naming.ObjectKey(evalgate.KIND, namespace, name)
        for model in self.lookup.models(namespace):
            if name in policies.gate_names(model):
                yield lookup_.model_key(model)

    def _gateways_of_endpoints(self, namespace: str, obj: Mapping[str, Any]) -> Iterator[naming.ObjectKey]:
        name = (obj["metadata"].get("labels") or {}).get(naming.LABEL_MODEL_DEPLOYMENT)
        model = self.lookup.model(namespace, name) if name else None
        if model is not None:
            yield from (naming.ObjectKey(gateway.KIND, *reference) for reference in lookup_.gateway_refs(model))

    def _owners(self, namespace: str, obj: Mapping[str, Any]) -> Iterator[naming.ObjectKey]:
        """By our labels; by the Job's name for pods of evals, which carry no revision so that no Service selects them."""
        labels = obj["metadata"].get("labels") or {}
        if naming.LABEL_MODEL_DEPLOYMENT in labels:
            yield naming.ObjectKey(modeldeployment.KIND, namespace, labels[naming.LABEL_MODEL_DEPLOYMENT])
        if naming.LABEL_GATEWAY in labels:
            yield naming.ObjectKey(gateway.KIND, namespace, labels[naming.LABEL_GATEWAY])
        if naming.LABEL_EVAL in labels and naming.LABEL_MODEL_DEPLOYMENT not in labels:
            yield from (lookup_.model_key(model) for model in self.lookup.models(namespace) if model.status.rollout is not None)

    def _of_namespace(self, name: str) -> Iterator[naming.ObjectKey]:
        """A namespace's labels decide whether gateways admit its models."""
        for owner in self.lookup.gateways():
            if owner.spec.allowed_models.namespaces.from_ == "Selector":
                yield lookup_.gateway_key(owner)
        yield from (lookup_.model_key(model) for model in self.lookup.models(name))
