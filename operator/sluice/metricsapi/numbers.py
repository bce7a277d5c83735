"""The metrics that `sluice metrics` tells about itself, in one place. What it tells about models is `api`'s business."""

from __future__ import annotations

from collections.abc import Callable

import prometheus_client
from prometheus_client import Counter, Gauge, Histogram


class Numbers:
    """One registry. Tests make their own; a process has one."""

    def __init__(self) -> None:
        self.before_rendering: Callable[[], None] = lambda: None
        """Brings gauges up to date that would be costly to keep so."""
        self.registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self.registry)
        self.pods = Gauge("sluice_metrics_pods", "Ready vLLM pods that are read.", registry=self.registry)
        self.stale = Gauge(
            "sluice_metrics_stale_pods",
            "Ready pods that were not read for too long: HPAs get no answer.",
            registry=self.registry,
        )
        self.scrapes = Counter("sluice_metrics_scrapes", "Readings of pods.", ["result"], registry=self.registry)
        self.scrape_seconds = Histogram(
            "sluice_metrics_scrape_seconds",
            "Duration of readings of pods, whatever their result.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
            registry=self.registry,
        )
        self.requests = Counter(
            "sluice_metrics_requests", "Answers of the custom metrics API.", ["code"], registry=self.registry
        )

    def render(self) -> bytes:
        """The page that Prometheus scrapes."""
        self.before_rendering()
        return prometheus_client.generate_latest(self.registry)
