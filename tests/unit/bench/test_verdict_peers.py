"""Other tools' rules do what their sources say: a comparison with a rule that is wrong would be a lie about somebody."""

from __future__ import annotations

import collections
import math
from collections.abc import Callable

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from sluice.gates import grid
from tests.bench import verdict_peers as peers
from tests.bench import verdict_prometheus as prometheus
from tests.bench import verdict_traces as traces

SECONDS = 600
STEPS = (traces.Step(0.25, SECONDS),)
FAST = int(np.searchsorted(grid.BOUNDS, 100))
SLOW = int(np.searchsorted(grid.BOUNDS, 60_000))


def side(good: int = 100, bad: Callable[[int], int] = lambda _: 0, place: int = FAST) -> traces.Side:
    """The same answers every second of the step; `bad`: by second of the step. Nothing in the lead."""
    whole = traces.LEAD + SECONDS
    bins = np.zeros((whole, traces.BINS), dtype=np.int64)
    bins[traces.LEAD :, place] = good
    errors = np.array([0] * traces.LEAD + [bad(second) for second in range(SECONDS)], dtype=np.int64)
    return traces.Side(errors, bins, bins)


def seen(canary: traces.Side, phase: float = 0.0) -> peers.Seen:
    return peers.Seen(prometheus.View(canary, phase), prometheus.View(side(), phase), STEPS)


@pytest.mark.parametrize(
    ("at", "window", "span", "reason"),
    [
        (60.0, 60.0, (15, 60), "a window is open at its beginning: the sample at 0 is outside"),
        (59.0, 60.0, (0, 45), "all four samples up to 45"),
        (62.0, 30.0, (45, 60), "two samples"),
        (62.0, 10.0, None, "one sample makes no rate"),
        (3.0, 60.0, None, "nothing before the first scrape"),
    ],
)
def test_windows_hold_whole_samples(at: float, window: float, span: tuple[int, int] | None, reason: str) -> None:
    """Scrapes are at multiples of 15 s."""
    assert prometheus.View(side(), 0.0).span(at, window) == span, reason


def test_quantiles_are_interpolated_in_their_bucket() -> None:
    """As histogram_quantile does; the last finite bound stands for all beyond it."""
    counts = np.zeros(traces.BINS, dtype=np.int64)
    assert math.isnan(prometheus.quantile(counts, 0.95))
    counts[FAST] = 10
    low, high = grid.BOUNDS[FAST - 1], grid.BOUNDS[FAST]
    assert prometheus.quantile(counts, 0.5) == pytest.approx((low + high) / 2)
    counts[-1] = 100
    assert prometheus.quantile(counts, 0.95) == grid.BOUNDS[-1]


def test_a_view_counts_what_was_before_the_sample() -> None:
    """Two good of three, over whole windows."""
    view = prometheus.View(side(good=2, bad=lambda _: 1), 0.0)
    assert view.read(traces.LEAD + 300.0).success == pytest.approx(2 / 3)
    assert math.isnan(view.read(traces.LEAD - 1.0).success)


@pytest.mark.parametrize("rule", peers.RULES, ids=lambda rule: rule.name)
def test_no_rule_stops_a_healthy_canary_with_plenty_of_requests(rule: peers.Rule) -> None:
    """No failure, the same latency as stable. The first samples hold no answer when a rule looks before they could."""
    stop = rule.judge(seen(side()))
    assert stop is None or stop.by_no_data


@pytest.mark.parametrize(
    ("rule", "at", "reason"),
    [
        (peers.Flagger(60, 5), 360, "the check at 300 s is the fifth that fails, and the next one acts"),
        (peers.Flagger(60, 1), 120, "the check at 60 s"),
        (peers.Argo(60, 0), 60, "the first measurement with data"),
        (peers.Argo(60, 3), 240, "one more than the limit"),
        (peers.Argo(10, 0), 20, "a sample that holds answers is there since 15 s"),
        (peers.Kayenta(), 600, "at the end"),
    ],
)
def test_when_a_bad_canary_is_stopped(rule: peers.Rule, at: float, reason: str) -> None:
    """Half of the requests fail from the start."""
    stop = rule.judge(seen(side(bad=lambda second: 100)))
    assert stop is not None, reason
    assert (stop.at, stop.by_no_data) == (at, False), reason


