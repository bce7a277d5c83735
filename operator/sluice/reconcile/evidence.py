"""The evidence on rollouts under way: fed once a second from the proxies' counters, kept over restarts in a ConfigMap.

The book holds what the pure statistics of `gates` make of the counters. It decides nothing and does no I/O.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sluice.api import live_metric, naming, rollout_status
from sluice.gates import attempts, evidence, grid, plans, readings, registry, tails, thresholds
from sluice.rollout import plan as rollout_plan
from sluice.rollout import traffic as rollout_traffic
from sluice.sources import accumulator, engines, envoy, external

PLAN_KEY: Final = "plan.json"
EVIDENCE_KEY: Final = "evidence.json"
SILENCE_LIMIT: Final = 5.0
"""Seconds without any reading after which a measurement counts as failed."""
LONGEST_LATENCY: Final = grid.BOUNDS[-1] / 1000
UNMEASURED_LATENCY: Final = 10.0
"""Seconds that requests are thought to take until one was measured: a long answer, so that skips are rather too long."""
NEVER: Final = float("-inf")
_RATE_MEMORY: Final = 0.9
"""Share of the old rate that one second keeps: a mean over about ten seconds, for `needs`."""


@dataclasses.dataclass
class Family:
    """All evidence on one revision's rollout."""

    revision: str
    canary: str
    """Cluster of the revision."""
    stable: str | None
    """Cluster it is compared with."""
    metrics: dict[tuple[str, str], evidence.MetricEvidence]
    counters: accumulator.Accumulator
    engine_counters: accumulator.Accumulator
    """Of the pods of both revisions, where a metric is measured by engines."""
    values: dict[tuple[str, str], thresholds.Threshold] = dataclasses.field(default_factory=dict)
    """Metrics that are a number now and then."""
    asked: dict[tuple[str, str], float] = dataclasses.field(default_factory=dict)
    """When each of these was last due, on the monotonic clock."""
    resumed: bool = False
    """The next block covers the time since the evidence was persisted."""
    silent: float = 0.0
    """Seconds since any proxy could be read."""
    engines_silent: float = 0.0
    """Seconds since an engine of the revision could be read, while there are any."""
    was_read: bool = False
    """Whether any proxy could be read yet."""
    rates: dict[tuple[str, str], float] = dataclasses.field(default_factory=dict)
    """Requests of the revision a second that each metric counted, over the last seconds."""
    durations: tuple[Mapping[float, float], Mapping[float, float]] = ({}, {})
    """How long requests of the revision and of stable took lately, by bins. Measured anew after a restart."""
    looks: int = 0
    shares: tuple[int, int] = (0, 0)
    """Weight and mirrored share, in basis points, when they were last seen."""
    rose_at: float = NEVER
    """When one of them last rose, in seconds since the epoch: a restart of the operator is no rise."""

    @property
    def clusters(self) -> frozenset[str]:
        """What is compared."""
        return frozenset({self.canary} if self.stable is None else {self.canary, self.stable})

    @property
    def needs_engines(self) -> bool:
        """Whether a metric is measured by engines, so that their pods must be read."""
        signals = {metric.plan.signal for metric in self.metrics.values()}
        signals |= {threshold.plan.signal.type for threshold in self.values.values()}
        return not signals.isdisjoint(live_metric.ENGINE)

    @property
    def median_latency(self) -> float:
        """Seconds that half of the requests take at most, on the slower side: an upper bound, as the histograms know it."""
        medians = (readings.quantile_bound(bins, 0.5) for bins in self.durations if bins)
        known = [median / 1000 if median is not None else LONGEST_LATENCY for median in medians]
        return max(known, default=UNMEASURED_LATENCY)

    @property
    def source_ok(self) -> bool:
        """Whether the counters can be read, so that weight may be given: one look that failed says nothing yet."""
        return self.was_read and not self._is_silent

    @property
    def _is_silent(self) -> bool:
        return self.silent >= SILENCE_LIMIT

    def is_settling(self, shares: tuple[int, int] | None, now: float) -> bool:
        """Whether relative evidence is left out: a share rose so lately that bad answers outrun good ones, or stable has no
        traffic left but what it takes over from the new revision, which is no baseline.

        `shares`: weight and mirror, None if not known. `now`: seconds since the epoch.
        """
        if shares is not None:
            if any(share > before for share, before in zip(shares, self.shares, strict=True)):
                self.rose_at = now
            self.shares = shares
        return self.shares[0] >= rollout_traffic.FULL_WEIGHT or now < evidence.settled_at(self.rose_at, self.median_latency)

    def observe(
        self,
        looked: Mapping[str, envoy.Reading | None],
        *,
        seconds: float,
        settling: bool,
        warming: bool = False,
        pods: Mapping[engines.Target, engines.Reading | None] | None = None,
    ) -> bool:
        """Takes one reading of every proxy, and of every pod where `needs_engines` (None: it could not be read).

        `settling`: the weight rose a moment ago. `warming`: pods of the revision were warmed up a moment ago, so that its
        latencies say nothing. Returns whether a verdict changed, or whether the counters can be read.
        """
        before = (self.source_ok, self._verdicts())
        is_read = any(reading is not None for reading in looked.values())
        self.silent = 0.0 if is_read else self.silent + seconds
        self.was_read |= is_read
        delta = self.counters.observe(looked)
        self._time(delta, seconds)
        by_engines = self._read_engines(pods or {}, seconds)
        delta = readings.Delta(delta.attempts, {**delta.histograms, **by_engines.histograms})
        counted_by = engines.common_bounds(reading for reading in (pods or {}).values() if reading is not None)
        sides = registry.Sides(self.canary, self.stable)
        for name, metric in self.metrics.items():
            after = metric.take(
                delta,
                sides,
                seconds=seconds,
                gap=self.resumed,
                settling=settling,
                warming=warming,
                counted_by=counted_by,
            )
            if seconds > 0 and not (settling or warming or self.resumed):
                self.rates[name] = _recent(self.rates.get(name), (after.counted - metric.counted) / seconds)
            self.metrics[name] = after
        self.resumed = False
        self.looks += 1
        return before != (self.source_ok, self._verdicts())

    def statuses(self, *, has_baseline: bool, baking: bool = False) -> tuple[rollout_status.GateStatus, ...]:
        """What each metric says."""
        metrics = (
            metric.status(
                source_available=self._is_readable(metric), has_baseline=has_baseline, baking=baking, rate=self.rates.get(name)
            )
            for name, metric in self.metrics.items()
        )
        return (*metrics, *(threshold.status() for threshold in self.values.values()))

    def due(self, now: float, *, weight: int, mirror: int) -> list[thresholds.ThresholdPlan]:
        """Which values are to be read now: at their pace, and only while the revision has the traffic they speak of."""
        due = []
        for pair, threshold in self.values.items():
            plan, last = threshold.plan, self.asked.get(pair)
            if (mirror if plan.shadow else weight) and (last is None or now - last >= plan.interval):
                self.asked[pair] = now
                due.append(plan)
        return due

    def answer(self, pair: tuple[str, str], value: float | external.SourceError) -> bool:
        """Takes a value that was due, or why there is none. Returns whether the verdict changed."""
        before = self.values[pair]
        after = before.missed(str(value)) if isinstance(value, external.SourceError) else before.read(value)
        self.values[pair] = after
        return after.verdict() != before.verdict()

    def cache_usage(self, pods: Mapping[engines.Target, engines.Reading | None]) -> float | external.SourceError:
        """Of the revision's pod where it is highest. One that cannot be read might be that."""
        own = [reading for target, reading in pods.items() if target.cluster == self.canary]
        used = [reading.cache for reading in own if reading is not None and reading.cache is not None]
        if not own or len(used) < len(own):
            return external.SourceError(f"{len(own) - len(used)} of {len(own)} pods could not be read")
        return max(used)

    def to_json(self) -> dict[str, Any]:
        """Plain data, for the ConfigMap."""
        return {
            "metrics": {f"{gate}/{metric}": state.to_json() for (gate, metric), state in self.metrics.items()},
            "thresholds": {f"{gate}/{metric}": state.to_json() for (gate, metric), state in self.values.items()},
            "counters": self.counters.to_json(),
            "engines": self.engine_counters.to_json(),
            "rise": [*self.shares, self.rose_at if self.rose_at != NEVER else None],
        }

    def _read_engines(self, pods: Mapping[engines.Target, engines.Reading | None], seconds: float) -> readings.Delta:
        own = [reading for target, reading in pods.items() if target.cluster == self.canary]
        is_read = not own or any(reading is not None for reading in own)
        self.engines_silent = 0.0 if is_read else self.engines_silent + seconds
        return self.engine_counters.observe(
            {target.name: reading.counted if reading is not None else None for target, reading in pods.items()}
        )

    def _is_readable(self, metric: evidence.MetricEvidence) -> bool:
        if metric.plan.signal in live_metric.ENGINE:
            return self.engines_silent < SILENCE_LIMIT
        return not self._is_silent

    def _time(self, delta: readings.Delta, seconds: float) -> None:
        shadow = self.canary + attempts.SHADOW_SUFFIX
        measure = readings.Measure.DURATION
        canary = readings.merged(delta.bins(measure, cluster) for cluster in (self.canary, shadow))
        self.durations = (
            tails.remember(self.durations[0], canary, seconds),
            tails.remember(self.durations[1], delta.bins(measure, self.stable) if self.stable else {}, seconds),
        )

    def _verdicts(self) -> Iterator[Any] | tuple[Any, ...]:
        return tuple(metric.verdict(source_available=self._is_readable(metric)) for metric in self.metrics.values())


