"""Which pods are read: ready engines of ours, and nothing else."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from sluice.metricsapi import targets

POD: dict[str, Any] = {
    "metadata": {
        "namespace": "ns",
        "name": "chat-abc-1",
        "uid": "u1",
        "labels": {"sluice.dev/model-deployment": "chat", "sluice.dev/revision": "abc"},
    },
    "spec": {"containers": [{"name": "sidecar"}, {"name": "engine", "ports": [{"name": "http", "containerPort": 8000}]}]},
    "status": {"phase": "Running", "podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": "True"}]},
}


def changed(**parts: dict[str, Any]) -> dict[str, Any]:
    pod = copy.deepcopy(POD)
    for part, values in parts.items():
        pod[part].update(values)
    return pod


def test_a_ready_engine_is_read_at_its_own_port() -> None:
    """Side cars do not confuse it."""
    found = targets.target_of(POD)
    assert found is not None
    assert found.url == "http://10.0.0.7:8000/metrics"
    six = targets.target_of(changed(status={"podIP": "fd00::7"}))
    assert six is not None
    assert six.url == "http://[fd00::7]:8000/metrics"


@pytest.mark.parametrize(
    ("reason", "parts"),
    [
        ("not ours", {"metadata": {"labels": {"app": "other"}}}),
        ("an eval's pod", {"spec": {"containers": [{"name": "eval"}]}}),
        ("no port", {"spec": {"containers": [{"name": "engine"}]}}),
        ("goes away", {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
        ("not ready", {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}),
        ("no condition yet", {"status": {"conditions": None}}),
        ("ended", {"status": {"phase": "Failed"}}),
        ("no address yet", {"status": {"podIP": None}}),
        ("no labels", {"metadata": {"labels": None}}),
    ],
)
def test_others_are_not_read(reason: str, parts: dict[str, Any]) -> None:
    """Nor answered for."""
    assert targets.target_of(changed(**parts)) is None, reason


def test_a_pod_is_the_same_whatever_its_labels() -> None:
    """Its history goes on."""
    other = targets.target_of(changed(metadata={"labels": POD["metadata"]["labels"] | {"more": "yes"}}))
    assert other == targets.target_of(POD)
    assert targets.target_of(changed(metadata={"uid": "u2"})) != targets.target_of(POD)
