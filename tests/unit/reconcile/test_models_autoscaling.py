"""Sizes of revisions, and what AutoscalingReady says of HPAs as the controller leaves them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sluice.api import conditions, modeldeployment
from sluice.reconcile.models import autoscaling
from sluice.rollout import health
from sluice.rollout import model as rollout
from sluice.workloads import revision, schedules

Object = dict[str, Any]
Reason = autoscaling.Reason
NOW = 1_800_000_000.0
QUEUE = {"name": "RequestsWaiting", "target": "10"}
BOUNDS = {"minReplicas": 2, "maxReplicas": 6, "metrics": [QUEUE]}
ALWAYS = {"name": "always", "cron": "* * * * *", "duration": "1h", "minReplicas": 4}
LOOKED = [
    {"type": "AbleToScale", "status": "True", "reason": "ReadyForNewScale", "message": "recommended size matches"},
    {"type": "ScalingActive", "status": "True", "reason": "ValidMetricFound", "message": "calculated"},
    {"type": "ScalingLimited", "status": "False", "reason": "DesiredWithinRange", "message": "within"},
]
"""Conditions of an HPA that works."""


def spec(**given: Any) -> modeldeployment.ModelDeploymentSpec:
    template = {"model": {"source": "file:///one"}, "engine": {"type": "VLLM"}}
    return modeldeployment.ModelDeploymentSpec.model_validate({"template": template, **given})


def known(name: str, desired: int | None, ready: int = 0) -> rollout.Revision:
    found = None if desired is None else health.Health(desired, ready)
    return rollout.Revision(
        hash=name, number=1, outcome=revision.OutcomeLabel.STABLE, health=found, has_pods=desired is not None
    )


def scaling(*revisions: rollout.Revision, **given: Any) -> autoscaling.Scaling:
    """Decided for these revisions, of which `old` is the stable one."""
    return autoscaling.decide(spec(**given), revisions, "old", NOW)


@pytest.mark.parametrize(
    ("given", "live", "stable", "size", "reason"),
    [
        ({"replicas": 3}, 7, 7, None, "one that leaves keeps what it has"),
        ({}, None, None, 1, "one at first"),
        ({}, 5, None, None, "what is there stays"),
        ({}, 0, None, 1, "none was the spec's wish, which is gone"),
        ({}, None, 4, 4, "a new revision is as large as the stable one"),
        ({"autoscaling": BOUNDS}, None, None, 2, "the floor at first"),
        ({"autoscaling": BOUNDS}, 1, None, None, "the HPA raises it"),
        ({"autoscaling": BOUNDS}, 9, None, None, "the HPA lowers it"),
        ({"autoscaling": BOUNDS}, 0, None, 2, "an HPA stays off at zero"),
        ({"autoscaling": BOUNDS}, None, 5, 5, "a new revision is as large as the stable one"),
        ({"autoscaling": BOUNDS}, None, 1, 2, "at least the floor"),
        ({"autoscaling": BOUNDS}, None, 9, 6, "at most the ceiling"),
        ({"autoscaling": {**BOUNDS, "schedules": [ALWAYS]}}, None, 3, 4, "the schedule's floor counts"),
    ],
)
def test_size(given: Object, live: int | None, stable: int | None, size: int | None, reason: str) -> None:
    """Only a first size is written where the spec says none."""
    assert scaling(known("old", stable), known("new", live), **given).size("new") == size, reason


@pytest.mark.parametrize(
    ("given", "live", "asked", "size", "reason"),
    [
        ({"replicas": 4}, None, 1, 1, "a share of the traffic needs a share of the pods"),
        ({"replicas": 4}, 1, 2, 2, "and a greater one more"),
        ({}, 1, 2, 2, "nobody else would raise it"),
        ({}, 3, 2, None, "and what somebody raised stays"),
        ({"autoscaling": BOUNDS}, None, 1, 1, "below the user's floor, which is for all of the traffic"),
        ({"autoscaling": BOUNDS}, 1, 2, None, "the HPA's floor raises it"),
    ],
)
def test_size_during_a_rollout(given: Object, live: int | None, asked: int, size: int | None, reason: str) -> None:
    """The new revision gets what the rollout asks for, the stable one what the spec says."""
    sizes = {"new": asked, "old": 4}
    decided = autoscaling.decide(spec(**given), (known("old", 4), known("new", live)), "old", NOW, sizes=sizes)

    assert decided.size("new") == size, reason
    assert decided.size("old") == given.get("replicas")


def test_floors_during_a_rollout() -> None:
    """An HPA never takes what a rollout needs: all of it on the stable side, a share on the new one."""
    revisions = known("old", 4), known("new", 1)
    decided = autoscaling.decide(spec(autoscaling=BOUNDS), revisions, "old", NOW, sizes={"new": 1, "old": 5})
    wild = autoscaling.decide(spec(autoscaling=BOUNDS), revisions, "old", NOW, sizes={"new": 9, "old": 9})

    assert [decided.fewest(name) for name in ("old", "new", "gone")] == [5, 1, 1]
    assert [wild.fewest(name) for name in ("old", "new")] == [6, 6]
    assert autoscaling.decide(spec(autoscaling=BOUNDS), revisions, "old", NOW).fewest("old") == 2


def test_waking_up_for_schedules() -> None:
    """At the next begin or end, and never for a model without schedules."""
    assert scaling(autoscaling=BOUNDS).seconds_to_change(NOW) is None
    hourly = {**ALWAYS, "cron": "0 * * * *", "duration": "10m"}
    decided = scaling(autoscaling={**BOUNDS, "schedules": [hourly]})
    assert decided.seconds_to_change(NOW) == 600.0
    assert decided.seconds_to_change(NOW + 900) == 0.0
    assert scaling(replicas=2) == dataclasses.replace(scaling(replicas=2), floor=schedules.Floor(1))


@pytest.mark.parametrize(
    ("given", "size", "fewest"),
    [
        ({"replicas": 3}, 5, 3),
        ({}, 5, 5),
        ({"autoscaling": BOUNDS}, 5, 2),
        ({"autoscaling": {**BOUNDS, "schedules": [ALWAYS]}}, 4, 2),
    ],
)
def test_growing_takes_no_readiness_away(given: Object, size: int, fewest: int) -> None:
    """With autoscaling minReplicas must be ready, however many more were just asked for."""
    assert autoscaling.fewest_ready(spec(**given), size) == fewest


# -- the condition ---------------------------------------------------------------------------------------------------


def hpa(name: str = "old", said: list[Object] | None = None, *, current: list[Object] | None = None, **behavior: Any) -> Object:
    """An HPA as its controller leaves it."""
    metrics = [{"type": "Pods", "pods": {"metric": {"name": "sluice_requests_waiting"}}}] if current is None else current
    status = {"conditions": LOOKED if said is None else said, "currentMetrics": metrics}
    return {"metadata": {"name": f"chat-{name}"}, "spec": {"behavior": behavior}, "status": status}


def off(type_: str, reason: str, message: str) -> list[Object]:
    """The conditions of a working HPA, with one that is False."""
    others = [each for each in LOOKED if each["type"] != type_]
    return [*others, {"type": type_, "status": "False", "reason": reason, "message": message}]


def judge(*hpas: Object, trouble: autoscaling.Trouble | None = None, ready: int = 2, **bounds: Any) -> conditions.Condition:
    """The condition of a model whose revision `old` has pods."""
    decided = scaling(known("old", 2, ready), known("new", 2, 0), autoscaling={**BOUNDS, **bounds})
    found = autoscaling.judge(decided, {each["metadata"]["name"].removeprefix("chat-"): each for each in hpas}, trouble)
    assert found is not None
    return found


UNREAD = off("ScalingActive", "FailedGetPodsMetric", "unable to get metric sluice_requests_waiting: no metrics returned")
MISSING = autoscaling.Trouble(Reason.METRICS_API_MISSING, "apply manifests/metrics")


@pytest.mark.parametrize(
    ("condition", "status", "words"),
    [
        (judge(hpa()), "True", ["Between 2 and 6 pods by RequestsWaiting"]),
        (judge(hpa(), schedules=[ALWAYS]), "True", ["schedule always holds at least 4"]),
        (judge(hpa(said=UNREAD)), "False", ["chat-old", "FailedGetPodsMetric", "no metrics returned"]),
        (judge(hpa(said=off("AbleToScale", "FailedGetScale", "not found"))), "False", ["FailedGetScale", "not found"]),
        (judge(hpa(said=off("ScalingActive", "ScalingDisabled", "replica count is zero"))), "False", ["replica count is zero"]),
        (judge(), "Unknown", ["has looked"]),
        (judge(hpa(said=[])), "Unknown", ["has looked"]),
        (judge(hpa(said=UNREAD), ready=0), "Unknown", ["has looked"]),
        (judge(hpa(), hpa("new", UNREAD)), "True", ["Between"]),
        (judge(hpa(current=[{"type": ""}])), "False", ["cannot read RequestsWaiting", "kubectl describe hpa chat-old"]),
    ],
)
def test_condition(condition: conditions.Condition, status: str, words: list[str]) -> None:
    """HPAs of revisions whose pods load are not judged; trouble is told in the controller's own words."""
    assert condition.status == status
    assert [word for word in words if word not in condition.message] == []


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        (judge(hpa(), trouble=MISSING), Reason.SCALING),
        (judge(hpa(said=UNREAD), trouble=MISSING), Reason.METRICS_API_MISSING),
        (judge(hpa(said=UNREAD), trouble=MISSING, metrics=[{"name": "CPU", "target": "80%"}]), Reason.METRICS_UNAVAILABLE),
        (judge(hpa(said=UNREAD)), Reason.METRICS_UNAVAILABLE),
        (judge(hpa(said=off("AbleToScale", "FailedUpdateScale", "x")), trouble=MISSING), Reason.CANNOT_SCALE),
        (judge(hpa(said=off("ScalingActive", "ScalingDisabled", "x"))), Reason.SCALING_DISABLED),
        (judge(hpa(), schedules=[{**ALWAYS, "timeZone": "Nowhere"}]), Reason.INVALID_SCHEDULE),
    ],
)
def test_reasons(condition: conditions.Condition, reason: autoscaling.Reason) -> None:
    """The metrics API is blamed only where an HPA that needs it fails: who else serves the same metrics is welcome."""
    assert condition.reason == reason


