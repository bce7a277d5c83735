"""What is kept of old revisions on a real API server: as many as was asked for, and told again when the status is lost."""

from __future__ import annotations

import json
from typing import Any

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


def promote(namespace: world.World, source: str, **spec: Any) -> str:
    """Rolls one revision out; returns its hash."""
    namespace.apply(world.model(source, **spec))
    found = namespace.status(
        f"{source} serves", lambda status: (status.get("history") or [{}])[0].get("model") == source and serves(status)
    )
    stable: str = found["stableRevision"]
    return stable


def serves(status: world.Object) -> bool:
    """Whether the newest revision is the stable one, with nothing under way."""
    newest = status["history"][0]
    return bool(newest["outcome"] == "Stable") and bool(world.condition(status, "Ready")["status"] == "True")


def test_a_lost_status_has_the_same_history_again(namespace: world.World) -> None:
    """A promoted, a rejected and the serving revision: what became of each and why is known from their own objects."""
    namespace.behave("bad", kubelet.crash_looping)
    promote(namespace, "file:///one")
    promote(namespace, "file:///two")
    namespace.apply(world.model("file:///three", image="bad"))
    before = namespace.ended("Rejected")
    assert [(entry["model"], entry["outcome"]) for entry in before["history"]] == [
        ("file:///three", "Rejected"),
        ("file:///two", "Stable"),
        ("file:///one", "Previous"),
    ]
    assert before["history"][0]["reason"] == "CrashLoop"
    assert "the weights do not fit" in before["history"][0]["message"]
    wipe(namespace)
    after = namespace.status("it is told again", lambda status: world.condition(status, "Stalled")["status"] == "True")
    assert after["history"] == before["history"]
    assert "the weights do not fit" in world.condition(after, "Stalled")["message"]
    assert after["lastRollout"]["reason"] == "CrashLoop"


def test_only_so_many_revisions_are_kept(namespace: world.World) -> None:
    """Beside the one that serves the newest ones stay, with their files; everything of the others is gone."""
    hashes = [promote(namespace, f"file:///{number}", revisionHistoryLimit=1) for number in range(4)]
    kept = set(hashes[-2:])
    namespace.until(lambda: namespace.revisions().keys() == kept, "two are kept", show=namespace.revisions)
    namespace.until(
        lambda: {obj["metadata"]["labels"].get("sluice.dev/revision") for obj in configs(namespace)} <= {*kept, None},
        "their ConfigMaps are gone",
        show=lambda: [obj["metadata"]["name"] for obj in configs(namespace)],
    )
    status = namespace.status("and no others are told of", lambda status: len(status["history"]) == 2)
    assert [entry["revision"] for entry in status["history"]] == hashes[:1:-1]


def configs(namespace: world.World) -> list[world.Object]:
    """The ConfigMaps of the model."""
    return namespace.objects("configmap", "sluice.dev/model-deployment=chat")


def test_no_replicas_are_ready_and_not_available(namespace: world.World) -> None:
    """What was asked for is there; nothing serves."""
    namespace.apply(world.model())
    namespace.ready()
    namespace.kubectl("scale", "mdep/chat", "--replicas=0")
    status = namespace.status("nothing serves", lambda status: world.condition(status, "Available")["status"] == "False")
    assert world.condition(status, "Ready")["status"] == "True"
    assert {world.condition(status, type_)["reason"] for type_ in ("Ready", "Available")} == {"ScaledToZero"}
