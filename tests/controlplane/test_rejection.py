"""Revisions that fail, wait or are given up: what goes on serving, and what the status says of it."""

from __future__ import annotations

import pytest

from tests.support import kubelet, world

pytestmark = pytest.mark.usefixtures("operator")


def test_crash_loop_is_rejected_with_the_last_words(namespace: world.World) -> None:
    """A revision whose engine ends again and again is rejected; the stable one goes on; the message says why."""
    namespace.apply(world.model())
    old = namespace.ready()["stableRevision"]
    stable_pods = namespace.pods()
    namespace.behave("crashing", kubelet.crash_looping)
    namespace.apply(world.model(image="crashing"))
    status = namespace.ended("Rejected")
    assert status["lastRollout"]["reason"] == "CrashLoop"
    assert "the weights do not fit" in status["lastRollout"]["message"]
    stalled = namespace.reason("mdep", "chat", "Stalled", "RevisionRejected")
    assert "the weights do not fit" in stalled["message"]
    status = namespace.model()["status"]
    assert world.condition(status, "Ready")["reason"] == "RevisionRejected"
    assert world.condition(status, "Available")["status"] == "True"
    assert status["stableRevision"] == old
    assert namespace.served_by() == old
    rejected = status["lastRollout"]["revision"]
    assert namespace.revisions() == {old: "Stable", rejected: "Rejected"}
    namespace.until(lambda: namespace.pods() == stable_pods, "only the stable pods are left, untouched")


def test_rejected_revision_is_not_tried_again(namespace: world.World) -> None:
    """Other changes of the spec do not start a rejected template again; going back to it later does not either."""
    namespace.apply(world.model())
    namespace.ready()
    namespace.behave("crashing", kubelet.crash_looping)
    namespace.apply(world.model(image="crashing"))
    namespace.ended("Rejected")
    tried = len(namespace.created())
    namespace.apply(world.model(image="crashing", replicas=1))
    namespace.reason("mdep", "chat", "Stalled", "RevisionRejected")
    namespace.apply(world.model(replicas=1))
    namespace.ready()
    namespace.apply(world.model(image="crashing", replicas=1))
    namespace.reason("mdep", "chat", "Stalled", "RevisionRejected")
    assert len(namespace.created()) == tried


def test_first_revision_that_fails_serves_nothing_and_says_so(namespace: world.World) -> None:
    """Nothing to fall back on: not Available, Stalled; the next template serves."""
    namespace.behave("crashing", kubelet.crash_looping)
    namespace.apply(world.model(image="crashing"))
    namespace.ended("Rejected")
    stalled = namespace.reason("mdep", "chat", "Stalled", "RevisionRejected")
    assert "nothing serves" in stalled["message"]
    assert world.condition(namespace.model()["status"], "Available")["status"] == "False"
    namespace.apply(world.model())
    assert world.condition(namespace.ready(), "Available")["status"] == "True"


def test_unschedulable_waits_and_goes_on(namespace: world.World) -> None:
    """No room on the nodes is not the revision's fault: it waits, is never rejected, and goes on once there is room."""
    namespace.apply(world.model())
    old = namespace.ready()["stableRevision"]
    namespace.behave("homeless", kubelet.unschedulable)
    namespace.apply(world.model(image="homeless"))
    status = namespace.status(
        "it says what it waits for", lambda status: status.get("rollout", {}).get("reason") == "Unschedulable"
    )
    assert "Insufficient nvidia.com/gpu" in status["rollout"]["message"]
    assert world.condition(status, "Ready")["reason"] == "Unschedulable"
    assert world.condition(status, "Available")["status"] == "True"
    assert namespace.served_by() == old
    namespace.behave("homeless", kubelet.ready)
    namespace.ended("Promoted")
    assert "Rejected" not in namespace.revisions().values()


def test_spec_back_to_stable_withdraws(namespace: world.World) -> None:
    """The spec goes back to what serves: the candidate goes, as Superseded, and nothing that serves is touched."""
    namespace.apply(world.model())
    old = namespace.ready()["stableRevision"]
    stable_pods = namespace.pods()
    namespace.behave("slow", kubelet.loading)
    namespace.apply(world.model(image="slow"))
    started = namespace.status("it warms up", lambda status: status.get("rollout", {}).get("phase") == "WarmingUp")
    namespace.apply(world.model())
    status = namespace.ended("Superseded", started["rollout"]["revision"])
    assert status["lastRollout"]["reason"] == "Withdrawn"
    namespace.ready()
    assert namespace.revisions() == {old: "Stable", started["rollout"]["revision"]: "Superseded"}
    namespace.until(lambda: namespace.pods() == stable_pods, "only the stable pods are left, untouched")


def test_superseded_revision_can_be_asked_for_again(namespace: world.World) -> None:
    """Being given up says nothing about a revision: asked for again, it is rolled out."""
    namespace.apply(world.model())
    namespace.ready()
    namespace.behave("slow", kubelet.loading)
    namespace.apply(world.model(image="slow"))
    started = namespace.status("it warms up", lambda status: status.get("rollout", {}).get("phase") == "WarmingUp")
    namespace.apply(world.model())
    namespace.ended("Superseded")
    namespace.behave("slow", kubelet.ready)
    namespace.apply(world.model(image="slow"))
    assert namespace.ended("Promoted")["stableRevision"] == started["rollout"]["revision"]
    assert len(namespace.revisions()) == 2


def test_third_template_supersedes(namespace: world.World) -> None:
    """A third template in the middle of a rollout takes its place: the second one's pods go before the third's come."""
    namespace.apply(world.model())
    old = namespace.ready()["stableRevision"]
    namespace.behave("slow", kubelet.loading)
    namespace.apply(world.model(image="slow"))
    second = namespace.status("it warms up", lambda status: status.get("rollout", {}).get("phase") == "WarmingUp")
    namespace.until(lambda: len(namespace.pods()) == 3, "its first pod is there")
    namespace.apply(world.model("file:///models/three"))
    status = namespace.ended("Promoted")
    assert namespace.revisions() == {
        old: "Previous",
        second["rollout"]["revision"]: "Superseded",
        status["stableRevision"]: "Stable",
    }
    assert len(namespace.created()) == 5, "two that served, one that was judged no further, and two that serve"


def test_refused_objects_show(namespace: world.World) -> None:
    """What the API server refuses to take from the operator is said in the status, and mended without an edit."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"count/deployments.apps": "0"}},
    }
    namespace.apply(quota)
    namespace.until(lambda: namespace.get("resourcequota", "none").get("status", {}).get("used"), "the quota counts")
    namespace.apply(world.model())
    stalled = namespace.reason("mdep", "chat", "Stalled", "CannotApply")
    assert "exceeded quota" in stalled["message"]
    namespace.kubectl("delete", "resourcequota", "none")
    namespace.ready()


def test_pods_refused_by_quota_wait(namespace: world.World) -> None:
    """A quota on pods is the environment: the revision waits and says so."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    namespace.apply(quota)
    namespace.until(lambda: namespace.get("resourcequota", "none").get("status", {}).get("used"), "the quota counts")
    namespace.apply(world.model())
    namespace.status("it says so", lambda status: status.get("rollout", {}).get("reason") == "QuotaExceeded")
    namespace.kubectl("delete", "resourcequota", "none")
    namespace.kubectl("scale", "mdep/chat", "--replicas=1")  # the controller of ReplicaSets backs off for minutes otherwise
    namespace.ready()
