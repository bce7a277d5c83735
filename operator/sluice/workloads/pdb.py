"""The PodDisruptionBudget of one revision: how many of its pods a drain of nodes may take at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sluice.api import naming
from sluice.workloads import pod_template

DEFAULT_MAX_UNAVAILABLE: Final = 1


def build_pdb(
    *, namespace: str, name: str, revision_hash: str, max_unavailable: int | str | None, owner: Mapping[str, Any]
) -> dict[str, Any]:
    """The budget `<name>-<hash>`. `max_unavailable`: a number of pods or a percentage such as "25%"; None is the default, 1."""
    labels = pod_template.revision_labels(name, revision_hash)
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {
            "name": naming.revision_name(name, revision_hash),
            "namespace": namespace,
            "labels": labels,
            "ownerReferences": [dict(owner)],
        },
        "spec": {
            "maxUnavailable": DEFAULT_MAX_UNAVAILABLE if max_unavailable is None else max_unavailable,
            "selector": {"matchLabels": labels},
            # A pod that does not serve protects nobody: one that loads or crashes must not hold a drain up.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
