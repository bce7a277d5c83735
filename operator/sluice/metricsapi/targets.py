"""Which pods are read, and where: the ready vLLM pods of ModelDeployments.

A pod that is not ready has no value, on purpose: HPAs count it as missing, which keeps them from removing pods while some load
and from adding more than needed. Pods of others are not ours to read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from sluice.api import naming
from sluice.workloads import pod_template


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
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}/metrics"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def target_of(pod: Mapping[str, Any]) -> Target | None:
    """The pod as a target; None when it is no engine of ours, is not ready, or goes away."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    labels = metadata.get("labels") or {}
    address = status.get("podIP")
    port = _port(pod)
    if not {naming.LABEL_MODEL_DEPLOYMENT, naming.LABEL_REVISION} <= labels.keys() or port is None:
        return None
    if not address or metadata.get("deletionTimestamp") or status.get("phase") != "Running" or not _ready(status):
        return None
    return Target(metadata["namespace"], metadata["name"], metadata["uid"], address, port, labels)


def _port(pod: Mapping[str, Any]) -> int | None:
    """The port of the engine's container; None when there is no such container, as in eval Jobs."""
    for container in pod.get("spec", {}).get("containers") or ():
        if container["name"] == pod_template.CONTAINER:
            for port in container.get("ports") or ():
                if port.get("name") == pod_template.PORT_NAME:
                    return int(port["containerPort"])
    return None


def _ready(status: Mapping[str, Any]) -> bool:
    return any(
        condition.get("type") == "Ready" and condition.get("status") == "True" for condition in status.get("conditions") or ()
    )
