"""Which pods are read, and where: the ready vLLM pods of ModelDeployments.

A pod that is not ready has no value, on purpose: HPAs count it as missing, which keeps them from removing pods while some load
and from adding more than needed. Pods of others are not ours to read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from sluice.api import naming
from sluice.sources import engines, vllm


@dataclasses.dataclass(frozen=True)
class Target:
    """A ready pod, and where its engine answers. Equal as long as it is the same pod there."""

    namespace: str
    name: str
    uid: str
    address: str
    port: int
    labels: Mapping[str, str] = dataclasses.field(compare=False, hash=False)

    @property
    def url(self) -> str:
        """Where its metrics are."""
        return vllm.url_of(self.address, self.port)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def target_of(pod: Mapping[str, Any]) -> Target | None:
    """The pod as a target; None when it is no engine of ours, is not ready, or goes away."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    labels = metadata.get("labels") or {}
    address = status.get("podIP")
    port = engines.port_of(pod)
    if not {naming.LABEL_MODEL_DEPLOYMENT, naming.LABEL_REVISION} <= labels.keys() or port is None:
        return None
    if not address or metadata.get("deletionTimestamp") or status.get("phase") != "Running" or not _ready(status):
        return None
    return Target(metadata["namespace"], metadata["name"], metadata["uid"], address, port, labels)


def _ready(status: Mapping[str, Any]) -> bool:
    return any(
        condition.get("type") == "Ready" and condition.get("status") == "True" for condition in status.get("conditions") or ()
    )
