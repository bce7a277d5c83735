"""A route's backends as groups of clusters, and which clusters that takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Sequence

from sluice.api import durations, gateway
from sluice.routing import inputs, ir, shield

Part = inputs.Split | ir.Group
"""One backend of a route: a ModelDeployment by its split, or a provider by its group."""


@dataclasses.dataclass(frozen=True)
class Backend:
    """What one group of an explicit chain came to: its part of the route, and what is wrong with it."""

    part: Part | None = None
    reason: str = ""
    problem: str = ""
    """Empty when nothing is."""


def build_route(name: str, model: str, parts: Sequence[Part], timeouts: gateway.Timeouts) -> ir.Route:
    """The route of one model to these backends, which are tried in order."""
    return ir.Route(
        name=name,
        model=model,
        groups=tuple(group for part in parts for group in build_groups(part)),
        times=_times(timeouts),
        mirror=_mirror(parts),
        stickiness=next(_stickiness(parts), None),
        override=next(_overrides(parts), None),
    )


def _times(timeouts: gateway.Timeouts) -> ir.Times:
    def milliseconds(text: str) -> int:
        return round(durations.seconds(text) * 1000)

    return ir.Times(
        request=milliseconds(timeouts.request),
        first_byte=milliseconds(timeouts.first_byte or gateway.FIRST_BYTE),
        # Where nothing can take over, to give up early helps nobody: only who asks for it gets that.
        always_first_byte=timeouts.first_byte is not None,
        idle=milliseconds(timeouts.idle) if timeouts.idle is not None else None,
    )


def build_groups(part: Part) -> tuple[ir.Group, ...]:
    """The groups of one backend: of a ModelDeployment its split, then stable alone if it shields from the canary's failures.

    Empty while no revision may get traffic. Without a stable revision there is nothing to split: the canary gets all.
    """
    if isinstance(part, ir.Group):
        return (part,)
    stable, canary = part.stable, part.canary
    if canary is None or part.weight == 0:
        return (_only(stable),) if stable is not None else ()
    if stable is None:
        return (_only(canary),)
    behind = (_only(stable),) if part.shield.enabled else ()
    if part.weight == ir.TOTAL_WEIGHT:
        return (_only(canary), *behind)
    # Stable stays first and the total constant, so that a user keeps their revision while the weight rises.
    divided = (ir.Member(stable.cluster, ir.TOTAL_WEIGHT - part.weight), ir.Member(canary.cluster, part.weight))
    return (ir.Group(divided), *behind)


def provider_group(cluster: str) -> ir.Group:
    """The group of a single provider."""
    return ir.Group((ir.Member(cluster, ir.TOTAL_WEIGHT),))


def shadow_cluster(revision: str) -> str:
    """Name of the cluster that gets a revision's copies: one of its own, so that they count apart."""
    return f"{revision}/shadow"


def _mirror(parts: Sequence[Part]) -> ir.Mirror | None:
    """Copies for the canary of the first backend. One that others come before would get copies of what is not for it."""
    first = parts[0] if parts else None
    if not isinstance(first, inputs.Split) or first.stable is None or first.canary is None or first.mirror == 0:
        return None
    return ir.Mirror(shadow_cluster(first.canary.cluster), first.mirror)


def _stickiness(parts: Sequence[Part]) -> Iterator[ir.Stickiness]:
    """Of each backend that is divided, salted by its canary. A route has one: the first."""
    for part in parts:
        if isinstance(part, inputs.Split) and part.canary is not None and part.stickiness is not None and _is_divided(part):
            yield ir.Stickiness(part.stickiness, part.canary.cluster)


def _overrides(parts: Sequence[Part]) -> Iterator[ir.Override]:
    """Of each backend whose canary may be asked for: that first, then the route as it is without it. A route has one."""
    for part in parts:
        if isinstance(part, inputs.Split) and part.canary is not None and part.override is not None:
            asked = part.override
            behind = (dataclasses.replace(part, weight=0),) if part.shield.enabled else ()
            rest = (each for other in parts for each in (behind if other is part else (other,)))
            groups = (_only(part.canary), *(group for other in rest for group in build_groups(other)))
            yield ir.Override(asked.header, asked.value, asked.clients, groups)


def unknown_clients(part: Part, known: Collection[str]) -> str:
    """What is wrong with the clients of a backend's override at a gateway that knows these; empty when nothing is."""
    if not isinstance(part, inputs.Split) or part.override is None:
        return ""
    unknown = sorted(set(part.override.clients) - set(known))
    if not unknown:
        return ""
    return (
        f"spec.rollout.strategy.canary.override.clients names {', '.join(unknown)}, which the Gateway has no key of "
        f"(it knows: {', '.join(sorted(known)[:8]) or 'none'}): add a key, or correct the name for the next rollout"
    )


def _is_divided(split: inputs.Split) -> bool:
    return split.stable is not None and split.canary is not None and 0 < split.weight < ir.TOTAL_WEIGHT


def _only(revision: inputs.Revision) -> ir.Group:
    return ir.Group((ir.Member(revision.cluster, ir.TOTAL_WEIGHT),))


def build_revision_clusters(models: Iterable[inputs.ModelInput], routes: Sequence[ir.Route]) -> Iterator[ir.RevisionCluster]:
    """Clusters of all revisions of these models; those without weight yet too, so that weight finds them warm."""
    backed = clusters_with_successor(routes)
    mirrors = {route.mirror.cluster for route in routes if route.mirror is not None}
    for model in models:
        for revision in (model.split.stable, model.split.canary):
            if revision is None:
                continue
            retries = ir.FAILOVER_RETRIES if revision.cluster in backed else 0
            if revision == model.split.canary and model.split.shield.enabled:
                retries = shield.build_retries(model.split)
            cluster = ir.RevisionCluster(revision.cluster, tuple(sorted(revision.endpoints)), max_retries=retries)
            yield cluster
            shadow = shadow_cluster(revision.cluster)
            if shadow in mirrors:
                yield ir.RevisionCluster(shadow, cluster.endpoints, 0, ir.SHADOW_REQUESTS)


def clusters_with_successor(routes: Iterable[ir.Route]) -> frozenset[str]:
    """Clusters that get first attempts and whose failures another cluster takes over."""
    found: set[str] = set()
    for first, *others in (groups for route in routes for groups in route.chains if groups):
        later = {other.cluster for group in others for other in group.members}
        found.update(member.cluster for member in first.members if later - {member.cluster})
    return frozenset(found)
