"""The health that `causes` finds in pods, asked so many seconds after their start."""

from __future__ import annotations

from sluice.rollout import causes, health
from tests.unit.rollout import pod_json as k8s

STARTUP = 1200.0


def deployment(replicas: int = 1, failure: str | None = None) -> k8s.Json:
    """The revision's Deployment."""
    conditions = [{"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable"}]
    if failure is not None:
        conditions.append({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": failure})
    return {"spec": {"replicas": replicas}, "status": {"conditions": conditions}}


def judge(*pods: k8s.Json, replicas: int = 1, failure: str | None = None, at: float = 60) -> health.Health:
    """The health of these pods, so many seconds after the start."""
    return causes.health_of(deployment(replicas, failure), pods, startup_timeout=STARTUP, now=k8s.START + at)
