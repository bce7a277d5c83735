"""What a rollout's sizes are decided from: the spec first, then what autoscalers measured, then what there is."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.api import modeldeployment
from sluice.reconcile.models import sizes
from sluice.rollout import capacity, health, persisted
from sluice.rollout import model as rollout
from sluice.workloads import revision
from tests.unit.rollout import deciding

Label = revision.OutcomeLabel
BOUNDS = {"minReplicas": 2, "maxReplicas": 9, "metrics": [{"name": "RequestsWaiting", "target": "10"}]}
TARGET = {"type": "Pods", "pods": {"metric": {"name": "sluice_requests_waiting"}, "target": {"averageValue": "10"}}}


def spec(**given: Any) -> modeldeployment.ModelDeploymentSpec:
    template = {"model": {"source": "file:///one"}, "engine": {"type": "VLLM"}}
    return modeldeployment.ModelDeploymentSpec.model_validate({"template": template, **given})


def hpa(average: str) -> dict[str, Any]:
    """An HPA that reads this of each pod."""
    current = {"type": "Pods", "pods": {"current": {"averageValue": average}}}
    return {"spec": {"metrics": [TARGET]}, "status": {"currentMetrics": [current]}}


REVISIONS = (
    rollout.Revision("old", 1, Label.STABLE, health.Health(4, 4), has_pods=True),
    rollout.Revision("new", 2, Label.CANDIDATE, health.Health(1, 1), has_pods=True),
)


@pytest.mark.parametrize(
    ("given", "hpas", "state", "load", "reason"),
    [
        ({"replicas": 3}, {}, None, capacity.Load(replicas=3, wanted=4), "the spec says a number"),
        ({}, {}, None, capacity.Load(wanted=4), "nobody says one: the size there is"),
        ({"autoscaling": BOUNDS}, {}, None, capacity.Load(max_replicas=9, wanted=2), "nothing is measured: the floor"),
        (
            {"autoscaling": BOUNDS},
            {"old": hpa("15")},
            None,
            capacity.Load(max_replicas=9, wanted=6),
            "60 wait at the stable one",
        ),
        (
            {"autoscaling": BOUNDS},
            {"old": hpa("15"), "new": hpa("12")},
            deciding.rollout(),
            capacity.Load(max_replicas=9, wanted=8),
            "and 12 more at the one in rollout",
        ),
    ],
)
def test_load(
    given: dict[str, Any], hpas: dict[str, Any], state: persisted.State | None, load: capacity.Load, reason: str
) -> None:
    """What decides how many pods are needed."""
    assert sizes.load(spec(**given), REVISIONS, state, hpas) == load, reason


def test_size_of_what_is_not_there() -> None:
    """One pod, to begin with."""
    assert [sizes.size_of(known) for known in (None, rollout.Revision("x", 1), REVISIONS[0])] == [1, 1, 4]
