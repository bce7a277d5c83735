"""Orders by annotation, against an API server in memory: each is answered once in the status, and followed."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from sluice.api import commands, naming
from sluice.kube import resources
from tests.unit.reconcile import parts

_IDS = (f"0193f3a2-7c1e-7b3a-9d52-{number:012x}" for number in itertools.count(1))


@pytest.fixture
def world() -> parts.World:
    return parts.World()


def order(world: parts.World, verb: str, revision: str, *, by: str = "alice", identity: str | None = None) -> str:
    """Annotates the model, and returns the annotation."""
    live = world.cache.get(resources.MODEL_DEPLOYMENTS, parts.KEY.namespace, parts.KEY.name)
    assert live is not None
    text = f"{verb}/{revision}/{identity or next(_IDS)}"
    annotations = {commands.ANNOTATION: text, commands.BY_ANNOTATION: by}
    world.api.put({**live, "metadata": {**live["metadata"], "annotations": annotations}})
    return text


def outcomes(world: parts.World) -> dict[str, str]:
    found = world.cache.list(resources.CONTROLLER_REVISIONS, parts.KEY.namespace)
    return {obj["metadata"]["labels"][naming.LABEL_REVISION]: obj["metadata"]["labels"][naming.LABEL_OUTCOME] for obj in found}


async def serving_two(world: parts.World) -> tuple[str, str]:
    """A model whose second revision serves; the hashes of both."""
    world.apply(parts.model())
    await world.reconcile(6)
    first = world.status["stableRevision"]
    world.apply(parts.model("file:///two"))
    await world.reconcile(8)
    assert world.status["stableRevision"] != first
    return first, world.status["stableRevision"]


async def test_an_order_is_answered_once(world: parts.World) -> None:
    """With the annotation, who it was and when; the next reconciles leave that as it is."""
    _, second = await serving_two(world)
    text = order(world, "pause", second)
    await world.reconcile(1)
    said = world.status["lastHandledCommand"]
    assert (said["command"], said["by"], said["accepted"]) == (text, "alice", False)
    assert "no rollout is under way" in said["message"]
    await world.reconcile(3)
    assert world.status["lastHandledCommand"] == said


async def test_an_annotation_that_is_no_order_is_answered_too(world: parts.World) -> None:
    """So that whoever wrote it by hand learns what it has to look like."""
    _, second = await serving_two(world)
    order(world, "explode", second)
    await world.reconcile(1)
    said = world.status["lastHandledCommand"]
    assert not said["accepted"]
    assert "verb 'explode' is none of" in said["message"]


@pytest.mark.parametrize(("verb", "followed"), [("undo", False), ("abort", True)])
async def test_an_order_older_than_a_lost_status_is_followed_only_if_it_protects(
    world: parts.World, verb: str, followed: bool
) -> None:
    """An object that was restored may bring back what was done long ago."""
    first, second = await serving_two(world)
    if followed:
        world.apply(parts.model("file:///three", gated=True))
        await world.reconcile(2)
        second = world.status["rollout"]["revision"]
    order(world, verb, second if followed else first)
    live = world.cache.get(resources.MODEL_DEPLOYMENTS, parts.KEY.namespace, parts.KEY.name)
    assert live is not None
    world.api.put({key: value for key, value in live.items() if key != "status"})
    await world.reconcile(1)
    assert ("may be an old one" in world.status["lastHandledCommand"]["message"]) != followed


async def test_undo_brings_the_former_revision_back_and_keeps_it(world: parts.World) -> None:
    """Without a change of the spec; also when the status is lost later. `retry` ends that."""
    first, second = await serving_two(world)
    order(world, "undo", first)
    await world.reconcile(10)
    assert world.status["lastHandledCommand"]["accepted"]
    assert world.status["stableRevision"] == first
    assert outcomes(world) == {first: "Stable", second: "Rejected"}
    stalled = next(c for c in world.status["conditions"] if c["type"] == "Stalled")
    assert f"alice went back to revision {first}" in stalled["message"]

    live = world.cache.get(resources.MODEL_DEPLOYMENTS, parts.KEY.namespace, parts.KEY.name)
    assert live is not None
    world.api.put({key: value for key, value in live.items() if key != "status"})
    await world.reconcile(6)
    assert world.status["stableRevision"] == first

    order(world, "retry", second)
    await world.reconcile(10)
    assert world.status["stableRevision"] == second


async def test_rerender_rolls_out_what_a_newer_version_makes_of_the_same_template(world: parts.World) -> None:
    """An upgrade alone changes no pod; the order does, as a rollout of a new revision, and only where there is a difference."""
    _, second = await serving_two(world)
    order(world, "rerender", second)
    await world.reconcile(2)
    assert not world.status["lastHandledCommand"]["accepted"]
    assert "renders it as it is" in world.status["lastHandledCommand"]["message"]

    world.models.gatherer.defaults = dataclasses.replace(parts.DEFAULTS, engine_image="engine:next")
    await world.reconcile(4)
    assert world.status["stableRevision"] == second
    order(world, "rerender", second)
    await world.reconcile(10)
    assert world.status["lastHandledCommand"]["accepted"]
    third = world.status["stableRevision"]
    assert third != second
    assert outcomes(world)[second] == "Previous"
    (deployment,) = world.cache.list(resources.DEPLOYMENTS, parts.KEY.namespace)
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "engine:next"
    ready = next(c for c in world.status["conditions"] if c["type"] == "Ready")
    assert "rollout" not in world.status
    assert ready["reason"] != "RollingOut"


async def test_what_was_rendered_anew_and_failed_is_not_asked_for_again(world: parts.World) -> None:
    """The template is that of the revision that serves, so that is what the spec means again."""
    _, second = await serving_two(world)
    world.models.gatherer.defaults = dataclasses.replace(parts.DEFAULTS, engine_image="engine:next")
    order(world, "rerender", second)
    await world.reconcile(2)
    third = next(known for known, outcome in outcomes(world).items() if outcome == "Candidate")
    order(world, "abort", third)
    await world.reconcile(6)
    assert outcomes(world)[third] == "Rejected"
    assert world.status["stableRevision"] == second
    assert "rollout" not in world.status
    assert all(condition["type"] != "Stalled" for condition in world.status["conditions"])
