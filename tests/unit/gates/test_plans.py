"""The frozen plan: bounds from the API, alpha split over all metrics."""

import pytest

from sluice.api import evalgate
from sluice.gates import plans, sequential

RATE = evalgate.Signal(type="ErrorRate")


def test_the_builtin_default_is_one_point_at_all_of_alpha() -> None:
    """A rollout that names nothing has one metric, which gets the whole chance."""
    (plan,) = plans.build_plans([("default", evalgate.BUILTIN_DEFAULT)], "1%")
    assert plan == plans.MetricPlan("default", "errors", "ErrorRate", sequential.Margin(0.01), plans.Require.NO_HARM, 0.01)


def test_alpha_is_split_over_gates_and_metrics() -> None:
    """Three metrics of two gates get a third each, and a gate named twice counts once."""
    limit = evalgate.Metric(name="cap", signal=RATE, limit=evalgate.Limit(ratio="0.02"), require="Proof")
    margin = evalgate.Metric(name="errors", signal=RATE, regression=evalgate.Regression(points="0.5%"))
    both, one = evalgate.EvalGateSpec(metrics=(limit, margin)), evalgate.EvalGateSpec(metrics=(margin,))
    found = plans.build_plans([("a", both), ("b", one), ("a", both)], "3%")
    assert [(plan.gate, plan.metric, plan.bound, plan.require) for plan in found] == [
        ("a", "cap", sequential.Limit(0.02), plans.Require.PROOF),
        ("a", "errors", sequential.Margin(0.005), plans.Require.NO_HARM),
        ("b", "errors", sequential.Margin(0.005), plans.Require.NO_HARM),
    ]
    assert [plan.alpha for plan in found] == [pytest.approx(0.01)] * 3


def test_gates_without_metrics_make_no_plan() -> None:
    """Evals alone are not live evidence."""
    assert plans.build_plans([("golden", evalgate.EvalGateSpec())], "1%") == ()


def test_a_metric_without_a_bound_is_a_defect() -> None:
    """The CRD refuses it, so code that sees one stops."""
    with pytest.raises(ValueError, match="exactly one of limit and regression"):
        plans.build_plans([("a", evalgate.EvalGateSpec(metrics=(evalgate.Metric(name="x", signal=RATE),)))], "1%")
