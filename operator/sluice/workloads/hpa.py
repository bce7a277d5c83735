"""The HorizontalPodAutoscaler of one revision: the user's metrics and behavior as `autoscaling/v2` has them.

What it did is read in `reconcile.models.autoscaling`; how high the floor is at the moment is `schedules`'.
"""

from __future__ import annotations

import decimal
from collections.abc import Mapping
from typing import Any, Final

from sluice.api import autoscaling, durations, naming
from sluice.workloads import pod_metrics, pod_template

Object = dict[str, Any]
Name = autoscaling.MetricName

DEFAULT_SCALE_UP: Final[Mapping[str, Any]] = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [{"type": "Pods", "value": 4, "periodSeconds": 60}],
}
"""A queue is worked off at once, but a spike does not take every GPU of the cluster."""
DEFAULT_SCALE_DOWN: Final[Mapping[str, Any]] = {
    "stabilizationWindowSeconds": 300,
    "selectPolicy": "Max",
    "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
}
"""A model takes minutes to load: what is given up in a lull is missing in the next wave."""

_POD_METRICS: Final = {
    Name.REQUESTS_RUNNING: pod_metrics.REQUESTS_RUNNING,
    Name.REQUESTS_WAITING: pod_metrics.REQUESTS_WAITING,
    Name.REQUESTS_IN_FLIGHT: pod_metrics.REQUESTS_IN_FLIGHT,
    Name.KV_CACHE_USAGE: pod_metrics.KV_CACHE_USAGE,
    Name.ERROR_RATE: pod_metrics.ERROR_RATIO,
}


def build_hpa(
    spec: autoscaling.Autoscaling, *, namespace: str, name: str, revision_hash: str, floor: int, owner: Mapping[str, Any]
) -> Object:
    """The HorizontalPodAutoscaler `<name>-<hash>`; `floor` is the fewest pods at the moment, schedules included."""
    own_name = naming.revision_name(name, revision_hash)
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "name": own_name,
            "namespace": namespace,
            "labels": pod_template.revision_labels(name, revision_hash),
            "ownerReferences": [dict(owner)],
        },
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": own_name},
            "minReplicas": floor,
            "maxReplicas": spec.max_replicas,
            "metrics": [_metric(metric) for metric in spec.metrics],
            "behavior": _behavior(spec.behavior or autoscaling.Behavior()),
        },
    }


def pod_metric(metric: autoscaling.Metric) -> str | None:
    """The name of a metric in custom.metrics.k8s.io; None for one that comes from elsewhere."""
    percentile = metric.percentile or autoscaling.DEFAULT_PERCENTILE
    match metric.name:
        case Name.TTFT:
            return pod_metrics.ttft(percentile)
        case Name.ITL:
            return pod_metrics.itl(percentile)
        case name:
            return _POD_METRICS.get(name)


def _metric(metric: autoscaling.Metric) -> Object:
    if metric.name is Name.CPU:
        return {"type": "Resource", "resource": {"name": "cpu", "target": _cpu_target(metric.target)}}
    if metric.external is not None:
        selector = metric.external.selector
        identity = {"name": metric.external.metric_name, **({"selector": selector.to_wire()} if selector else {})}
        target_type = metric.external.target_type or "AverageValue"
        field = "averageValue" if target_type == "AverageValue" else "value"
        return {"type": "External", "external": {"metric": identity, "target": {"type": target_type, field: metric.target}}}
    return {
        "type": "Pods",
        "pods": {
            "metric": {"name": pod_metric(metric)},
            "target": {"type": "AverageValue", "averageValue": _quantity(_number(metric))},
        },
    }


def _cpu_target(target: str) -> Object:
    if target.endswith("%"):
        return {"type": "Utilization", "averageUtilization": int(target[:-1])}
    return {"type": "AverageValue", "averageValue": target}


def _number(metric: autoscaling.Metric) -> decimal.Decimal:
    """The target in the metric's own unit: requests, a share from 0 to 1, or seconds."""
    if metric.name in autoscaling.LATENCIES:
        return decimal.Decimal(str(durations.seconds(metric.target)))
    if metric.target.endswith("%"):
        return decimal.Decimal(metric.target[:-1]) / 100
    return decimal.Decimal(metric.target)


def _quantity(number: decimal.Decimal) -> str:
    """A Kubernetes quantity, in thousandths unless it is whole: HPAs count in those."""
    thousandths = int((number * 1000).to_integral_value(decimal.ROUND_HALF_UP))
    return f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)


def _behavior(given: autoscaling.Behavior) -> Object:
    return {
        "scaleUp": _rules(given.scale_up, DEFAULT_SCALE_UP),
        "scaleDown": _rules(given.scale_down, DEFAULT_SCALE_DOWN),
    }


def _rules(given: autoscaling.ScalingRules | None, default: Mapping[str, Any]) -> Object:
    """The rules as they are given; without any, ours."""
    return (given.to_wire() if given is not None else {}) or dict(default)
