"""What a query of Prometheus would say of a trace: counters scraped every 15 seconds, a rate window, and quantiles.

`rate` extrapolates the increase between the first and the last sample of its window. All series of one proxy have the same
samples, so the factor cancels in a ratio and in `histogram_quantile`, and plain increases do. (Where a counter began within
the window, `rate` extrapolates less far; that is left out.)
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from sluice.gates import grid
from tests.bench import verdict_traces as traces

SCRAPE: Final = 15.0
"""Seconds between two scrapes, as in the setups that Flagger and Argo Rollouts document."""
WINDOW: Final = 60.0
"""Seconds: the `[1m]` of Flagger's documentation."""
_LOWER: Final = (0.0, *map(float, grid.BOUNDS))


class Reading(NamedTuple):
    """One look; NaN: no sample, or no request in the window."""

    success: float
    """Share of requests that were answered well."""
    ttft: float
    """Milliseconds."""
    duration: float


NO_READING: Final = Reading(math.nan, math.nan, math.nan)


class View:
    """One side of a trace through a Prometheus whose first scrape is at `phase` seconds."""

    def __init__(self, side: traces.Side, phase: float) -> None:
        self._phase = phase
        self._bad, self._ttft, self._duration = (_sums(counts) for counts in (side.bad, side.ttft, side.duration))

    def read(self, at: float, *, ttft: float = 0.95, duration: float = 0.95, window: float = WINDOW) -> Reading:
        """What queries at second `at` of the trace say; `ttft`, `duration`: the wished quantiles."""
        span = self.span(at, window)
        if span is None:
            return NO_READING
        first, last = span
        bad = int(self._bad[last] - self._bad[first])
        ttfts, durations = self._ttft[last] - self._ttft[first], self._duration[last] - self._duration[first]
        good = int(durations.sum())
        success = good / (good + bad) if good + bad else math.nan
        return Reading(success, quantile(ttfts, ttft), quantile(durations, duration))

    def span(self, at: float, window: float) -> tuple[int, int] | None:
        """The seconds of the first and last sample within the window; None with fewer than two samples."""
        last = math.floor((at - self._phase) / SCRAPE)
        first = max(math.floor((at - window - self._phase) / SCRAPE) + 1, 0)
        if last <= first:
            return None
        return math.floor(self._phase + SCRAPE * first), math.floor(self._phase + SCRAPE * last)


def quantile(counts: traces.Counts, share: float) -> float:
    """`histogram_quantile`: linear inside a bucket, and the last finite bound for what lies beyond it; NaN of nothing."""
    sums = counts.cumsum()
    whole = int(sums[-1])
    if not whole:
        return math.nan
    place = int(np.searchsorted(sums, share * whole, side="left"))
    if place >= len(grid.BOUNDS):
        return _LOWER[-1]
    before = int(sums[place - 1]) if place else 0
    part = (share * whole - before) / int(counts[place])
    return _LOWER[place] + (_LOWER[place + 1] - _LOWER[place]) * part


def _sums(counts: traces.Counts) -> traces.Counts:
    """Counters: row n holds what was counted before second n."""
    return np.concatenate([np.zeros_like(counts[:1]), counts.cumsum(axis=0)])
