"""Which of a revision's pods decides its health, and which count at all."""

from __future__ import annotations

from sluice.rollout import health
from tests.unit.rollout import judging, messages
from tests.unit.rollout import pod_json as k8s


def test_pods_that_are_not_made_yet_are_starting() -> None:
    """Between the Deployment and its first pod nothing is wrong."""
    assert judging.judge().effect is health.CauseClass.NONE


def test_no_replicas_are_never_warm() -> None:
    """Nothing runs, so nothing was shown to run."""
    assert not judging.judge(replicas=0).warm


def test_ready_pods_leave_nothing_to_explain() -> None:
    """Garbage of an eviction does not matter once its replacement is ready."""
    found = judging.judge(k8s.ready_pod(), k8s.failed("Evicted", "low on memory", "TerminationByKubelet"))

    assert (found.ready, found.cause, found.warm) == (1, None, True)


def test_a_deleted_pod_is_evidence_of_nothing() -> None:
    """deletionTimestamp: neither its crashes nor its readiness count."""
    going = k8s.ready_pod("chat-old", engine=k8s.back_off(messages.TRACE, restarts=9))
    going["metadata"]["deletionTimestamp"] = k8s.stamp(50)

    found = judging.judge(going, k8s.ready_pod("chat-new"))

    assert (found.ready, found.cause) == (1, None)


def test_the_worst_pod_decides() -> None:
    """One pod that the revision breaks outweighs one that the cluster keeps waiting."""
    found = judging.judge(
        k8s.unschedulable(messages.NO_GPU),
        k8s.pod(name="chat-b", engine=k8s.back_off(messages.USAGE, restarts=0, code=2)),
        k8s.ready_pod(),
        replicas=3,
    )

    assert (found.ready, found.cause) == (1, health.Cause.INVALID_ARGUMENTS)


def test_a_replacement_that_waits_counts_although_others_are_ready() -> None:
    """One of two pods cannot be scheduled: the environment's fault, and not warm."""
    found = judging.judge(k8s.ready_pod(), k8s.unschedulable(messages.NO_GPU), replicas=2)

    assert (found.ready, found.effect, found.warm) == (1, health.CauseClass.ENVIRONMENT, False)


def test_what_a_ready_pod_went_through_is_no_trouble() -> None:
    """A rollout counts the crashes of a pod that serves; the status of what serves speaks of the pod that does not."""
    crashed = k8s.ready_pod("chat-a", engine=k8s.running(50, restarts=3, last=k8s.ended(), ready=True))

    found = judging.judge(crashed, k8s.unschedulable(messages.NO_GPU), replicas=2)

    assert found.cause is health.Cause.CRASH_LOOP
    assert found.trouble is not None
    assert found.trouble.cause is health.Cause.UNSCHEDULABLE
    assert judging.judge(crashed).trouble is None
