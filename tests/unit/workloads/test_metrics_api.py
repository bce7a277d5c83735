"""Who holds the custom metrics API, and the names that HPAs ask for."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.workloads import metrics_api, pod_metrics

State = metrics_api.MetricsApiState


def registration(name: str, service: dict[str, str] | None, *, available: bool | None = True) -> dict[str, Any]:
    conditions = [{"type": "Available", "status": str(available)}] if available is not None else []
    return {"metadata": {"name": name}, "spec": {"service": service}, "status": {"conditions": conditions}}


OURS = {"namespace": "sluice-system", "name": "sluice-metrics"}
OTHER = {"namespace": "monitoring", "name": "prometheus-adapter"}


@pytest.mark.parametrize(
    ("reason", "found", "state"),
    [
        ("nobody", (None, None), State.ABSENT),
        ("ours", (registration("v1beta2", OURS), None), State.OURS),
        ("ours, not reached", (registration("v1beta2", OURS, available=False), None), State.UNAVAILABLE),
        ("ours, not looked at", (registration("v1beta2", OURS, available=None), None), State.UNAVAILABLE),
        ("another's", (registration("v1beta2", OTHER), None), State.TAKEN),
        ("another's older version alone", (None, registration("v1beta1", OTHER)), State.TAKEN),
        ("another's older version beside ours", (registration("v1beta2", OURS), registration("v1beta1", OTHER)), State.TAKEN),
        ("our Service's name elsewhere", (registration("v1beta2", OURS | {"namespace": "x"}), None), State.TAKEN),
        ("served by the API server", (registration("v1beta2", None), None), State.TAKEN),
    ],
)
def test_state(reason: str, found: tuple[dict[str, Any] | None, ...], state: metrics_api.MetricsApiState) -> None:
    """One adapter for all versions: HPAs prefer the newest for every metric."""
    assert metrics_api.metrics_api_state(found, "sluice-system") is state, reason


def test_the_holder_is_named() -> None:
    """For whoever must remove one of the two."""
    found = (registration("a", OURS), registration("b", OTHER), registration("c", None))
    assert metrics_api.holder(found, "sluice-system") == "b → monitoring/prometheus-adapter, c → the API server itself"


def test_each_percentile_has_its_metric() -> None:
    """And no others."""
    for percentile in pod_metrics.PERCENTILES:
        assert pod_metrics.ALL[pod_metrics.ttft(percentile)].unit is pod_metrics.Unit.SECONDS
        assert pod_metrics.ALL[pod_metrics.itl(percentile)].unit is pod_metrics.Unit.SECONDS
    with pytest.raises(KeyError):
        pod_metrics.ttft(42)
