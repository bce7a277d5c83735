"""What was counted over one span of time: the raw material of every signal. No judgement.

Attempts are counted by their tags, latencies and sizes in bins. A bin is named by its upper bound and holds what is below
that bound and not below the next lower one; the last bound is infinite. Bins of one histogram are disjoint, so that each is
a counter of its own.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import math
from collections.abc import Iterable, Mapping
from typing import Final

from sluice.gates import attempts


class Measure(enum.StrEnum):
    """What a histogram measures."""

    TTFT = "ttft"
    """Milliseconds from when the request was sent to the first byte of the body, of streams that began."""
    DURATION = "duration"
    """Milliseconds from when the request was sent to the end of its answer, of requests that were answered whole."""
    ITL = "itl"
    """Mean milliseconds between the tokens of an answer, by the engine."""
    QUEUE = "queue"
    """Milliseconds until the engine scheduled a request."""
    TOKENS = "tokens"
    """Tokens of an answer."""
    TRUNCATED = "truncated"
    """Whether an answer ended at a token limit: below `NOT_BAD` it did not."""


NOT_BAD: Final = 1.0
"""The only bound of a share that is counted as a histogram."""


@dataclasses.dataclass(frozen=True, slots=True)
class HistogramKey:
    """Whose histogram: `revision` is the cluster that answered, `route` the route's name."""

    measure: Measure
    revision: str
    route: str


Bins = Mapping[float, int]
"""Requests by the upper bound of their bin; bins without requests may be absent."""


@dataclasses.dataclass(frozen=True, slots=True)
class Delta:
    """What was counted since the last look."""

    attempts: attempts.Counters = dataclasses.field(default_factory=dict)
    histograms: Mapping[HistogramKey, Bins] = dataclasses.field(default_factory=dict)

    def bins(self, measure: Measure, revision: str) -> Bins:
        """What ordinary clients of a revision (its cluster name) were counted by; testers' overrides are left out."""
        return merged(
            bins
            for key, bins in self.histograms.items()
            if key.measure is measure and key.revision == revision and not key.route.endswith(attempts.OVERRIDE_SUFFIX)
        )


NOTHING: Final = Delta()


def merged(several: Iterable[Bins]) -> Bins:
    """All of them as one histogram."""
    sums: collections.Counter[float] = collections.Counter()
    for bins in several:
        sums.update(bins)
    return sums


def total(bins: Bins) -> int:
    """Requests in all bins."""
    return sum(bins.values())


def at_least(bins: Mapping[float, float], bound: float) -> float:
    """How many were not below `bound`, which must be a bound of the bins: between two of them nothing is known."""
    return sum(count for upper, count in bins.items() if upper > bound)


def quantile_bound(bins: Mapping[float, float], share: float) -> float | None:
    """The lowest bound that `share` of all are below; None without data, or where only the last bin has so many."""
    left = share * sum(bins.values())
    if left <= 0:
        return None
    for upper in sorted(bins):
        left -= bins[upper]
        if left <= 1e-9:
            return upper if math.isfinite(upper) else None
    return None
