"""The rules of other tools, as their sources and documentation state them, on what Prometheus shows of a trace.

Flagger v1.44.0 (`pkg/controller/scheduler.go`, `scheduler_metrics.go`, `pkg/metrics/observers/`): every `interval` after the
first weight it runs its checks; one beyond its range fails the run, and so does a query without values. Failed runs add up
over the whole rollout, whatever comes between. At the next interval after there were `threshold` of them it rolls back.
`interval` is at least 10 s. Built-in are request-success-rate (min 99) and request-duration (the 99th percentile, max); TTFT
is a MetricTemplate.

Argo Rollouts v1.9.1 (`analysis/analysis.go`, `utils/evaluate/evaluate.go`, `docs/features/analysis.md`): a background analysis
measures at once and every `interval`, each metric by itself; one that failed more than `failureLimit` times aborts. The
documented queries use irate, the last two samples; here they get a window of one minute, which is less noisy, and a value of
NaN is taken as success, as the documentation advises where there may be no traffic (`isNaN(result) || …`).

Kayenta (`kayenta-judge`, `NetflixACAJudge` and `MannWhitneyClassifier`; `kayenta-mannwhitney`): at the end of a fixed time
points of one a minute are compared by the asymptotic Mann-Whitney test with R's confidence interval for the shift, at 98 %. A
metric whose direction is `increase` is High if the interval's low end is above 0.25 x |shift|. All metrics are critical, so
one that is High fails the canary. Points without data are left out, and outliers stay in.

Simplified for all: weights rise by the clock, also where Flagger would wait for a check that passes. Absolute limits on
latencies have to be chosen by somebody: here 1.25 x stable's true percentile, which nobody knows as well in life.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Final, Protocol

import numpy as np

from tests.bench import verdict_prometheus as prometheus
from tests.bench import verdict_traces as traces

SUCCESS: Final = 0.99
HEADROOM: Final = 1.25
POINT: Final = 60
"""Seconds between Kayenta's points."""
Z: Final = 2.3263478740408408
"""Of a two-sided confidence of 98 %."""
TOLERANCE: Final = 0.25


@dataclasses.dataclass(frozen=True)
class Seen:
    """A trace as Prometheus shows it."""

    canary: prometheus.View
    stable: prometheus.View
    steps: tuple[traces.Step, ...]

    @property
    def seconds(self) -> int:
        """All steps together."""
        return sum(step.seconds for step in self.steps)


@dataclasses.dataclass(frozen=True)
class Stop:
    """A rollback, in seconds since the first step began. `by_no_data`: a reading without data was needed for it."""

    at: float
    by_no_data: bool = False


class Rule(Protocol):
    """A tool with its settings."""

    @property
    def name(self) -> str:
        """As it is shown; begins with the tool's."""
        ...

    def judge(self, seen: Seen) -> Stop | None:
        """When it rolls back, if it does."""
        ...


@dataclasses.dataclass(frozen=True)
class Flagger:
    """Checks at an interval, failures summed up."""

    interval: int
    threshold: int

    @property
    def name(self) -> str:
        return f"flagger {self.interval} s, threshold {self.threshold}"

    def judge(self, seen: Seen) -> Stop | None:
        ttft, duration = HEADROOM * traces.stable_quantiles(95)[0], HEADROOM * traces.stable_quantiles(99)[1]
        failed, with_data = 0, 0
        for at in range(self.interval, seen.seconds + 1, self.interval):
            if failed >= self.threshold:
                return Stop(at, by_no_data=with_data < self.threshold)
            reading = seen.canary.read(traces.LEAD + at, duration=0.99)
            if math.isnan(reading.success) or math.isnan(reading.duration):
                failed += 1
            elif reading.success < SUCCESS or reading.ttft > ttft or reading.duration > duration:
                failed, with_data = failed + 1, with_data + 1
        return None


@dataclasses.dataclass(frozen=True)
class Argo:
    """Measurements at an interval, failures counted for each metric."""

    interval: int
    failure_limit: int

    @property
    def name(self) -> str:
        return f"argo-rollouts {self.interval} s, failureLimit {self.failure_limit}"

    def judge(self, seen: Seen) -> Stop | None:
        ttft, duration = (HEADROOM * value for value in traces.stable_quantiles(95))
        failed = [0, 0, 0]
        for at in range(0, seen.seconds + 1, self.interval):
            reading = seen.canary.read(traces.LEAD + at)
            # Comparisons with NaN are false, so no data is no failure.
            for metric, fails in enumerate((reading.success < SUCCESS, reading.ttft > ttft, reading.duration > duration)):
                failed[metric] += fails
            if max(failed) > self.failure_limit:
                return Stop(at)
        return None


@dataclasses.dataclass(frozen=True)
class Kayenta:
    """A test at the end of each step."""

    @property
    def name(self) -> str:
        return "kayenta Mann-Whitney 98 %, 10 min"

    def judge(self, seen: Seen) -> Stop | None:
        begin = 0
        for step in seen.steps:
            end = begin + step.seconds
            times = [traces.LEAD + at for at in range(begin + POINT, end + 1, POINT)]
            canary, stable = ([_harm(view.read(at)) for at in times] for view in (seen.canary, seen.stable))
            if any(is_high(*pair) for pair in zip(_metrics(canary), _metrics(stable), strict=True)):
                return Stop(end)
            begin = end
        return None


def _harm(reading: prometheus.Reading) -> tuple[float, ...]:
    """The metrics with the direction that is worse upwards."""
    return 1 - reading.success, reading.ttft, reading.duration


def _metrics(points: list[tuple[float, ...]]) -> Iterator[list[float]]:
    for values in zip(*points, strict=True):
        yield [value for value in values if not math.isnan(value)]


def is_high(canary: list[float], stable: list[float]) -> bool:
    """Kayenta's class High. Where all points are equal there is no shift, and without points nothing is said."""
    if not canary or not stable or len({*canary, *stable}) == 1:
        return False
    low, shift = shift_of(canary, stable)
    return low > TOLERANCE * abs(shift)


def shift_of(canary: list[float], stable: list[float]) -> tuple[float, float]:
    """Low end of the interval for the shift, and its Hodges-Lehmann estimate, as R's asymptotic wilcox.test has them.

    The test's statistic falls by one at each difference of a canary and a stable point, so the interval's end, where it
    crosses the normal quantile, is one of the differences.
    """
    differences = np.sort(np.subtract.outer(canary, stable).ravel())
    pairs, both = len(differences), len(canary) + len(stable)
    ties = sum(int(n) ** 3 - int(n) for side in (canary, stable) for n in np.unique(side, return_counts=True)[1])
    sigma = math.sqrt(pairs / 12 * (both + 1 - ties / (both * (both - 1))))
    place = math.ceil(pairs / 2 - 0.5 - Z * sigma)
    return float(differences[max(place, 1) - 1]), float(np.median(differences))


RULES: Final[tuple[Rule, ...]] = (
    Flagger(60, 5),
    Flagger(10, 1),
    Argo(60, 0),
    Argo(60, 3),
    Argo(10, 0),
    Argo(10, 3),
    Kayenta(),
)
