"""Progressing: each step sets its weight, lasts for its hold and needs its gates."""

from __future__ import annotations

import dataclasses
from typing import Final

from sluice.api import rollout_spec, rollout_status
from sluice.rollout import case as case_
from sluice.rollout import checks, health, model, persisted, plan, promote, reasons, rollback, settle, traffic

LONG_WAIT: Final = 300.0
"""Seconds after which a wait for gates reads as one that may last: `Holding`."""


def split_gone(case: case_.Case) -> model.Decision | None:
    """The spec no longer asks for a split, or the step is not in the plan: go on from what can be done."""
    if not case.rollout.in_step or case.step is not None:
        return None
    known = case.inputs.plan is not None and case.inputs.plan.index(case.rollout.step) is not None
    return go(case, None if known or not case.steps else case.steps[0])


def gateway_unavailable(case: case_.Case) -> model.Decision | None:
    """A step with weight means nothing while no Gateway takes it."""
    if not case.rollout.has_traffic or case.inputs.split is not model.Split.UNAVAILABLE:
        return None
    return _no_gateway(case)


def not_acknowledged(case: case_.Case) -> model.Decision | None:
    """A step is not entered before every connected proxy has its weight."""
    if not case.rollout.has_traffic or case.acknowledged:
        return None
    return settle.hold(case, reasons.Reason.PROXIES_PENDING, f"Waits for every proxy to take epoch {case.rollout.epoch}.")


def not_entered(case: case_.Case) -> model.Decision | None:
    """The hold and the evidence count from now. A clock that went back counts anew."""
    entered = case.rollout.step_entered_at
    if entered is not None and entered <= case.now:
        return None
    return _entered(case, case.rollout)


def holding(case: case_.Case) -> model.Decision | None:
    """The hold is not over."""
    if case.rollout.released is not None:
        return None
    left = _since_entry(case) + _step(case).hold - case.now
    if left <= 0:
        return None
    broken = checks.measurement_failed(case)
    if broken is not None:
        return settle.hold(case, reasons.Reason.MEASUREMENT_FAILED, broken, wake_after=left, warning=True)
    message = f"Step {_step(case).name} lasts at least {_step(case).hold:g} s."
    return settle.hold(case, reasons.Reason.HOLDING, message, wake_after=left)


def gates_pending(case: case_.Case) -> model.Decision | None:
    """A gate that the step requires has not passed: wait; at the deadline the plan says what becomes of an inconclusive one."""
    pending = [pair for pair in _required(case) if not _is(case, pair, rollout_status.Verdict.PASS)]
    if not pending:
        return None
    waited = case.now - max(_since_entry(case) + _step(case).hold, case.rollout.resumed_at or 0.0)
    left = _frozen(case).step_deadline - waited
    wake = min((seconds for seconds in (left, LONG_WAIT - waited) if seconds > 0), default=None)
    broken = checks.measurement_failed(case)
    if broken is not None:
        return settle.hold(case, reasons.Reason.MEASUREMENT_FAILED, broken, wake_after=wake, warning=True)
    undecided = [pair for pair in pending if _is(case, pair, rollout_status.Verdict.INCONCLUSIVE)]
    if undecided and left <= 0 and case.health.effect is not health.CauseClass.ENVIRONMENT and not case.paused:
        message = f"Step {_step(case).name} was still without a verdict of {_names(undecided)} at its deadline."
        if _frozen(case).rolls_back_inconclusive:
            return rollback.begin(case, reasons.Reason.STEP_DEADLINE_EXCEEDED, message)
        return settle.hold(case, reasons.Reason.HOLDING, f"{message} It waits on; a person may skip the step or abort.")
    message = f"Step {_step(case).name} waits for {_names(pending)}."
    reason = reasons.Reason.GATES_PENDING if waited < LONG_WAIT else reasons.Reason.HOLDING
    return settle.hold(case, reason, message, wake_after=wake)


def awaiting_approval(case: case_.Case) -> model.Decision | None:
    """The gates have passed, and a person has to approve."""
    asked, state = _step(case).approval, case.rollout
    if asked is None or state.approved_by is not None or state.released is rollout_status.Release.STEP:
        return None
    since = state.awaiting_since if state.awaiting_since is not None and state.awaiting_since <= case.now else case.now
    left = max(since, state.resumed_at or 0.0) + asked.timeout - case.now
    if left <= 0 and asked.rolls_back and not case.paused:
        message = f"Nobody approved step {_step(case).name} in {asked.timeout:g} s."
        return rollback.begin(case, reasons.Reason.APPROVAL_TIMED_OUT, message)
    message = f"Step {_step(case).name} awaits an approval: kubectl sluice approve."
    state = dataclasses.replace(state, awaiting_since=since, reason=reasons.Reason.AWAITING_APPROVAL, message=message)
    is_new = case.rollout.awaiting_since is None
    event = model.Notice(reasons.EventReason.APPROVAL_NEEDED, f"Step {_step(case).name} of revision {state.revision} is ready.")
    waiting = model.Notice(reasons.Reason.AWAITING_APPROVAL, message)
    wake = left if left > 0 and asked.rolls_back else None
    return settle.decision(case, state, settle.Extras(events=(event,) if is_new else (), waiting=waiting, wake_after=wake))


def passed(case: case_.Case) -> model.Decision:
    """Everything that the step requires is there."""
    position = case.steps.index(_step(case)) + 1
    return go(case, case.steps[position] if position < len(case.steps) else None)