def test_flagger_sums_failures_that_are_apart() -> None:
    """They are never taken back: five bad minutes of ten are enough, whatever is between."""
    rule = peers.Flagger(60, 4)
    stop = rule.judge(seen(side(bad=lambda second: 100 if (second // 60) % 2 else 0)))
    assert stop is not None


def test_flagger_takes_no_data_for_a_failure_and_argo_does_not() -> None:
    """A canary without requests."""
    nothing = seen(side(good=0))
    stop = peers.Flagger(60, 5).judge(nothing)
    assert stop == peers.Stop(360, by_no_data=True)
    assert peers.Argo(60, 0).judge(nothing) is None


def test_a_slow_canary_is_beyond_the_limits() -> None:
    """By its quantiles alone."""
    slow = seen(side(place=SLOW))
    assert peers.Argo(60, 0).judge(slow) == peers.Stop(60)
    assert peers.Flagger(60, 5).judge(slow) == peers.Stop(360)
    assert peers.Kayenta().judge(slow) == peers.Stop(600)


def test_the_end_of_the_interval_is_where_the_test_just_rejects() -> None:
    """By hand: of 100 differences 5 + i - j the 19th is 1, for 50 - 0.5 - 2.326 x 13.23 is 18.7; their median is 5."""
    low, shift = peers.shift_of([float(n + 5) for n in range(1, 11)], [float(n) for n in range(1, 11)])
    assert (low, shift) == (1, 5)


@hypothesis.given(*(strategies.lists(strategies.integers(0, 12), min_size=6, max_size=10) for _ in range(2)))
def test_the_interval_is_the_inverted_test(canary: list[int], stable: list[int]) -> None:
    """Kayenta looks for the root of the test's statistic; below it the shift is rejected, above it is not."""
    hypothesis.assume(len({*canary, *stable}) > 1 and len({*canary}) > 1)
    low, _ = peers.shift_of([float(n) for n in canary], [float(n) for n in stable])
    if low > min(canary) - max(stable):
        assert statistic(canary, stable, low - 0.01) > peers.Z
    assert statistic(canary, stable, low + 0.01) <= peers.Z


def statistic(canary: list[int], stable: list[int], shift: float) -> float:
    """Normal score of the rank sum with the correction for continuity, from ranks: another way than the rule's."""
    moved = [n - shift for n in canary]
    both = [*moved, *stable]
    ranks = [sum(other < n for other in both) + (sum(other == n for other in both) + 1) / 2 for n in moved]
    excess = sum(ranks) - len(moved) * (len(moved) + 1) / 2 - len(moved) * len(stable) / 2
    ties = sum(count**3 - count for count in collections.Counter(both).values())
    whole = len(both)
    sigma = math.sqrt(len(moved) * len(stable) / 12 * (whole + 1 - ties / (whole * (whole - 1))))
    return (excess - math.copysign(0.5, excess)) / sigma


@pytest.mark.parametrize(
    ("canary", "stable", "high", "reason"),
    [
        ([2.0] * 10, [1.0] * 10, True, "apart without doubt"),
        ([1.0] * 10, [2.0] * 10, False, "lower is better"),
        ([1.0] * 10, [1.0] * 10, False, "all equal"),
        ([], [1.0], False, "no data says nothing"),
        ([1.0, 2.0, 3.0], [1.1, 2.1, 2.9], False, "much the same"),
    ],
)
def test_high_is_what_is_above_the_tolerance(canary: list[float], stable: list[float], high: bool, reason: str) -> None:
    """Only increases count."""
    assert peers.is_high(canary, stable) is high, reason
