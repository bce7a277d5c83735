"""Latencies against stable: valid at the boundary, found beyond it, and never interpolated."""

from __future__ import annotations

import bisect
import dataclasses
import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.api import rollout_status
from sluice.gates import evidence, grid, plans, readings, registry, sequential, tails

RATIO = plans.MetricPlan("slo", "ttft", "TTFT", sequential.Slower(0.1), plans.Require.NO_HARM, 0.05, percentile=95)
SIDES = registry.Sides("t/chat-2", "t/chat-1")
BOUNDS = (*map(float, grid.BOUNDS), math.inf)
CHOICE = registry.choice(RATIO)


def counted(latencies: list[float]) -> dict[float, int]:
    """Bins as the gateway counts them."""
    bins: dict[float, int] = {}
    for latency in latencies:
        bound = BOUNDS[bisect.bisect_right(BOUNDS, latency)]
        bins[bound] = bins.get(bound, 0) + 1
    return bins


def delta(canary: dict[float, int], stable: dict[float, int]) -> readings.Delta:
    measure = readings.Measure.TTFT
    return readings.Delta(
        {},
        {
            readings.HistogramKey(measure, SIDES.canary, "chat"): canary,
            readings.HistogramKey(measure, str(SIDES.stable), "chat"): stable,
        },
    )


class Run:
    """A rollout whose canary is slower by a factor; log-normal latencies that may drift."""

    def __init__(self, seed: int, factor: float, plan: plans.MetricPlan = RATIO, *, canary: int = 2, stable: int = 20) -> None:
        self.rng, self.factor, self.sizes = random.Random(seed), factor, (canary, stable)
        self.state = evidence.MetricEvidence.start(plan)

    def second(self, median: float = 300.0) -> None:
        """One more second."""
        sides = [
            [median * factor * math.exp(0.7 * self.rng.gauss(0, 1)) for _ in range(size)]
            for size, factor in zip(self.sizes, (self.factor, 1.0), strict=True)
        ]
        self.state = self.state.take(delta(*map(counted, sides)), SIDES, seconds=1)

    def verdict(self, seconds: int, median: float = 300.0) -> rollout_status.Verdict:
        """After so many seconds, or at the first Fail."""
        for _ in range(seconds):
            self.second(median)
            if self.state.failed:
                break
        return self.state.verdict()[0]


def test_a_canary_at_the_boundary_is_rarely_failed() -> None:
    """10 % slower where 10 % is allowed: at most alpha, 5 %, of runs fail (60 runs: 7 or more has a chance of 2 %)."""
    failed = sum(Run(seed, 1.1).verdict(200) is rollout_status.Verdict.FAIL for seed in range(60))
    assert failed < 7


def test_latencies_that_drift_on_both_sides_are_no_harm() -> None:
    """Both sides become twice as slow and fast again: q lags behind, which costs power, never validity."""
    failed = 0
    for seed in range(30):
        run = Run(seed, 1.1)
        for second in range(240):
            run.second(300 * (1 + abs(math.sin(second / 60))))
        failed += run.state.failed
    assert failed < 5


@pytest.mark.parametrize("require", plans.Require)
def test_a_canary_at_the_proofs_bound_rarely_passes(require: plans.Require) -> None:
    """20 % slower passes NoHarm of 10 % with at most 20 %; 10 % slower passes Proof with at most 5 %."""
    plan = dataclasses.replace(RATIO, require=require, alpha=1e-9)
    factor, most = (1.2, 0.35) if require is plans.Require.NO_HARM else (1.1, 0.15)
    passed = sum(Run(seed, factor, plan).verdict(150) is rollout_status.Verdict.PASS for seed in range(40))
    assert passed <= most * 40


def test_a_much_slower_canary_is_found() -> None:
    """Twice as slow is proven within two minutes at two requests a second."""
    assert all(Run(seed, 2.0).verdict(120) is rollout_status.Verdict.FAIL for seed in range(10))


def test_an_equal_canary_passes_and_says_what_was_seen() -> None:
    """With a wide enough ratio an equal canary passes within minutes, and both percentiles are shown as bounds."""
    run = Run(3, 1.0, dataclasses.replace(RATIO, bound=sequential.Slower(0.5)))
    assert run.verdict(400) is rollout_status.Verdict.PASS
    status = run.state.status(rate=2.0)
    assert status.limit == "p95 at most 50% above stable"
    assert status.estimate is not None
    assert status.estimate.startswith("p95 below ")
    assert status.interval is None
    assert rollout_status.GateStatus.model_validate(status.to_wire()) == status


def test_stable_is_learned_first() -> None:
    """Before a hundred requests of stable there is no q, and the status says how many are missing."""
    run = Run(1, 1.0, canary=0, stable=9)
    for _ in range(11):
        run.second()
    assert run.state.verdict() == (rollout_status.Verdict.INCONCLUSIVE, evidence.Reason.LEARNING)
    assert run.state.status().needs == "1 more requests of the stable revision"
    run.second()
    assert run.state.verdict()[1] is evidence.Reason.NO_DATA
    assert run.state.status(rate=2.0).needs is not None


