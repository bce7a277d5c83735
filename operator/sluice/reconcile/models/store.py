"""The durable side of a rollout: revisions with their outcome labels, the frozen plan and the evidence. Pure."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any

from sluice.api import rollout_status
from sluice.reconcile import evidence
from sluice.reconcile.models import gather, objects
from sluice.rollout import model as rollout
from sluice.rollout import plan as rollout_plan
from sluice.rollout import times
from sluice.workloads import revision


def read_plan(data: Mapping[str, str] | None) -> rollout_plan.Plan | None:
    """The frozen plan in an evidence ConfigMap's data; None when it is missing or damaged."""
    text = (data or {}).get(evidence.PLAN_KEY)
    return _parse_plan(text) if text is not None else None


@functools.lru_cache(maxsize=256)
def _parse_plan(text: str) -> rollout_plan.Plan | None:
    """Cached, because a rollout's plan is looked at every second and never changes."""
    try:
        return rollout_plan.from_json(json.loads(text))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def plan_data(plan: rollout_plan.Plan) -> dict[str, str]:
    """The plan as data of the evidence ConfigMap."""
    return {evidence.PLAN_KEY: dumps(plan.to_json())}


def dumps(value: Any) -> str:
    """JSON text that is the same for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def build_revisions(observed: gather.Observed, decision: rollout.Decision) -> list[dict[str, Any]]:
    """The ControllerRevisions with their labels as decided, in the order of the writes.

    One that is not stored yet is made only when the decision labels it. All are applied, so that orphans are adopted.
    """
    writes = {write.revision: write for write in decision.labels}
    order = [*writes, *(known.hash for known in observed.revisions if known.hash not in writes)]
    built = []
    for revision_hash in order:
        known = observed.find(revision_hash)
        is_new = known is not None and known is observed.wanted and not observed.is_stored
        if known is None or (is_new and revision_hash not in writes):
            continue
        known = _labelled(known, writes.get(revision_hash))
        built.append(build_revision(observed, known))
    return built


def build_revision(observed: gather.Observed, known: revision.Revision) -> dict[str, Any]:
    """One ControllerRevision of the ModelDeployment."""
    metadata, owner = observed.model.metadata, objects.owner_of(observed.model)
    return revision.build_controller_revision(known, namespace=metadata.namespace, name=metadata.name, owner=owner)


def _labelled(known: revision.Revision, write: rollout.LabelWrite | None) -> revision.Revision:
    if write is None:
        return known
    number = known.number if write.number is None else write.number
    result = write.result or known.result
    promoted = result is not None and result.outcome == rollout_status.Outcome.PROMOTED
    if write.outcome is revision.OutcomeLabel.CANDIDATE and not promoted:
        result = None  # that it was promoted before still counts for the rollback window
    return dataclasses.replace(known, outcome=write.outcome, number=number, result=result)


def last_rollout(ended: rollout.Ended, now: float) -> rollout_status.LastRollout:
    """How a rollout ended, for the status."""
    return rollout_status.LastRollout(
        revision=ended.revision,
        outcome=ended.outcome,
        reason=ended.reason,
        message=ended.message[:2048],
        started_at=times.time_text(ended.started_at),
        finished_at=times.time_text(now),
        gates=ended.gates,
    )
