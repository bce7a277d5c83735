"""The Deployment of one revision. Its pod template is the one stored in the revision, byte for byte."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sluice.api import naming
from sluice.workloads import pod_template

PROGRESS_DEADLINE_SECONDS: Final = 2_147_483_647
"""Kubernetes must not judge the start: the rollout does, by causes."""


def build_deployment(
    *,
    namespace: str,
    name: str,
    revision_hash: str,
    template: Mapping[str, Any],
    replicas: int | None,
    owner: Mapping[str, Any],
) -> dict[str, Any]:
    """The Deployment `<name>-<hash>`; `template` is the revision's stored pod template. No `replicas`: somebody else's."""
    labels = pod_template.revision_labels(name, revision_hash)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": naming.revision_name(name, revision_hash),
            "namespace": namespace,
            "labels": labels,
            "ownerReferences": [dict(owner)],
        },
        "spec": {
            **({"replicas": replicas} if replicas is not None else {}),
            "revisionHistoryLimit": 0,
            "progressDeadlineSeconds": PROGRESS_DEADLINE_SECONDS,
            "selector": {"matchLabels": labels},
            "template": dict(template),
        },
    }
