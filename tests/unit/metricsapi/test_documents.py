"""What is answered has the form that HPAs and kubectl read."""

from __future__ import annotations

import datetime

import pytest

from sluice.metricsapi import documents, readings, windows
from sluice.workloads import pod_metrics, quantities

NOW = datetime.datetime(2026, 5, 4, 3, 2, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (7.0, "7"), (0.8, "800m"), (1.5, "1500m"), (0.0234, "23m"), (0.0004, "0"), (1200.0, "1200"), (0.9996, "1")],
)
def test_values_are_quantities_in_thousandths(value: float, text: str) -> None:
    """Without exponents, and parsed back to within a thousandth."""
    assert documents.quantity(value) == text
    assert abs(float(quantities.parse(text)) - value) <= 0.0005


def test_a_list_names_its_pods_metric_time_and_window() -> None:
    """The time is that of the reading; a gauge has no window."""
    metric = pod_metrics.ALL[pod_metrics.ttft(95)]
    answers = [
        readings.Answer("a", windows.Value(0.25, 61.4), 1.0),
        readings.Answer("b", windows.Value(3.0), 0.0),
    ]
    first, second = documents.values(metric, "ns", answers, NOW)["items"]
    assert first == {
        "describedObject": {"kind": "Pod", "namespace": "ns", "name": "a", "apiVersion": "v1"},
        "metric": {"name": "sluice_ttft_seconds_p95"},
        "timestamp": "2026-05-04T03:02:00Z",
        "windowSeconds": 61,
        "value": "250m",
    }
    assert "windowSeconds" not in second


def test_refusals_have_a_reason_for_machines() -> None:
    """Known ones as Kubernetes writes them."""
    assert documents.status(503, "x")["reason"] == "ServiceUnavailable"
    assert documents.status(413, "x")["reason"]
    assert documents.status(404, "why")["message"] == "why"


def test_discovery_offers_each_metric_of_pods() -> None:
    """And nothing that is not served."""
    names = {resource["name"] for resource in documents.metrics()["resources"]}
    assert names == {f"pods/{name}" for name in pod_metrics.ALL}
