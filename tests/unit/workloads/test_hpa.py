"""The HPA of a revision: each metric's identity and target as autoscaling/v2 has them, and how fast the size changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.api import autoscaling
from sluice.workloads import hpa, pod_metrics

Object = dict[str, Any]
QUEUE = {"name": "RequestsWaiting", "target": "10"}


def build(*metrics: Mapping[str, Any], floor: int = 2, **spec: Any) -> Object:
    """The HPA of revision abc."""
    parsed = autoscaling.Autoscaling.model_validate({"maxReplicas": 20, "metrics": list(metrics) or [QUEUE], **spec})
    owner = {"kind": "ModelDeployment", "name": "chat", "uid": "1"}
    return hpa.build_hpa(parsed, namespace="ml", name="chat", revision_hash="abc", floor=floor, owner=owner)


def pods(name: str, target: str) -> Object:
    return {
        "type": "Pods",
        "pods": {"metric": {"name": name}, "target": {"type": "AverageValue", "averageValue": target}},
    }


def test_hpa_scales_the_revisions_deployment_between_floor_and_ceiling() -> None:
    """It has the Deployment's name and labels, so that it goes with the revision."""
    built = build(floor=6)
    assert built["metadata"]["name"] == "chat-abc"
    assert built["metadata"]["labels"]["sluice.dev/revision"] == "abc"
    assert built["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat-abc"}
    assert (built["spec"]["minReplicas"], built["spec"]["maxReplicas"]) == (6, 20)


@pytest.mark.parametrize(
    ("metric", "entry"),
    [
        ({"name": "RequestsRunning", "target": "12.5"}, pods("sluice_requests_running", "12500m")),
        ({"name": "RequestsWaiting", "target": "10"}, pods("sluice_requests_waiting", "10")),
        ({"name": "RequestsInFlight", "target": "200"}, pods("sluice_requests_in_flight", "200")),
        ({"name": "KVCacheUsage", "target": "80%"}, pods("sluice_kv_cache_usage", "800m")),
        ({"name": "KVCacheUsage", "target": "0.8"}, pods("sluice_kv_cache_usage", "800m")),
        ({"name": "ErrorRate", "target": "0.5%"}, pods("sluice_error_ratio", "5m")),
        ({"name": "TTFT", "target": "500ms"}, pods("sluice_ttft_seconds_p95", "500m")),
        ({"name": "TTFT", "target": "1m30s", "percentile": 99}, pods("sluice_ttft_seconds_p99", "90")),
        ({"name": "ITL", "target": "25ms", "percentile": 50}, pods("sluice_itl_seconds_p50", "25m")),
        (
            {"name": "CPU", "target": "70%"},
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}},
        ),
        (
            {"name": "CPU", "target": "1500m"},
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "1500m"}}},
        ),
        (
            {"name": "External", "target": "1k", "external": {"metricName": "depth"}},
            {
                "type": "External",
                "external": {"metric": {"name": "depth"}, "target": {"type": "AverageValue", "averageValue": "1k"}},
            },
        ),
        (
            {
                "name": "External",
                "target": "30",
                "external": {
                    "metricName": "depth",
                    "targetType": "Value",
                    "selector": {"matchLabels": {"q": "chat"}, "matchExpressions": [{"key": "r", "operator": "Exists"}]},
                },
            },
            {
                "type": "External",
                "external": {
                    "metric": {
                        "name": "depth",
                        "selector": {"matchLabels": {"q": "chat"}, "matchExpressions": [{"key": "r", "operator": "Exists"}]},
                    },
                    "target": {"type": "Value", "value": "30"},
                },
            },
        ),
    ],
)
def test_each_metric_in_the_hpas_terms(metric: Mapping[str, Any], entry: Object) -> None:
    """Durations are seconds, shares are thousandths, and what others serve is passed on as it is."""
    assert build(metric)["spec"]["metrics"] == [entry]


def test_every_metric_of_pods_is_one_that_is_served() -> None:
    """What the API lets users name, `sluice metrics` has, with every percentile."""
    for name in autoscaling.MetricName:
        for percentile in (None, *pod_metrics.PERCENTILES):
            metric = autoscaling.Metric(name=name, target="1", percentile=percentile)
            served = hpa.pod_metric(metric)
            others = (autoscaling.MetricName.CPU, autoscaling.MetricName.EXTERNAL)
            assert (served is None) == (name in others)
            assert served is None or served in pod_metrics.ALL


def test_percentiles_of_the_api_are_those_that_are_measured() -> None:
    """One that nobody computes would leave an HPA without its metric."""
    allowed = get_args(autoscaling.Metric.model_fields["percentile"].annotation)
    assert get_args(allowed[0]) == pod_metrics.PERCENTILES
    assert autoscaling.DEFAULT_PERCENTILE in pod_metrics.PERCENTILES


@pytest.mark.parametrize("given_", [None, {}, {"scaleUp": {}, "scaleDown": {}}, {"scaleDown": None}])
def test_default_behavior(given_: Mapping[str, Any] | None) -> None:
    """Up by 4 pods a minute at once, down by one after 300 s; an empty behavior is none."""
    assert build(behavior=given_)["spec"]["behavior"] == {
        "scaleUp": {
            "stabilizationWindowSeconds": 0,
            "selectPolicy": "Max",
            "policies": [{"type": "Pods", "value": 4, "periodSeconds": 60}],
        },
        "scaleDown": {
            "stabilizationWindowSeconds": 300,
            "selectPolicy": "Max",
            "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
        },
    }


def test_given_behavior_is_verbatim() -> None:
    """A direction that is given is the user's alone, zeros included; the other one keeps its default."""
    down = {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Min",
        "policies": [{"type": "Percent", "value": 50, "periodSeconds": 15}],
        "tolerance": "0.05",
    }
    built = build(behavior={"scaleDown": down})["spec"]["behavior"]
    assert built["scaleDown"] == down
    assert built["scaleUp"] == hpa.DEFAULT_SCALE_UP
    assert build(behavior={"scaleUp": {"selectPolicy": "Disabled"}})["spec"]["behavior"]["scaleUp"] == {
        "selectPolicy": "Disabled"
    }


@given(st.integers(1, 999_999))
def test_latency_targets_are_exact_to_the_millisecond(milliseconds: int) -> None:
    """HPAs count in thousandths: a target may not be off by one of them."""
    target = f"{milliseconds // 1000}s{milliseconds % 1000}ms"
    entry = build({"name": "TTFT", "target": target})["spec"]["metrics"][0]
    text: str = entry["pods"]["target"]["averageValue"]
    assert (int(text[:-1]) if text.endswith("m") else int(text) * 1000) == milliseconds