def test_needs_shrink_with_evidence() -> None:
    """What is still needed falls while an equal canary answers."""
    run = Run(5, 1.0, dataclasses.replace(RATIO, bound=sequential.Slower(0.2)))
    for _ in range(20):
        run.second()
    early = run.state.requests_needed()
    for _ in range(200):
        run.second()
    assert run.state.requests_needed() < early


@given(
    st.dictionaries(st.sampled_from(BOUNDS), st.integers(1, 500), min_size=1, max_size=20),
    st.sampled_from([0.1, 0.2, 0.5, 1.0]),
    st.sampled_from([0.5, 0.1, 0.05, 0.01]),
)
def test_only_bounds_are_compared_and_only_to_the_nulls_favour(stable: dict[float, int], ratio: float, share: float) -> None:
    """All three are bounds that requests are counted by; harm begins no earlier than the ratio, proof ends no later."""
    chosen = tails.Choice(ratio, 2 * ratio, share).choose(grid.BOUNDS, stable)
    if chosen is None:
        return
    assert set(chosen) <= set(grid.BOUNDS)
    assert chosen.harm >= chosen.stable * (1 + ratio) * (1 - 1e-9)
    assert chosen.stable < chosen.proof <= chosen.stable * (1 + 2 * ratio) * (1 + 1e-9)


def test_the_choice_is_made_from_earlier_blocks_alone() -> None:
    """Two futures that share a past are judged by the same bounds: nothing of a block moves what it is held against."""
    run = Run(2, 1.0)
    for _ in range(30):
        run.second()
    known = run.state.reference
    calm, storm = {300.0: 5}, {BOUNDS[-2]: 500}
    judged = [known.judge(calm, stable) for stable in (calm, storm)]
    assert judged[0] is not None
    assert judged[1] is not None
    assert judged[0].points == judged[1].points
    assert (judged[0].harm.canary_bad, judged[0].proof.canary_bad) == (judged[1].harm.canary_bad, judged[1].proof.canary_bad)


seconds = st.tuples(
    st.dictionaries(st.sampled_from(BOUNDS), st.integers(1, 30), max_size=4),
    st.dictionaries(st.sampled_from(BOUNDS), st.integers(1, 60), max_size=6),
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(seconds, max_size=40), st.integers(0, 40))
def test_a_restart_changes_nothing(
    stream: list[tuple[dict[float, int], dict[float, int], bool, bool]], restart_at: int
) -> None:
    """State read back from JSON at any moment gives the same state from there on."""
    straight = resumed = evidence.MetricEvidence.start(RATIO)
    for i, (canary, stable, gap, settling) in enumerate(stream):
        if i == restart_at:
            resumed = evidence.MetricEvidence.from_json(RATIO, json.loads(json.dumps(resumed.to_json(), allow_nan=True)))
        straight = straight.take(delta(canary, stable), SIDES, seconds=1, gap=gap, settling=settling)
        resumed = resumed.take(delta(canary, stable), SIDES, seconds=1, gap=gap, settling=settling)
    assert resumed == straight
    assert resumed.status(rate=3.0) == straight.status(rate=3.0)


def test_latencies_of_pods_that_were_just_warmed_up_are_no_evidence() -> None:
    """Neither of a ratio nor of a limit; stable is learned meanwhile, and errors always count."""
    limit = dataclasses.replace(RATIO, bound=sequential.Limit(0.05), threshold=800)
    slow, usual = {2000.0: 50}, {300.0: 190, 800.0: 10}
    for plan in (RATIO, limit):
        state = evidence.MetricEvidence.start(plan)
        for _ in range(5):
            state = state.take(delta(slow, usual), SIDES, seconds=1, warming=True)
        assert state.seen.canary_total == 0
        assert plan is limit or state.reference.bounds is not None
        assert state.take(delta(slow, usual), SIDES, seconds=1).seen.canary_total == 50


@pytest.mark.parametrize("signal", ["TTFT", "OutputTokens"])
@pytest.mark.parametrize("bound", [sequential.Slower(1.0), sequential.Limit(0.05)])
def test_every_text_fits_the_status(signal: str, bound: sequential.Bound) -> None:
    """The longest bounds, shares and percentiles have room in the fields of the CRD."""
    threshold = 6_600_000.0 if signal == "OutputTokens" else 9900.0
    plan = dataclasses.replace(
        RATIO, signal=signal, bound=bound, threshold=threshold if isinstance(bound, sequential.Limit) else None
    )
    state = evidence.MetricEvidence.start(plan).observe(
        sequential.Block(5, 90, 4, 90), points=sequential.Points(0.05, 0.1, 0.01)
    )
    known = tails.Reference({threshold: 100.0}, {threshold: 100.0})
    status = dataclasses.replace(state, reference=known, misplaced=(threshold, threshold)).status(rate=0.001)
    assert rollout_status.GateStatus.model_validate(status.to_wire()) == status


def test_memory_is_small_and_forgets() -> None:
    """An old request counts half after five minutes, and is gone after an hour."""
    known = tails.remember({}, {800.0: 100}, 1)
    assert tails.remember(known, {}, 300) == {800.0: 50}
    assert tails.remember(known, {}, 9000) == {}
