"""Names, labels and annotations of everything Sluice owns."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final, NamedTuple

LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_NAME: Final = "app.kubernetes.io/name"
LABEL_COMPONENT: Final = "app.kubernetes.io/component"
MANAGED_BY: Final = "sluice"
COMPONENT_FILES: Final = "files"
"""Of the ConfigMaps with files of revisions."""

LABEL_MODEL_DEPLOYMENT: Final = "sluice.dev/model-deployment"
LABEL_REVISION: Final = "sluice.dev/revision"
"""On every object of a revision: the revision's hash."""
LABEL_OUTCOME: Final = "sluice.dev/outcome"
"""On a ControllerRevision only: Candidate, Stable, Previous, Rejected or Superseded."""
LABEL_GATEWAY: Final = "sluice.dev/gateway"
LABEL_EVAL: Final = "sluice.dev/eval"
LABEL_SECRET_TYPE: Final = "sluice.dev/secret-type"
"""Secrets that the operator may read say so: `sluice.dev/secret-type: api-keys`. It watches no others."""
SECRET_TYPE_API_KEYS: Final = "api-keys"
SECRET_TYPE_METRIC_SOURCE: Final = "metric-source"
"""Credentials for a Prometheus or a webhook that EvalGates ask."""

FIELD_MANAGER: Final = "sluice"
SIZE_MANAGER: Final = "sluice-size"
"""Field manager that holds a Deployment's `spec.replicas` between Sluice and whoever owns it next."""
HASH_LENGTH: Final = 8
NAME_MAX: Final = 50


class ObjectKey(NamedTuple):
    """Identifies a custom resource: `kind/namespace/name`."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


def content_hash(value: Any, *, length: int = HASH_LENGTH) -> str:
    """A short, stable name for JSON-compatible data. A name only: equality is decided by comparing the data."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:length]


def revision_name(deployment: str, revision_hash: str) -> str:
    """Name of the Deployment, Service and ControllerRevision of one revision."""
    return f"{deployment}-{revision_hash}"


def revision_cluster(namespace: str, deployment: str, revision_hash: str) -> str:
    """Name of the revision's Envoy cluster, which is also its `revision` tag in the attempt counters."""
    return f"{namespace}/{revision_name(deployment, revision_hash)}"


def evidence_name(deployment: str, revision_hash: str) -> str:
    """Name of the ConfigMap with the frozen plan and the statistics' state of one rollout."""
    return f"{revision_name(deployment, revision_hash)}-evidence"


def resolved_name(deployment: str, revision_hash: str) -> str:
    """Name of the ConfigMap with what a revision's first pod got: commits and image IDs."""
    return f"{revision_name(deployment, revision_hash)}-resolved"


def files_name(deployment: str, revision_hash: str) -> str:
    """Name of the immutable ConfigMap with one revision's files: the engine's scripts and what the template refers to."""
    return f"{revision_name(deployment, revision_hash)}-files"
