"""Strategies other than the canary, and how the pods of a revision without traffic leave."""

from __future__ import annotations

import dataclasses

import pytest

from sluice.api import modeldeployment
from sluice.rollout import model, plan, planning, reasons, settle
from sluice.rollout import traffic as rollout_traffic
from sluice.workloads import revision
from tests.unit.rollout import deciding, scenario

Label = revision.OutcomeLabel
Phase = deciding.Phase
NOW = deciding.NOW
RECREATE = dataclasses.replace(scenario.make_plan(recreate=True), steps=())
TEMPLATE = {"model": {"source": "file:///one"}, "engine": {"type": "VLLM"}}


def built(**rollout: object) -> plan.Plan:
    """The plan of a spec with that `rollout`."""
    spec = modeldeployment.ModelDeploymentSpec.model_validate({"template": TEMPLATE, "rollout": rollout})
    return planning.build_plan(spec, {"golden": scenario.GATES["golden"]}, {}, first=False, replicas=3)


def without_pods(known: model.Revision) -> model.Revision:
    """The same before its pods start, or after they are gone."""
    return dataclasses.replace(known, health=None, has_pods=False)


def recreating(
    phase: Phase, *, old: model.Revision = deciding.OLD, new: model.Revision = deciding.NEW, acknowledged: int = 99
) -> model.Decision:
    """The decision in that phase of a rollout by Recreate."""
    state = deciding.rollout(phase, weight=0, step=None)
    return deciding.act(deciding.facts(state, plan=RECREATE, revisions=(old, new), acknowledged=acknowledged, verdicts=()))


def test_blue_green_is_one_step_without_traffic_and_all_pods() -> None:
    """Then everything moves at once."""
    made = built(strategy={"type": "BlueGreen", "blueGreen": {"gates": [{"name": "golden"}], "hold": "1m", "approval": {}}})

    (step,) = made.steps
    assert (step.name, step.weight, step.hold, step.gates) == ("preview", 0, 60, ("golden",))
    assert step.approval == plan.ApprovalPlan(72 * 3600, rolls_back=True)
    assert made.capacity.full


def test_recreate_has_no_steps() -> None:
    """There is nothing beside which it could stand."""
    made = built(strategy={"type": "Recreate"})

    assert (made.steps, made.recreate) == ((), True)


def test_recreate_takes_one_set_of_pods_at_a_time() -> None:
    """The proxies first; then the former pods go, and only when they are gone the new ones start."""
    told = recreating(Phase.WARMING_UP, new=without_pods(deciding.NEW), acknowledged=7)
    leaving = recreating(Phase.WARMING_UP, new=without_pods(deciding.NEW))
    gone = recreating(
        Phase.WARMING_UP,
        old=without_pods(deciding.OLD),
        new=without_pods(deciding.NEW),
    )

    assert told.traffic == rollout_traffic.Traffic(None, epoch=7)
    assert [each.keep for each in (leaving, gone)] == [frozenset(), {"new"}]


def test_recreate_keeps_the_former_pods_until_no_proxy_sends_to_them() -> None:
    """Clients get a clear answer, or the next group of their route, before the pods go."""
    waits = recreating(Phase.WARMING_UP, acknowledged=6)

    assert waits.keep == {"old"}


def test_a_failed_recreate_brings_the_former_revision_back() -> None:
    """When the pods of the one that failed are gone: there is room for one set only."""
    crashed = recreating(
        Phase.WARMING_UP,
        old=without_pods(deciding.OLD),
        new=deciding.sick(deciding.CRASHED),
    )
    assert crashed.state is not None
    assert (crashed.state.phase, crashed.traffic.stable) == (Phase.ROLLING_BACK, "old")

    rejected = dataclasses.replace(deciding.NEW, outcome=Label.REJECTED)
    waits = recreating(Phase.ROLLING_BACK, old=without_pods(deciding.OLD), new=rejected)
    over = recreating(Phase.ROLLING_BACK, old=without_pods(deciding.OLD), new=without_pods(rejected))
    assert waits.state is not None
    assert (waits.keep, waits.waiting and waits.waiting.reason) == (frozenset(), reasons.Reason.PODS_LEAVING)
    assert over.state is None
    assert over.keep == {"old"}


@pytest.mark.parametrize(
    ("in_flight", "ago", "stays", "reason"),
    [
        (3, 10, True, "it still answers"),
        (0, 10, False, "nothing is in flight"),
        (None, 10, True, "nobody knows"),
        (3, 61, False, "drainTimeout is over"),
    ],
)
def test_pods_leave_when_they_have_answered(in_flight: int | None, ago: float, stays: bool, reason: str) -> None:
    """Or when their time is over."""
    former = model.Revision("former", 0, Label.PREVIOUS, deciding.READY, has_pods=True, in_flight=in_flight)
    inputs = deciding.facts(wanted="old", revisions=(deciding.OLD, former), left_at=NOW - ago, drain_timeout=60.0)

    decision = deciding.act(inputs)

    assert ("former" in decision.keep) == stays, reason
    assert decision.wake_after == (settle.DRAIN_LOOK if stays else None)
    without = deciding.act(dataclasses.replace(inputs, split=model.Split.NONE))
    assert without.keep == {"old"}


def test_the_next_rollout_waits_for_requests_in_flight() -> None:
    """And says how many there are."""
    former = model.Revision("former", 0, Label.REJECTED, deciding.READY, has_pods=True, in_flight=3)
    inputs = deciding.facts(revisions=(deciding.OLD, deciding.NEW, former), left_at=NOW - 1, drain_timeout=60.0)

    waits = deciding.act(inputs)

    assert waits.waiting is not None
    assert waits.waiting.reason == reasons.Reason.PODS_LEAVING
    assert "answer 3 more requests" in waits.waiting.message
