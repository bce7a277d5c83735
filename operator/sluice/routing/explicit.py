"""Explicit routes of a Gateway: chains of backends for some models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sluice.api import conditions, gateway
from sluice.routing import chain, inputs, ir, reasons
from sluice.routing.providers import registry

Type = conditions.ConditionType


class Backends:
    """The backends that a Gateway's routes may name."""

    def __init__(self, given: inputs.GatewayInputs) -> None:
        metadata = given.gateway.metadata
        self.gateway = f"{metadata.namespace}/{metadata.name}"
        self.namespace = metadata.namespace
        self.models: Mapping[tuple[str, str], inputs.ModelInput] = {(m.namespace, m.name): m for m in given.models}
        self.clients = frozenset(given.api_keys.values())
        self.providers = {provider.name: provider for provider in given.gateway.spec.providers}

    def model_of(self, backend: gateway.ModelDeploymentBackend) -> tuple[str, str]:
        """(namespace, name) of the ModelDeployment that a backend names."""
        return backend.namespace or self.namespace, backend.name

    def resolve(self, backend: gateway.Backend, model: str) -> chain.Backend:
        """What a backend stands for when it is asked for `model`, or what is wrong with it."""
        if backend.provider is not None:
            return self._provider(backend.provider)
        if backend.model_deployment is not None:
            return self._model(backend.model_deployment, model)
        return chain.Backend(
            reason=reasons.Reason.BACKEND_NOT_FOUND, problem="A backend names nothing: add modelDeployment or provider"
        )

    def _provider(self, backend: gateway.ProviderBackend) -> chain.Backend:
        if backend.name not in self.providers:
            known = ", ".join(sorted(self.providers)) or "none"
            return chain.Backend(
                reason=reasons.Reason.BACKEND_NOT_FOUND,
                problem=f"No provider {backend.name!r} in spec.providers (there: {known}): add it or correct the name",
            )
        return chain.Backend(chain.provider_group(registry.cluster_name(backend.name)))

    def _model(self, backend: gateway.ModelDeploymentBackend, model: str) -> chain.Backend:
        namespace, name = self.model_of(backend)
        found = self.models.get((namespace, name))
        if found is None:
            return chain.Backend(
                reason=reasons.Reason.BACKEND_NOT_FOUND,
                problem=f"No ModelDeployment {namespace}/{name}: create it or correct the backend's name and namespace",
            )
        if not found.gateway_allowed:
            return chain.Backend(
                reason=reasons.Reason.BACKEND_NOT_ALLOWED,
                problem=f"spec.allowedModels does not let namespace {namespace} in: allow it, or remove backend {name}",
            )
        if not found.refers:
            return chain.Backend(
                reason=reasons.Reason.BACKEND_NOT_ALLOWED,
                problem=f"ModelDeployment {namespace}/{name} has no gatewayRef to Gateway {self.gateway}: add one",
            )
        if found.served_name != model:
            return chain.Backend(
                reason=reasons.Reason.MODEL_MISMATCH,
                problem=f"ModelDeployment {namespace}/{name} serves {found.served_name!r} and would refuse {model!r}: "
                f"remove {model!r} from match.models, or serve it under that name",
            )
        if not chain.build_groups(found.split):
            return chain.Backend(
                reason=reasons.Reason.NO_REVISION,
                problem=f"ModelDeployment {namespace}/{name} has no revision that may serve yet",
            )
        unknown = chain.unknown_clients(found.split, self.clients)
        return chain.Backend(
            found.split,
            reason=reasons.Reason.MATCHES_NOTHING if unknown else "",
            problem=f"ModelDeployment {namespace}/{name}: {unknown}" if unknown else "",
        )


def translate_route(
    spec: gateway.Route, backends: Backends, taken: Mapping[str, str]
) -> tuple[tuple[ir.Route, ...], gateway.RouteStatus]:
    """One route for each model that is not yet `taken` (model -> route that has it), and the route's status."""
    models = tuple(model for model in dict.fromkeys(spec.match.models) if model not in taken)
    problems: dict[str, str] = {}
    routes = []
    for model in models:
        resolved = [backends.resolve(backend, model) for step in spec.chain for backend in step.backends]
        problems.update((found.problem, found.reason) for found in resolved if found.problem)
        parts = [found.part for found in resolved if found.part is not None]
        if any(isinstance(part, inputs.Split) and part.mirror for part in parts[1:]):
            problems[_not_mirrored(model)] = reasons.Reason.NOT_MIRRORED
        routes.append(chain.build_route(spec.name, model, parts, spec.timeouts))
    found_conditions = (_accepted(spec, taken), _resolved(problems))
    return tuple(routes), gateway.RouteStatus(name=spec.name, models=models, conditions=found_conditions)


def _not_mirrored(model: str) -> str:
    return (
        f"The rollout of the ModelDeployment that serves {model!r} mirrors requests, and none are copied where it is not the "
        "chain's first backend: put it first, or let its steps have weight instead of mirror"
    )


def _accepted(spec: gateway.Route, taken: Mapping[str, str]) -> conditions.Condition:
    lost = {model: taken[model] for model in spec.match.models if model in taken}
    if not lost:
        return conditions.make(Type.ACCEPTED, True, reasons.Reason.ACCEPTED, "The route is in effect")
    told = "; ".join(f"route {spec.name} does not answer for {model!r}: route {other} does" for model, other in lost.items())
    return conditions.make(
        Type.ACCEPTED, False, reasons.Reason.CONFLICT, f"{told[0].upper()}{told[1:]}. Name each model in one route only"
    )


def _resolved(problems: Mapping[str, str]) -> conditions.Condition:
    if not problems:
        return conditions.make(Type.RESOLVED_REFS, True, reasons.Reason.RESOLVED, "All backends exist and may be used")
    return conditions.make(Type.RESOLVED_REFS, False, next(iter(problems.values())), "; ".join(problems))


def model_deployments(spec: gateway.Route, backends: Backends) -> Iterator[tuple[str, str]]:
    """(namespace, name) of the ModelDeployments that a route names."""
    for step in spec.chain:
        for backend in step.backends:
            if backend.model_deployment is not None:
                yield backends.model_of(backend.model_deployment)
