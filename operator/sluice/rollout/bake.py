"""Baking: the new revision has all traffic and is the stable one; the one before stays warm, so that going back costs a
weight change.

Proxies keep the former revision as the one that takes over what the new one fails. The rollout ends with the bake.
"""

from __future__ import annotations

import dataclasses

from sluice.api import rollout_status
from sluice.rollout import case as case_
from sluice.rollout import checks, model, promote, reasons, settle
from sluice.workloads import revision

Phase = rollout_status.Phase


def became_stable(case: case_.Case) -> model.Decision | None:
    """The label is written: the revision bakes, or the rollout is over."""
    state, stable = case.rollout, case.stable
    if state.phase is not rollout_status.Phase.PROMOTING or stable is None or stable.hash != state.revision:
        return None
    if stable.outcome is not revision.OutcomeLabel.STABLE:
        return None
    return begin(case) if case.bake and state.previous is not None else promote.end(case)


def begin(case: case_.Case) -> model.Decision:
    """The labels are written, and the rollout bakes."""
    message = f"Revision {case.rollout.revision} is the stable one; revision {case.rollout.previous} stays warm."
    state = dataclasses.replace(
        case.rollout,
        phase=Phase.BAKING,
        weight=case.rollout.weight if case.health.ready else 0,
        step_entered_at=None,
        reason=reasons.Reason.BAKING,
        message=message,
    )
    event = model.Notice(reasons.EventReason.BAKING, message)
    waiting = model.Notice(reasons.Reason.BAKING, message)
    return settle.decision(case, state, settle.Extras(events=(event,), waiting=waiting, wake_after=0.0))


def interrupted(case: case_.Case) -> model.Decision | None:
    """No pod of the new revision answers, by nobody's fault: meanwhile the former one does."""
    if case.rollout.phase is not Phase.BAKING or not case.rollout.weight or case.health.ready:
        return None
    reason, message = checks.waiting_for_pods(case)
    state = dataclasses.replace(case.rollout, weight=0, step_entered_at=None, reason=reason, message=message)
    notice = model.Notice(reason, message, warning=True)
    return settle.decision(case, state, settle.Extras(events=(notice,), waiting=notice))


def restored(case: case_.Case) -> model.Decision | None:
    """Its pods are back, and with them its traffic."""
    if case.rollout.phase is not Phase.BAKING or case.rollout.weight or not case.splits:
        return None
    if not case.is_warm:
        return settle.hold(case, *checks.waiting_for_pods(case))
    message = f"Revision {case.rollout.revision} gets all traffic again."
    state = dataclasses.replace(
        case.rollout, weight=promote.weight(case), reason=reasons.Reason.PROXIES_PENDING, message=message
    )
    event = model.Notice(reasons.EventReason.WEIGHT_SET, message)
    return settle.decision(case, state, settle.Extras(events=(event,), waiting=model.Notice(state.reason or "", message)))


def under_way(case: case_.Case) -> model.Decision | None:
    """It lasts for its time, and as long as what is measured cannot be."""
    state = case.rollout
    if state.phase is not Phase.BAKING:
        return None
    if state.weight and not case.acknowledged:
        return settle.hold(case, reasons.Reason.PROXIES_PENDING, f"Waits for every proxy to take epoch {state.epoch}.")
    if state.step_entered_at is None or state.step_entered_at > case.now:  # it begins, was interrupted, or the clock went back
        return settle.decision(case, dataclasses.replace(state, step_entered_at=case.now), settle.Extras(wake_after=0.0))
    left = state.step_entered_at + case.bake - case.now
    if left > 0 and state.released is None:
        return settle.hold(case, reasons.Reason.BAKING, _lasts(case), wake_after=left)
    broken = checks.measurement_failed(case)
    if broken is not None and state.released is None:
        return settle.hold(case, reasons.Reason.MEASUREMENT_FAILED, broken, warning=True)
    return promote.end(case)


def _lasts(case: case_.Case) -> str:
    message = f"Revision {case.rollout.previous} stays warm for {case.bake:g} s after the promotion."
    if case.inputs.wanted not in (None, case.rollout.revision):
        message += f" Revision {case.inputs.wanted}, which the spec now asks for, is rolled out after that."
    return message
