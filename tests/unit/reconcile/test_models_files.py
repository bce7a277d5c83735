"""Files of a ModelDeployment: what an edited, a deleted and an unreadable source come to, reconcile by reconcile."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.kube import errors, resources
from sluice.workloads import files
from tests.unit.reconcile import parts

Object = dict[str, Any]
INTERVAL = 30.0
NEXT = INTERVAL + 1


@pytest.fixture
def world() -> parts.World:
    return parts.World()


def model(source: str = "file:///one", config_map: str = "prompts") -> Object:
    """A ModelDeployment with one file."""
    made = parts.model(source)
    reference = {"name": config_map, "key": "system"}
    made["spec"]["template"]["model"]["files"] = [{"name": "system.txt", "configMapKeyRef": reference}]
    return made


def prompts(world: parts.World, **data: str) -> None:
    """The source, as a user writes it."""
    metadata = {"name": "prompts", "namespace": parts.KEY.namespace}
    world.api.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def delete(world: parts.World, name: str) -> None:
    """A ConfigMap is deleted by hand."""
    found = world.cache.get(resources.CONFIG_MAPS, parts.KEY.namespace, name)
    assert found is not None
    world.api.forget(found)


def copies(world: parts.World) -> list[str]:
    """Names of the revisions' copies."""
    return [obj["metadata"]["name"] for obj in world.cache.list(resources.CONFIG_MAPS, labels=files.labels(parts.KEY.name))]


def revisions(world: parts.World) -> dict[str, str]:
    """Outcome label by hash."""
    found = world.cache.list(resources.CONTROLLER_REVISIONS, parts.KEY.namespace)
    labels = [obj["metadata"]["labels"] for obj in found]
    return {each["sluice.dev/revision"]: each["sluice.dev/outcome"] for each in labels}


def stalled(world: parts.World) -> Object:
    """The condition Stalled; empty when there is none."""
    return next((c for c in world.status["conditions"] if c["type"] == "Stalled"), {})


async def serving(world: parts.World) -> str:
    """A model that serves with its file; returns the revision."""
    prompts(world, system="one")
    world.apply(model())
    await world.reconcile()
    stable: str = world.status["stableRevision"]
    assert copies(world) == [f"chat-{stable}-files"]
    return stable


async def later(world: parts.World) -> None:
    """The sources are due again."""
    await world.clock.advance(NEXT)
    await world.reconcile()


