"""The factor of a block is an e-value: its exact mean under every null point is at most 1."""

import itertools
import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.gates import likelihood, sequential


def binomial(k: int, n: int, p: float) -> float:
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


def mean_factor(factor: Callable[[sequential.Block], float], n_c: int, n_s: int, canary: float, stable: float) -> float:
    """Exact mean of exp(factor(block)) when both sides' requests fail independently at the given rates."""
    return math.fsum(
        binomial(x, n_c, canary) * binomial(y, n_s, stable) * math.exp(factor(sequential.Block(x, n_c, y, n_s)))
        for x, y in itertools.product(range(n_c + 1), range(n_s + 1))
    )


rates = st.floats(0.001, 0.6)
sizes = st.integers(1, 8)


@settings(max_examples=150, deadline=None)
@given(sizes, sizes, rates, st.floats(0.001, 0.3), st.floats(0.01, 0.99), rates, st.floats(0, 1))
def test_a_harm_bet_has_mean_at_most_one(
    n_c: int, n_s: int, stable: float, margin: float, lift: float, guess_s: float, inside: float
) -> None:
    """Whatever the guess above the margin, no revision within the margin gains evidence on average."""
    guess_c = guess_s + margin + lift * (0.999 - guess_s - margin)
    canary = inside * (stable + margin)  # anywhere in the null, its boundary included
    bound = sequential.Margin(margin)
    assert mean_factor(lambda b: sequential.log_factor(bound, b, guess_c, guess_s), n_c, n_s, canary, stable) <= 1 + 1e-6


@settings(max_examples=150, deadline=None)
@given(sizes, sizes, st.floats(0.001, 0.4), st.floats(0.02, 0.3), st.floats(0.01, 0.99), st.floats(0.001, 0.4), st.floats(0, 1))
def test_a_proof_bet_has_mean_at_most_one(
    n_c: int, n_s: int, stable: float, margin: float, share: float, guess_s: float, beyond: float
) -> None:
    """Whatever the guess below the margin, no revision at or beyond the margin gains evidence on average."""
    guess_c = max(share * (guess_s + margin), 1e-6)
    canary = stable + margin + beyond * (1 - stable - margin)
    bound = sequential.Margin(margin)
    assert mean_factor(lambda b: sequential.log_factor(bound, b, guess_c, guess_s), n_c, n_s, canary, stable) <= 1 + 1e-6


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, st.floats(0.001, 0.3), st.floats(0.001, 0.2), st.floats(0.001, 0.3))
def test_a_gap_bet_has_mean_at_most_one(n_c: int, n_s: int, stable: float, margin: float, guess_s: float) -> None:
    """The fixed mixture of a gap is an e-value at the boundary of the null."""
    bound = sequential.Margin(margin)
    guesses = sequential.gap_guesses(sequential.harm_point(bound, guess_s))
    mean = mean_factor(lambda b: sequential.gap_log_factor(bound, b, guesses, guess_s), n_c, n_s, stable + margin, stable)
    assert mean <= 1 + 1e-6


@pytest.mark.parametrize("limit", [0.01, 0.2, 0.49])
def test_a_gap_bet_on_a_limit_has_mean_one_at_the_limit(limit: float) -> None:
    """At the limit itself the mean is exactly 1, below it less."""
    bound = sequential.Limit(limit)
    guesses = sequential.gap_guesses(sequential.harm_point(bound, 0.0))

    def mean(rate: float) -> float:
        return math.fsum(
            binomial(x, 30, rate) * math.exp(sequential.gap_log_factor(bound, sequential.Block(x, 30, 0, 0), guesses, 0.0))
            for x in range(31)
        )

    assert mean(limit) == pytest.approx(1.0)
    assert mean(limit / 2) < 1


@settings(max_examples=200, deadline=None)
@given(st.floats(0.001, 0.4), st.floats(0.0, 0.3), st.floats(0.01, 0.5), st.integers(1, 50), st.integers(1, 500))
def test_the_projection_is_the_nearest_null_point(stable: float, margin: float, lift: float, n_c: int, n_s: int) -> None:
    """No other point of the boundary is nearer in weighted divergence."""
    canary = min(stable + margin + lift, 0.999)

    def kl(p: float, q: float) -> float:
        return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))

    def distance(s: float) -> float:
        return n_c * kl(canary, s + margin) + n_s * kl(stable, s)

    best = likelihood.project(canary, stable, n_c, n_s, margin)
    low, high = stable, canary - margin
    others = [low + (high - low) * i / 50 for i in range(1, 50)]
    assert distance(best) <= min(distance(s) for s in others if 0 < s < 1 and s + margin < 1) + 1e-9
