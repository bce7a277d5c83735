"""A route's backends as groups of clusters, and which clusters that takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from sluice.routing import inputs, ir


def build_groups(split: inputs.Split) -> tuple[ir.Group, ...]:
    """The groups of one ModelDeployment: its split, then stable alone to shield clients from the canary's failures.

    Empty while no revision may get traffic. Without a stable revision there is nothing to split: the canary gets all.
    """
    stable, canary = split.stable, split.canary
    if canary is None or split.weight == 0:
        return (_only(stable),) if stable is not None else ()
    if stable is None:
        return (_only(canary),)
    if split.weight == ir.TOTAL_WEIGHT:
        return (_only(canary), _only(stable))
    # Stable stays first and the total constant, so that a user keeps their revision while the weight rises.
    divided = (ir.Member(stable.cluster, ir.TOTAL_WEIGHT - split.weight), ir.Member(canary.cluster, split.weight))
    return (ir.Group(divided), _only(stable))


def provider_group(cluster: str) -> ir.Group:
    """The group of a single provider."""
    return ir.Group((ir.Member(cluster, ir.TOTAL_WEIGHT),))


def _only(revision: inputs.Revision) -> ir.Group:
    return ir.Group((ir.Member(revision.cluster, ir.TOTAL_WEIGHT),))


def build_revision_clusters(models: Iterable[inputs.ModelInput], routes: Iterable[ir.Route]) -> Iterator[ir.RevisionCluster]:
    """Clusters of all revisions of these models; those without weight yet too, so that weight finds them warm."""
    backed = clusters_with_successor(routes)
    for model in models:
        for revision in (model.split.stable, model.split.canary):
            if revision is not None:
                shielded = revision == model.split.canary or revision.cluster in backed
                yield ir.RevisionCluster(
                    name=revision.cluster,
                    endpoints=tuple(sorted(revision.endpoints)),
                    max_retries=ir.SHIELD_RETRIES if shielded else 0,
                )


def clusters_with_successor(routes: Iterable[ir.Route]) -> frozenset[str]:
    """Clusters that get first attempts and whose failures another cluster takes over."""
    found = set()
    for route in routes:
        if not route.groups:
            continue
        for member in route.groups[0].members:
            later = {other.cluster for group in route.groups[1:] for other in group.members}
            if later - {member.cluster}:
                found.add(member.cluster)
    return frozenset(found)


@dataclasses.dataclass(frozen=True)
class Backend:
    """What one group of an explicit chain came to: its groups, and what is wrong with it."""

    groups: tuple[ir.Group, ...] = ()
    reason: str = ""
    problem: str = ""
    """Empty when nothing is."""
