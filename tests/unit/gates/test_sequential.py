"""The tests as a whole: false alarms, power, restarts, round trips."""

import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.gates import sequential

MARGIN = sequential.Margin(0.01)
LIMIT = sequential.Limit(0.02)


def draw(rng: random.Random, n: int, rate: float) -> int:
    return sum(rng.random() < rate for _ in range(n))


def blocks(seed: int, seconds: int, canary: tuple[int, float], stable: tuple[int, float]) -> list[sequential.Block]:
    """One block a second; each side is (requests a second, rate of failures)."""
    rng = random.Random(seed)
    (n_c, p_c), (n_s, p_s) = canary, stable
    return [sequential.Block(draw(rng, n_c, p_c), n_c, draw(rng, n_s, p_s), n_s) for _ in range(seconds)]


def fails(bound: sequential.Bound, stream: list[sequential.Block], alpha: float, *, gap: bool = False) -> bool:
    harm = sequential.Harm(bound)
    for block in stream:
        harm = harm.observe(block, gap=gap)
        if harm.evidence >= 1 / alpha:
            return True
    return False


def proves(bound: sequential.Bound, stream: list[sequential.Block], alpha: float) -> bool:
    proof = sequential.Proof(bound)
    for block in stream:
        proof = proof.observe(block)
        if proof.log_evidence >= -math.log(alpha):
            return True
    return False


@pytest.mark.parametrize(
    ("bound", "canary", "stable"),
    [
        (MARGIN, (5, 0.015), (20, 0.005)),
        (MARGIN, (5, 0.11), (20, 0.10)),
        (LIMIT, (5, 0.02), (0, 0.0)),
    ],
    ids=["margin", "margin with many failures", "limit"],
)
def test_a_revision_at_its_bound_rarely_fails(
    bound: sequential.Bound, canary: tuple[int, float], stable: tuple[int, float]
) -> None:
    """Looking every second for 3 minutes at the very bound: alarms stay below alpha (10 % here, so that few runs show it)."""
    runs = 80
    alarms = sum(fails(bound, blocks(seed, 180, canary, stable), 0.1) for seed in range(runs))
    assert alarms / runs <= 0.1


def test_gap_blocks_do_not_add_false_alarms() -> None:
    """Every block judged as a gap, at the bound: still below alpha."""
    runs = 120
    alarms = sum(fails(MARGIN, blocks(seed, 12, (60, 0.02), (240, 0.01)), 0.1, gap=True) for seed in range(runs))
    assert alarms / runs <= 0.1


def shielded_mean(sizes: tuple[int, int], rates: tuple[float, float], guess: tuple[float, float], *, corrected: bool) -> float:
    """Exact mean of a bet's factor when each bad attempt of the canary is retried on stable."""
    (n_c, base), (canary, stable), (guess_c, guess_s) = sizes, rates, guess
    bound = sequential.Margin(canary - stable)
    mean = 0.0
    for x in range(n_c + 1):
        n_s = base + x
        weight = math.comb(n_c, x) * canary**x * (1 - canary) ** (n_c - x)
        for y in range(n_s + 1):
            chance = weight * math.comb(n_s, y) * stable**y * (1 - stable) ** (n_s - y)
            block = sequential.Block(x, n_c, y, n_s)
            block = block.without_retries() if corrected else block
            mean += chance * math.exp(sequential.log_factor(bound, block, guess_c, guess_s))
    return mean


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 8), st.integers(0, 6), st.floats(0.01, 0.4), st.floats(0.01, 0.2), st.floats(0.01, 0.4))
def test_retries_on_stable_leave_the_mean_at_most_one(
    n_c: int, more: int, stable: float, margin: float, guess_s: float
) -> None:
    """Exactly, though stable's sample grows with each failure of the canary."""
    rates, guess = (stable + margin, stable), (guess_s + 2 * margin, guess_s)
    assert shielded_mean((n_c, n_c + more), rates, guess, corrected=True) <= 1 + 1e-6


def test_retries_would_break_the_guarantee_if_they_counted() -> None:
    """Without the correction the mean exceeds 1: the reason for it."""
    case = ((8, 8), (0.3, 0.1), (0.5, 0.1))
    assert shielded_mean(*case, corrected=False) > 1.01
    assert shielded_mean(*case, corrected=True) <= 1


def test_a_canary_that_nobody_retries_cannot_hide_behind_a_small_stable() -> None:
    """15 of 15 broke after their headers while stable answered 5: some of stable's sample must be left."""
    assert sequential.Block(15, 15, 0, 5).without_retries() == sequential.Block(15, 15, 0, 2.5)


def test_an_outage_of_both_sides_is_no_evidence_of_harm() -> None:
    """With stable failing nearly always nothing can exceed the margin: no bet is made inside the null."""
    bound = sequential.Margin(0.25)
    harm = sequential.Harm(bound)
    for block in blocks(3, 200, (20, 0.97), (20, 0.9)):
        harm = harm.observe(block)
    assert harm.evidence <= 10


def test_drift_of_both_sides_does_not_add_false_alarms() -> None:
    """Both rates rise tenfold together and fall again: a canary within its margin is left alone."""
    runs, alarms = 60, 0
    for seed in range(runs):
        rng = random.Random(seed)
        stream = []
        for second in range(300):
            rate = 0.01 + 0.09 * math.sin(math.pi * second / 300)
            stream.append(sequential.Block(draw(rng, 5, rate + 0.01), 5, draw(rng, 20, rate), 20))
        alarms += fails(MARGIN, stream, 0.1)
    assert alarms / runs <= 0.1


