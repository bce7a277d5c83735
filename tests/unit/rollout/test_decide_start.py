"""When a rollout starts, what it waits for before traffic, and what it says that it cannot know."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sluice.api import evalgate, rollout_status
from sluice.rollout import health, model, plan
from sluice.rollout import traffic as rollout_traffic
from sluice.workloads import revision
from tests.unit.rollout import deciding, scenario

Label = revision.OutcomeLabel
Phase = rollout_status.Phase

STARTS = [
    ({"wanted": "old"}, None, (), "the stable revision is wanted: nothing to do"),
    ({"wanted": None}, None, (), "the spec cannot be made into a revision: what serves goes on"),
    (
        {"new": dataclasses.replace(deciding.NEW, outcome=Label.REJECTED)},
        "RevisionRejected",
        (),
        "it failed, and is not tried again",
    ),
    ({"plan": None}, "PlanUnavailable", (), "a gate does not exist"),
    ({"protect_only": True}, "ProtectOnly", (), "nothing can be persisted"),
    (
        {"revisions": (deciding.OLD, deciding.NEW, model.Revision("mid", 3, Label.SUPERSEDED, has_pods=True))},
        "PodsLeaving",
        (),
        "pods of another revision are still there",
    ),
    (
        {"revisions": (dataclasses.replace(deciding.OLD, number=5), dataclasses.replace(deciding.NEW, outcome=Label.PREVIOUS))},
        "LabelsPending",
        (model.LabelWrite("new", Label.CANDIDATE, 6),),
        "one that served before is tried again as the newest",
    ),
    (
        {"new": dataclasses.replace(deciding.NEW, outcome=Label.SUPERSEDED)},
        "LabelsPending",
        (model.LabelWrite("new", Label.CANDIDATE),),
        "one that was never judged is tried again",
    ),
]


@pytest.mark.parametrize(("change", "why", "labels", "reason"), STARTS, ids=[row[3] for row in STARTS])
def test_no_rollout_starts(change: dict[str, Any], why: str | None, labels: tuple[model.LabelWrite, ...], reason: str) -> None:
    """Without a state: what is waited for, and that traffic stays where it is."""
    decision = deciding.act(deciding.facts(None, **{"verdicts": (), **change}))

    assert decision.state is None
    assert (decision.waiting.reason if decision.waiting is not None else None) == why, reason
    assert deciding.plain(decision) == (labels or _repairs(change))
    assert decision.traffic.same_split(rollout_traffic.Traffic("old"))
    assert decision.keep == {"old"}


def _repairs(change: dict[str, Any]) -> tuple[model.LabelWrite, ...]:
    """A candidate that nobody wants any more is superseded."""
    return (model.LabelWrite("new", Label.SUPERSEDED),) if change.get("wanted") == "old" else ()


def test_a_candidate_starts_at_its_first_step_and_freezes_its_plan() -> None:
    """A new revision, or one whose status was lost in the middle."""
    decision = deciding.act(deciding.facts(None, last_epoch=41))

    assert decision.state is not None
    assert (decision.state.phase, decision.state.step, decision.state.started_at) == (Phase.WARMING_UP, None, deciding.NOW)
    assert decision.store_plan
    assert decision.traffic == rollout_traffic.Traffic("old", epoch=41)
    assert decision.keep == {"old", "new"}


WARMING = [
    (deciding.sick(deciding.LOADING), "PodsStarting", "the model loads"),
    (deciding.sick(deciding.NO_ROOM), "Unschedulable", "the cluster is full: it waits for ever, and says so"),
    (deciding.sick(health.Health(0, 0)), "ScaledToZero", "nothing runs, so nothing can be judged"),
    (dataclasses.replace(deciding.NEW, health=None), "PodsStarting", "the Deployment is not made yet"),
]


@pytest.mark.parametrize(("new", "why", "reason"), WARMING, ids=[row[2] for row in WARMING])
def test_warming_up_waits_and_says_why(new: model.Revision, why: str, reason: str) -> None:
    """No traffic and no failure before every pod is ready."""
    decision = deciding.act(deciding.facts(deciding.rollout(Phase.WARMING_UP), new=new, verdicts=()), deciding.NOW + 9e9)

    assert decision.state is not None
    assert decision.waiting is not None
    assert (decision.state.phase, decision.waiting.reason) == (Phase.WARMING_UP, why), reason
    assert decision.traffic.weight == 0


def test_evals_before_traffic_run_once_warm_without_asking_proxies() -> None:
    """The step without weight is entered at once, and its evals are asked for until they have a verdict."""
    decision = deciding.act(deciding.facts(deciding.rollout(Phase.WARMING_UP), verdicts=(), acknowledged=-1))

    assert decision.state is not None
    assert (decision.state.phase, decision.state.step, decision.state.step_entered_at) == (
        Phase.PROGRESSING,
        "evals",
        deciding.NOW,
    )
    assert decision.evals == (scenario.EVAL,)
    assert (decision.state.had_traffic, decision.traffic.weight) == (False, 0)


NOTES = [
    ({}, [], "all is well"),
    ({"plan": scenario.make_plan(analysis=(), steps=(plan.StepPlan("few", 500, 0.0),))}, ["NoLiveGate"], "no metric at all"),
    (
        {"revisions": (dataclasses.replace(deciding.OLD, health=health.Health(2, 0)), deciding.NEW)},
        ["NoBaseline"],
        "no pod of stable is ready",
    ),
    (
        {
            "plan": scenario.make_plan(
                steps=(plan.StepPlan("none", 0, 0.0, (scenario.LIVE_GATE,)), plan.StepPlan("few", 500, 0.0))
            )
        },
        ["NothingToJudge"],
        "metrics cannot judge a step without traffic",
    ),
]


@pytest.mark.parametrize(("change", "notes", "reason"), NOTES, ids=[row[2] for row in NOTES])
def test_notes_say_what_a_rollout_cannot_know(change: dict[str, Any], notes: list[str], reason: str) -> None:
    """A rollout that proves less than it seems to says so."""
    if "plan" in change:
        change = {**change, "plan": dataclasses.replace(change["plan"], gates=_used(change["plan"]))}

    decision = deciding.act(deciding.facts(deciding.rollout(Phase.WARMING_UP), **change))

    assert [note.type.value for note in decision.notes] == notes, reason


def _used(frozen: plan.Plan) -> dict[str, evalgate.EvalGateSpec]:
    names = {*frozen.analysis, *(name for step in frozen.steps for name in step.gates)}
    return {name: spec for name, spec in frozen.gates.items() if name in names}
