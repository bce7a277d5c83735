"""Our own verdicts on a trace: the operator's code (`reconcile.evidence`, `gates`) is run as it is, a look a second.

Only the proxies are replaced, by the trace's counts. The gate is the one of the documentation's examples: errors may rise by
half a point, the 95th percentiles of TTFT and of the whole answer by 10 %; `falseRollback` is 1 %.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sluice.api import live_metric, rollout_status
from sluice.gates import attempts, evidence, grid, plans, readings
from sluice.reconcile import evidence as book
from sluice.sources import accumulator, envoy
from tests.bench import verdict_traces as traces

CANARY: Final = "bench/canary"
STABLE: Final = "bench/stable"
ROUTE: Final = "chat"
FALSE_ROLLBACK: Final = 0.01
SHOWN_AT: Final = (1, 100)
"""Judged requests at which the shown need is noted: when it is first shown, and when a hundred are in."""
_UPPER: Final = (*map(float, grid.BOUNDS), math.inf)
_PROXY: Final = {"proxy": envoy.Reading(0.0, 0, {})}


@dataclasses.dataclass
class Judged:
    """What became of a trace. Times are seconds since the first step began; None: it never happened."""

    failed: float | None = None
    """When harm was proven."""
    passed: dict[str, int] = dataclasses.field(default_factory=dict)
    """By metric: judged requests of the canary when it said Pass."""
    shown: dict[tuple[str, int], int] = dataclasses.field(default_factory=dict)
    """By metric and member of `SHOWN_AT`: the requests at which it was to say Pass, as shown to people then."""
    counted: dict[str, int] = dataclasses.field(default_factory=dict)
    """By metric: judged requests of the canary at the end."""

    def kept_needs(self, metric: str, at: int) -> bool | None:
        """Whether the metric said Pass by the shown number; None if it did not get so far, or none was shown."""
        if (metric, at) not in self.shown:
            return None
        shown = self.shown[metric, at]
        if metric in self.passed:
            return self.passed[metric] <= shown
        return False if self.counted[metric] >= shown else None


def _gate() -> tuple[plans.Live, ...]:
    given: Mapping[str, tuple[dict[str, Any], dict[str, str]]] = {
        "errors": ({"type": "ErrorRate"}, {"points": "0.5%"}),
        "ttft": ({"type": "TTFT", "percentile": 95}, {"ratio": "10%"}),
        "e2e": ({"type": "E2ELatency", "percentile": 95}, {"ratio": "10%"}),
    }
    return tuple(
        plans.Live(
            "quality",
            name,
            live_metric.Metric(
                name=name, signal=live_metric.Signal(**signal), regression=live_metric.Regression.model_validate(regression)
            ),
        )
        for name, (signal, regression) in given.items()
    )


GATE: Final = _gate()
METRICS: Final = tuple(live.name for live in GATE)


def judge(trace: traces.Trace, *, until_passed: bool = False) -> Judged:
    """Runs the engine until harm is proven or the trace ends; `until_passed`: or all metrics said Pass, or must have."""
    counts = _Counted(trace)
    states = {(plan.gate, plan.metric): evidence.MetricEvidence.start(plan) for plan in plans.build_plans(GATE, FALSE_ROLLBACK)}
    family = book.Family("canary", CANARY, STABLE, states, counts, accumulator.Accumulator())
    judged = Judged()
    for second, weight in enumerate(trace.weights):
        settling = family.is_settling((round(10_000 * weight), 0), float(second + 1))
        family.observe(_PROXY, seconds=1.0, settling=settling)
        _note(judged, family, second + 1 - traces.LEAD)
        if judged.failed is not None or (until_passed and _is_told(judged)):
            break
    return judged


def _note(judged: Judged, family: book.Family, second: int) -> None:
    for (_, name), metric in family.metrics.items():
        verdict, reason = metric.verdict()
        count = judged.counted[name] = metric.seen.canary_total
        if verdict is rollout_status.Verdict.FAIL:
            judged.failed = float(second)
        elif verdict is rollout_status.Verdict.PASS:
            judged.passed.setdefault(name, count)
        if count and (reason is evidence.Reason.NEEDS_MORE_REQUESTS or verdict is rollout_status.Verdict.PASS):
            for at in SHOWN_AT:
                if count >= at and (name, at) not in judged.shown:
                    judged.shown[name, at] = count + metric.requests_needed()


def _is_told(judged: Judged) -> bool:
    return all(judged.kept_needs(metric, at) is not None for metric in METRICS for at in SHOWN_AT)


class _Counted(accumulator.Accumulator):
    """What the proxies counted, from a trace: one second for each look."""

    def __init__(self, trace: traces.Trace) -> None:
        super().__init__()
        self._deltas = _deltas(trace)

    def observe(self, looked: Mapping[str, envoy.Reading | None]) -> readings.Delta:
        return next(self._deltas)


def _deltas(trace: traces.Trace) -> Iterator[readings.Delta]:
    sides = ((CANARY, trace.canary), (STABLE, trace.stable))
    keys = {
        (name, code): attempts.AttemptKey(name, ROUTE, code, "-", stream=True, placeholder=False)
        for name, _ in sides
        for code in (200, 503)
    }
    histograms = {
        (name, measure): readings.HistogramKey(measure, name, ROUTE)
        for name, _ in sides
        for measure in (readings.Measure.TTFT, readings.Measure.DURATION)
    }
    for second in range(trace.seconds):
        counters = {}
        bins = {}
        for name, side in sides:
            counters[keys[name, 200]] = int(side.good[second])
            counters[keys[name, 503]] = int(side.bad[second])
            bins[histograms[name, readings.Measure.TTFT]] = _bins(side.ttft[second])
            bins[histograms[name, readings.Measure.DURATION]] = _bins(side.duration[second])
        yield readings.Delta({key: count for key, count in counters.items() if count}, bins)


def _bins(row: traces.Counts) -> dict[float, int]:
    return {_UPPER[place]: int(row[place]) for place in row.nonzero()[0]}
