"""Once a second: reads the counters of the proxies that matter and feeds the evidence of every rollout under way.

Only gateways of models in a rollout are read, and those of revisions whose load somebody asked for. A proxy that cannot be
read is no data, never zero.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping

from sluice.api import live_metric, modeldeployment, naming
from sluice.engine import clock as clock_
from sluice.gates import attempts
from sluice.kube import cache as kube_cache
from sluice.kube import resources
from sluice.observability import logs, metrics
from sluice.reconcile import evidence as evidence_
from sluice.reconcile import inflight
from sluice.reconcile import lookup as lookup_
from sluice.reconcile import outside as outside_
from sluice.reconcile import traffic as traffic_
from sluice.sources import engines as engines_
from sluice.sources import envoy, external
from sluice.sources import poller as poller_
from sluice.workloads import gateway as gateway_objects

_log = logs.get(__name__)


def _no_one(_: modeldeployment.ModelDeployment) -> None: ...


def _is_never_warming(_: naming.ObjectKey) -> bool:
    return False


@dataclasses.dataclass
class Measurer:
    """Feeds the book."""

    cache: kube_cache.Cache
    lookup: lookup_.Lookup
    table: traffic_.TrafficTable
    poller: poller_.Poller[poller_.Target, envoy.Reading]
    port: int
    """Where proxies show their counters."""
    clock: clock_.Clock
    numbers: metrics.Metrics
    interval: float
    family_of: Callable[[naming.ObjectKey], evidence_.Family | None]
    on_verdict: Callable[[naming.ObjectKey], None]
    """Told of each model whose verdicts changed."""
    engines: poller_.Poller[engines_.Target, engines_.Reading] | None = None
    """Reads the pods of both revisions, where a metric is measured by engines."""
    outside: outside_.Outside | None = None
    """Asks for metrics that neither proxies nor engines have."""
    in_flight: inflight.InFlight = dataclasses.field(default_factory=inflight.InFlight)
    """Filled with every look."""
    on_empty: Callable[[naming.ObjectKey], None] | None = None
    """Told of each model of which a revision has no request in flight any more."""
    on_look: Callable[[modeldeployment.ModelDeployment], None] = _no_one
    """Told of each model in rollout once what is in flight is known."""
    is_warming: Callable[[naming.ObjectKey], bool] = _is_never_warming
    """Whether pods of the revision in rollout were warmed up so lately that their latencies say nothing."""
    _last: float | None = None

    async def run(self) -> None:
        """Looks again and again until cancelled."""
        while True:
            started = self.clock.monotonic()
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - measuring never ends: a bad canary would keep its weight unseen
                _log.error("measurement failed", cause=str(error), exc_info=error)
            await self.clock.sleep(self.interval - (self.clock.monotonic() - started))

    async def look(self) -> None:
        """One look at every rollout under way."""
        families = await self._families()
        now = self.clock.monotonic()
        wanted = self.in_flight.wanted(now)
        clusters = {key: family.clusters for key, family in families.items()}
        clusters |= {key: clusters.get(key, frozenset()) | more for key, more in wanted.items()}
        targets = self._targets(clusters)
        pods = self._pods(families)
        readings, engines = await asyncio.gather(self.poller.round(targets), self._read_engines(pods))
        for target in targets:
            if readings.get(target.proxy) is None:
                self.numbers.scrape_errors.labels("/".join(target.gateway)).inc()
        self._note_loads(clusters, targets, readings)
        for key in families:
            model = self.lookup.model(key.namespace, key.name)
            if model is not None:
                self.on_look(model)
        self._judge(families, targets, readings, engines)

    def _judge(
        self,
        families: Mapping[naming.ObjectKey, evidence_.Family],
        targets: list[poller_.Target],
        readings: Mapping[str, envoy.Reading | None],
        engines: Mapping[engines_.Target, engines_.Reading | None],
    ) -> None:
        now = self.clock.monotonic()
        seconds = now - self._last if self._last is not None else 0.0
        self._last = now
        for key, family in families.items():
            own = self._gateways(key)
            seen = {target.proxy: readings.get(target.proxy) for target in targets if target.gateway in own}
            traffic = self.table.traffic(key)
            shares = (traffic.weight, traffic.mirror) if traffic is not None else None
            settling = family.is_settling(shares, self.clock.now())
            pods = {target: reading for target, reading in engines.items() if target.cluster in family.clusters}
            changed = family.observe(seen, seconds=seconds, settling=settling, warming=self.is_warming(key), pods=pods)
            changed |= self._read_values(key, family, pods, now)
            if changed or family.looks == 1:
                self.on_verdict(key)

    def _read_values(
        self,
        key: naming.ObjectKey,
        family: evidence_.Family,
        pods: Mapping[engines_.Target, engines_.Reading | None],
        now: float,
    ) -> bool:
        """Metrics that are a number now and then; those of outside sources come when they come."""
        weight, mirror = family.shares
        due = family.due(now, weight=weight, mirror=mirror)
        own = [plan for plan in due if plan.signal.type in live_metric.ENGINE]
        changed = [family.answer((plan.gate, plan.metric), family.cache_usage(pods)) for plan in own]
        others = [plan for plan in due if plan not in own]
        if others and self.outside is not None:
            self.outside.ask(key, family, others, self._context(key, family, weight))
        return any(changed)

    def _context(self, key: naming.ObjectKey, family: evidence_.Family, weight: int) -> external.Context:
        model, traffic = self.lookup.model(key.namespace, key.name), self.table.traffic(key)
        rollout = model.status.rollout if model is not None else None
        return external.Context(
            namespace=key.namespace,
            model=key.name,
            revision=family.revision,
            stable=(traffic.stable if traffic is not None else None) or "",
            step=(rollout.step if rollout is not None else None) or "",
            weight=weight / 100,
        )

    def _pods(self, families: Mapping[naming.ObjectKey, evidence_.Family]) -> list[engines_.Target]:
        """The engines of both sides of each rollout that has a metric of theirs."""
        found = []
        for key, family in families.items():
            if family.needs_engines:
                labels = {naming.LABEL_MODEL_DEPLOYMENT: key.name}
                targets = map(engines_.target_of, self.cache.list(resources.PODS, key.namespace, labels=labels))
                found += [target for target in targets if target is not None and target.cluster in family.clusters]
        return found

    async def _read_engines(self, pods: list[engines_.Target]) -> dict[engines_.Target, engines_.Reading | None]:
        if self.engines is None:
            return dict.fromkeys(pods)
        readings = await self.engines.round(pods)
        return {pod: readings.get(pod.name) for pod in pods}

    def _note_loads(
        self,
        clusters: Mapping[naming.ObjectKey, frozenset[str]],
        targets: list[poller_.Target],
        readings: Mapping[str, envoy.Reading | None],
    ) -> None:
        """What is in flight to each cluster; None where a proxy could not be read."""
        loads: dict[str, inflight.Load | None] = {}
        for key, names in clusters.items():
            own = self._gateways(key)
            seen = [readings.get(target.proxy) for target in targets if target.gateway in own]
            loads |= {name: _load(name, seen) for name in names}
        emptied = self.in_flight.put(loads)
        for key, names in clusters.items():
            if self.on_empty is not None and not emptied.isdisjoint(names):
                self.on_empty(key)

    async def _families(self) -> dict[naming.ObjectKey, evidence_.Family]:
        """The evidence of every rollout under way. Others run in between: there may be a thousand, on the first day."""
        families = {}
        for model in [model for model in self.lookup.models() if model.status.rollout is not None]:
            key = lookup_.model_key(model)
            family = self.family_of(key)
            if family is not None:
                families[key] = family
            await asyncio.sleep(0)
        return families

    def _gateways(self, key: naming.ObjectKey) -> set[tuple[str, str]]:
        model = self.lookup.model(key.namespace, key.name)
        return lookup_.gateway_refs(model) if model is not None else set()

    def _targets(self, clusters: Mapping[naming.ObjectKey, frozenset[str]]) -> list[poller_.Target]:
        """The pods with an address of all gateways of these models, each read for the revisions that are of interest there."""
        wanted: dict[tuple[str, str], set[str]] = {}
        for key, names in clusters.items():
            for owner in self._gateways(key):
                wanted.setdefault(owner, set()).update(names)
        return [
            poller_.Target(pod["metadata"]["uid"], owner, pod["status"]["podIP"], self.port, frozenset(names))
            for owner, names in sorted(wanted.items())
            for pod in self.cache.list(resources.PODS, owner[0], labels=gateway_objects.labels(owner[1]))
            if (pod.get("status") or {}).get("podIP") and pod["status"].get("phase") == "Running"
        ]


def _load(cluster: str, seen: list[envoy.Reading | None]) -> inflight.Load | None:
    """Of one cluster and its shadow, over all proxies."""
    counts = []
    for reading in seen:
        if reading is None:
            return None
        counts.append(reading.active.get(cluster, 0) + reading.active.get(cluster + attempts.SHADOW_SUFFIX, 0))
    return inflight.Load(sum(counts), max(counts, default=0))
