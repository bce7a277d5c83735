"""What this replica tells Prometheus. One place names every series; callers set values."""

from __future__ import annotations

from typing import Final

import prometheus_client

from sluice.api import modeldeployment, naming

REGISTRY: Final = prometheus_client.CollectorRegistry()

QUEUE_DEPTH: Final = prometheus_client.Gauge("sluice_queue_depth", "Keys that are due but not running.", registry=REGISTRY)
RECONCILE_SECONDS: Final = prometheus_client.Histogram(
    "sluice_reconcile_seconds",
    "Duration of one reconcile.",
    ["kind"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
RECONCILE_ERRORS: Final = prometheus_client.Counter(
    "sluice_reconcile_errors", "Reconciles that failed and are retried.", ["kind", "error"], registry=REGISTRY
)
LEADER: Final = prometheus_client.Gauge("sluice_leader", "1 while this replica leads.", registry=REGISTRY)
XDS_STREAMS: Final = prometheus_client.Gauge(
    "sluice_xds_streams", "Proxies with a configuration stream to this replica.", ["namespace", "gateway"], registry=REGISTRY
)
XDS_REJECTED: Final = prometheus_client.Gauge(
    "sluice_xds_rejected", "Proxies that refuse a part of their configuration.", ["namespace", "gateway"], registry=REGISTRY
)
SCRAPE_FAILURES: Final = prometheus_client.Counter(
    "sluice_scrape_failures", "Proxies whose counters could not be read.", ["namespace", "gateway"], registry=REGISTRY
)
ROLLOUT_WEIGHT: Final = prometheus_client.Gauge(
    "sluice_rollout_weight_percent", "Percent of traffic for the revision in rollout.", ["namespace", "name"], registry=REGISTRY
)
ROLLOUT_PHASE: Final = prometheus_client.Gauge(
    "sluice_rollout_phase", "1 for the phase that the rollout is in.", ["namespace", "name", "phase"], registry=REGISTRY
)


class QueueObserver:
    """Hears what the work queue does; see `engine.queue.Observer`."""

    def depth(self, waiting: int) -> None:
        """The number of keys that are due but not running."""
        QUEUE_DEPTH.set(waiting)

    def finished(self, key: naming.ObjectKey, seconds: float, error: Exception | None) -> None:
        """A run ended."""
        RECONCILE_SECONDS.labels(key.kind).observe(seconds)
        if error is not None:
            RECONCILE_ERRORS.labels(key.kind, type(error).__name__).inc()


def set_leader(*, leads: bool) -> None:
    """Whether this replica leads."""
    LEADER.set(1 if leads else 0)


def set_gateway(namespace: str, name: str, *, connected: int, rejected: int) -> None:
    """What is known of a Gateway's proxies."""
    XDS_STREAMS.labels(namespace, name).set(connected)
    XDS_REJECTED.labels(namespace, name).set(rejected)


def forget_gateway(namespace: str, name: str) -> None:
    """The Gateway is gone."""
    _remove(XDS_STREAMS, namespace, name)
    _remove(XDS_REJECTED, namespace, name)


def count_scrape_failure(namespace: str, name: str) -> None:
    """A proxy of the Gateway could not be read."""
    SCRAPE_FAILURES.labels(namespace, name).inc()


def set_rollout(namespace: str, name: str, rollout: modeldeployment.RolloutStatus | None) -> None:
    """Where a ModelDeployment's rollout is; None: there is none under way."""
    now = rollout.phase if rollout is not None else modeldeployment.Phase.IDLE
    ROLLOUT_WEIGHT.labels(namespace, name).set(float(rollout.weight) if rollout is not None else 0.0)
    for phase in modeldeployment.Phase:
        ROLLOUT_PHASE.labels(namespace, name, phase.value).set(1 if phase is now else 0)


def forget_rollout(namespace: str, name: str) -> None:
    """The ModelDeployment is gone."""
    _remove(ROLLOUT_WEIGHT, namespace, name)
    for phase in modeldeployment.Phase:
        _remove(ROLLOUT_PHASE, namespace, name, phase.value)


def text() -> bytes:
    """All series in Prometheus' text format."""
    return prometheus_client.generate_latest(REGISTRY)


def _remove(metric: prometheus_client.Gauge, *labels: str) -> None:
    try:
        metric.remove(*labels)
    except KeyError:
        return  # it was never set
