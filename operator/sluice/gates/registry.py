"""Which signals exist. Every signal becomes bad and counted requests of a revision, so one engine judges them all."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from sluice.api import live_metric
from sluice.gates import attempts, error_rate, grid, plans, readings, sequential, tails, truncation_rate


class Share(Protocol):
    """Turns a difference of counters into bad requests of counted ones."""

    def tally(self, delta: readings.Delta, revision: str) -> attempts.Tally:
        """Bad and counted requests of a revision (its cluster name)."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Tail:
    """Requests that are slow, by a histogram. What is slow is the metric's business."""

    measure: readings.Measure
    bounds: Sequence[float] | None = None
    """Bounds that requests are counted by, rising. None: the engines' own, which each reading tells."""


@dataclasses.dataclass(frozen=True, slots=True)
class Value:
    """A number that is read now and then, of which no blocks can be made: `thresholds` judges it."""


Bounds = Mapping[readings.Measure, Sequence[float]]
"""By what the engines count."""
NO_BOUNDS: Final[Bounds] = {}


SIGNALS: Final[Mapping[str, Share | Tail | Value]] = {
    "ErrorRate": error_rate.ErrorRate(),
    "TTFT": Tail(readings.Measure.TTFT, grid.BOUNDS),
    "E2ELatency": Tail(readings.Measure.DURATION, grid.BOUNDS),
    "ITL": Tail(readings.Measure.ITL),
    "QueueTime": Tail(readings.Measure.QUEUE),
    "OutputTokens": Tail(readings.Measure.TOKENS),
    "TruncationRate": truncation_rate.TruncationRate(),
    "KVCacheUsage": Value(),
    "Prometheus": Value(),
    "Webhook": Value(),
}
"""By `signal.type` of the API."""


class UnknownSignalError(LookupError):
    """A metric names a signal that this version does not know."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sides:
    """Cluster names of what is compared. Without a stable revision its side is empty."""

    canary: str
    stable: str | None

    def of(self, plan: plans.MetricPlan) -> Sides:
        """Where a metric is read: copied requests are answered by a cluster of their own, held against ordinary ones.

        An engine does not know which requests are copies: in a step that mirrors it gets no others.
        """
        is_apart = plan.shadow and plan.signal not in live_metric.ENGINE
        return dataclasses.replace(self, canary=self.canary + attempts.SHADOW_SUFFIX) if is_apart else self


def signal(name: str) -> Share | Tail:
    """The signal of that name.

    Raises:
        UnknownSignalError: there is none of which blocks can be made.
    """
    found = SIGNALS.get(name)
    if found is None or isinstance(found, Value):
        known = sorted(name for name, each in SIGNALS.items() if not isinstance(each, Value))
        raise UnknownSignalError(f"Cannot judge signal {name!r} by a test: known are {', '.join(known)}")
    return found


def judge(
    plan: plans.MetricPlan, reference: tails.Reference, delta: readings.Delta, sides: Sides, counted_by: Bounds = NO_BOUNDS
) -> tails.Verdict | None:
    """What was counted over one span of time, as blocks of the metric; None while nothing can be said.

    Raises:
        UnknownSignalError: no signal has that name.
    """
    read = signal(plan.signal)
    if isinstance(read, Tail):
        bounds = _bounds(read, counted_by)
        wanted = {plan.threshold} if plan.threshold is not None else set(reference.bounds or ())
        if not wanted <= set(bounds):
            return None
        if plan.threshold is None:
            return reference.judge(*_bins(read, delta, sides))
    new, old = _tallies(read, plan, delta, sides)
    block = sequential.Block(new.bad, new.total, old.bad, old.total)
    return tails.Verdict(block, block)


def learn(
    plan: plans.MetricPlan,
    reference: tails.Reference,
    delta: readings.Delta,
    sides: Sides,
    seconds: float,
    counted_by: Bounds = NO_BOUNDS,
) -> tails.Reference:
    """What is known of both sides after the same span of time, of `seconds`."""
    read = signal(plan.signal)
    if not isinstance(read, Tail) or plan.threshold is not None:
        return reference
    canary, stable = _bins(read, delta, sides)
    return reference.learn(canary, stable, seconds=seconds, choice=choice(plan), grid=_bounds(read, counted_by))


def misplaced(plan: plans.MetricPlan, counted_by: Bounds) -> tuple[float, ...]:
    """The bounds nearest to a limit that lies between two of them; empty when it is one, or when none are known yet."""
    read = signal(plan.signal)
    if not isinstance(read, Tail) or plan.threshold is None:
        return ()
    bounds = _bounds(read, counted_by)
    return () if plan.threshold in bounds else grid.nearest(plan.threshold, bounds)


def choice(plan: plans.MetricPlan) -> tails.Choice:
    """What a relative limit on a latency asks for."""
    ratio = plan.bound.value
    return tails.Choice(ratio, ratio if plan.require is plans.Require.PROOF else 2 * ratio, plan.share)


def _bounds(read: Tail, counted_by: Bounds) -> Sequence[float]:
    return read.bounds if read.bounds is not None else counted_by.get(read.measure, ())


def _tallies(
    read: Share | Tail, plan: plans.MetricPlan, delta: readings.Delta, sides: Sides
) -> tuple[attempts.Tally, attempts.Tally]:
    if not isinstance(read, Tail):
        return read.tally(delta, sides.canary), read.tally(delta, sides.stable) if sides.stable else attempts.Tally()
    assert plan.threshold is not None
    new, old = (
        attempts.Tally(int(readings.at_least(bins, plan.threshold)), readings.total(bins)) for bins in _bins(read, delta, sides)
    )
    return new, old


def _bins(read: Tail, delta: readings.Delta, sides: Sides) -> tuple[readings.Bins, readings.Bins]:
    return delta.bins(read.measure, sides.canary), delta.bins(read.measure, sides.stable) if sides.stable else {}