@pytest.mark.parametrize(("factor", "alpha"), [(2.0, 0.2), (1.0, 0.05)], ids=["NoHarm", "Proof"])
def test_a_revision_at_the_bound_of_a_proof_rarely_passes(factor: float, alpha: float) -> None:
    """At twice the margin a NoHarm passes with at most 20 %, at the margin a Proof with at most 5 % (3 sigma allowed)."""
    runs = 150
    bound = sequential.Margin(0.01 * factor)
    passes = sum(proves(bound, blocks(seed, 300, (10, 0.005 + bound.value), (40, 0.005)), alpha) for seed in range(runs))
    assert passes / runs <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / runs)


def test_an_equal_revision_passes_after_some_hundred_requests() -> None:
    """Healthy canaries get their Pass: 9 of 10 within 1,000 requests."""
    passes = sum(proves(sequential.Margin(0.02), blocks(seed, 100, (10, 0.005), (90, 0.005)), 0.2) for seed in range(40))
    assert passes >= 36


@pytest.mark.parametrize("healthy", [0, 30, 600])
def test_a_broken_revision_is_caught_within_three_blocks(healthy: int) -> None:
    """All requests fail from now on, 5 a second: three seconds suffice at 1 %, after any time of health."""
    for seed in range(10):
        harm = sequential.Harm(MARGIN)
        for block in blocks(seed, healthy, (5, 0.0), (15, 0.0)):
            harm = harm.observe(block)
        for block in blocks(seed, 3, (5, 1.0), (20, 0.0)):
            harm = harm.observe(block)
        assert harm.evidence >= 100


@pytest.mark.parametrize("healthy", [0, 600])
def test_a_gap_with_half_its_requests_bad_proves_harm_at_once(healthy: int) -> None:
    """30 bad of 60 while the operator was away are enough, as the first block too."""
    harm = sequential.Harm(MARGIN)
    for block in blocks(1, healthy, (5, 0.0), (15, 0.0)):
        harm = harm.observe(block)
    assert harm.observe(sequential.Block(30, 60, 0, 540), gap=True).evidence >= 100


def test_a_gap_finds_a_small_harm_that_a_plain_block_misses() -> None:
    """The mixture reaches guesses that a plain block has had no time to learn."""
    healthy = sequential.Harm(MARGIN)
    for block in blocks(1, 600, (5, 0.0), (15, 0.0)):
        healthy = healthy.observe(block)
    small = sequential.Block(10, 60, 0, 540)
    assert healthy.observe(small, gap=True).evidence >= 100 > healthy.observe(small).evidence
    half = sequential.Block(10, 20, 0, 0)
    assert sequential.Harm(LIMIT).observe(half, gap=True).evidence > sequential.Harm(LIMIT).observe(half).evidence


counts = st.integers(0, 40).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
any_block = st.tuples(counts, counts).map(lambda sides: sequential.Block(*sides[0], *sides[1]))
any_bound = st.one_of(
    st.floats(0.0005, 0.25).map(sequential.Margin),
    st.floats(0.0005, 0.499).map(sequential.Limit),
)


@settings(max_examples=150, deadline=None)
@given(any_bound, st.lists(st.tuples(any_block, st.booleans()), max_size=120))
def test_state_is_finite_and_survives_json(bound: sequential.Bound, stream: list[tuple[sequential.Block, bool]]) -> None:
    """Whatever is observed, the state stays finite and valid JSON, and what is read back is equal."""
    harm, proof = sequential.Harm(bound), sequential.Proof(bound)
    for block, gap in stream:
        harm, proof = harm.observe(block, gap=gap), proof.observe(block)
    texts = [json.dumps(state.to_json(), allow_nan=False) for state in (harm, proof)]
    assert sequential.Harm.from_json(bound, json.loads(texts[0])) == harm
    assert sequential.Proof.from_json(bound, json.loads(texts[1])) == proof
    assert harm.evidence >= 0
    assert len(harm.parts) <= sequential.COMPONENTS


def test_restart_shares_sum_to_at_most_one() -> None:
    """The wealth of all restarts ever comes out of a wealth of 1."""
    spent = math.fsum(sequential.restart_weight(k) for k in range(1, 200_000))
    assert spent + 1 / (2.10975 * math.log(200_000)) == pytest.approx(1, abs=1e-4)


def test_merging_parts_keeps_their_wealth() -> None:
    """Thinning throws no evidence away."""
    parts = [sequential.Part(0.1 * i, i, 10.0, i) for i in range(1, 17)]
    before = math.fsum(part.wealth for part in parts)
    sequential.merge_nearest(parts, 20)
    assert len(parts) == 15
    assert math.fsum(part.wealth for part in parts) == pytest.approx(before)


def test_requests_without_a_counterpart_change_no_evidence() -> None:
    """A margin needs both sides; stable alone only teaches its rate."""
    harm = sequential.Harm(MARGIN).observe(sequential.Block(5, 5, 0, 0)).observe(sequential.Block(0, 0, 1, 50))
    assert harm.evidence == 1
    assert harm.stable.rate == pytest.approx(1.18 / 53.78)


def test_an_infinite_number_is_no_evidence() -> None:
    """A damaged state is refused instead of failing everything that comes."""
    data = sequential.Proof(MARGIN).to_json() | {"log": math.inf}
    with pytest.raises(ValueError, match="not finite"):
        sequential.Proof.from_json(MARGIN, data)
