"""Names of `sluice metrics` in the cluster, and who holds the API that it serves, judged from the API server's registrations.

Who looks, and what becomes of it, stays out: `reconcile.metrics_api` and `metricsapi`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any, Final

GROUP: Final = "custom.metrics.k8s.io"
VERSION: Final = "v1beta2"
API_SERVICE: Final = f"{VERSION}.{GROUP}"
API_SERVICES: Final = (API_SERVICE, f"v1beta1.{GROUP}")
"""Registrations that matter: HPAs prefer v1beta2 for all custom metrics, so an adapter of v1beta1 cannot live beside it."""
SERVICE: Final = "sluice-metrics"
CERTIFICATE_SECRET: Final = "sluice-metrics-tls"


class MetricsApiState(enum.StrEnum):
    """Who answers HPAs that ask for custom metrics."""

    ABSENT = "Absent"
    """Nobody: no custom metrics API is registered."""
    OURS = "Ours"
    """`sluice metrics` does."""
    UNAVAILABLE = "Unavailable"
    """`sluice metrics` is registered, but the API server cannot reach it, or does not trust it yet."""
    TAKEN = "Taken"
    """Another adapter is registered: `sluice metrics` refuses to serve."""


def metrics_api_state(
    api_services: Mapping[str, Any] | Sequence[Mapping[str, Any] | None] | None, namespace: str
) -> MetricsApiState:
    """The state by the APIService objects of `API_SERVICES` (those that exist) and the operator's namespace."""
    if api_services is None or isinstance(api_services, Mapping):
        api_services = (api_services,)
    found = [each for each in api_services if each is not None]
    if any(not is_ours(each, namespace) for each in found):
        return MetricsApiState.TAKEN
    if not found:
        return MetricsApiState.ABSENT
    return MetricsApiState.OURS if all(map(_available, found)) else MetricsApiState.UNAVAILABLE


def is_ours(api_service: Mapping[str, Any], namespace: str) -> bool:
    """Whether a registration leads to our Service."""
    service = (api_service.get("spec") or {}).get("service") or {}
    return (service.get("namespace"), service.get("name")) == (namespace, SERVICE)


def holder(api_services: Sequence[Mapping[str, Any] | None], namespace: str) -> str:
    """Who else is registered, for messages: `v1beta1.custom.metrics.k8s.io → monitoring/prometheus-adapter`."""
    others = [each for each in api_services if each is not None and not is_ours(each, namespace)]
    return ", ".join(f"{each['metadata']['name']} → {_service(each)}" for each in others)


def service_dns(namespace: str) -> tuple[str, ...]:
    """Names that the serving certificate has; the API server asks for the first."""
    return (f"{SERVICE}.{namespace}.svc", f"{SERVICE}.{namespace}.svc.cluster.local")


def _available(api_service: Mapping[str, Any]) -> bool:
    conditions = (api_service.get("status") or {}).get("conditions") or ()
    return any(each.get("type") == "Available" and each.get("status") == "True" for each in conditions)


def _service(api_service: Mapping[str, Any]) -> str:
    service = (api_service.get("spec") or {}).get("service")
    return f"{service.get('namespace')}/{service.get('name')}" if service else "the API server itself"
