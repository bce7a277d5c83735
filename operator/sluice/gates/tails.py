"""A relative limit on a latency: which bounds the two sides are held against, chosen from what stable did before.

The statement "the canary is at most a ratio r slower at the percentile" becomes one of rates: the canary's rate at or above
(1 + r) q is at most stable's at or above q, where q is about stable's percentile. Any q will do as long as it is chosen
before the block is seen, and all of q, (1 + r) q and the proof's bound are bounds that requests are counted by. Where no
bound lies exactly there, the next one that favours the null is taken, which costs power and never validity.

Stable's earlier requests are remembered with a half-life of five minutes. What stays out: the test (`sequential`).
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sluice.gates import readings, sequential

HALF_LIFE: Final = 300.0
"""Seconds after which an old request counts half."""
COLD_START: Final = 100
"""Requests of stable before which there is no q."""
PERIOD: Final = 10
"""Looks for which a choice of bounds holds."""
_SMALLEST: Final = 1e-4
"""Weights below are forgotten, so that the state stays small."""


class Bounds(NamedTuple):
    """Where requests count as slow."""

    stable: float
    """q: stable's requests at or above it."""
    harm: float
    """The canary's at or above it speak of harm: at least (1 + ratio) q."""
    proof: float
    """The canary's below it speak against the proof's null: at most (1 + the proof's ratio) q, above q."""


class Verdict(NamedTuple):
    """One look: blocks for both tests, and the rates that a guess begins from."""

    harm: sequential.Block
    proof: sequential.Block
    points: sequential.Points | None = None


@dataclasses.dataclass(frozen=True)
class Reference:
    """What is known of both sides' latencies. Immutable: `learn` gives the next state."""

    stable: Mapping[float, float] = dataclasses.field(default_factory=dict)
    canary: Mapping[float, float] = dataclasses.field(default_factory=dict)
    """For people only."""
    seen: int = 0
    """Requests of stable so far."""
    bounds: Bounds | None = None
    points: sequential.Points | None = None
    age: int = PERIOD
    """Looks since the bounds were chosen."""

    def judge(self, canary: readings.Bins, stable: readings.Bins) -> Verdict | None:
        """What the new bins say, by bounds that were chosen before; None before there are any."""
        if self.bounds is None or self.points is None:
            return None
        old_total, new_total = readings.total(stable), readings.total(canary)
        old = readings.at_least(stable, self.bounds.stable)
        harm, proof = (int(readings.at_least(canary, bound)) for bound in (self.bounds.harm, self.bounds.proof))
        return Verdict(
            sequential.Block(harm, new_total, old, old_total), sequential.Block(proof, new_total, old, old_total), self.points
        )

    def learn(
        self, canary: readings.Bins, stable: readings.Bins, *, seconds: float, choice: Choice, grid: Sequence[float]
    ) -> Reference:
        """With what was just judged."""
        known = remember(self.stable, stable, seconds)
        seen = self.seen + readings.total(stable)
        bounds, points, age = self.bounds, self.points, self.age + 1
        if seen >= COLD_START and age >= PERIOD and sum(known.values()) >= 1:
            chosen = choice.choose(grid, known)
            if chosen is not None:
                bounds, age = chosen, 0
        if bounds is not None and sum(known.values()) >= 1:
            points = choice.points(bounds, grid, known)
        return Reference(known, remember(self.canary, canary, seconds), seen, bounds, points, age)

    def to_json(self) -> dict[str, Any]:
        """Finite numbers only; `reference_from_json` gives back an equal state."""
        return {
            "stable": _bins_to_json(self.stable),
            "canary": _bins_to_json(self.canary),
            "seen": self.seen,
            "bounds": list(self.bounds) if self.bounds is not None else None,
            "points": list(self.points) if self.points is not None else None,
            "age": self.age,
        }


NOTHING: Final = Reference()


