"""Typed reads of the cache: our custom resources as models, and the relations between them.

Reading only; nothing here decides or writes. An object that an older CRD admitted and that no longer parses is left out
and reported, so that one bad object never stops the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

import pydantic

from sluice.api import evalgate, modeldeployment, naming, ratelimitpolicy
from sluice.api import gateway as gateway_api  # a method is named gateway
from sluice.kube import cache as kube_cache
from sluice.kube import resources
from sluice.observability import logs

_log = logs.get(__name__)

T = TypeVar("T", bound=pydantic.BaseModel)

PARSERS: Final[Mapping[resources.Resource, Callable[[Mapping[str, Any]], pydantic.BaseModel]]] = {
    resources.MODEL_DEPLOYMENTS: modeldeployment.parse,
    resources.GATEWAYS: gateway_api.parse,
    resources.RATE_LIMIT_POLICIES: ratelimitpolicy.parse,
    resources.EVAL_GATES: evalgate.parse,
}
RESOURCE_OF: Final = {resource.kind: resource for resource in PARSERS}


@dataclasses.dataclass
class Lookup:
    """Reads our kinds from the cache, parsed once per resourceVersion."""

    cache: kube_cache.Cache
    _parsed: dict[tuple[resources.Resource, str, str], tuple[str, pydantic.BaseModel]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cache.subscribe(self._forget)

    def _forget(self, resource: resources.Resource, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> None:
        if new is None and old is not None and resource in PARSERS:
            self._parsed.pop((resource, old["metadata"]["namespace"], old["metadata"]["name"]), None)

    def model(self, namespace: str, name: str) -> modeldeployment.ModelDeployment | None:
        """A ModelDeployment, unless it does not exist."""
        return self._get(resources.MODEL_DEPLOYMENTS, namespace, name, modeldeployment.ModelDeployment)

    def gateway(self, namespace: str, name: str) -> gateway_api.Gateway | None:
        """A Gateway, unless it does not exist."""
        return self._get(resources.GATEWAYS, namespace, name, gateway_api.Gateway)

    def policy(self, namespace: str, name: str) -> ratelimitpolicy.RateLimitPolicy | None:
        """A RateLimitPolicy, unless it does not exist."""
        return self._get(resources.RATE_LIMIT_POLICIES, namespace, name, ratelimitpolicy.RateLimitPolicy)

    def gate(self, namespace: str, name: str) -> evalgate.EvalGate | None:
        """An EvalGate, unless it does not exist."""
        return self._get(resources.EVAL_GATES, namespace, name, evalgate.EvalGate)

    def models(self, namespace: str = "") -> Iterator[modeldeployment.ModelDeployment]:
        """All ModelDeployments of a namespace, or of all."""
        return self._list(resources.MODEL_DEPLOYMENTS, namespace, modeldeployment.ModelDeployment)

    def gateways(self, namespace: str = "") -> Iterator[gateway_api.Gateway]:
        """All Gateways of a namespace, or of all."""
        return self._list(resources.GATEWAYS, namespace, gateway_api.Gateway)

    def policies(self, namespace: str) -> Iterator[ratelimitpolicy.RateLimitPolicy]:
        """All RateLimitPolicies of a namespace."""
        return self._list(resources.RATE_LIMIT_POLICIES, namespace, ratelimitpolicy.RateLimitPolicy)

    def gates(self, namespace: str) -> Iterator[evalgate.EvalGate]:
        """All EvalGates of a namespace."""
        return self._list(resources.EVAL_GATES, namespace, evalgate.EvalGate)

    def models_of(self, owner: gateway_api.Gateway) -> Iterator[modeldeployment.ModelDeployment]:
        """ModelDeployments that refer to this gateway, or that one of its routes names; allowed or not."""
        key = (owner.metadata.namespace, owner.metadata.name)
        routed = routed_models(owner)
        return (
            model
            for model in self.models()
            if key in gateway_refs(model) or (model.metadata.namespace, model.metadata.name) in routed
        )

    def allows(self, owner: gateway_api.Gateway, namespace: str) -> bool:
        """Whether `spec.allowedModels` lets ModelDeployments of that namespace use the gateway."""
        allowed = owner.spec.allowed_models.namespaces
        if allowed.from_ == "All" or namespace == owner.metadata.namespace:
            return allowed.from_ != "Selector" or self._selected(allowed, namespace)
        return allowed.from_ == "Selector" and self._selected(allowed, namespace)

    def _selected(self, allowed: gateway_api.AllowedNamespaces, namespace: str) -> bool:
        obj = self.cache.get(resources.NAMESPACES, "", namespace)
        labels = ((obj or {}).get("metadata") or {}).get("labels") or {}
        wanted = allowed.selector.match_labels if allowed.selector else {}
        return bool(wanted) and all(labels.get(key) == value for key, value in wanted.items())

    def _get(self, resource: resources.Resource, namespace: str, name: str, kind: type[T]) -> T | None:
        obj = self.cache.get(resource, namespace, name)
        return None if obj is None else self._parse(resource, obj, kind)

    def _list(self, resource: resources.Resource, namespace: str, kind: type[T]) -> Iterator[T]:
        for obj in self.cache.list(resource, namespace or None):
            parsed = self._parse(resource, obj, kind)
            if parsed is not None:
                yield parsed

    def _parse(self, resource: resources.Resource, obj: Mapping[str, Any], kind: type[T]) -> T | None:
        metadata = obj["metadata"]
        key = (resource, metadata["namespace"], metadata["name"])
        version = metadata.get("resourceVersion", "")
        known = self._parsed.get(key)
        if known is not None and known[0] == version and isinstance(known[1], kind):
            return known[1]
        try:
            parsed = PARSERS[resource](obj)
        except pydantic.ValidationError as error:
            _log.error("object does not fit its CRD", object=f"{resource}/{key[1]}/{key[2]}", error=str(error))
            return None
        self._parsed[key] = (version, parsed)
        return parsed if isinstance(parsed, kind) else None


def gateway_refs(model: modeldeployment.ModelDeployment) -> set[tuple[str, str]]:
    """(namespace, name) of the gateways that a ModelDeployment refers to."""
    return {(ref.namespace or model.metadata.namespace, ref.name) for ref in model.spec.gateway_refs}


def routed_models(owner: gateway_api.Gateway) -> set[tuple[str, str]]:
    """(namespace, name) of the ModelDeployments that a gateway's explicit routes name."""
    return {
        (backend.model_deployment.namespace or owner.metadata.namespace, backend.model_deployment.name)
        for route in owner.spec.routes
        for group in route.chain
        for backend in group.backends
        if backend.model_deployment is not None
    }


def gateway_key(owner: gateway_api.Gateway) -> naming.ObjectKey:
    """The key of a Gateway."""
    return naming.ObjectKey(gateway_api.KIND, owner.metadata.namespace, owner.metadata.name)


def model_key(model: modeldeployment.ModelDeployment) -> naming.ObjectKey:
    """The key of a ModelDeployment."""
    return naming.ObjectKey(modeldeployment.KIND, model.metadata.namespace, model.metadata.name)
