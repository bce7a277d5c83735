"""A limit's amounts as a token bucket."""

from __future__ import annotations

import fractions
import math

import hypothesis
import pytest
from hypothesis import strategies as st

from sluice.ratelimit import token_bucket

AMOUNTS = st.integers(1, 1_000_000_000)
PERIODS = st.integers(1_000, 86_400_000)


@hypothesis.given(AMOUNTS, PERIODS, AMOUNTS)
def test_the_average_is_exact(amount: int, per_ms: int, burst: int) -> None:
    """Tokens per time are those of the limit, not nearly."""
    bucket = token_bucket.build_bucket(amount=amount, per_ms=per_ms, burst=burst)
    assert fractions.Fraction(bucket.tokens_per_fill, bucket.fill_interval_ms) == fractions.Fraction(amount, per_ms)
    assert bucket.max_tokens == burst


@hypothesis.given(AMOUNTS, PERIODS)
def test_the_fill_is_the_finest_that_envoy_takes(amount: int, per_ms: int) -> None:
    """A smaller interval is either too short for Envoy or not exact; so nobody waits for a whole day's refill."""
    bucket = token_bucket.build_bucket(amount=amount, per_ms=per_ms, burst=1)
    assert bucket.fill_interval_ms >= token_bucket.FILL_STEP_MS
    assert bucket.fill_interval_ms <= per_ms
    smallest = per_ms // math.gcd(amount, per_ms)
    assert bucket.fill_interval_ms - smallest < token_bucket.FILL_STEP_MS
    assert bucket.fill_interval_ms % smallest == 0


@pytest.mark.parametrize(
    ("amount", "per_ms", "tokens", "interval"),
    [
        (60, 60_000, 1, 1000),
        (20, 1_000, 1, 50),
        (1_000, 1_000, 50, 50),
        (100_000, 86_400_000, 1, 864),
        (7, 1_000, 7, 1000),
    ],
)
def test_examples(amount: int, per_ms: int, tokens: int, interval: int) -> None:
    """What usual limits become."""
    assert token_bucket.build_bucket(amount=amount, per_ms=per_ms, burst=5) == token_bucket.Bucket(5, tokens, interval)


@pytest.mark.parametrize("wrong", [{"amount": 0}, {"burst": 0}, {"per_ms": 49}])
def test_what_no_bucket_can_do_is_refused(wrong: dict[str, int]) -> None:
    """Amounts below the API's bounds are a defect of the caller."""
    with pytest.raises(ValueError, match="too small"):
        token_bucket.build_bucket(**{"amount": 1, "burst": 1, "per_ms": 1000, **wrong})