def reference_from_json(data: Mapping[str, Any]) -> Reference:
    """The state that `to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
    bounds, points = data["bounds"], data["points"]
    return Reference(
        stable=_bins_from_json(data["stable"]),
        canary=_bins_from_json(data["canary"]),
        seen=int(data["seen"]),
        bounds=Bounds(*map(sequential.finite, bounds)) if bounds is not None else None,
        points=sequential.Points(*map(sequential.finite, points)) if points is not None else None,
        age=int(data["age"]),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """What a relative limit asks for."""

    ratio: float
    """The canary may be slower by this share."""
    proof_ratio: float
    """What a Pass rules out, or proves."""
    share: float
    """Of requests that are slower than the percentile: 0.05 for the 95th."""

    def choose(self, grid: Sequence[float], stable: Mapping[float, float]) -> Bounds | None:
        """The bounds that trade best: a share of slow requests near the wished one, and ratios near the wished ones."""
        best: tuple[float, Bounds] | None = None
        above, whole = _survival(grid, stable), sum(stable.values())
        for q, slower in zip(grid, above, strict=True):
            harm_at = bisect.bisect_left(grid, q * (1 + self.ratio) * (1 - 1e-9))
            proof_at = bisect.bisect_right(grid, q * (1 + self.proof_ratio) * (1 + 1e-9)) - 1
            if slower <= 0 or slower >= whole or harm_at == len(grid) or grid[proof_at] <= q:
                continue
            harm, proof = grid[harm_at], grid[proof_at]
            # One percent too much of a ratio weighs as much as being off the share by a factor of 1.4.
            score = 100 * (harm / q / (1 + self.ratio) - 1) + 100 * ((1 + self.proof_ratio) * q / proof - 1)
            score += 3 * abs(math.log(slower / whole / self.share))
            if best is None or score < best[0]:
                best = score, Bounds(q, harm, proof)
        return best[1] if best is not None else None

    def points(self, bounds: Bounds, grid: Sequence[float], stable: Mapping[float, float]) -> sequential.Points:
        """Where guesses begin. They may be interpolated, for a bad guess costs power, never validity."""
        whole = sum(stable.values())
        above = _survival(grid, stable)

        def rate(value: float) -> float:
            return min(max((_between(grid, above, value) + 0.5) / (whole + 1), 1e-6), 1 - 1e-6)

        # A canary slower by twice the ratio exceeds the harm bound as often as stable exceeds this.
        return sequential.Points(rate(bounds.stable), rate(bounds.harm / (1 + 2 * self.ratio)), rate(bounds.proof))


def _survival(grid: Sequence[float], bins: Mapping[float, float]) -> list[float]:
    """For each bound how many are at or above it."""
    left, above = sum(bins.values()), []
    for bound in grid:
        left -= bins.get(bound, 0.0)
        above.append(max(left, 0.0))
    return above


def _between(grid: Sequence[float], above: Sequence[float], value: float) -> float:
    place = bisect.bisect_right(grid, value * (1 + 1e-9)) - 1
    if place < 0 or place + 1 >= len(grid):
        return above[max(place, 0)]
    part = min(max(math.log(value / grid[place]) / math.log(grid[place + 1] / grid[place]), 0.0), 1.0)
    return above[place] + part * (above[place + 1] - above[place])


def remember(known: Mapping[float, float], new: readings.Bins, seconds: float) -> dict[float, float]:
    """Older requests by bins, each weighing half as much after `HALF_LIFE`, with those of the last `seconds`."""
    forget = 0.5 ** (max(seconds, 0.0) / HALF_LIFE)
    sums = {bound: weight * forget for bound, weight in known.items()}
    for bound, count in new.items():
        sums[bound] = sums.get(bound, 0.0) + count
    return {bound: round(weight, 5) for bound, weight in sums.items() if weight >= _SMALLEST}


def _bins_to_json(bins: Mapping[float, float]) -> dict[str, float]:
    return {f"{bound:g}": weight for bound, weight in bins.items()}


def _bins_from_json(data: Mapping[str, Any]) -> dict[float, float]:
    return {float(bound): sequential.finite(weight) for bound, weight in data.items()}
