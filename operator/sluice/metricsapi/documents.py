"""What the custom metrics API answers, as JSON documents of Kubernetes: discovery, values, refusals."""

from __future__ import annotations

import datetime
import http
from collections.abc import Iterable
from typing import Any, Final

from sluice.metricsapi import readings
from sluice.workloads import metrics_api, pod_metrics

GROUP_VERSION: Final = f"{metrics_api.GROUP}/{metrics_api.VERSION}"
_VERSION: Final = {"groupVersion": GROUP_VERSION, "version": metrics_api.VERSION}
_THOUSAND: Final = 1000
_REASONS: Final = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    500: "InternalError",
    503: "ServiceUnavailable",
}


def group() -> dict[str, Any]:
    """`GET /apis/custom.metrics.k8s.io`."""
    return {"kind": "APIGroup", "apiVersion": "v1", **_group()}


def groups() -> dict[str, Any]:
    """`GET /apis`: our one group."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group()]}


def metrics() -> dict[str, Any]:
    """`GET /apis/custom.metrics.k8s.io/v1beta2`: every metric is a subresource of pods."""
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": GROUP_VERSION,
        "resources": [
            {"name": f"pods/{name}", "singularName": "", "namespaced": True, "kind": "MetricValueList", "verbs": ["get"]}
            for name in pod_metrics.ALL
        ],
    }


def values(
    metric: pod_metrics.PodMetric, namespace: str, answers: Iterable[readings.Answer], now: datetime.datetime
) -> dict[str, Any]:
    """A MetricValueList. `now` is timezone-aware."""
    return {
        "kind": "MetricValueList",
        "apiVersion": GROUP_VERSION,
        "metadata": {},
        "items": [
            {
                "describedObject": {"kind": "Pod", "namespace": namespace, "name": answer.pod, "apiVersion": "v1"},
                "metric": {"name": metric.name},
                "timestamp": f"{now - datetime.timedelta(seconds=answer.age):%Y-%m-%dT%H:%M:%SZ}",
                **({"windowSeconds": round(answer.value.window)} if answer.value.window is not None else {}),
                "value": quantity(answer.value.value),
            }
            for answer in answers
        ],
    }


def quantity(value: float) -> str:
    """A number as a Kubernetes quantity, to the nearest thousandth: HPAs compare no finer."""
    thousandths = round(value * _THOUSAND)
    return str(thousandths // _THOUSAND) if thousandths % _THOUSAND == 0 else f"{thousandths}m"


def status(code: int, message: str) -> dict[str, Any]:
    """A refusal, as `kubectl` and HPAs show it."""
    reason = _REASONS.get(code) or http.HTTPStatus(code).phrase.replace(" ", "")
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


def _group() -> dict[str, Any]:
    return {"name": metrics_api.GROUP, "versions": [_VERSION], "preferredVersion": _VERSION}
