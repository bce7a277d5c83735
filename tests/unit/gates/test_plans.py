"""The frozen plan: bounds from the API, alpha split over all metrics."""

from typing import Any

import pytest

from sluice.api import evalgate
from sluice.gates import plans, sequential

RATE = evalgate.Signal(type="ErrorRate")


def live(gate: str, metric: evalgate.Metric, *, shadow: bool = False) -> plans.Live:
    return plans.Live(gate, f"{metric.name}/shadow" if shadow else metric.name, metric, shadow)


def latency(**fields: Any) -> evalgate.Metric:
    return evalgate.Metric.model_validate({"name": "first-token", "signal": {"type": "TTFT"}, **fields})


def test_the_builtin_default_is_one_point_at_all_of_alpha() -> None:
    """A rollout that names nothing has one metric, which gets the whole chance."""
    (plan,) = plans.build_plans([live("default", evalgate.BUILTIN_DEFAULT.metrics[0])], 0.01)
    assert plan == plans.MetricPlan("default", "errors", "ErrorRate", sequential.Margin(0.01), plans.Require.NO_HARM, 0.01)


def test_alpha_is_split_over_all_that_traffic_is_judged_by() -> None:
    """Three metrics of two gates, of which one is measured on copied requests too, get a quarter each."""
    limit = evalgate.Metric(name="cap", signal=RATE, limit=evalgate.Limit(ratio="0.02"), require="Proof")
    margin = evalgate.Metric(name="errors", signal=RATE, regression=evalgate.Regression(points="0.5%"))
    found = plans.build_plans([live("a", limit), live("a", margin), live("a", margin, shadow=True), live("b", margin)], 0.04)
    assert [(plan.gate, plan.metric, plan.bound, plan.require, plan.shadow) for plan in found] == [
        ("a", "cap", sequential.Limit(0.02), plans.Require.PROOF, False),
        ("a", "errors", sequential.Margin(0.005), plans.Require.NO_HARM, False),
        ("a", "errors/shadow", sequential.Margin(0.005), plans.Require.NO_HARM, True),
        ("b", "errors", sequential.Margin(0.005), plans.Require.NO_HARM, False),
    ]
    assert [plan.alpha for plan in found] == [pytest.approx(0.01)] * 4


def test_a_limit_on_a_latency_is_one_on_the_share_of_slow_requests() -> None:
    """p99 below 1.5 s: at most 1 % take 1500 ms or more."""
    (plan,) = plans.build_plans(
        [live("a", latency(signal={"type": "TTFT", "percentile": 99}, limit={"latency": "1s500ms"}))], 0.01
    )
    assert (plan.bound, plan.threshold, plan.is_relative) == (sequential.Limit(0.01), 1500, False)


def test_a_latency_against_stable_is_a_ratio_of_the_95th_percentile_by_default() -> None:
    """The share that the percentile leaves is where q is looked for."""
    (plan,) = plans.build_plans([live("a", latency(regression={"ratio": "20%"}))], 0.01)
    assert (plan.bound, plan.threshold, plan.is_relative) == (sequential.Slower(0.2), None, True)
    assert plan.share == pytest.approx(0.05)


def test_only_errors_of_ordinary_requests_are_sent_to_stable_again() -> None:
    """A slow answer is not retried, nor is a copy: there stable's sample does not grow with what is bad."""
    margin = evalgate.Metric(name="errors", signal=RATE, regression=evalgate.Regression(points="0.5%"))
    found = plans.build_plans(
        [live("a", margin), live("a", margin, shadow=True), live("a", latency(regression={"ratio": "20%"}))], 0.01
    )
    assert [plan.is_retried for plan in found] == [True, False, False]


def test_nothing_live_makes_no_plan() -> None:
    """Evals alone are not live evidence."""
    assert plans.build_plans([], 0.01) == ()


@pytest.mark.parametrize("fields", [{}, {"limit": {}}, {"regression": {}}])
def test_a_metric_without_a_bound_is_a_defect(fields: dict[str, Any]) -> None:
    """The CRD refuses it, so code that sees one stops."""
    metric = evalgate.Metric.model_validate({"name": "x", "signal": {"type": "ErrorRate"}, **fields})
    with pytest.raises(ValueError, match="exactly one of limit and regression"):
        plans.build_plans([live("a", metric)], 0.01)
