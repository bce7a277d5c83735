"""Gates that the platform requires: they are added to the plan of every rollout, and one that could judge nothing denies it."""

from __future__ import annotations

import dataclasses

import pytest

from sluice.api import evalgate
from sluice.rollout import plan, planning
from tests.unit.rollout import scenario

GATES = scenario.GATES
RULE = "production"


def require(base: plan.Plan, *names: str, splits: bool = True) -> plan.Plan:
    """The plan with these gates required."""
    return planning.require(base, GATES, [(name, RULE) for name in names], splits=splits)


def bare(*steps: plan.StepPlan) -> plan.Plan:
    """A plan of these steps without any gate."""
    return dataclasses.replace(scenario.make_plan(), steps=steps, analysis=(), gates={}, digests={})


def test_evals_are_passed_before_any_traffic() -> None:
    """In the first step when that has no weight; else in a step of their own before it."""
    quiet, loud = plan.StepPlan("quiet", 0, 5.0), plan.StepPlan("loud", 500, 5.0)
    added = require(bare(quiet, loud), scenario.EVAL_GATE)
    assert added.steps == (plan.StepPlan("quiet", 0, 5.0, (scenario.EVAL_GATE,)), loud)
    assert added.evals_of(added.steps[0]) == (scenario.EVAL,)
    added = require(bare(loud), scenario.EVAL_GATE)
    assert added.steps == (plan.StepPlan("required", 0, 0.0, (scenario.EVAL_GATE,)), loud)


def test_a_step_of_that_name_is_no_obstacle() -> None:
    """Names of steps are keys of the status."""
    added = require(bare(plan.StepPlan("required", 500, 5.0)), scenario.EVAL_GATE)
    assert [step.name for step in added.steps] == ["required-2", "required"]


def test_metrics_are_watched_during_the_whole_rollout() -> None:
    """So promotion needs them, whatever the steps name."""
    added = require(bare(plan.StepPlan("loud", 500, 5.0)), scenario.LIVE_GATE)
    assert added.analysis == (scenario.LIVE_GATE,)
    assert added.analysis_metrics() == (scenario.METRIC,)
    assert added.gates == {scenario.LIVE_GATE: GATES[scenario.LIVE_GATE]}


def test_what_the_spec_has_already_is_not_added_twice() -> None:
    """The evals in its own step, the metrics in its analysis."""
    base = scenario.make_plan()
    assert require(base, scenario.EVAL_GATE, scenario.DEFAULT_GATE) == base
    assert require(base) == base


def test_the_built_in_gate_can_be_required() -> None:
    """Against `analysis: []`."""
    added = planning.require(bare(plan.StepPlan("loud", 500, 5.0)), {}, [(evalgate.BUILTIN_DEFAULT_NAME, RULE)], splits=True)
    assert added.analysis == (evalgate.BUILTIN_DEFAULT_NAME,)
    assert plan.from_json(added.to_json()) == added


@pytest.mark.parametrize(
    ("steps", "gate", "splits", "field", "fix"),
    [
        ((plan.StepPlan("loud", 500, 5.0),), "nowhere", True, "spec.rollout", "Create it"),
        ((plan.StepPlan("loud", 500, 5.0),), scenario.LIVE_GATE, False, "spec.gatewayRefs", "Add one"),
        ((plan.StepPlan("quiet", 0, 5.0),), scenario.LIVE_GATE, True, "spec.rollout.strategy.canary.steps", "Add a step"),
        ((), scenario.LIVE_GATE, True, "spec.rollout.strategy.canary.steps", "Add a step"),
    ],
)
def test_a_gate_that_would_judge_nothing_denies_the_rollout(
    steps: tuple[plan.StepPlan, ...], gate: str, splits: bool, field: str, fix: str
) -> None:
    """No measurement is no pass: the message names rule, gate and fix."""
    with pytest.raises(planning.RequiredGateError) as caught:
        require(bare(*steps), gate, splits=splits)
    assert caught.value.field == field
    for part in (RULE, gate, fix):
        assert part in str(caught.value)