def go(case: case_.Case, step: plan.StepPlan | None) -> model.Decision:
    """To a step, or to promotion after the last: unless its share of the traffic would rise when it must not."""
    if not case.is_warm:
        return settle.hold(case, *checks.waiting_for_pods(case))
    if not _rises(case, step):
        return promote.begin(case) if step is None else _enter(case, step)
    if case.splits and case.inputs.split is model.Split.UNAVAILABLE:
        return _no_gateway(case)
    broken = checks.measurement_failed(case)
    if broken is not None:
        return settle.hold(case, reasons.Reason.MEASUREMENT_FAILED, broken, warning=True)
    if case.paused:
        return settle.hold(case, reasons.Reason.PAUSED, _paused(case))
    lacking = _lacks_capacity(case, step) or _is_cold(case)
    return lacking or (promote.begin(case) if step is None else _enter(case, step))


def _rises(case: case_.Case, step: plan.StepPlan | None) -> bool:
    """Whether more reaches the revision than now; becoming the stable one counts."""
    return step is None or step.weight > case.rollout.weight or step.mirror > case.rollout.mirror


def _is_cold(case: case_.Case) -> model.Decision | None:
    """Users are not the first to ask an engine."""
    return settle.hold(case, reasons.Reason.PODS_COLD, f"Warms up: {case.inputs.cold}.") if case.inputs.cold else None


def _lacks_capacity(case: case_.Case, step: plan.StepPlan | None) -> model.Decision | None:
    """The pods that the next share needs come first."""
    share = traffic.FULL_WEIGHT if step is None else step.weight + step.mirror
    need, most = case.needed(share), case.rules.max_extra
    if most is not None and need > most and case.stable is not None:
        message = (
            f"{need} pods are needed for {rollout_spec.weight_text(share)} % of the traffic, and capacity.maxExtraReplicas "
            f"is {most}. Raise it for the next rollout, or abort this one."
        )
        return settle.hold(case, reasons.Reason.CAPACITY_BUDGET, message, warning=True)
    if case.health.ready >= need:
        return None
    reason, message = checks.waiting_for_pods(case)
    if reason == reasons.Reason.PODS_STARTING:
        reason = reasons.Reason.CAPACITY_PENDING
    message = f"{need} pods are needed for {rollout_spec.weight_text(share)} % of the traffic: {message}"
    return settle.hold(case, reason, message, replicas=need)


def _enter(case: case_.Case, step: plan.StepPlan) -> model.Decision:
    state = dataclasses.replace(
        case.rollout,
        phase=rollout_status.Phase.PROGRESSING,
        step=step.name,
        weight=step.weight,
        mirror=step.mirror,
        step_entered_at=None,
        awaiting_since=None,
        approved_by=None,
        resumed_at=None,
        released=None,
        released_by=None,
        had_traffic=case.rollout.had_traffic or step.weight > 0,
        reason=reasons.Reason.PROXIES_PENDING,
        message=f"Step {step.name} sets the weight to {rollout_spec.weight_text(step.weight)}.",
    )
    same = (step.weight, step.mirror) == (case.rollout.weight, case.rollout.mirror)
    if same and (not step.has_traffic or case.acknowledged):
        return _entered(case, state)
    event = model.Notice(reasons.EventReason.WEIGHT_SET, state.message or "")
    return settle.decision(case, state, settle.Extras(events=(event,), waiting=model.Notice(state.reason or "", event.message)))


def _entered(case: case_.Case, state: persisted.State) -> model.Decision:
    step = next(each for each in case.steps if each.name == state.step)
    message = f"Step {step.name} is entered at weight {rollout_spec.weight_text(state.weight)}."
    state = dataclasses.replace(state, step_entered_at=case.now, reason=reasons.Reason.HOLDING, message=message)
    event = model.Notice(reasons.EventReason.STEP_ENTERED, message)
    waiting = model.Notice(reasons.Reason.HOLDING, message)
    return settle.decision(case, state, settle.Extras(events=(event,), waiting=waiting, wake_after=step.hold))


def _required(case: case_.Case) -> tuple[case_.Pair, ...]:
    """What the current step needs; the last one with weight needs the analysis too."""
    frozen, step = _frozen(case), _step(case)
    own = () if case.rollout.released is rollout_status.Release.STEP else (*frozen.evals_of(step), *frozen.metrics_of(step))
    analysis = frozen.analysis_metrics() if step.weight and step == case.steps[-1] else ()
    return tuple(dict.fromkeys((*own, *analysis)))


def _is(case: case_.Case, pair: case_.Pair, verdict: rollout_status.Verdict) -> bool:
    said = case.verdict(pair)
    return said is not None and said.verdict is verdict


def _paused(case: case_.Case) -> str:
    who = "spec.paused" if case.inputs.paused else case.rollout.paused_by or "Somebody"
    return f"{who} stopped increases: everything that the next one needs is there."


def _no_gateway(case: case_.Case) -> model.Decision:
    message = "No Gateway of spec.gatewayRefs accepts this model, so no weight would reach users."
    return settle.hold(case, reasons.Reason.GATEWAY_UNAVAILABLE, message, warning=True)


def _names(pairs: list[case_.Pair]) -> str:
    return ", ".join(f"{gate}/{metric}" for gate, metric in pairs)


def _step(case: case_.Case) -> plan.StepPlan:
    assert case.step is not None
    return case.step


def _frozen(case: case_.Case) -> plan.Plan:
    assert case.inputs.plan is not None
    return case.inputs.plan


def _since_entry(case: case_.Case) -> float:
    assert case.rollout.step_entered_at is not None
    return case.rollout.step_entered_at
