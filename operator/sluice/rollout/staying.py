"""Which revisions have pods once a decision is applied, and how many at least."""

from __future__ import annotations

from collections.abc import Iterator

from sluice.api import rollout_status
from sluice.rollout import capacity, model, persisted
from sluice.rollout import case as case_
from sluice.rollout import traffic as rollout_traffic

_PROMOTED = (rollout_status.Phase.PROMOTING, rollout_status.Phase.BAKING)


def keep(
    case: case_.Case, state: persisted.State | None, traffic: rollout_traffic.Traffic, left_at: float | None
) -> frozenset[str]:
    """Revisions whose pods stay: who has traffic, who is in rollout, and who still answers requests.

    Args:
        case: the moment.
        state: the next one.
        traffic: what the proxies get.
        left_at: when the traffic last left a revision.
    """
    if state is not None and case.inputs.plan is not None and case.inputs.plan.recreate:
        return _in_turn(case, state, traffic)
    stay = {traffic.stable, state.revision if state is not None else None}
    wanted = case.inputs.find(case.inputs.wanted)
    if state is None and case.inputs.keep_failed and wanted is not None and wanted.is_rejected and wanted.has_pods:
        stay.add(wanted.hash)
    if state is None and not case.acknowledges(traffic.epoch):
        stay |= {known.hash for known in case.inputs.revisions if known.has_pods}
    elif state is None:
        stay |= {known.hash for known in draining(case, left_at)}
    return frozenset(each for each in stay if each is not None)


def draining(case: case_.Case, left_at: float | None) -> Iterator[model.Revision]:
    """Revisions that have no traffic any more and may still be answering. Without a Gateway nobody counts: pods drain alone."""
    if case.inputs.split is not model.Split.CONNECTED or drains_for(case, left_at) <= 0:
        return
    yield from (
        known for known in case.inputs.revisions if known.has_pods and known.hash != case.serving and known.in_flight != 0
    )


def drains_for(case: case_.Case, left_at: float | None) -> float:
    """Seconds that are left for it; 0 or less when that time is over."""
    return left_at + case.inputs.drain_timeout - case.now if left_at is not None else 0.0


def _in_turn(case: case_.Case, state: persisted.State, traffic: rollout_traffic.Traffic) -> frozenset[str]:
    """Strategy Recreate: who comes starts when who leaves is gone, and who leaves does once no proxy sends to it."""
    rolls_back = state.phase is rollout_status.Phase.ROLLING_BACK
    if case.serving is None or case.serving == state.revision:
        return frozenset() if case.serving is None and rolls_back else frozenset({state.revision})
    former, new = case.inputs.find(case.serving), case.inputs.find(state.revision)
    if former is not None and former.has_pods:
        stays = rolls_back or not case.acknowledges(traffic.epoch)
        return frozenset({former.hash}) if stays else frozenset()
    if rolls_back:
        return frozenset() if new is not None and new.has_pods else frozenset({case.serving})
    return frozenset({state.revision})


def sizes(case: case_.Case, state: persisted.State | None) -> dict[str, int]:
    """Fewest pods by revision while a rollout needs them. One that leaves keeps what it has until it is gone."""
    load = case.inputs.load
    if state is None or load is None:
        return {}
    whole = capacity.base(case.rules, load)
    baseline = state.previous or case.serving
    found = {baseline: whole} if baseline is not None else {}
    if state.phase in _PROMOTED:
        found[state.revision] = whole
    elif state.phase is not rollout_status.Phase.ROLLING_BACK:
        found[state.revision] = min(state.replicas or case.needed(0), whole)
    return found
