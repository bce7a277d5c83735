"""The operator's own metrics, in one place, with the names that dashboards and alerts use.

Values come from those who know them; this module knows no kind and reads nothing.
"""

from __future__ import annotations

from typing import Final

import prometheus_client
from prometheus_client import Counter, Gauge, Histogram

CONTENT_TYPE: Final = prometheus_client.CONTENT_TYPE_LATEST
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """One registry. Tests make their own; a process has one."""

    def __init__(self) -> None:
        self.registry = prometheus_client.CollectorRegistry()
        self._phases: dict[tuple[str, str], str] = {}
        self._revisions: dict[tuple[str, str], set[str]] = {}
        self._add_process()
        self._add_work()
        self._add_xds()
        self._add_rollouts()

    def _add_process(self) -> None:
        prometheus_client.ProcessCollector(registry=self.registry)
        self.leader = Gauge("sluice_leader", "1 while this replica leads.", registry=self.registry)
        self.protect_only = Gauge(
            "sluice_protect_only", "1 while this replica cannot reach the API server and only protects.", registry=self.registry
        )

        self.platform_config_valid = Gauge(
            "sluice_platform_config_valid",
            "1 while the platform's configuration can be used; 0 while the last good one holds in its place.",
            registry=self.registry,
        )

    def _add_work(self) -> None:
        self.queue_depth = Gauge("sluice_queue_depth", "Keys that are due and wait for a worker.", registry=self.registry)
        self.reconcile_seconds = Histogram(
            "sluice_reconcile_seconds", "Duration of reconciles.", ["kind"], buckets=_SECONDS, registry=self.registry
        )
        self.reconcile_errors = Counter(
            "sluice_reconcile_errors", "Reconciles that failed and are retried.", ["kind", "reason"], registry=self.registry
        )
        self.scrape_seconds = Histogram(
            "sluice_scrape_seconds",
            "Duration of reading one proxy's attempt counters.",
            ["gateway"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.scrape_errors = Counter(
            "sluice_scrape_errors", "Readings of a proxy's counters that failed.", ["gateway"], registry=self.registry
        )

    def _add_xds(self) -> None:
        self.xds_streams = Gauge("sluice_xds_streams", "Connected proxies.", ["gateway"], registry=self.registry)
        self.xds_rejected = Gauge(
            "sluice_xds_rejected", "Proxies that refuse a part of their configuration.", ["gateway"], registry=self.registry
        )

    def _add_rollouts(self) -> None:
        self._weight = Gauge(
            "sluice_rollout_weight",
            "Share of the traffic that a revision gets, 0 to 1.",
            ["namespace", "name", "revision"],
            registry=self.registry,
        )
        self._phase = Gauge(
            "sluice_rollout_phase",
            "1 for the phase that a rollout is in.",
            ["namespace", "name", "phase"],
            registry=self.registry,
        )

    def set_rollout(self, namespace: str, name: str, *, phase: str, weights: dict[str, float]) -> None:
        """The phase of a ModelDeployment's rollout, and the shares (0 to 1) of its revisions; what was there before goes."""
        key = (namespace, name)
        before = self._phases.get(key)
        if before is not None and before != phase:
            self._phase.remove(*key, before)
        self._phases[key] = phase
        self._phase.labels(*key, phase).set(1)
        for revision in self._revisions.get(key, set()) - weights.keys():
            self._weight.remove(*key, revision)
        self._revisions[key] = set(weights)
        for revision, weight in weights.items():
            self._weight.labels(*key, revision).set(weight)

    def forget_rollout(self, namespace: str, name: str) -> None:
        """The ModelDeployment is gone, and so are its series."""
        key = (namespace, name)
        phase = self._phases.pop(key, None)
        if phase is not None:
            self._phase.remove(*key, phase)
        for revision in self._revisions.pop(key, set()):
            self._weight.remove(*key, revision)

    def set_role(self, *, leader: bool, protect_only: bool) -> None:
        """What the elector says."""
        self.leader.set(leader)
        self.protect_only.set(protect_only)

    def render(self) -> bytes:
        """The page that Prometheus scrapes, of `CONTENT_TYPE`."""
        return prometheus_client.generate_latest(self.registry)
