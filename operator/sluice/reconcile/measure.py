"""Once a second: reads the counters of the proxies that matter and feeds the evidence of every rollout under way.

Only gateways of models in a rollout are read. A proxy that cannot be read is no data, never zero.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Final

from sluice.api import naming
from sluice.engine import clock as clock_
from sluice.gates import evidence
from sluice.kube import cache as kube_cache
from sluice.kube import resources
from sluice.observability import logs, metrics
from sluice.reconcile import evidence as evidence_
from sluice.reconcile import lookup as lookup_
from sluice.reconcile import traffic as traffic_
from sluice.sources import poller as poller_
from sluice.workloads import gateway as gateway_objects

_log = logs.get(__name__)

MEDIAN_LATENCY: Final = 0.25
"""Seconds. Until latencies are measured, what is assumed for blocks that follow a weight rise."""


@dataclasses.dataclass
class Measurer:
    """Feeds the book."""

    cache: kube_cache.Cache
    lookup: lookup_.Lookup
    table: traffic_.TrafficTable
    poller: poller_.Poller
    port: int
    """Where proxies show their counters."""
    clock: clock_.Clock
    numbers: metrics.Metrics
    interval: float
    family_of: Callable[[naming.ObjectKey], evidence_.Family | None]
    on_verdict: Callable[[naming.ObjectKey], None]
    """Told of each model whose verdicts changed."""
    _raised: dict[naming.ObjectKey, tuple[int, float]] = dataclasses.field(default_factory=dict)
    """Weight of each model and when it last rose, on the monotonic clock."""
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
        gateways = {reference for key in families for reference in self._gateways(key)}
        targets = [target for owner in sorted(gateways) for target in self._targets(owner)]
        readings = await self.poller.round(targets)
        for target in targets:
            if readings.get(target.proxy) is None:
                self.numbers.scrape_errors.labels("/".join(target.gateway)).inc()
        now = self.clock.monotonic()
        seconds = now - self._last if self._last is not None else 0.0
        self._last = now
        for key, family in families.items():
            own = self._gateways(key)
            seen = {target.proxy: readings.get(target.proxy) for target in targets if target.gateway in own}
            changed = family.observe(seen, seconds=seconds, settling=self._is_settling(key, now))
            if changed or family.looks == 1:
                self.on_verdict(key)

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

    def _is_settling(self, key: naming.ObjectKey, now: float) -> bool:
        traffic = self.table.traffic(key)
        weight = traffic.weight if traffic is not None else 0
        known, rose_at = self._raised.get(key, (0, float("-inf")))
        if weight > known:
            rose_at = now
        self._raised[key] = (weight, rose_at)
        return now < evidence.settled_at(rose_at, MEDIAN_LATENCY)

    def _targets(self, owner: tuple[str, str]) -> list[poller_.Target]:
        """The gateway's pods that have an address."""
        namespace, name = owner
        pods = self.cache.list(resources.PODS, namespace, labels=gateway_objects.labels(name))
        return [
            poller_.Target(pod["metadata"]["uid"], owner, pod["status"]["podIP"], self.port)
            for pod in pods
            if (pod.get("status") or {}).get("podIP") and pod["status"].get("phase") == "Running"
        ]
