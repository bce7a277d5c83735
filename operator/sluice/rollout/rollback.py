"""Taking a revision back: weight 0 at the proxies first, then the label and the status, then its pods.

The label is the durable fact. Until it is written and every proxy has acknowledged the weight, the rollout stays in
RollingBack and decides the same again, so an API server that is down delays the record but not the rollback.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from sluice.api import rollout_status
from sluice.rollout import case as case_
from sluice.rollout import labels, model, persisted, reasons, settle
from sluice.workloads import revision


def begin(case: case_.Case, reason: str, message: str, *, followed: str | None = None) -> model.Decision:
    """The decision that takes the revision's traffic away. `followed`: what is done about a pending order by that."""
    state = dataclasses.replace(
        case.rollout,
        phase=rollout_status.Phase.ROLLING_BACK,
        weight=0,
        mirror=0,
        step_entered_at=None,
        reason=reason,
        message=message,
    )
    event = model.Notice(reason, message, warning=reason not in reasons.NOT_A_FAILURE)
    return settle.decision(case, state, settle.Extras(labels=_labels(case, state), events=(event,), followed=followed))


def under_way(case: case_.Case) -> model.Decision | None:
    """A rollback ends once it is acknowledged and its label is seen."""
    state = case.rollout
    if state.phase is not rollout_status.Phase.ROLLING_BACK:
        return None
    if state.weight:
        return begin(case, state.reason or reasons.Reason.MARKED_REJECTED, state.message or "")
    writes = _labels(case, state)
    labelled = all(known is None or known.outcome == write.outcome for write, known in _with_known(case, writes))
    in_turn = case.inputs.plan is not None and case.inputs.plan.recreate and case.canary is not None and case.canary.has_pods
    if labelled and case.acknowledged and not case.inputs.protect_only and not in_turn:
        return _end(case, state)
    missing = reasons.Reason.PROXIES_PENDING if not case.acknowledged else reasons.Reason.LABELS_PENDING
    missing = reasons.Reason.PODS_LEAVING if in_turn and labelled and case.acknowledged else missing
    waiting = model.Notice(missing, state.message or "")
    return settle.decision(case, state, settle.Extras(labels=writes, waiting=waiting, wake_after=1.0))


def _end(case: case_.Case, state: persisted.State) -> model.Decision:
    ended = model.Ended(
        revision=state.revision,
        outcome=state.outcome,
        reason=state.reason or reasons.Reason.MARKED_REJECTED,
        message=state.message or "",
        started_at=state.started_at,
        gates=case.inputs.verdicts,
    )
    failed = state.outcome is not rollout_status.Outcome.SUPERSEDED
    event = model.Notice(state.outcome.value, f"Revision {state.revision}: {ended.message}", warning=failed)
    return settle.decision(case, None, settle.Extras(ended=ended, events=(event,), wake_after=0.0))


def _with_known(
    case: case_.Case, writes: tuple[model.LabelWrite, ...]
) -> Iterator[tuple[model.LabelWrite, model.Revision | None]]:
    return ((write, case.inputs.find(write.revision)) for write in writes)


def _labels(case: case_.Case, state: persisted.State) -> tuple[model.LabelWrite, ...]:
    """The revision first: until that is written it stays the stable one if it was promoted, and after it the former one is."""
    own = _label(case, state)
    return (own,) if state.previous is None else (own, model.LabelWrite(state.previous, revision.OutcomeLabel.STABLE))


def _label(case: case_.Case, state: persisted.State) -> model.LabelWrite:
    failed = state.outcome is not rollout_status.Outcome.SUPERSEDED
    outcome = revision.OutcomeLabel.REJECTED if failed else revision.OutcomeLabel.SUPERSEDED
    reason = state.reason or reasons.Reason.MARKED_REJECTED
    return model.LabelWrite(
        state.revision, outcome, result=labels.result(case, state, state.outcome, reason, state.message or "")
    )
