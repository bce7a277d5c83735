"""Promoting: the revision gets all traffic where it stands, becomes the stable one, and no pod of it changes."""

from __future__ import annotations

import dataclasses

from sluice.api import rollout_status
from sluice.rollout import case as case_
from sluice.rollout import checks, labels, model, persisted, reasons, settle
from sluice.rollout import traffic as rollout_traffic
from sluice.workloads import revision


def weight(case: case_.Case) -> int:
    """The weight during promotion: all of it, or none where the Service moves instead."""
    return rollout_traffic.FULL_WEIGHT if case.splits else 0


def begin(case: case_.Case) -> model.Decision:
    """All traffic to the revision, still as the canary."""
    message = f"Every required gate passed: revision {case.rollout.revision} becomes the stable one."
    state = dataclasses.replace(
        case.rollout,
        phase=rollout_status.Phase.PROMOTING,
        weight=weight(case),
        mirror=0,
        step_entered_at=None,
        had_traffic=case.rollout.had_traffic or weight(case) > 0,
        previous=case.baseline,
        reason=reasons.Reason.ALL_GATES_PASSED,
        message=message,
    )
    event = model.Notice(reasons.EventReason.PROMOTING, message)
    return settle.decision(case, state, settle.Extras(events=(event,), wake_after=0.0))


def end(case: case_.Case) -> model.Decision:
    """The rollout is over, and well."""
    state = case.rollout
    message = _promoted(state)
    ended = model.Ended(
        revision=state.revision,
        outcome=rollout_status.Outcome.PROMOTED,
        reason=reasons.Reason.ALL_GATES_PASSED,
        message=message,
        started_at=state.started_at,
        gates=case.inputs.verdicts,
    )
    event = model.Notice(ended.outcome.value, message)
    return settle.decision(case, None, settle.Extras(ended=ended, events=(event,), wake_after=0.0))


def under_way(case: case_.Case) -> model.Decision | None:
    """Once every proxy sends it everything, the labels move: the new Stable first, so that there is always one."""
    if case.rollout.phase is not rollout_status.Phase.PROMOTING:
        return None
    if not case.is_warm:
        return settle.hold(case, *checks.waiting_for_pods(case))
    if case.rollout.weight and not case.acknowledged:
        return settle.hold(case, reasons.Reason.PROXIES_PENDING, f"Waits for every proxy to take epoch {case.rollout.epoch}.")
    broken = checks.measurement_failed(case)
    if broken is not None:  # nothing is made final blindly, and until it is a failure still takes it back
        return settle.hold(case, reasons.Reason.MEASUREMENT_FAILED, broken, warning=True)
    result = labels.result(
        case, case.rollout, rollout_status.Outcome.PROMOTED, reasons.Reason.ALL_GATES_PASSED, _promoted(case.rollout)
    )
    writes = [model.LabelWrite(case.rollout.revision, revision.OutcomeLabel.STABLE, result=result)]
    if case.serving is not None:
        writes.append(_former(case, case.serving))
    state = dataclasses.replace(case.rollout, reason=reasons.Reason.LABELS_PENDING, message="The outcome labels are written.")
    waiting = model.Notice(reasons.Reason.LABELS_PENDING, state.message or "")
    return settle.decision(case, state, settle.Extras(labels=tuple(writes), waiting=waiting, wake_after=1.0))


def _former(case: case_.Case, former: str) -> model.LabelWrite:
    """Who served so far. One that was undone is not tried again by itself, also if the status is lost."""
    if not case.is_undone(former):
        return model.LabelWrite(former, revision.OutcomeLabel.PREVIOUS)
    outcome = rollout_status.Outcome.ROLLED_BACK
    result = labels.result(case, case.rollout, outcome, reasons.Reason.UNDONE, case.undone_text)
    return model.LabelWrite(former, revision.OutcomeLabel.REJECTED, result=result)


def _promoted(state: persisted.State) -> str:
    return f"Revision {state.revision} passed every required gate."
