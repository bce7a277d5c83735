"""The range a measured value is sure to lie in: the margins (or limits) that the data so far do not reject.

For people only, no verdict reads it. Each value of a fixed grid has two e-processes, against "at most this" and "at least
this", as in `sequential` but without restarts. Each end of the range holds with confidence 1 - alpha, at all times at
once; the ends are grid values, so the range is never narrower than the truth allows. Requests are gathered into blocks
that grow with the sample, so that an hour costs some dozens of updates.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Final

from sluice.gates import sequential

RELATIVE_GRID: Final = (
    *(-64.0, -32.0, -16.0, -8.0, -4.0, -2.0, -1.5, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75),
    *(1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0),
)
"""Differences to try, in margins."""
ABSOLUTE_GRID: Final = (
    *(0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 2.5, 3.0),
    *(4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0),
)
"""Rates to try, in limits."""
MOST: Final = 0.98
SMALLEST_BLOCK: Final = 20
GROWTH: Final = 0.1
"""A block closes at this share of the requests so far."""
LONGEST_WAIT: Final = 60
"""… or after so many observations."""


def grid(bound: sequential.Bound) -> tuple[float, ...]:
    """The values that are tried, rising: differences for a margin, rates for a limit."""
    factors = RELATIVE_GRID if isinstance(bound, sequential.Margin) else ABSOLUTE_GRID
    return tuple(factor * bound.value for factor in factors if abs(factor * bound.value) <= MOST)


@dataclasses.dataclass(frozen=True, slots=True)
class Interval:
    """E-processes over the grid. One that has rejected its value is frozen: a rejection never un-happens."""

    bound: sequential.Bound
    alpha: float
    above: tuple[float, ...]
    """Log evidence against "at most this value", by grid value."""
    below: tuple[float, ...]
    """Log evidence against "at least this value"."""
    seen: sequential.Block = sequential.EMPTY
    open: sequential.Block = sequential.EMPTY
    waited: int = 0

    @classmethod
    def start(cls, bound: sequential.Bound, alpha: float) -> Interval:
        """Nothing rejected."""
        nothing = (0.0,) * len(grid(bound))
        return cls(bound, alpha, nothing, nothing)

    def observe(self, block: sequential.Block) -> Interval:
        """With one more block."""
        gathered, waited = self.open.plus(block), self.waited + 1
        full = gathered.canary_total >= max(SMALLEST_BLOCK, GROWTH * self.seen.canary_total) or waited >= LONGEST_WAIT
        if not full or not sequential.is_comparable(self.bound, gathered):
            return dataclasses.replace(self, open=gathered, waited=waited)
        return dataclasses.replace(
            self,
            above=self._bet(self.above, gathered, sign=1),
            below=self._bet(self.below, gathered, sign=-1),
            seen=self.seen.plus(gathered),
            open=sequential.EMPTY,
            waited=0,
        )

    def _bet(self, logs: tuple[float, ...], block: sequential.Block, sign: int) -> tuple[float, ...]:
        if not sequential.is_comparable(self.bound, self.seen):
            return logs  # nothing to guess from yet
        relative = isinstance(self.bound, sequential.Margin)
        canary = (self.seen.canary_bad + 0.5) / (self.seen.canary_total + 1)
        stable = (self.seen.stable_bad + 0.5) / (self.seen.stable_total + 1) if relative else 0.0
        after = []
        for value, log in zip(grid(self.bound), logs, strict=True):
            factor = 0.0
            if log < self._threshold and sign * (canary - stable - value) > 0:
                null = sequential.Margin(value) if relative else sequential.Limit(value)
                factor = sequential.log_factor(null, block, canary, stable)
            after.append(max(log + factor, -1e9))
        return tuple(after)

    @property
    def _threshold(self) -> float:
        return -math.log(self.alpha)

    def ends(self) -> tuple[float | None, float | None]:
        """Lowest and highest value that is not rejected; None where the grid ends first."""
        values = grid(self.bound)
        low = high = None
        for value, log in zip(values, self.above, strict=True):
            if log < self._threshold:
                break
            low = value
        for value, log in zip(reversed(values), reversed(self.below), strict=True):
            if log < self._threshold:
                break
            high = value
        return low, high

    def to_json(self) -> dict[str, Any]:
        """Finite numbers only."""
        return {
            "above": list(self.above),
            "below": list(self.below),
            "seen": list(self.seen),
            "open": list(self.open),
            "waited": self.waited,
        }

    @classmethod
    def from_json(cls, bound: sequential.Bound, alpha: float, data: Mapping[str, Any]) -> Interval:
        """The state that `to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        above, below = (tuple(sequential.finite(log) for log in data[side]) for side in ("above", "below"))
        if not len(above) == len(below) == len(grid(bound)):
            raise ValueError("Cannot read an interval: its grid is another one")
        seen, still = (sequential.block_from_json(data[name]) for name in ("seen", "open"))
        return cls(bound, alpha, above, below, seen, still, int(data["waited"]))
