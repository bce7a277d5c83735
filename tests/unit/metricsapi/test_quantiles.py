"""Quantiles of histograms agree with the data that was counted, as far as buckets can tell."""

from __future__ import annotations

import bisect
import math

import hypothesis
import pytest
from hypothesis import strategies

from sluice.metricsapi import quantiles

BOUNDS = (0.01, 0.1, 0.5, 1.0, 2.5, 5.0)


def counted(observations: list[float]) -> dict[float, float]:
    return {bound: float(sum(value <= bound for value in observations)) for bound in (*BOUNDS, math.inf)}


@hypothesis.given(
    strategies.lists(strategies.floats(0.0001, 4.9), min_size=1, max_size=200), strategies.sampled_from([0.5, 0.9, 0.95, 0.99])
)
def test_the_estimate_lies_in_the_bucket_of_the_exact_quantile(observations: list[float], quantile: float) -> None:
    """The exact value is the smallest that a share of `quantile` of the observations does not exceed."""
    rank = math.ceil(quantile * len(observations) - 1e-9)
    exact = sorted(observations)[rank - 1]
    upper = BOUNDS[bisect.bisect_left(BOUNDS, exact)]
    lower = max((bound for bound in BOUNDS if bound < upper), default=0.0)
    estimate = quantiles.histogram_quantile(quantile, counted(observations))
    assert estimate is not None
    assert lower <= estimate <= upper + 1e-9


@hypothesis.given(strategies.lists(strategies.floats(0.0001, 100.0), min_size=1, max_size=50))
def test_a_higher_quantile_is_never_lower(observations: list[float]) -> None:
    """And none exceeds the highest finite bound."""
    found = [quantiles.histogram_quantile(quantile, counted(observations)) or 0.0 for quantile in (0.5, 0.9, 0.95, 0.99)]
    assert found == sorted(found)
    assert found[-1] <= BOUNDS[-1]


@pytest.mark.parametrize(
    ("reason", "quantile", "buckets", "expected"),
    [
        ("halfway through the only bucket", 0.5, {1.0: 10.0, math.inf: 10.0}, 0.5),
        ("between two bounds", 0.9, {1.0: 50.0, 2.0: 100.0, math.inf: 100.0}, 1.8),
        ("beyond the last bound it is that bound", 0.99, {1.0: 50.0, 2.0: 60.0, math.inf: 100.0}, 2.0),
        ("only the infinite bucket", 0.5, {math.inf: 3.0}, 0.0),
        ("empty buckets before it", 0.5, {1.0: 0.0, 2.0: 0.0, 4.0: 8.0, math.inf: 8.0}, 3.0),
        ("a count that falls is taken as level", 0.5, {1.0: 10.0, 2.0: 9.0, math.inf: 10.0}, 0.5),
    ],
)
def test_known_values(reason: str, quantile: float, buckets: dict[float, float], expected: float) -> None:
    """As Prometheus' histogram_quantile gives them."""
    assert quantiles.histogram_quantile(quantile, buckets) == pytest.approx(expected), reason


def test_nothing_counted_is_no_value() -> None:
    """Not zero: the caller knows whether that means idle."""
    assert quantiles.histogram_quantile(0.5, {1.0: 0.0, math.inf: 0.0}) is None


@pytest.mark.parametrize("buckets", [{}, {1.0: 3.0}])
def test_a_histogram_needs_its_infinite_bucket(buckets: dict[float, float]) -> None:
    """Without it the total is unknown."""
    with pytest.raises(ValueError, match="Inf"):
        quantiles.histogram_quantile(0.5, buckets)
