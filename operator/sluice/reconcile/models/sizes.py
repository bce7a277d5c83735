"""What a rollout's sizes are decided from: the spec, the sizes there are, and what autoscalers have measured. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sluice.api import modeldeployment
from sluice.reconcile.models import gather
from sluice.rollout import capacity, history, persisted
from sluice.rollout import model as rollout


def load(
    spec: modeldeployment.ModelDeploymentSpec,
    revisions: Iterable[rollout.Revision],
    state: persisted.State | None,
    hpas: Mapping[str, Mapping[str, Any]],
) -> capacity.Load:
    """What decides how many pods are needed. Where nobody says a size, that of the stable revision does.

    Args:
        spec: the ModelDeployment's.
        revisions: all that are known.
        state: the rollout under way.
        hpas: HPAs as JSON objects, by revision's hash.
    """
    known = {each.hash: each for each in revisions}
    stable = rollout.stable_revision(known.values())
    if spec.replicas is not None or spec.autoscaling is None:
        return capacity.Load(replicas=spec.replicas, wanted=size_of(stable) if stable is not None else 1)
    names = {stable.hash if stable is not None else None, *((state.revision, state.previous) if state is not None else ())}
    sides = [capacity.Side(hpas[name], known[name].ready) for name in names if name in hpas and name in known]
    # With nothing measured yet it is the size there is, or the least that the spec asks for.
    return capacity.Load(
        max_replicas=spec.autoscaling.max_replicas, wanted=max(capacity.wanted(sides), spec.autoscaling.min_replicas)
    )


def size_of(known: rollout.Revision | None) -> int:
    """Pods that a revision's Deployment asks for; 1 while there is none."""
    return known.health.desired if known is not None and known.health is not None else 1


def recent(observed: gather.Observed, serving: rollout.Revision | None) -> frozenset[str]:
    """Hashes of the revisions within the rollback window: a spec that goes back to one of them skips the steps."""
    window = observed.model.spec.rollout.rollback_window
    if window is None or serving is None:
        return frozenset()
    return history.recent(observed.revisions, serving=serving.hash, limit=window.revisions)
