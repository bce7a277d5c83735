"""The plan of a rollout: frozen from the spec when it starts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.api import evalgate, modeldeployment
from sluice.rollout import plan, planning, traffic
from sluice.routing import inputs
from tests.unit.rollout import scenario


def spec(**rollout: Any) -> modeldeployment.ModelDeploymentSpec:
    """A spec with these rollout settings."""
    return modeldeployment.ModelDeploymentSpec.model_validate(
        {"template": {"model": {"source": "file:///m"}, "engine": {"type": "VLLM"}}, "rollout": rollout}
    )


def canary(*steps: dict[str, Any], **rest: Any) -> dict[str, Any]:
    """A Canary strategy with these steps."""
    return {"type": "Canary", "canary": {"steps": list(steps), **rest}}


STEPS = (
    {"name": "evals", "weight": 0, "gates": [{"name": "golden"}]},
    {"name": "few", "weight": "0.5", "hold": "30s"},
    {"name": "half", "weight": 50, "hold": "1h30m", "gates": [{"name": "slo"}]},
)


def build(rollout: dict[str, Any], *, first: bool = False, digests: dict[str, str] | None = None) -> plan.Plan:
    """The plan of a spec in a namespace with the world's gates."""
    gates = {name: gate for name, gate in scenario.GATES.items() if name != evalgate.BUILTIN_DEFAULT_NAME}
    return planning.build_plan(spec(**rollout), gates, digests or {}, first=first)


def test_what_is_unset_has_the_documented_defaults() -> None:
    """5, 25 and 50 percent for ten minutes each, the built-in analysis, two hours, one percent."""
    built = build({})

    assert [(step.weight, step.hold, step.gates) for step in built.steps] == [(500, 600, ()), (2500, 600, ()), (5000, 600, ())]
    assert built.analysis == ("default",)
    assert built.gates == {"default": evalgate.BUILTIN_DEFAULT}
    assert (built.step_deadline, built.false_rollback) == (7200, 0.01)
    assert [live.pair for live in built.live_metrics()] == [("default", "errors")]


def test_steps_are_taken_as_written() -> None:
    """Weights in basis points, holds in seconds, only the gates in use and their digests."""
    built = build(
        {"strategy": canary(*STEPS, stepDeadline="5m"), "analysis": [], "evidence": {"falseRollback": "0.5%"}},
        digests={"golden/answers": "aa", "other/answers": "bb"},
    )

    assert built.steps == (
        plan.StepPlan("evals", 0, 0.0, ("golden",)),
        plan.StepPlan("few", 50, 30.0),
        plan.StepPlan("half", 5000, 5400.0, ("slo",)),
    )
    assert (built.analysis, built.step_deadline, built.false_rollback) == ((), 300, 0.005)
    assert (sorted(built.gates), built.digests) == (["golden", "slo"], {"golden/answers": "aa"})


def test_a_step_mirrors_instead_of_taking_traffic() -> None:
    """Copies come before the first weight, in basis points like it."""
    steps = ({"name": "evals", "weight": 0}, {"name": "shadow", "mirror": "2.5", "hold": "1m"}, {"name": "few", "weight": 5})
    built = build({"strategy": canary(*steps)})

    assert built.steps == (
        plan.StepPlan("evals", 0, 0.0),
        plan.StepPlan("shadow", 0, 60.0, mirror=250),
        plan.StepPlan("few", 500, 0.0),
    )
    assert [step.name for step in built.before_traffic()] == ["evals"]


def test_how_traffic_is_split_is_frozen_too() -> None:
    """Header names in lower case, as proxies compare them; without settings the documented defaults."""
    assert build({}).rules == traffic.DEFAULT
    override = {"header": "X-Canary", "value": "yes", "clients": ["qa", "dev"]}
    shield = {"enabled": False, "maxExtraLoad": "7.5%"}
    built = build({"strategy": canary(*STEPS, stickiness={"header": "X-User-Id"}, override=override, shield=shield)})

    assert built.rules == traffic.Rules(
        stickiness="x-user-id",
        override=inputs.Override("x-canary", "yes", ("dev", "qa")),
        shield=inputs.Shield(enabled=False, max_extra_load=0.075),
    )
    assert plan.from_json(built.to_json()).rules == built.rules


