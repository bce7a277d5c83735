"""Token bucket: up to `burst` at once, refilled steadily so that the average is exactly `amount` per `per`."""

from __future__ import annotations

import dataclasses
import math
from typing import Final

FILL_STEP_MS: Final = 50
"""The shortest fill interval that Envoy takes."""


@dataclasses.dataclass(frozen=True)
class Bucket:
    """A token bucket as a proxy counts it. It starts full."""

    max_tokens: int
    tokens_per_fill: int
    fill_interval_ms: int
    """At least `FILL_STEP_MS`."""


def build_bucket(*, amount: int, per_ms: int, burst: int) -> Bucket:
    """The bucket with the finest fill whose average is exact.

    Args:
        amount: tokens refilled per `per_ms`; at least 1.
        per_ms: milliseconds; at least `FILL_STEP_MS`.
        burst: most tokens that the bucket holds; at least 1.

    Raises:
        ValueError: an argument is out of bounds, which the API server refuses.
    """
    if amount < 1 or burst < 1 or per_ms < FILL_STEP_MS:
        raise ValueError(f"Cannot build a token bucket: amount {amount}, burst {burst} or period {per_ms} ms is too small")
    common = math.gcd(amount, per_ms)
    tokens, interval = amount // common, per_ms // common
    # Any multiple of the reduced fraction has the same average; the smallest that Envoy takes is the smoothest.
    repeat = -(-FILL_STEP_MS // interval)
    return Bucket(max_tokens=burst, tokens_per_fill=tokens * repeat, fill_interval_ms=interval * repeat)
