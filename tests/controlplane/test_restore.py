"""Durable facts: what serves is known from the revisions alone, so a lost status or a re-created object changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.support import kubelet, world

pytestmark = pytest.mark.usefixtures("operator")


def wipe(namespace: world.World) -> None:
    """Takes the whole status away, as a restore from a backup does."""
    obj = namespace.model()
    obj.pop("status")
    for member in ("managedFields", "resourceVersion"):  # whatever the operator writes meanwhile
        obj["metadata"].pop(member, None)
    namespace.kubectl("replace", "--subresource=status", "-f", "-", stdin=json.dumps(obj))


def recreate(namespace: world.World) -> None:
    """Deletes the object but not what it owns, and applies it again."""
    before = namespace.model()["metadata"]["uid"]
    namespace.kubectl("delete", "mdep/chat", "--cascade=orphan")
    namespace.apply(world.model("file:///models/two"))
    assert namespace.model()["metadata"]["uid"] != before


@pytest.mark.parametrize("lose", [wipe, recreate])
def test_serving_model_resumes_as_it_was(namespace: world.World, lose: Callable[[world.World], None]) -> None:
    """It resumes at the stable revision: no eval, no step, no new revision, no pod or Deployment replaced, all adopted."""
    namespace.apply(world.model())
    namespace.ready()
    namespace.apply(world.model("file:///models/two"))
    namespace.ended("Promoted")
    stable = namespace.ready()["stableRevision"]
    namespace.until(lambda: len(namespace.pods()) == 2, "the old pods are gone")
    pods, revisions, created = namespace.pods(), namespace.revisions(), len(namespace.created())
    deployment = namespace.get("deployment", f"chat-{stable}")["metadata"]["uid"]
    seen = len(namespace.history.of(namespace.name, "ModelDeployment"))
    lose(namespace)
    status = namespace.ready()
    assert status["stableRevision"] == stable
    assert (namespace.pods(), namespace.revisions(), len(namespace.created())) == (pods, revisions, created)
    assert namespace.get("deployment", f"chat-{stable}")["metadata"]["uid"] == deployment
    assert not namespace.objects("job")
    later = namespace.history.of(namespace.name, "ModelDeployment")[seen:]
    assert not [obj["status"]["rollout"] for obj in later if "rollout" in obj.get("status", {})]
    uid = namespace.model()["metadata"]["uid"]
    namespace.until(lambda: owners(namespace) == {uid}, "everything belongs to the new object", show=lambda: owners(namespace))


def owners(namespace: world.World) -> set[str | None]:
    """UIDs of what the model's objects belong to."""
    found = namespace.objects("deployment,service,controllerrevision", "sluice.dev/model-deployment=chat")
    return {
        reference["uid"] if reference else None
        for obj in found
        for reference in obj["metadata"].get("ownerReferences") or [None]
    }


@pytest.mark.parametrize("template", ["file:///models/one", "file:///models/two", "file:///models/three"])
def test_rollout_under_way_starts_again_after_a_restore(namespace: world.World, template: str) -> None:
    """Re-created in the middle of a rollout, whatever it asks for then: it ends there, with no pod left behind."""
    namespace.apply(world.model())
    old = namespace.ready()["stableRevision"]
    namespace.behave("slow", kubelet.loading)
    namespace.apply(world.model("file:///models/two", image="slow"))
    namespace.status("it warms up", lambda status: status.get("rollout", {}).get("phase") == "WarmingUp")
    namespace.kubectl("delete", "mdep/chat", "--cascade=orphan")
    namespace.behave("slow", kubelet.ready)
    image = "slow" if template == "file:///models/two" else "localhost/sluice/vllm:test"
    namespace.apply(world.model(template, image=image))
    status = namespace.ready()
    assert (status["stableRevision"] == old) is (template == "file:///models/one")
    namespace.until(
        lambda: [d["metadata"]["name"] for d in namespace.objects("deployment")] == [f"chat-{status['stableRevision']}"],
        "only the stable Deployment is left",
        show=lambda: [d["metadata"]["name"] for d in namespace.objects("deployment")],
    )


def test_status_lost_in_a_rollout(namespace: world.World) -> None:
    """The status of a rollout under way is lost: the rollout goes on or starts again, and ends promoted."""
    namespace.apply(world.model())
    namespace.ready()
    namespace.behave("slow", kubelet.loading)
    namespace.apply(world.model(image="slow"))
    namespace.status("it warms up", lambda status: status.get("rollout", {}).get("phase") == "WarmingUp")
    wipe(namespace)
    namespace.behave("slow", kubelet.ready)
    namespace.ended("Promoted")
    namespace.ready()
    assert sorted(namespace.revisions().values()) == ["Previous", "Stable"]


def test_evidence_lost_in_a_rollout(namespace: world.World) -> None:
    """The ConfigMap with the plan is deleted in the middle of a rollout: it is made again and the rollout goes on."""
    steps = [{"name": "wait", "weight": 0, "hold": "3s"}]
    namespace.apply(world.model(steps=steps))
    namespace.ready()
    namespace.apply(world.model("file:///models/two", steps=steps))
    status = namespace.status("it holds", lambda status: status.get("rollout", {}).get("reason") == "Holding")
    name = f"chat-{status['rollout']['revision']}-evidence"
    uid = namespace.get("configmap", name)["metadata"]["uid"]
    namespace.kubectl("delete", "configmap", name)
    namespace.until(lambda: namespace.get("configmap", name).get("metadata", {}).get("uid", uid) != uid, "it is made again")
    assert namespace.ended("Promoted")["stableRevision"] == status["rollout"]["revision"]