def test_invalid_schedules_are_named_with_field_value_and_fix() -> None:
    """All of them, so that one edit mends all."""
    wrong = [{**ALWAYS, "name": "a", "timeZone": "Nowhere"}, {**ALWAYS, "name": "b", "cron": "0 7 * * 5-1"}, ALWAYS]
    message = judge(hpa(), schedules=wrong).message
    assert "Cannot follow spec.autoscaling.schedules[a].timeZone: Nowhere" in message
    assert "Cannot follow spec.autoscaling.schedules[b].cron: 0 7 * * 5-1" in message
    assert "[always]" not in message


def test_ceiling_and_lost_tolerance_are_remarks() -> None:
    """Both are worth knowing, and neither is trouble."""
    limited = {"type": "ScalingLimited", "status": "True", "reason": "TooManyReplicas", "message": "more than the maximum"}
    found = judge(hpa(said=[*LOOKED[:2], limited]))
    assert (found.status, "more than maxReplicas" in found.message) == ("True", True)
    behavior = {"scaleUp": {"tolerance": "0.05"}}
    assert "ignores behavior.scaleUp.tolerance" in judge(hpa(), behavior=behavior).message
    assert "tolerance" not in judge(hpa(scaleUp={"tolerance": "50m"}), behavior=behavior).message


def test_metrics_of_an_earlier_spec_prove_nothing() -> None:
    """Right after an edit the controller's list is of other metrics: their entries are not mistaken for the new ones."""
    metrics = [QUEUE, {"name": "TTFT", "target": "1s"}]
    assert judge(hpa(current=[{"type": ""}]), metrics=metrics).status == "True"


def test_without_autoscaling_there_is_no_condition() -> None:
    """A condition about what nobody asked for would be noise."""
    assert autoscaling.judge(scaling(known("old", 2, 2), replicas=2), {"old": hpa()}, None) is None


def test_new_readings_alone_are_nothing_new() -> None:
    """The controller writes them every 15 s for each model; a condition or a lost metric is news."""
    one = hpa()
    again = hpa(current=[{**one["status"]["currentMetrics"][0], "pods": {"current": {"averageValue": "7"}}}])
    assert autoscaling.gist(one) == autoscaling.gist(again)
    assert autoscaling.gist(one) != autoscaling.gist(hpa(current=[{"type": ""}]))
    assert autoscaling.gist(one) != autoscaling.gist(hpa(said=UNREAD))
    assert autoscaling.gist(one) != autoscaling.gist({**one, "spec": {"minReplicas": 5}})