def test_the_warm_up_is_frozen_too() -> None:
    """Twenty requests and thirty seconds unless told otherwise."""
    assert build({}).warmup == plan.Warmup(20, 30.0)
    built = build({"warmup": {"requests": 0, "duration": "2m"}})

    assert built.warmup == plan.Warmup(0, 120.0)
    assert plan.from_json(built.to_json()) == built


def test_testers_ask_by_our_header_unless_told_otherwise() -> None:
    """`x-sluice-revision: canary`."""
    built = build({"strategy": canary(*STEPS, override={"clients": ["qa"]})})

    assert built.rules.override == inputs.Override("x-sluice-revision", "canary", ("qa",))


def test_a_gate_called_default_takes_the_built_in_ones_place() -> None:
    """A namespace can say what its default analysis is."""
    own = planning.build_plan(spec(), {"default": scenario.GATES["slo"]}, {}, first=False)

    assert own.gates["default"] == scenario.GATES["slo"]


REFUSED = [
    ({"analysis": [{"name": "nope"}]}, "spec.rollout.analysis", "the analysis names no gate"),
    (
        {"strategy": canary({"name": "few", "weight": 5, "gates": [{"name": "nope"}]})},
        "spec.rollout.strategy.canary.steps[few].gates",
        "a step names no gate",
    ),
    (
        {"strategy": canary({"name": "half", "weight": 50}, {"name": "few", "weight": 5})},
        "spec.rollout.strategy.canary.steps[few].weight",
        "a weight falls",
    ),
    (
        {"strategy": canary({"name": "few", "weight": "0.5"}, {"name": "shadow", "mirror": 10})},
        "spec.rollout.strategy.canary.steps[shadow].mirror",
        "copies come after weight",
    ),
]


@pytest.mark.parametrize(("rollout", "field", "reason"), REFUSED, ids=[row[2] for row in REFUSED])
def test_a_spec_that_makes_no_plan_names_the_field(rollout: dict[str, Any], field: str, reason: str) -> None:
    """A person's mistake is told once, with the field and the fix."""
    with pytest.raises(planning.PlanError) as raised:
        build(rollout)

    assert raised.value.field == field, reason
    assert field in str(raised.value)


@given(
    first=st.booleans(),
    hold=st.floats(0, 1e6),
    weights=st.lists(st.integers(0, 10_000), min_size=1, max_size=6).map(sorted),
    analysis=st.sets(st.sampled_from(sorted(scenario.GATES))).map(tuple),
)
def test_a_plan_survives_its_json(first: bool, hold: float, weights: list[int], analysis: tuple[str, ...]) -> None:
    """What is frozen at the start is what a later process reads."""
    steps = tuple(plan.StepPlan(f"s{position}", weight, hold, ("golden",)) for position, weight in enumerate(weights))
    frozen = scenario.make_plan(first=first, steps=steps, analysis=analysis)

    assert plan.from_json(frozen.to_json()) == frozen


def test_the_first_revision_has_only_what_comes_before_traffic() -> None:
    """Weights and holds are skipped, and there is nothing for metrics to judge."""
    built = build({"strategy": canary({**STEPS[0], "hold": "1h"}, *STEPS[1:])}, first=True)

    assert built.before_traffic() == (plan.StepPlan("evals", 0, 0.0, ("golden",)),)
    assert built.live_metrics() == ()


def test_each_metric_is_one_family_of_evidence() -> None:
    """A gate that several steps and the analysis name shares false rollback once."""
    built = build({"strategy": canary(*STEPS), "analysis": [{"name": "slo"}]})

    assert [live.pair for live in built.live_metrics()] == [scenario.METRIC]


def test_without_weight_nothing_live_is_required() -> None:
    """Steps that never send traffic cannot wait for metrics."""
    built = build({"strategy": canary(STEPS[0])})

    assert built.analysis_metrics() == ()
    assert not built.judges_live


def test_a_missing_gate_is_named_where_the_spec_has_it() -> None:
    """Also where there are no steps to name."""
    with pytest.raises(planning.PlanError, match=r"spec\.rollout\.strategy\.blueGreen\.gates names it"):
        build({"strategy": {"type": "BlueGreen", "blueGreen": {"gates": [{"name": "missing"}]}}})


def test_a_bake_is_judged_by_the_analysis_without_any_step() -> None:
    """A revision that gets all traffic at once is watched from then on."""
    built = build({"strategy": canary(STEPS[0]), "bake": {"duration": "10m"}})

    assert [live.pair for live in built.live_metrics()] == [("default", "errors")]
    assert built.judges_live
