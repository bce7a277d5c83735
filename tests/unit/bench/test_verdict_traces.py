"""Traces have the rates, delays and buckets that they are meant to have: else every published figure would be wrong."""

from __future__ import annotations

import numpy as np
import pytest

from sluice.gates import grid
from tests.bench import verdict_traces as traces

STEPS = (traces.Step(0.25, 300),)
SAME = traces.Effect()
HARMFUL = traces.Effect("both", errors=0.05, slower=0.5)


def trace(effect: traces.Effect = SAME, *, seed: int = 1, total: float = 400.0) -> traces.Trace:
    return traces.generate(np.random.default_rng(seed), STEPS, total, effect)


def test_a_seed_gives_one_trace() -> None:
    """So that a published figure can be measured again."""
    first, again, other = trace(), trace(), trace(seed=2)
    assert np.array_equal(first.canary.duration, again.canary.duration)
    assert not np.array_equal(first.canary.duration, other.canary.duration)


def test_the_canary_has_its_share_and_nothing_before_its_step() -> None:
    """The lead is of stable alone."""
    made = trace()
    requests = made.canary.good + made.canary.bad
    assert made.seconds == traces.LEAD + 300
    assert requests[: traces.LEAD].sum() == 0
    assert requests[traces.LEAD + 10 :].mean() == pytest.approx(100, rel=0.03)
    assert (made.stable.good + made.stable.bad)[traces.LEAD + 10 :].mean() == pytest.approx(300, rel=0.03)


def test_errors_are_added_to_the_canary_alone() -> None:
    """Stable keeps its rate, also with what it takes over."""
    made = trace(HARMFUL)
    rates = [side.bad.sum() / (side.bad.sum() + side.good.sum()) for side in (made.canary, made.stable)]
    assert rates == pytest.approx([0.055, 0.005], rel=0.15)


def test_failed_attempts_are_asked_again_of_stable() -> None:
    """The shield does so, and it makes stable's sample grow with the canary's failures."""
    calm, shielded = (
        made.stable.good.sum() + made.stable.bad.sum() for made in (trace(), trace(traces.Effect("e", errors=0.9)))
    )
    assert shielded - calm == pytest.approx(0.9 * 100 * 300, rel=0.1)


def test_latencies_are_slower_by_the_ratio() -> None:
    """So are both histograms, at every percentile: within a bucket, which is at most a fifth wide."""
    made = trace(HARMFUL)
    for kind in ("ttft", "duration"):
        medians = []
        for side in (made.canary, made.stable):
            sums = getattr(side, kind).sum(axis=0).cumsum()
            medians.append(grid.BOUNDS[int(np.searchsorted(sums, sums[-1] / 2))])
        assert medians[0] / medians[1] == pytest.approx(1.5, rel=0.25), kind


def test_good_answers_are_counted_when_they_end_and_bad_ones_at_once() -> None:
    """Bad answers come sooner than good ones, which is what settling is for."""
    made = trace(traces.Effect("e", errors=0.5))
    first = made.canary.bad[traces.LEAD], made.canary.good[traces.LEAD]
    assert first[0] > 20
    assert first[1] < 20


@pytest.mark.parametrize(
    ("milliseconds", "upper", "reason"),
    [
        (799.9, 800, "Envoy counts whole milliseconds"),
        (800.0, 880, "a bound is not below itself"),
        (0.4, 1, "the first bin begins at zero"),
        (1e9, None, "the last bin has no end"),
    ],
)
def test_bins_are_those_of_envoy(milliseconds: float, upper: int | None, reason: str) -> None:
    """A bin holds what is below its upper bound, and not below the one before."""
    place = int(traces.bins_of(np.array([milliseconds / 1000]))[0])
    assert (grid.BOUNDS[place] if place < len(grid.BOUNDS) else None) == upper, reason


def test_true_quantiles_are_those_of_the_law() -> None:
    """TTFT is lognormal, so its percentile has a formula: z is 1.645 at 95 %."""
    ttft, duration = traces.stable_quantiles(95)
    assert ttft == pytest.approx(1000 * traces.TTFT_MEDIAN * np.exp(traces.SIGMA * 1.6449), rel=0.01)
    assert duration > 1000 * traces.ANSWER_MEDIAN * np.exp(traces.SIGMA * 1.6449)
