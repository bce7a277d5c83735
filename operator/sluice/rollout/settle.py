"""Turns what a check decided into a whole `Decision`.

Epoch, order of writes, who keeps pods, label repairs, evals and notes follow from the next state by the same rules
whatever check decided it, so no check can get them wrong.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from sluice.api import rollout_status
from sluice.rollout import answers, model, notes, persisted, staying
from sluice.rollout import case as case_
from sluice.rollout import labels as labels_
from sluice.rollout import traffic as rollout_traffic

DRAIN_LOOK: Final = 2.0
"""Seconds between looks at requests in flight to a revision that is leaving."""
_FINAL: Final = (rollout_status.Verdict.PASS, rollout_status.Verdict.FAIL)


@dataclasses.dataclass(frozen=True)
class Extras:
    """What a check adds to the next state."""

    labels: tuple[model.LabelWrite, ...] = ()
    ended: model.Ended | None = None
    store_plan: bool = False
    wake_after: float | None = None
    events: tuple[model.Notice, ...] = ()
    waiting: model.Notice | None = None
    followed: str | None = None
    """What was done about the pending order."""
    undone: rollout_status.Undone | None = None
    rerender: bool = False


def decision(case: case_.Case, state: persisted.State | None, extras: Extras = Extras()) -> model.Decision:
    """The decision whose next state is `state`; its epoch and gates are filled in here."""
    known = _known_traffic(case)
    state = _in_phase(case, state) if state is not None else None
    traffic = _with_epoch(_traffic(case, state), known)
    if state is not None:
        state = dataclasses.replace(state, epoch=traffic.epoch, gates=case.inputs.verdicts)
    left_at = case.now if extras.ended is not None else case.inputs.left_at
    decreases = traffic.weight < known.weight and traffic.stable != known.canary  # a promoted canary loses nothing
    return model.Decision(
        state=state,
        traffic=traffic,
        order=model.Order.PROXIES_FIRST if decreases else model.Order.STATUS_FIRST,
        stable=_stable(case, state),
        labels=labels_.needed(case, extras.labels),
        ended=extras.ended,
        store_plan=extras.store_plan,
        evals=_evals(case, state),
        keep=staying.keep(case, state, traffic, left_at),
        sizes=staying.sizes(case, state),
        wake_after=_wake(case, state, extras.wake_after, left_at),
        events=extras.events,
        waiting=extras.waiting,
        notes=notes.of(case, state),
        undone=extras.undone or case.inputs.undone,
        rerender=extras.rerender,
        answer=answers.of(case, extras.followed, state),
    )


def hold(
    case: case_.Case,
    reason: str,
    message: str,
    *,
    wake_after: float | None = None,
    warning: bool = False,
    replicas: int = 0,
) -> model.Decision:
    """The rollout stays where it is and says what it waits for. `replicas`: pods that the revision needs to go on."""
    asked = max(case.rollout.replicas, replicas)
    state = dataclasses.replace(case.rollout, reason=reason, message=message, replicas=asked)
    return decision(case, state, Extras(wake_after=wake_after, waiting=model.Notice(reason, message, warning)))


def _in_phase(case: case_.Case, state: persisted.State) -> persisted.State:
    """Which of the phases of a step it is, and when a pause ended."""
    if not state.in_step:
        return state
    phase = rollout_status.Phase.PROGRESSING
    if case.inputs.paused or state.paused_by is not None:
        phase = rollout_status.Phase.PAUSED
    elif state.awaiting_since is not None and state.approved_by is None:
        phase = rollout_status.Phase.AWAITING_APPROVAL
    resumed = case.rollout.phase is rollout_status.Phase.PAUSED is not phase
    return dataclasses.replace(state, phase=phase, resumed_at=case.now if resumed else state.resumed_at)


def _stable(case: case_.Case, state: persisted.State | None) -> str | None:
    """Who is selected by the Service: once it is promoted the new revision, unless its traffic was taken away again."""
    if state is None or state.previous is None:
        return case.serving
    taken = state.phase is rollout_status.Phase.ROLLING_BACK or (case.splits and not state.weight)
    return state.previous if taken else case.serving


def _traffic(case: case_.Case, state: persisted.State | None) -> rollout_traffic.Traffic:
    stable = case.serves_beside(state)
    override = state is not None and case.may_be_asked_for(state)
    if state is None or not (state.weight or state.mirror or override):
        return rollout_traffic.Traffic(stable)
    return rollout_traffic.Traffic(
        stable, state.revision, state.weight, mirror=state.mirror, override=override, rules=_rules(case)
    )


def _rules(case: case_.Case) -> rollout_traffic.Rules:
    """Those of the plan; should it be lost, those in force."""
    if case.inputs.plan is not None:
        return case.inputs.plan.rules
    return case.inputs.sent.traffic.rules if case.inputs.sent is not None else rollout_traffic.DEFAULT


def _known_traffic(case: case_.Case) -> rollout_traffic.Traffic:
    """The latest traffic that was decided: what was sent, or what the status says where that is newer."""
    sent, persisted = case.inputs.sent, max(case.inputs.last_epoch, case.inputs.state.epoch if case.inputs.state else 0)
    if sent is not None and sent.traffic.epoch >= persisted:
        return sent.traffic
    traffic = _traffic(case, case.state)
    if case.state is not None and traffic.stable == case.state.revision:
        # It is labelled Stable, but was not yet when its traffic was last decided: the first revision.
        traffic = dataclasses.replace(traffic, stable=None)
    return dataclasses.replace(traffic, epoch=persisted)


def _with_epoch(traffic: rollout_traffic.Traffic, known: rollout_traffic.Traffic) -> rollout_traffic.Traffic:
    """The traffic under its epoch: the known one's while nothing changes, else above every epoch ever used."""
    return dataclasses.replace(traffic, epoch=known.epoch if traffic.same_split(known) else known.epoch + 1)


def _evals(case: case_.Case, state: persisted.State | None) -> tuple[case_.Pair, ...]:
    """The evals of the current step, from when it is entered, that have no final verdict."""
    if state is None or not state.in_step or state.step_entered_at is None:
        return ()
    step = next((step for step in case.steps if step.name == state.step), None)
    if step is None or case.inputs.plan is None or state.released is rollout_status.Release.STEP:
        return ()
    verdicts = ((pair, case.verdict(pair)) for pair in case.inputs.plan.evals_of(step))
    return tuple(pair for pair, said in verdicts if said is None or said.verdict not in _FINAL)


def _wake(case: case_.Case, state: persisted.State | None, wanted: float | None, left_at: float | None) -> float | None:
    candidates = [wanted, case.health.recheck_after if case.state is not None else None]
    if state is None and any(True for _ in staying.draining(case, left_at)):
        candidates.append(min(staying.drains_for(case, left_at), DRAIN_LOOK))
    return min((max(0.0, seconds) for seconds in candidates if seconds is not None), default=None)
