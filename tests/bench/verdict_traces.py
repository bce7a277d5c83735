"""Traffic for the benchmark of verdicts: every request of a rollout by chance, counted by second, side and bucket.

A trace is what a gateway would have counted, so that all rules judge the very same requests. What is not measured here, but
assumed: arrivals are Poisson, requests fail independently, latencies are lognormal, and stable does not drift.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Final

import numpy as np
import numpy.typing as npt

from sluice.gates import grid

Counts = npt.NDArray[np.int64]
"""Requests by second, or by second and bin."""
Numbers = npt.NDArray[np.float64]

STABLE_ERRORS: Final = 0.005
TTFT_MEDIAN: Final = 0.25
ANSWER_MEDIAN: Final = 2.0
"""Seconds from the first token to the last."""
SIGMA: Final = 0.5
"""Of the logarithms of both."""
ERROR_SECONDS: Final = 0.05
"""An error is answered at once: bad answers come sooner than good ones, as in life."""
LEAD: Final = 120
"""Seconds of stable traffic before the canary gets any, as while its pods start."""
BINS: Final = len(grid.BOUNDS) + 1


@dataclasses.dataclass(frozen=True)
class Effect:
    """In what the canary differs from stable. `name`: None for one that does not."""

    name: str | None = None
    errors: float = 0.0
    """Added to the rate of errors."""
    slower: float = 0.0
    """Share by which all its latencies are longer, and so each of their percentiles."""


@dataclasses.dataclass(frozen=True)
class Step:
    """The canary's share of the requests, and for how long it has it."""

    weight: float
    seconds: int


ROLLOUT: Final = (Step(0.05, 600), Step(0.25, 600), Step(0.5, 600))
"""The whole rollout of an identical canary."""
ONE_STEP: Final = ROLLOUT[1:2]
"""What effects are looked for in: harm is there from the step's first second."""


@dataclasses.dataclass(frozen=True)
class Side:
    """What one revision answered, by the second in which the answer ended."""

    bad: Counts
    ttft: Counts
    """Answers by second and bin of `grid.BOUNDS`."""
    duration: Counts

    @functools.cached_property
    def good(self) -> Counts:
        """Requests that were answered well."""
        good: Counts = self.duration.sum(axis=1)
        return good


@dataclasses.dataclass(frozen=True)
class Trace:
    """One rollout. Second `LEAD` is the first of the first step."""

    canary: Side
    stable: Side
    weights: Numbers
    """The canary's share, by second."""

    @property
    def seconds(self) -> int:
        """How long it is."""
        return len(self.weights)


def generate(random: np.random.Generator, steps: tuple[Step, ...], total: float, effect: Effect) -> Trace:
    """A trace at `total` requests a second, of both sides together."""
    weights = np.repeat([0.0, *(step.weight for step in steps)], [LEAD, *(step.seconds for step in steps)])
    count = random.poisson(total * len(weights))
    starts = random.uniform(0, len(weights), count)
    is_canary = random.random(count) < weights[starts.astype(np.int64)]
    theirs = starts[is_canary]
    fails = random.random(len(theirs)) < STABLE_ERRORS + effect.errors
    # The shield asks stable again for each attempt that failed on the canary.
    others = np.concatenate([starts[~is_canary], theirs[fails] + ERROR_SECONDS])
    return Trace(
        canary=_answered(random, theirs, fails, len(weights), 1 + effect.slower),
        stable=_answered(random, others, random.random(len(others)) < STABLE_ERRORS, len(weights), 1.0),
        weights=weights,
    )


def draw(random: np.random.Generator, count: int) -> tuple[Numbers, Numbers]:
    """Seconds to the first token, and to the end, of so many requests to stable."""
    ttft = TTFT_MEDIAN * random.lognormal(0.0, SIGMA, count)
    return ttft, ttft + ANSWER_MEDIAN * random.lognormal(0.0, SIGMA, count)


def bins_of(seconds: Numbers) -> Counts:
    """Number of each latency's bin: Envoy measures whole milliseconds, and a bin holds what is below its upper bound."""
    return np.searchsorted(grid.BOUNDS, np.floor(1000 * seconds), side="right").astype(np.int64)


@functools.cache
def stable_quantiles(percentile: int) -> tuple[float, float]:
    """Milliseconds of stable's true percentile: to the first token, and to the end."""
    ttft, duration = draw(np.random.default_rng(1), 1_000_000)
    return 1000 * float(np.percentile(ttft, percentile)), 1000 * float(np.percentile(duration, percentile))


def _answered(random: np.random.Generator, starts: Numbers, fails: npt.NDArray[np.bool_], seconds: int, slower: float) -> Side:
    bad = (starts[fails] + ERROR_SECONDS).astype(np.int64)
    good = starts[~fails]
    ttft, duration = (slower * latency for latency in draw(random, len(good)))
    ends = (good + duration).astype(np.int64)
    in_time = ends < seconds
    ends, ttft, duration = ends[in_time], ttft[in_time], duration[in_time]
    return Side(
        bad=np.bincount(bad[bad < seconds], minlength=seconds),
        ttft=_counted(ends, bins_of(ttft), seconds),
        duration=_counted(ends, bins_of(duration), seconds),
    )


def _counted(ends: Counts, bins: Counts, seconds: int) -> Counts:
    return np.bincount(ends * BINS + bins, minlength=seconds * BINS).reshape(seconds, BINS)
