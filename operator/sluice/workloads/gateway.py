"""The Envoy pods of a Gateway: Deployment, Service and the ConfigMap with their bootstrap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sluice.api import gateway as api
from sluice.api import naming
from sluice.workloads import owners, security

UID: Final = 65532
CONTAINER: Final = "envoy"
STATS_PORT: Final = 9902
PROBE_PORT: Final = 9903
BOOTSTRAP_PATH: Final = "/etc/sluice/bootstrap"
TLS_PATH: Final = "/etc/sluice/tls"
CREDENTIALS_PATH: Final = "/etc/sluice/credentials"
BOOTSTRAP_ANNOTATION: Final = "sluice.dev/bootstrap-hash"
PRE_STOP_SECONDS: Final = 20
"""Envoy ends at SIGTERM with what it has in flight: it goes on so its address is gone
everywhere before, and most answers are out."""
GRACE_SECONDS: Final = 30
_LOG_FLUSH: Final = ("--file-flush-interval-msec", "500")
"""The attempt log is read while things happen; by default a line may wait for ten seconds."""


def object_name(gateway: str) -> str:
    """Name of the Gateway's Deployment and Service."""
    return f"{gateway}-gateway"


def address(gateway: api.Gateway) -> str:
    """Where clients in the cluster reach the Gateway's first listener."""
    metadata = gateway.metadata
    return f"http://{object_name(metadata.name)}.{metadata.namespace}.svc:{gateway.spec.listeners[0].port}"


def tls_secret_name(gateway: str) -> str:
    """Name of the Secret with the proxies' certificate."""
    return f"{gateway}-gateway-tls"


def bootstrap_name(gateway: str) -> str:
    """Name of the ConfigMap with the proxies' bootstrap."""
    return f"{gateway}-gateway-bootstrap"


def labels(gateway: str) -> dict[str, str]:
    """Labels of everything that belongs to a Gateway; also the selector of its pods."""
    return {
        naming.LABEL_MANAGED_BY: naming.MANAGED_BY,
        naming.LABEL_COMPONENT: "gateway",
        naming.LABEL_GATEWAY: gateway,
    }


def build_bootstrap_config_map(gateway: api.Gateway, files: Mapping[str, str]) -> dict[str, Any]:
    """The ConfigMap with what Envoy starts with, by file name."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(gateway, bootstrap_name(gateway.metadata.name)),
        "data": dict(files),
    }


def build_service(gateway: api.Gateway) -> dict[str, Any]:
    """The Service that clients call."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(gateway, object_name(gateway.metadata.name)),
        "spec": {
            "type": gateway.spec.service.type,
            "selector": labels(gateway.metadata.name),
            "ports": [
                {"name": listener.name, "port": listener.port, "targetPort": listener.port, "protocol": "TCP"}
                for listener in gateway.spec.listeners
            ],
        },
    }


def build_deployment(gateway: api.Gateway, *, image: str, files: Mapping[str, str]) -> dict[str, Any]:
    """The Deployment of the proxies. Changed bootstrap files replace the pods one by one; the rest comes by ADS."""
    pod_labels = labels(gateway.metadata.name)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(gateway, object_name(gateway.metadata.name)),
        "spec": {
            "replicas": gateway.spec.replicas,
            "selector": {"matchLabels": pod_labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {
                    "labels": pod_labels,
                    "annotations": {BOOTSTRAP_ANNOTATION: naming.content_hash(dict(files))},
                },
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": GRACE_SECONDS,
                    "securityContext": security.pod(UID),
                    "containers": [_container(gateway, image)],
                    "volumes": _volumes(gateway),
                },
            },
        },
    }


def _metadata(gateway: api.Gateway, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": gateway.metadata.namespace,
        "labels": labels(gateway.metadata.name),
        "ownerReferences": [owners.owner_reference(api.KIND, gateway.metadata)],
    }


def _container(gateway: api.Gateway, image: str) -> dict[str, Any]:
    resources = gateway.spec.resources or api.GatewayResources()
    ready = {"httpGet": {"path": "/ready", "port": PROBE_PORT}, "periodSeconds": 2, "timeoutSeconds": 2}
    return {
        "name": CONTAINER,
        "image": image,
        "command": ["envoy"],
        "args": ["-c", f"{BOOTSTRAP_PATH}/envoy.yaml", "--log-level", "warn", "--disable-hot-restart", *_LOG_FLUSH],
        "ports": [
            *({"containerPort": listener.port} for listener in gateway.spec.listeners),
            {"name": "stats", "containerPort": STATS_PORT},
        ],
        "resources": {
            key: dict(value) for key, value in (("requests", resources.requests), ("limits", resources.limits)) if value
        },
        "readinessProbe": {**ready, "failureThreshold": 2},
        "startupProbe": {**ready, "failureThreshold": 60},
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        "securityContext": security.container(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "bootstrap", "mountPath": BOOTSTRAP_PATH, "readOnly": True},
            {"name": "tls", "mountPath": TLS_PATH, "readOnly": True},
            # Mounted whole, without subPath, so that a rotated key reaches Envoy without a restart.
            *(
                [{"name": "credentials", "mountPath": CREDENTIALS_PATH, "readOnly": True}]
                if gateway.spec.credentials_secret_ref is not None
                else []
            ),
        ],
    }


def _volumes(gateway: api.Gateway) -> list[dict[str, Any]]:
    name = gateway.metadata.name
    volumes: list[dict[str, Any]] = [
        {"name": "bootstrap", "configMap": {"name": bootstrap_name(name)}},
        {"name": "tls", "secret": {"secretName": tls_secret_name(name)}},
    ]
    if gateway.spec.credentials_secret_ref is not None:
        # A missing Secret must not stop the gateway: models that need no provider go on.
        volumes.append(
            {"name": "credentials", "secret": {"secretName": gateway.spec.credentials_secret_ref.name, "optional": True}}
        )
    return volumes
