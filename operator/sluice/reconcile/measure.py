"""Once a second: reads the counters of the proxies that matter and feeds the evidence of every rollout under way.

Only gateways of models in a rollout are read. A proxy that cannot be read is no data, never zero.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from sluice.api import gateway, naming
from sluice.engine import clock as clock_
from sluice.gates import attempts, evidence
from sluice.kube import cache as kube_cache
from sluice.kube import resources
from sluice.observability import logs, metrics
from sluice.reconcile import evidence as evidence_
from sluice.reconcile import lookup as lookup_
from sluice.reconcile import traffic as traffic_
from sluice.workloads import gateway as gateway_objects

_log = logs.get(__name__)

MEDIAN_LATENCY: Final = 0.25
"""Seconds. Until latencies are measured, what is assumed for blocks that follow a weight rise."""


class Reader(Protocol):
    """Reads the attempt counters of one proxy."""

    async def read(self, gateway: tuple[str, str], address: str) -> attempts.Counters:
        """Running totals. Raises OSError or TimeoutError when the proxy cannot be read."""
        ...


@dataclasses.dataclass
class Measurer:
    """Feeds the book."""

    cache: kube_cache.Cache
    lookup: lookup_.Lookup
    table: traffic_.TrafficTable
    reader: Reader
    clock: clock_.Clock
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
            await self.look()
            await self.clock.sleep(self.interval - (self.clock.monotonic() - started))

    async def look(self) -> None:
        """One look at every rollout under way."""
        families = {
            lookup_.model_key(model): family
            for model in self.lookup.models()
            if model.status.rollout is not None and (family := self.family_of(lookup_.model_key(model))) is not None
        }
        gateways = {
            reference
            for key in families
            if (model := self.lookup.model(key.namespace, key.name)) is not None
            for reference in lookup_.gateway_refs(model)
        }
        readings = await self._read(gateways)
        now = self.clock.monotonic()
        seconds = now - self._last if self._last is not None else 0.0
        self._last = now
        for key, family in families.items():
            changed = family.observe(self._of_model(key, readings), seconds=seconds, settling=self._is_settling(key, now))
            if changed or family.looks == 1:
                self.on_verdict(key)

    def _of_model(
        self, key: naming.ObjectKey, readings: Mapping[tuple[str, str], Mapping[str, attempts.Counters | None]]
    ) -> dict[str, attempts.Counters | None]:
        model = self.lookup.model(key.namespace, key.name)
        references = lookup_.gateway_refs(model) if model is not None else set()
        return {proxy: counters for reference in references for proxy, counters in readings.get(reference, {}).items()}

    def _is_settling(self, key: naming.ObjectKey, now: float) -> bool:
        traffic = self.table.traffic(key)
        weight = traffic.weight if traffic is not None else 0
        known, rose_at = self._raised.get(key, (0, float("-inf")))
        if weight > known:
            rose_at = now
        self._raised[key] = (weight, rose_at)
        return now < evidence.settled_at(rose_at, MEDIAN_LATENCY)

    async def _read(self, gateways: set[tuple[str, str]]) -> dict[tuple[str, str], dict[str, attempts.Counters | None]]:
        proxies = [(owner, uid, address) for owner in sorted(gateways) for uid, address in self._proxies(owner)]
        results = await asyncio.gather(*(self._read_one(owner, address) for owner, _, address in proxies))
        readings: dict[tuple[str, str], dict[str, attempts.Counters | None]] = {owner: {} for owner in gateways}
        for (owner, uid, _), counters in zip(proxies, results, strict=True):
            readings[owner][uid] = counters
        return readings

    def _proxies(self, owner: tuple[str, str]) -> list[tuple[str, str]]:
        """(uid, address) of the gateway's pods that have an address."""
        namespace, name = owner
        pods = self.cache.list(resources.PODS, namespace, labels=gateway_objects.labels(name))
        return [
            (pod["metadata"]["uid"], pod["status"]["podIP"])
            for pod in pods
            if (pod.get("status") or {}).get("podIP") and pod["status"].get("phase") == "Running"
        ]

    async def _read_one(self, owner: tuple[str, str], address: str) -> attempts.Counters | None:
        try:
            return await self.reader.read(owner, address)
        except (OSError, TimeoutError) as error:
            metrics.count_scrape_failure(*owner)
            _log.warning("proxy not read", gateway=f"{gateway.KIND}/{owner[0]}/{owner[1]}", address=address, cause=str(error))
            return None
