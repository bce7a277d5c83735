"""From a Gateway and its models to its routing table, and what people must know about it. Pure."""

from __future__ import annotations

import dataclasses
import re
from typing import Final

from sluice.api import gateway
from sluice.routing import chain, explicit, implicit, inputs, ir, limits
from sluice.routing.providers import registry

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_CLIENT: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")


@dataclasses.dataclass(frozen=True)
class Translation:
    """A routing table and the state of what it was made from."""

    ir: ir.Gateway
    routes: tuple[gateway.RouteStatus, ...]
    """Explicit routes by their name, then ModelDeployments as `<namespace>/<name>`. Conditions have no times yet."""
    policies: tuple[limits.PolicyStatus, ...]


def translate(given: inputs.GatewayInputs) -> Translation:
    """The routing table of a Gateway.

    An explicit route wins over a ModelDeployment's own, the first of two explicit ones, and the oldest of two ModelDeployments
    that claim one name. What can't be resolved is left out and named in a status; the rest works on.
    """
    spec, metadata = given.gateway.spec, given.gateway.metadata
    name = f"{metadata.namespace}/{metadata.name}"
    backends = explicit.Backends(given)
    routes, statuses, taken = _explicit_routes(spec, backends)
    chained = {route.name: frozenset(explicit.model_deployments(route, backends)) for route in spec.routes}
    for made, status in implicit.translate_models(given.models, taken, chained, name, backends.clients):
        statuses.append(status)
        routes.extend(made)
    limited, known_limits = limits.apply_limits(sorted(routes, key=lambda route: route.model), given.policies)
    table = ir.Gateway(
        name=name,
        port=spec.listeners[0].port,
        clients=_clients(given),
        routes=limited,
        clusters=_clusters(given, limited),
        limits=known_limits,
    )
    known = limits.Known(frozenset(route.model for route in limited), frozenset(client for _, client in table.clients.keys))
    policies = tuple(limits.translate_policy(policy, known) for policy in given.policies)
    return Translation(table, tuple(statuses), policies)


def _explicit_routes(
    spec: gateway.GatewaySpec, backends: explicit.Backends
) -> tuple[list[ir.Route], list[gateway.RouteStatus], dict[str, str]]:
    routes: list[ir.Route] = []
    statuses: list[gateway.RouteStatus] = []
    taken: dict[str, str] = {}
    for route in spec.routes:
        made, status = explicit.translate_route(route, backends, taken)
        routes.extend(made)
        statuses.append(status)
        taken.update((one.model, one.name) for one in made)
    return routes, statuses, taken


def _clusters(given: inputs.GatewayInputs, routes: tuple[ir.Route, ...]) -> tuple[ir.Cluster, ...]:
    """Revisions of every model that is routed, and providers of every route."""
    used = {member.cluster for route in routes for groups in route.chains for group in groups for member in group.members}
    routed = [m for m in given.models if used & {r.cluster for r in (m.split.stable, m.split.canary) if r is not None}]
    backed = chain.clusters_with_successor(routes)
    clusters: dict[str, ir.Cluster] = {}
    for revision in chain.build_revision_clusters(routed, routes):
        clusters.setdefault(revision.name, revision)
    for provider in given.gateway.spec.providers:
        name = registry.cluster_name(provider.name)
        if name in used:
            retries = ir.FAILOVER_RETRIES if name in backed else 0
            clusters[name] = registry.PROVIDERS[provider.type](provider, name=name, max_retries=retries)
    return tuple(clusters[name] for name in sorted(clusters))


def _clients(given: inputs.GatewayInputs) -> ir.Clients:
    spec = given.gateway.spec.clients
    if spec.anonymous and not spec.api_keys:
        return ir.Clients(ir.Access.OPEN)
    # What is no hash of a key could only ever match nothing; left out, it can't reach the proxy's code either.
    keys = ((k, client) for k, client in given.api_keys.items() if _HASH.fullmatch(k) and _CLIENT.fullmatch(client))
    return ir.Clients(ir.Access.KEY_OR_ANONYMOUS if spec.anonymous else ir.Access.KEY, tuple(sorted(keys)))
