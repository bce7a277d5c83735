"""Which algorithm is which: the one table that a new algorithm is added to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from sluice.ratelimit import token_bucket


class BuildBucket(Protocol):
    """Turns a limit's amounts into the bucket that a proxy counts with."""

    def __call__(self, *, amount: int, per_ms: int, burst: int) -> token_bucket.Bucket:
        """The bucket for `amount` per `per_ms` milliseconds and at most `burst` at once."""
        ...


ALGORITHMS: Final[Mapping[str, BuildBucket]] = {
    "TokenBucket": token_bucket.build_bucket,
}
"""By `spec.limits[].algorithm`; its keys are exactly the API's."""
