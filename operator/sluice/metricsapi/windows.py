"""What one pod's successive pages say of the last minute: increases of its counters, and the values of our metrics.

Pure: readings and their times come in, values go out. Which pods there are, and how fresh a value must be, stays out.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from sluice.metricsapi import quantiles
from sluice.sources import vllm
from sluice.workloads import pod_metrics

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Value:
    """A metric of a pod at one moment."""

    value: float
    """In the metric's unit."""
    window: float | None = None
    """Seconds that it covers; None: it is of the moment."""


class MissingSeriesError(Exception):
    """The pod's pages lack what the metric is made of; the message names it."""


@dataclasses.dataclass(frozen=True)
class Step:
    """What happened between two readings that follow one another."""

    start: float
    end: float
    histograms: Mapping[str, Mapping[float, float]]
    """Cumulative increase by upper bound, summed over the pod's engines."""
    counters: Mapping[str, Mapping[vllm.Labels, float]]
    pending: frozenset[str]
    """Gauges that were above 0 in both readings."""


class Window:
    """The readings of one pod that still count: the newest page, and the steps of the last `length` seconds.

    A step counts as long as it ends within them, so they cover up to one interval more. When no reading succeeded for longer
    than `length`, it begins anew: a step must not smear what happened long ago over the present.
    """

    def __init__(self, length: float = pod_metrics.WINDOW_SECONDS) -> None:
        self._length = length
        self._steps: collections.deque[Step] = collections.deque()
        self.page: vllm.Page | None = None
        self.at: float | None = None
        """When the newest page was read, by the clock that `add` is given."""

    def add(self, page: vllm.Page, at: float) -> None:
        """Takes the next reading; `at` rises."""
        if self.page is None or self.at is None or at - self.at > self._length:
            self._steps.clear()
        else:
            self._steps.append(_step(self.page, self.at, page, at))
        self.page, self.at = page, at
        while self._steps and self._steps[0].end <= at - self._length:
            self._steps.popleft()

    def value(self, metric: pod_metrics.PodMetric) -> Value | None:
        """The metric as of the newest reading; None while there are too few readings.

        Raises:
            MissingSeriesError: the page does not have what the metric is made of.
        """
        if self.page is None:
            return None
        match metric.source:
            case pod_metrics.Total(families):
                totals = [_needed(self.page.total(family), family) for family in families]
                return Value(sum(totals))
            case pod_metrics.Highest(family):
                return Value(_needed(self.page.highest(family), family))
            case pod_metrics.Quantile():
                _needed(self.page.histograms.get(metric.source.family), metric.source.family)
                return _quantile(self._steps, metric.source)
            case pod_metrics.Share():
                return _share(self._steps, metric.source)


def _needed(found: _T | None, family: str) -> _T:
    if found is None:
        raise MissingSeriesError(f"its page has no {family}: is its engine a version of vLLM that Sluice knows?")
    return found


def _step(before: vllm.Page, start: float, after: vllm.Page, end: float) -> Step:
    restarted = before.started != after.started
    counters: dict[str, dict[vllm.Labels, float]] = {}
    for family, series in after.counters.items():
        known = {} if restarted else before.counters.get(family, {})
        counters[family] = {labels: _increase(known.get(labels, 0.0), value) for labels, value in series.items()}
    histograms = {
        family: _summed(
            _increases({} if restarted else before.histograms.get(family, {}).get(labels, {}), buckets)
            for labels, buckets in series.items()
        )
        for family, series in after.histograms.items()
    }
    pending = frozenset(
        family for family in after.gauges if (before.total(family) or 0.0) > 0 and (after.total(family) or 0.0) > 0
    )
    return Step(start, end, histograms, counters, pending)


def _increase(before: float, after: float) -> float:
    """A counter that fell was reset to zero in between."""
    return after - before if after >= before else after


def _increases(before: Mapping[float, float], after: Mapping[float, float]) -> Mapping[float, float]:
    """The same of a histogram's buckets, which are reset together."""
    if any(after.get(bound, 0.0) < count for bound, count in before.items()):
        return after
    return {bound: count - before.get(bound, 0.0) for bound, count in after.items()}


def _summed(parts: Iterable[Mapping[float, float]]) -> Mapping[float, float]:
    total: dict[float, float] = collections.defaultdict(float)
    for part in parts:
        for bound, count in part.items():
            total[bound] += count
    return total


def _quantile(steps: Sequence[Step], source: pod_metrics.Quantile) -> Value | None:
    if not steps:
        return None
    window = steps[-1].end - steps[0].start
    buckets = _counted(steps, source.family)
    found = quantiles.histogram_quantile(source.quantile, buckets) if buckets else None
    if found is not None:
        return Value(found, window)
    waited = source.pending in functools.reduce(frozenset.intersection, (step.pending for step in steps))
    works = any(_counted(steps, source.progress).values())
    return Value(window if waited and not works else 0.0, window)


def _counted(steps: Iterable[Step], family: str) -> Mapping[float, float]:
    """What a histogram counted in these steps."""
    return _summed(step.histograms.get(family, {}) for step in steps)


def _share(steps: Sequence[Step], source: pod_metrics.Share) -> Value | None:
    if not steps:
        return None
    counted: dict[str, float] = collections.defaultdict(float)
    for step in steps:
        for labels, increase in step.counters.get(source.family, {}).items():
            given = dict(labels)
            if all(given.get(label) == wanted for label, wanted in source.only):
                counted[given.get(source.label, "")] += increase
    whole = counted[source.part] + counted[source.rest]
    return Value(counted[source.part] / whole if whole else 0.0, steps[-1].end - steps[0].start)