def _recent(known: float | None, latest: float) -> float:
    latest = max(latest, 0.0)  # requests that waited in vain for one of stable are taken back
    return latest if known is None else _RATE_MEMORY * known + (1 - _RATE_MEMORY) * latest


def live_of(plan: rollout_plan.Plan) -> tuple[plans.Live, ...]:
    """All that a rollout's traffic is judged by."""
    return tuple(plans.Live(*each.pair, each.metric, each.shadow) for each in plan.live_metrics())


@dataclasses.dataclass
class Book:
    """The families of all rollouts under way, by ModelDeployment."""

    families: dict[naming.ObjectKey, Family] = dataclasses.field(default_factory=dict)

    def family(self, model: naming.ObjectKey, revision: str) -> Family | None:
        """The evidence on this revision, if it is in the book."""
        found = self.families.get(model)
        return found if found is not None and found.revision == revision else None

    def open(
        self,
        model: naming.ObjectKey,
        *,
        revision: str,
        stable: str | None,
        plan: rollout_plan.Plan,
        persisted: str | None,
    ) -> Family:
        """The family of a rollout: the one in the book, or one that goes on from `persisted`, or an empty one.

        Damaged or foreign evidence is dropped: a rollout that starts again from nothing is late, never wrong.
        """
        known = self.family(model, revision)
        if known is not None:
            return known
        canary = naming.revision_cluster(model.namespace, model.name, revision)
        compared = naming.revision_cluster(model.namespace, model.name, stable) if stable else None
        data = _load(persisted)
        revisions = {canary, *([compared] if compared else [])}
        family = Family(
            revision=revision,
            canary=canary,
            stable=compared,
            metrics={},
            counters=_accumulator(data, "counters", revisions),
            engine_counters=_accumulator(data, "engines", revisions),
            resumed="counters" in data,
        )
        family.shares, family.rose_at = _rise(data.get("rise"))
        live = live_of(plan)
        for frozen in plans.build_plans(live, plan.false_rollback):
            family.metrics[frozen.gate, frozen.metric] = _resume(frozen, data)
        kept = data.get("thresholds")
        for value in thresholds.build_plans(live):
            state = kept.get(f"{value.gate}/{value.metric}") if isinstance(kept, dict) else None
            family.values[value.gate, value.metric] = thresholds.resume(value, state)
        self.families[model] = family
        return family

    def close(self, model: naming.ObjectKey) -> None:
        """The rollout is over."""
        self.families.pop(model, None)

    def clear(self) -> None:
        """This process no longer leads; what it knew is in the ConfigMaps."""
        self.families.clear()


def _load(persisted: str | None) -> dict[str, Any]:
    try:
        data = json.loads(persisted) if persisted else {}
    except ValueError:
        return {}
    return data if isinstance(data, dict) and isinstance(data.get("metrics"), dict) else {}


def _accumulator(data: Mapping[str, Any], name: str, revisions: set[str]) -> accumulator.Accumulator:
    return accumulator.Accumulator.from_json(data.get(name), revisions)


def _rise(data: Any) -> tuple[tuple[int, int], float]:
    try:
        weight, mirror, at = data
        return (int(weight), int(mirror)), float(at) if at is not None else NEVER
    except (TypeError, ValueError):
        return (0, 0), NEVER


def _resume(frozen: plans.MetricPlan, data: Mapping[str, Any]) -> evidence.MetricEvidence:
    state = data.get("metrics", {}).get(f"{frozen.gate}/{frozen.metric}")
    if state is None:
        return evidence.MetricEvidence.start(frozen)
    try:
        return evidence.MetricEvidence.from_json(frozen, state)
    except evidence.EvidenceError:
        return evidence.MetricEvidence.start(frozen)
