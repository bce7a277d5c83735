"""How long a step holds, what it waits for, and what ends it."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.api import rollout_status
from sluice.rollout import model
from sluice.rollout import traffic as rollout_traffic
from tests.unit.rollout import deciding, scenario

Verdict = rollout_status.Verdict
Phase = rollout_status.Phase

HOLDS = [
    ({}, "Holding", "the hold is not over"),
    ({"acknowledged": 6}, "ProxiesPending", "a proxy has the old weight"),
    ({"new": deciding.sick(deciding.LOADING), "now": deciding.NOW + 60}, "PodsStarting", "a pod is being replaced"),
    ({"verdicts": deciding.PASSED[:1], "now": deciding.NOW + 60}, "GatesPending", "the metric has said nothing"),
    (
        {"verdicts": deciding.said(scenario.METRIC, Verdict.INCONCLUSIVE), "now": deciding.NOW + 60},
        "GatesPending",
        "not enough evidence",
    ),
    (
        {"verdicts": deciding.said(scenario.METRIC, Verdict.ERROR), "now": deciding.NOW + 60},
        "MeasurementFailed",
        "no measurement is not a pass",
    ),
    (
        {"verdicts": deciding.said(scenario.METRIC, Verdict.ERROR), "now": deciding.NOW + 9e9},
        "MeasurementFailed",
        "an error holds for ever",
    ),
    (
        {"verdicts": deciding.said(scenario.ANALYSIS, Verdict.ERROR), "now": deciding.NOW + 60},
        "MeasurementFailed",
        "nothing watches users",
    ),
    ({"source_ok": False, "now": deciding.NOW + 60}, "MeasurementFailed", "the counters cannot be read"),
    ({"split": model.Split.UNAVAILABLE, "now": deciding.NOW + 60}, "GatewayUnavailable", "weights reach nobody"),
    ({"plan": None, "now": deciding.NOW + 60}, "PlanUnavailable", "the plan is lost"),
    ({"protect_only": True, "now": deciding.NOW + 60}, "ProtectOnly", "an increase could not be persisted"),
]


@pytest.mark.parametrize(("change", "why", "reason"), HOLDS, ids=[row[2] for row in HOLDS])
def test_a_step_holds_and_says_why(change: dict[str, Any], why: str, reason: str) -> None:
    """Nothing moves while something required is missing, and the status names it."""
    change = dict(change)
    now = change.pop("now", deciding.NOW)

    decision = deciding.act(deciding.facts(deciding.rollout(), **change), now)

    assert decision.state is not None
    assert decision.waiting is not None
    assert (decision.state.phase, decision.traffic) == (Phase.PROGRESSING, rollout_traffic.Traffic("old", "new", 2500, 7)), (
        reason
    )
    assert decision.waiting.reason == decision.state.reason == why


def test_an_increase_is_persisted_first_under_a_new_epoch() -> None:
    """The next step's weight is decided once hold and gates are done; it is not entered yet."""
    decision = deciding.act(deciding.facts(deciding.rollout()), deciding.NOW + 60)

    assert decision.state is not None
    assert (decision.state.step, decision.state.step_entered_at) == ("half", None)
    assert decision.traffic == rollout_traffic.Traffic("old", "new", 5000, 8)
    assert decision.order is model.Order.STATUS_FIRST


def test_the_hold_counts_from_the_last_acknowledgement() -> None:
    """A step is entered when every proxy has its weight, and the operator wakes when its hold is over."""
    decision = deciding.act(deciding.facts(deciding.rollout(step_entered_at=None)))

    assert decision.state is not None
    assert decision.state.step_entered_at == deciding.NOW
    assert decision.wake_after == 10


def test_a_clock_that_went_back_does_not_freeze_a_step() -> None:
    """An entry in the future counts anew from now."""
    decision = deciding.act(deciding.facts(deciding.rollout(step_entered_at=deciding.NOW + 86400)))

    assert decision.state is not None
    assert decision.state.step_entered_at == deciding.NOW


@pytest.mark.parametrize(
    ("rolls_back", "phase", "reason"),
    [(True, Phase.ROLLING_BACK, "StepDeadlineExceeded"), (False, Phase.PROGRESSING, "Holding")],
)
def test_a_step_that_stays_inconclusive_follows_the_plan_at_its_deadline(rolls_back: bool, phase: Phase, reason: str) -> None:
    """hold + stepDeadline after entry, not before."""
    inputs = deciding.facts(
        deciding.rollout(step_entered_at=deciding.NOW),
        plan=scenario.make_plan(step_deadline=100.0, rolls_back_inconclusive=rolls_back),
        verdicts=deciding.said(scenario.METRIC, Verdict.INCONCLUSIVE),
    )

    before, after = deciding.act(inputs, deciding.NOW + 109), deciding.act(inputs, deciding.NOW + 110)

    assert before.state is not None
    assert (before.state.phase, before.wake_after) == (Phase.PROGRESSING, 1)
    assert after.state is not None
    assert (after.state.phase, after.state.reason) == (phase, reason)


def test_a_long_wait_for_gates_reads_as_one() -> None:
    """After minutes the reason tells tools that this may last."""
    inputs = deciding.facts(
        deciding.rollout(step_entered_at=deciding.NOW), verdicts=deciding.said(scenario.METRIC, Verdict.INCONCLUSIVE)
    )

    said = [deciding.act(inputs, deciding.NOW + 10 + waited) for waited in (299, 300)]

    assert [decision.state and decision.state.reason for decision in said] == ["GatesPending", "Holding"]
    assert said[0].wake_after == 1


def test_a_running_eval_is_waited_for_past_the_deadline() -> None:
    """An eval has its own timeout; a Job that waits for room is nobody's verdict."""
    state = deciding.rollout(step="evals", weight=0, step_entered_at=deciding.NOW)
    inputs = deciding.facts(
        state, plan=scenario.make_plan(step_deadline=1.0), verdicts=(deciding.gate(scenario.EVAL, Verdict.RUNNING),)
    )

    decision = deciding.act(inputs, deciding.NOW + 5000)

    assert decision.state is not None
    assert (decision.state.phase, decision.evals) == (Phase.PROGRESSING, (scenario.EVAL,))


def test_the_last_step_needs_the_analysis() -> None:
    """A metric of the analysis that is inconclusive holds the last step, but none before."""
    undecided = deciding.said(scenario.ANALYSIS, Verdict.INCONCLUSIVE)

    early = deciding.act(deciding.facts(deciding.rollout(), verdicts=undecided), deciding.NOW + 60)
    last = deciding.act(deciding.facts(deciding.rollout(step="half", weight=5000), verdicts=undecided), deciding.NOW + 60)

    assert early.traffic.weight == 5000
    assert last.waiting is not None
    assert (last.traffic.weight, last.waiting.reason) == (5000, "GatesPending")


def test_no_weight_is_raised_from_zero_while_the_counters_cannot_be_read() -> None:
    """A canary that nobody can watch gets no users."""
    state = deciding.rollout(step="evals", weight=0)

    decision = deciding.act(deciding.facts(state, source_ok=False))

    assert decision.waiting is not None
    assert (decision.traffic.weight, decision.waiting.reason) == (0, "MeasurementFailed")


def test_a_metric_without_traffic_that_calls_itself_broken_does_not_hold_for_ever() -> None:
    """At weight 0 no metric can have data; only the source counts."""
    decision = deciding.act(
        deciding.facts(deciding.rollout(step="evals", weight=0), verdicts=deciding.said(scenario.ANALYSIS, Verdict.ERROR))
    )

    assert decision.traffic.weight == 500
