"""Services of a ModelDeployment: one for each revision, and one that follows the stable revision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sluice.api import naming
from sluice.workloads import pod_template


def address(namespace: str, name: str) -> str:
    """Where clients in the cluster reach the stable revision without a Gateway."""
    return f"http://{name}.{namespace}.svc:{pod_template.PORT}"


def build_revision_service(*, namespace: str, name: str, revision_hash: str, owner: Mapping[str, Any]) -> dict[str, Any]:
    """Service `<name>-<hash>`: where evals ask this revision directly, and whose EndpointSlices the gateway follows."""
    labels = pod_template.revision_labels(name, revision_hash)
    return _service(namespace, naming.revision_name(name, revision_hash), labels, labels, owner)


def build_stable_service(*, namespace: str, name: str, stable_hash: str, owner: Mapping[str, Any]) -> dict[str, Any]:
    """Service `<name>`: the stable revision, whichever that is."""
    labels = {naming.LABEL_MANAGED_BY: naming.MANAGED_BY, naming.LABEL_MODEL_DEPLOYMENT: name}
    return _service(namespace, name, labels, pod_template.revision_labels(name, stable_hash), owner)


def _service(
    namespace: str, name: str, labels: Mapping[str, str], selector: Mapping[str, str], owner: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels), "ownerReferences": [dict(owner)]},
        "spec": {
            "selector": dict(selector),
            "ports": [
                {
                    "name": pod_template.PORT_NAME,
                    "port": pod_template.PORT,
                    "targetPort": pod_template.PORT_NAME,
                    "protocol": "TCP",
                }
            ],
        },
    }
