"""Routes that ModelDeployments get by their gatewayRefs alone: their served name, and the names of their adapters."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from sluice.api import conditions, gateway
from sluice.routing import chain, inputs, ir, reasons

Type = conditions.ConditionType


def route_name(namespace: str, name: str) -> str:
    """Name of the route of a ModelDeployment, in counters and in the Gateway's status. No explicit route's name has a slash."""
    return f"{namespace}/{name}"


def sort_claims(models: Iterable[inputs.ModelInput]) -> list[inputs.ModelInput]:
    """ModelDeployments that refer to the gateway, the oldest claim first."""
    return sorted((m for m in models if m.refers), key=lambda m: (m.created, m.namespace, m.name))


def translate_models(
    models: Iterable[inputs.ModelInput],
    explicit: Mapping[str, str],
    chained: Mapping[str, frozenset[tuple[str, str]]],
    gateway_name: str,
    clients: Collection[str] = (),
) -> Iterator[tuple[tuple[ir.Route, ...], gateway.RouteStatus]]:
    """The routes, one for each name, and the status of each ModelDeployment that refers to the gateway.

    A model whose served name is another's has none. An adapter whose name is taken is left out and named in the status.

    Args:
        models: all of the gateway.
        explicit: model -> the explicit route that answers for it.
        chained: explicit route -> (namespace, name) of the ModelDeployments in its chain.
        gateway_name: `<namespace>/<name>`, for messages.
        clients: whom the gateway has keys of.
    """
    winners: dict[str, str] = {}
    for model in sort_claims(models):
        name, served = route_name(model.namespace, model.name), model.served_name
        if not model.gateway_allowed:
            yield (), _status(name, (), False, reasons.Reason.NOT_ALLOWED, _not_allowed(model, gateway_name))
        elif served in explicit:
            included = (model.namespace, model.name) in chained[explicit[served]]
            yield (), _explicit(name, served, explicit[served], gateway_name, included=included)
        elif served in winners:
            message = (
                f"ModelDeployments {name} and {winners[served]} both serve {served!r} through Gateway {gateway_name}, and "
                f"{winners[served]} is older: change spec.template.model.servedName of one of them, or remove its gatewayRef"
            )
            yield (), _status(name, (), False, reasons.Reason.CONFLICT, message)
        else:
            adapters = [adapter for adapter in model.adapters if adapter not in explicit and adapter not in winners]
            winners.update((each, name) for each in (served, *adapters))
            yield (
                tuple(_route(model, each) for each in (served, *adapters)),
                _status(name, (served, *adapters), True, reasons.Reason.ACCEPTED, _routed(model, adapters), model, clients),
            )


def _routed(model: inputs.ModelInput, adapters: Collection[str]) -> str:
    taken = [adapter for adapter in model.adapters if adapter not in adapters]
    if taken:
        return (
            f"The model is routed by its name, but not its adapters {', '.join(taken)}: others answer for these names. "
            "Rename them in spec.template.model.adapters"
        )
    return "The model and its adapters are routed by their names" if adapters else "The model is routed by its name"


def _route(model: inputs.ModelInput, asked_for: str) -> ir.Route:
    return chain.build_route(route_name(model.namespace, model.name), asked_for, (model.split,), gateway.Timeouts())


def _not_allowed(model: inputs.ModelInput, gateway_name: str) -> str:
    return (
        f"Gateway {gateway_name} does not let namespace {model.namespace} in: change its spec.allowedModels.namespaces, "
        f"or remove it from gatewayRefs of ModelDeployment {model.namespace}/{model.name}"
    )


def _explicit(name: str, served: str, route: str, gateway_name: str, *, included: bool) -> gateway.RouteStatus:
    if included:
        return _status(name, (), True, reasons.Reason.ACCEPTED, f"Route {route} of Gateway {gateway_name} routes {served!r}")
    message = (
        f"Route {route} of Gateway {gateway_name} answers for {served!r} without this ModelDeployment, and wins: "
        f"add {name} to that route's chain, or remove {served!r} from its match.models"
    )
    return _status(name, (), False, reasons.Reason.OVERRIDDEN, message)


def _status(
    name: str,
    models: tuple[str, ...],
    accepted: bool,
    reason: reasons.Reason,
    message: str,
    model: inputs.ModelInput | None = None,
    clients: Collection[str] = (),
) -> gateway.RouteStatus:
    found = [conditions.make(Type.ACCEPTED, accepted, reason, message)]
    if model is not None and not chain.build_groups(model.split):
        found.append(
            conditions.make(Type.RESOLVED_REFS, False, reasons.Reason.NO_REVISION, f"{name} has no revision that may serve yet")
        )
    elif model is not None and (unknown := chain.unknown_clients(model.split, clients)):
        found.append(conditions.make(Type.RESOLVED_REFS, False, reasons.Reason.MATCHES_NOTHING, unknown))
    elif accepted:
        found.append(conditions.make(Type.RESOLVED_REFS, True, reasons.Reason.RESOLVED, "All backends exist and may be used"))
    return gateway.RouteStatus(name=name, models=models, conditions=tuple(found))