async def test_files_are_copied_before_the_deployment(world: parts.World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pod waits for its files; the copy has the user's text beside our scripts, and the revision their digests."""
    made: list[Object] = []
    apply = world.api.apply

    async def spy(resource: resources.Resource, obj: Object) -> Object:
        made.append(obj)
        applied: Object = await apply(resource, obj)
        return applied

    monkeypatch.setattr(world.api, "apply", spy)
    stable = await serving(world)
    names = [f"{obj['kind']}/{obj['metadata']['name']}" for obj in made]
    assert names.index(f"ConfigMap/chat-{stable}-files") < names.index(f"Deployment/chat-{stable}")
    copy = next(obj for obj in made if obj["metadata"]["name"] == f"chat-{stable}-files")
    assert copy["data"] == {"system.txt": "one", **parts.ENGINE_FILES.contents()}
    revision = next(obj for obj in made if obj["kind"] == "ControllerRevision")
    assert revision["data"]["files"] == files.digests(copy["data"])


async def test_edited_source_is_a_new_revision_and_going_back_is_the_old_one(world: parts.World) -> None:
    """Both without any change of the spec; copies stay with their revisions."""
    old = await serving(world)
    prompts(world, system="two")
    assert await world.reconcile() == pytest.approx(INTERVAL, abs=0.1)
    assert world.status["stableRevision"] == old, "not due yet"
    await later(world)
    new = world.status["stableRevision"]
    assert revisions(world) == {old: "Previous", new: "Stable"}
    assert sorted(copies(world)) == sorted([f"chat-{old}-files", f"chat-{new}-files"])
    prompts(world, system="one")
    await later(world)
    assert revisions(world) == {old: "Stable", new: "Previous"}


async def test_new_spec_reads_its_sources_at_once(world: parts.World) -> None:
    """A template and its files that change together are one revision, not two."""
    old = await serving(world)
    prompts(world, system="two")
    world.apply(model("file:///two"))
    await world.reconcile()
    await later(world)
    assert len(revisions(world)) == 2
    assert world.status["stableRevision"] != old


async def test_nothing_is_written_while_nothing_changes(world: parts.World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the sources are read again."""
    await serving(world)

    async def refuse(*_: Any, **__: Any) -> Object:
        raise AssertionError("something was written")

    for verb in ("apply", "apply_status", "patch", "delete"):
        monkeypatch.setattr(world.api, verb, refuse)
    for _ in range(5):
        await later(world)


@pytest.mark.parametrize("how", ["config map", "key"])
async def test_deleted_source_stalls_and_leaves_what_runs_alone(world: parts.World, how: str) -> None:
    """It names field, object and fix; pods, labels and copy stay; it recovers by itself when the source is back."""
    stable = await serving(world)
    pods = {obj["metadata"]["uid"] for obj in world.cache.list(resources.PODS)}
    if how == "key":
        prompts(world, other="text")
    else:
        delete(world, "prompts")
    await later(world)
    assert stalled(world)["reason"] == "FileNotFound"
    for part in ("spec.template.model.files[system.txt].configMapKeyRef", "ConfigMap ml/prompts"):
        assert part in stalled(world)["message"]
    assert world.status["stableRevision"] == stable
    assert revisions(world) == {stable: "Stable"}
    assert copies(world) == [f"chat-{stable}-files"]
    assert {obj["metadata"]["uid"] for obj in world.cache.list(resources.PODS)} == pods
    world.start()  # another operator sees the same
    await world.reconcile()
    assert stalled(world)["reason"] == "FileNotFound"
    assert revisions(world) == {stable: "Stable"}
    prompts(world, system="one")
    await later(world)
    assert not stalled(world)
    assert world.status["stableRevision"] == stable


async def test_rollout_goes_on_without_its_source(world: parts.World) -> None:
    """Its files were copied when it began."""
    stable = await serving(world)
    prompts(world, system="two")
    await world.clock.advance(NEXT)
    await world.reconcile(3)
    new = world.status["rollout"]["revision"]
    delete(world, "prompts")
    await world.clock.advance(NEXT)
    await world.reconcile()
    assert revisions(world) == {stable: "Previous", new: "Stable"}
    assert stalled(world)["reason"] == "FileNotFound"


@pytest.mark.parametrize("error", [errors.Unreachable("get", "no answer"), errors.Forbidden("get", "not allowed")])
async def test_a_fault_changes_nothing(world: parts.World, monkeypatch: pytest.MonkeyPatch, error: errors.ApiError) -> None:
    """What cannot be read is taken to be as it was."""
    stable = await serving(world)
    before = world.status

    async def fail(*_: Any, **__: Any) -> Object:
        raise error

    monkeypatch.setattr(world.api, "get", fail)
    await later(world)
    assert world.status == before
    assert revisions(world) == {stable: "Stable"}


async def test_a_fault_at_the_start_of_an_operator_is_left_to_the_queue(
    world: parts.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is known yet, so nothing is decided or said; proxies are protected all the same."""
    await serving(world)
    before = world.status
    world.start()

    async def fail(*_: Any, **__: Any) -> Object:
        raise errors.Unreachable("get", "no answer")

    monkeypatch.setattr(world.api, "get", fail)
    with pytest.raises(errors.Unreachable):
        await world.models.reconcile(parts.KEY)
    world.models.protect(parts.KEY)
    assert world.status == before
    sent = world.table.traffic(parts.KEY)
    assert sent is not None
    assert sent.stable == before["stableRevision"]


async def test_source_that_may_not_be_read_is_said(world: parts.World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lasting refusal is no transient fault: the user learns of it."""

    async def fail(*_: Any, **__: Any) -> Object:
        raise errors.Forbidden("get", "not allowed")

    monkeypatch.setattr(world.api, "get", fail)
    world.apply(model())
    await world.reconcile()
    assert stalled(world)["reason"] == "FilesUnreadable"
    assert "not allowed" in stalled(world)["message"]
    assert revisions(world) == {}


async def test_binary_source_is_refused(world: parts.World) -> None:
    """Files are text."""
    metadata = {"name": "prompts", "namespace": parts.KEY.namespace}
    binary = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": {"system": "/w=="}}
    world.api.put(binary)
    world.apply(model())
    await world.reconcile()
    assert stalled(world)["reason"] == "FileNotText"
    assert "under data" in stalled(world)["message"]


async def test_files_larger_than_a_config_map_are_refused(world: parts.World) -> None:
    """Before the API server does, and with the name of the largest."""
    prompts(world, system="x" * files.MAX_BYTES)
    world.apply(model())
    await world.reconcile()
    assert stalled(world)["reason"] == "FilesTooLarge"
    assert "system.txt" in stalled(world)["message"]
    assert revisions(world) == {}


async def test_copy_that_was_deleted_is_made_again(world: parts.World) -> None:
    """From the source, as long as that has the same content."""
    stable = await serving(world)
    delete(world, f"chat-{stable}-files")
    await world.reconcile()
    assert copies(world) == [f"chat-{stable}-files"]
    assert not stalled(world)


async def test_copy_that_cannot_be_made_again_is_said(world: parts.World) -> None:
    """With its source: pods that run are left alone, and no new one can start until the source is back."""
    stable = await serving(world)
    delete(world, "prompts")
    delete(world, f"chat-{stable}-files")
    await later(world)
    messages = stalled(world)["message"]
    assert f"chat-{stable}-files" in messages
    assert stable in messages
    assert world.status["stableRevision"] == stable
    prompts(world, system="one")
    await later(world)
    assert copies(world) == [f"chat-{stable}-files"]
    assert not stalled(world)


async def test_copy_goes_with_its_revision(world: parts.World) -> None:
    """A ControllerRevision that history drops takes its files along."""
    old = await serving(world)
    prompts(world, system="two")
    await later(world)
    dropped = world.cache.get(resources.CONTROLLER_REVISIONS, parts.KEY.namespace, f"chat-{old}")
    assert dropped is not None
    world.api.forget(dropped)
    await world.reconcile()
    assert copies(world) == [f"chat-{world.status['stableRevision']}-files"]


async def test_orphaned_copy_is_handed_to_the_new_owner(world: parts.World) -> None:
    """Deleted with --cascade=orphan and applied again: the copy must not be collected with nobody."""
    stable = await serving(world)
    copy = world.cache.get(resources.CONFIG_MAPS, parts.KEY.namespace, f"chat-{stable}-files")
    assert copy is not None
    world.api.put({**copy, "metadata": {**copy["metadata"], "ownerReferences": []}})
    await world.reconcile()
    adopted = world.cache.get(resources.CONFIG_MAPS, parts.KEY.namespace, f"chat-{stable}-files")
    assert adopted is not None
    assert [owner["uid"] for owner in adopted["metadata"]["ownerReferences"]] == ["uid-chat"]


async def test_revision_without_files_is_left_as_it_is(world: parts.World) -> None:
    """One that an earlier version stored: no copy, no new revision, its pods untouched."""
    world.apply(parts.model())
    await world.reconcile()
    stable = world.status["stableRevision"]
    stored = world.cache.get(resources.CONTROLLER_REVISIONS, parts.KEY.namespace, f"chat-{stable}")
    assert stored is not None
    world.api.put({**stored, "data": {**stored["data"], "files": {}}})
    delete(world, f"chat-{stable}-files")
    await world.reconcile()
    assert copies(world) == []
    assert revisions(world) == {stable: "Stable"}
    assert not stalled(world)
