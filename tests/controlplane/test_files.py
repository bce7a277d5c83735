"""Files of a model from ConfigMaps, on a real API server: edited, deleted, restored, with the operator restarted in between."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Iterator

import pytest

from tests.support import operators, world

OFTEN = {"SLUICE_REFRESH_INTERVAL": "1"}


@pytest.fixture
def restart(rights: pathlib.Path, tmp_path: pathlib.Path) -> Iterator[Callable[[], operators.Operator]]:
    """Ends the operator there is, if any, and starts another one that leads."""
    stack = contextlib.ExitStack()
    numbers = iter(range(100))

    def again() -> operators.Operator:
        stack.close()
        made = operators.Operator(rights, tmp_path, name=f"replica-{next(numbers)}", environment=OFTEN)
        stack.enter_context(made)
        made.wait_leading()
        return made

    with stack:
        again()
        yield again


def prompts(namespace: world.World, text: str, key: str = "system") -> None:
    """The source, as its author applies it: without any label of ours."""
    namespace.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prompts"}, "data": {key: text}})


def model(source: str = "file:///models/one") -> world.Object:
    """A ModelDeployment with a chat template and one more file of the same ConfigMap."""
    made = world.model(source)
    reference = {"configMapKeyRef": {"name": "prompts", "key": "system"}}
    made["spec"]["template"]["model"] |= {"chatTemplate": reference, "files": [{"name": "system.txt", **reference}]}
    return made


def copies(namespace: world.World) -> dict[str, str]:
    """The user's file by name of the copy."""
    found = namespace.objects("configmap", "sluice.dev/model-deployment=chat,app.kubernetes.io/component=files")
    assert all(obj["immutable"] for obj in found)
    return {obj["metadata"]["name"]: obj["data"]["system.txt"] for obj in found}


def stalls(namespace: world.World, reason: str) -> str:
    """Waits until it is Stalled for a reason; returns the message."""

    def seen(status: world.Object) -> bool:
        return bool(world.condition(status, "Stalled")["reason"] == reason)

    message: str = world.condition(namespace.status(f"it stalls: {reason}", seen), "Stalled")["message"]
    return message


@pytest.mark.usefixtures("restart")
def test_edited_source_is_rolled_out_and_going_back_finds_the_old_revision(namespace: world.World) -> None:
    """Nobody touches the spec; each revision keeps its own immutable copy, with our scripts beside it."""
    prompts(namespace, "one")
    namespace.apply(model())
    old = namespace.ready()["stableRevision"]
    assert copies(namespace) == {f"chat-{old}-files": "one"}
    copy = namespace.get("configmap", f"chat-{old}-files")
    assert set(copy["data"]) == {"system.txt", "chat_template.jinja", "liveness.py", "hold_headers.py"}
    pod = namespace.get("deployment", f"chat-{old}")["spec"]["template"]["spec"]
    assert f"chat-{old}-files" in [volume.get("configMap", {}).get("name") for volume in pod["volumes"]]

    prompts(namespace, "two")
    new = namespace.status("the edit is served", lambda status: status["stableRevision"] != old)["stableRevision"]
    namespace.ready()
    assert copies(namespace) == {f"chat-{old}-files": "one", f"chat-{new}-files": "two"}

    prompts(namespace, "one")
    namespace.status("the old revision serves again", lambda status: status["stableRevision"] == old)
    namespace.ready()
    assert namespace.revisions() == {old: "Stable", new: "Previous"}


def test_deleted_source_stalls_and_what_runs_stays(namespace: world.World, restart: Callable[[], operators.Operator]) -> None:
    """With the operator restarted in between: the same pods go on, no revision is made, and it recovers by itself."""
    prompts(namespace, "one")
    namespace.apply(model())
    stable = namespace.ready()["stableRevision"]
    pods = namespace.pods()
    namespace.kubectl("delete", "configmap", "prompts")
    assert "prompts" in stalls(namespace, "FileNotFound")
    restart()
    namespace.kubectl("scale", "mdep/chat", "--replicas=3")
    status = namespace.status("it is scaled all the same", lambda status: status["readyReplicas"] == 3)
    assert world.condition(status, "Available")["status"] == "True"
    assert world.condition(status, "Stalled")["reason"] == "FileNotFound"
    assert pods.items() <= namespace.pods().items()
    assert namespace.revisions() == {stable: "Stable"}

    prompts(namespace, "one", key="other")
    namespace.until(lambda: "no key" in stalls(namespace, "FileNotFound"), "the missing key is named")
    prompts(namespace, "one")
    namespace.ready()
    assert namespace.revisions() == {stable: "Stable"}
    assert pods.items() <= namespace.pods().items()


@pytest.mark.usefixtures("restart")
def test_copy_that_is_deleted_by_hand_is_made_again_or_missed_aloud(namespace: world.World) -> None:
    """From the source while that has the same content; without it the status says what is lost."""
    prompts(namespace, "one")
    namespace.apply(model())
    stable = namespace.ready()["stableRevision"]
    name = f"chat-{stable}-files"
    uid = namespace.get("configmap", name)["metadata"]["uid"]
    namespace.kubectl("delete", "configmap", name)
    made = namespace.until(lambda: namespace.get("configmap", name), "it is made again")
    assert made["metadata"]["uid"] != uid
    namespace.ready()

    namespace.kubectl("delete", "configmap", "prompts")
    stalls(namespace, "FileNotFound")
    namespace.kubectl("delete", "configmap", name)
    namespace.until(lambda: name in stalls(namespace, "FileNotFound"), "the lost copy is named")
    prompts(namespace, "one")
    namespace.until(lambda: namespace.get("configmap", name), "it is made again")
    namespace.ready()
    assert namespace.revisions() == {stable: "Stable"}


@pytest.mark.usefixtures("restart")
def test_orphaned_copy_belongs_to_the_object_that_is_applied_again(namespace: world.World) -> None:
    """Or the collector would take it from under pods that run."""
    prompts(namespace, "one")
    namespace.apply(model())
    stable = namespace.ready()["stableRevision"]
    namespace.kubectl("delete", "mdep/chat", "--cascade=orphan")
    namespace.apply(model())
    uid = namespace.model()["metadata"]["uid"]

    def owners() -> list[str]:
        copy = namespace.get("configmap", f"chat-{stable}-files")
        return [owner["uid"] for owner in copy["metadata"].get("ownerReferences", ())]

    namespace.until(lambda: owners() == [uid], "the copy belongs to the new object", show=owners)
    namespace.ready()
    assert namespace.revisions() == {stable: "Stable"}
