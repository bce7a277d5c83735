"""One ModelDeployment without a Gateway: from the first revision to the next one, and what makes no revision."""

from __future__ import annotations

import pytest

from tests.support import kubelet, operators, world

pytestmark = pytest.mark.usefixtures("operator")


def test_first_revision_serves(namespace: world.World) -> None:
    """A new ModelDeployment becomes Ready and Available, its Service selects the revision, and that is the Stable one."""
    namespace.apply(world.model())
    status = namespace.ready()
    revision = status["stableRevision"]
    assert world.condition(status, "Available")["status"] == "True"
    assert world.condition(status, "ModelLoaded")["status"] == "True"
    assert (status["replicas"], status["readyReplicas"], status["model"]) == (2, 2, "chat")
    assert namespace.revisions() == {revision: "Stable"}
    assert namespace.served_by() == revision
    assert "rollout" not in status
    assert status["lastRollout"]["outcome"] == "Promoted"


def test_scaling_makes_no_revision(namespace: world.World) -> None:
    """`kubectl scale` changes the pods and neither the revision nor the pods that are there."""
    namespace.apply(world.model())
    namespace.ready()
    before = namespace.pods()
    namespace.kubectl("scale", "mdep/chat", "--replicas=3")
    status = namespace.status("3 pods are ready", lambda status: status["readyReplicas"] == 3)
    assert world.condition(status, "Ready")["status"] == "True"
    assert len(namespace.revisions()) == 1
    assert before.items() <= namespace.pods().items()


def test_scale_subresource_selects_the_serving_pods(namespace: world.World) -> None:
    """What an autoscaler reads of /scale counts the pods of the stable revision."""
    namespace.apply(world.model())
    namespace.ready()
    scale = namespace.cluster.kubectl(
        "get", "--raw", f"/apis/sluice.dev/v1alpha1/namespaces/{namespace.name}/modeldeployments/chat/scale"
    ).stdout
    assert '"replicas":2' in scale
    selector = namespace.model()["status"]["selector"]
    assert {pod["metadata"]["name"] for pod in namespace.objects("pod", selector)} == set(namespace.pods())


def test_settings_outside_the_template_make_no_revision(namespace: world.World) -> None:
    """Replicas, timeouts, gateways and rollout settings may change at any time without a rollout."""
    namespace.apply(world.model())
    namespace.ready()
    changed = world.model(replicas=1, steps=[{"name": "other", "weight": 0, "hold": "1s"}], drainTimeout="10s")
    changed["spec"]["rollout"]["evidence"] = {"falseRollback": "5%"}
    changed["spec"]["gatewayRefs"] = [{"name": "nowhere"}]
    namespace.apply(changed)
    namespace.reason("mdep", "chat", "Stalled", "GatewayNotFound")
    namespace.apply(world.model())
    namespace.ready()
    assert len(namespace.revisions()) == 1
    assert namespace.model()["status"]["lastRollout"]["revision"] == namespace.model()["status"]["stableRevision"]


def test_same_template_in_another_writing_makes_no_revision(namespace: world.World) -> None:
    """Quantities and the order of the environment are compared by what they mean."""
    first = world.model()
    first["spec"]["template"]["resources"] = {"requests": {"cpu": "1000m", "memory": "1Gi"}}
    first["spec"]["template"]["engine"]["env"] = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    namespace.apply(first)
    namespace.ready()
    first["spec"]["template"]["resources"] = {"requests": {"cpu": 1, "memory": "1024Mi"}}
    first["spec"]["template"]["engine"]["env"].reverse()
    namespace.apply(first)
    namespace.ready()
    assert len(namespace.revisions()) == 1


def test_new_template_moves_the_service_and_restarts_nothing(namespace: world.World) -> None:
    """The new revision warms up beside the old one, the Service moves, and its pods stay the ones that warmed up."""
    namespace.apply(world.model())
    old = namespace.ready()["stableRevision"]
    first = set(namespace.pods())
    namespace.apply(world.model("file:///models/two"))
    namespace.ended("Promoted")
    status = namespace.ready()
    new = status["stableRevision"]
    assert new != old
    assert namespace.revisions() == {old: "Previous", new: "Stable"}
    assert namespace.served_by() == new
    namespace.until(lambda: not namespace.get("deployment", f"chat-{old}"), "the old Deployment is gone")
    namespace.until(lambda: set(namespace.pods()).isdisjoint(first), "the old pods are gone")
    assert len(namespace.created()) == 4
    assert set(namespace.created()) == first | set(namespace.pods())


def test_service_stays_until_the_new_revision_is_warm(namespace: world.World) -> None:
    """While the new pods load, the old revision serves, the object is not Ready, and it says so."""
    namespace.apply(world.model())
    old = namespace.ready()["stableRevision"]
    namespace.behave("slow", kubelet.loading)
    namespace.apply(world.model(image="slow"))
    status = namespace.status("it warms up", lambda status: status.get("rollout", {}).get("phase") == "WarmingUp")
    assert world.condition(status, "Ready")["status"] == "False"
    assert world.condition(status, "Reconciling")["status"] == "True"
    assert world.condition(status, "Available")["status"] == "True"
    assert namespace.served_by() == old
    namespace.behave("slow", kubelet.ready)
    namespace.ended("Promoted")
    assert namespace.served_by() != old


def test_no_traffic_split_is_said(namespace: world.World) -> None:
    """Without a Gateway nobody is told that a weight holds."""
    namespace.apply(world.model(steps=[{"name": "half", "weight": 50}]))
    status = namespace.ready()
    assert world.condition(status, "TrafficSplit")["reason"] == "NoTrafficSplit"
    namespace.apply(world.model("file:///models/two", steps=[{"name": "half", "weight": 50}]))
    namespace.ended("Promoted")
    weights = {obj["status"]["rollout"]["weight"] for obj in namespace.history.of(namespace.name) if "rollout" in obj["status"]}
    assert weights == {"0"}


def test_own_objects_are_mended(namespace: world.World, operator: operators.Operator) -> None:
    """A Deployment that somebody scales or deletes by hand becomes again what the spec says."""
    namespace.apply(world.model())
    revision = namespace.ready()["stableRevision"]
    namespace.kubectl("scale", f"deployment/chat-{revision}", "--replicas=5")
    namespace.until(
        lambda: namespace.get("deployment", f"chat-{revision}")["spec"]["replicas"] == 2, "the Deployment is scaled back"
    )
    namespace.kubectl("delete", f"deployment/chat-{revision}", "--wait=false")
    namespace.until(lambda: namespace.get("deployment", f"chat-{revision}"), "the Deployment is made again")
    namespace.ready()
    failed = [line for line in operator.log.splitlines() if "reconcile failed" in line and f"/{namespace.name}/" in line]
    assert failed == []
