"""Facts for one decision about `new`, which is to follow `old`, and the decision."""

from __future__ import annotations

import dataclasses
from typing import Any

from sluice.api import rollout_status
from sluice.rollout import decide, health, model, persisted
from sluice.workloads import revision
from tests.unit.rollout import scenario

Label = revision.OutcomeLabel
Verdict = rollout_status.Verdict
Phase = rollout_status.Phase

NOW = 1_000_000.0
READY = health.Health(2, 2)
LOADING = health.Health(2, 1, health.Cause.STARTING, health.CauseClass.NONE, "loads", 300.0)
NO_ROOM = health.Health(2, 1, health.Cause.UNSCHEDULABLE, health.CauseClass.ENVIRONMENT, "no node has room")
CRASHED = health.Health(2, 0, health.Cause.CRASH_LOOP, health.CauseClass.REVISION, "exit code 1")
OLD = model.Revision("old", 1, Label.STABLE, READY, has_pods=True)
NEW = model.Revision("new", 2, Label.CANDIDATE, READY, has_pods=True)


def rollout(phase: Phase = Phase.PROGRESSING, **changes: Any) -> persisted.State:
    """The rollout of `new`: at step `some` with 25 percent, entered 5 s ago, unless said otherwise."""
    weighted = phase in (Phase.PROGRESSING, Phase.PROMOTING)
    state = persisted.State(
        revision="new",
        phase=phase,
        started_at=NOW - 100,
        step="some" if phase is not Phase.WARMING_UP else None,
        weight=2500 if weighted else 0,
        epoch=7,
        step_entered_at=NOW - 5 if phase is Phase.PROGRESSING else None,
        had_traffic=phase is not Phase.WARMING_UP,
    )
    return dataclasses.replace(state, **changes)


def gate(pair: tuple[str, str], verdict: Verdict, **rest: Any) -> rollout_status.GateStatus:
    """What a gate says."""
    return rollout_status.GateStatus(name=pair[0], metric=pair[1], verdict=verdict, **rest)


PASSED = tuple(gate(pair, Verdict.PASS) for pair in (scenario.EVAL, scenario.METRIC, scenario.ANALYSIS))


def facts(state: persisted.State | None = None, *, new: model.Revision | None = NEW, **changes: Any) -> model.Input:
    """`old` serves, `new` is wanted and everything is well, unless said otherwise."""
    inputs = model.Input(
        wanted="new",
        revisions=(OLD,) if new is None else (OLD, new),
        state=state,
        last_epoch=state.epoch if state is not None else 0,
        acknowledged=99,
        plan=scenario.make_plan(),
        verdicts=PASSED,
    )
    return dataclasses.replace(inputs, **changes)


def act(inputs: model.Input, now: float = NOW) -> model.Decision:
    """The decision."""
    return decide.decide(inputs, now)


def plain(decision: model.Decision) -> tuple[model.LabelWrite, ...]:
    """Its label writes, without what they say of how the rollout ended."""
    return tuple(dataclasses.replace(write, result=None) for write in decision.labels)


def sick(how: health.Health) -> model.Revision:
    """`new` with pods like this."""
    return dataclasses.replace(NEW, health=how)


def said(pair: tuple[str, str], verdict: Verdict) -> tuple[rollout_status.GateStatus, ...]:
    """Everything passed but this."""
    return tuple(gate(pair, verdict) if (each.name, each.metric) == pair else each for each in PASSED)
