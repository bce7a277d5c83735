"""Reconciles of a model that is autoscaled, against an API server in memory: its HPAs, its sizes, and when it wakes up."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.kube import resources
from tests.unit.reconcile import parts

HPAS = resources.HORIZONTAL_POD_AUTOSCALERS
BOUNDS = {"minReplicas": 2, "maxReplicas": 6, "metrics": [{"name": "RequestsWaiting", "target": "10"}]}


@pytest.fixture
def world() -> parts.World:
    return parts.World()


def autoscaled(source: str = "file:///one", **given: Any) -> parts.Object:
    """The model of `parts`, whose size follows the queue."""
    made = parts.model(source)
    del made["spec"]["replicas"]
    made["spec"]["autoscaling"] = {**BOUNDS, **given}
    return made


def deployments(world: parts.World) -> dict[str, int]:
    return {each["metadata"]["name"]: each["spec"]["replicas"] for each in world.cache.list(resources.DEPLOYMENTS, "ml")}


def floors(world: parts.World) -> dict[str, int]:
    return {each["metadata"]["name"]: each["spec"]["minReplicas"] for each in world.cache.list(HPAS, "ml")}


def resize(world: parts.World, name: str, replicas: int) -> None:
    """What the HPA's controller does."""
    live = world.cache.get(resources.DEPLOYMENTS, "ml", name)
    assert live is not None
    world.api.put({**live, "spec": {**live["spec"], "replicas": replicas}})


async def test_hpa_beside_each_deployment_and_a_size_that_is_let_go(world: parts.World) -> None:
    """The first size is the floor; then nothing is written any more, whatever size the HPA sets."""
    world.apply(autoscaled())
    assert await world.reconcile() is None
    (name,) = deployments(world)
    assert (deployments(world), floors(world)) == ({name: 2}, {name: 2})
    assert world.api.let_go == [name]
    resize(world, name, 5)
    await world.reconcile(3)
    assert deployments(world) == {name: 5}
    assert world.api.let_go == [name]


async def test_floor_follows_the_schedules_by_waking_up(world: parts.World) -> None:
    """Each reconcile asks to be run again when the next schedule begins or ends, and then the HPA has the new floor."""
    hourly = {"name": "hourly", "cron": "0 * * * *", "duration": "10m", "minReplicas": 4}
    world.apply(autoscaled(schedules=[hourly]))
    seen = []
    for _ in range(4):
        again = await world.reconcile()
        assert again is not None
        seen.append(next(iter(floors(world).values())))
        await world.clock.advance(again)
    assert seen in ([2, 4, 2, 4], [4, 2, 4, 2])


async def test_without_autoscaling_there_is_no_hpa(world: parts.World) -> None:
    """It goes before the spec's size is applied, and the size is kept where the spec has none."""
    world.apply(autoscaled())
    await world.reconcile()
    (name,) = deployments(world)
    resize(world, name, 5)
    world.apply({**parts.model(), "spec": {key: value for key, value in parts.model()["spec"].items() if key != "replicas"}})
    await world.reconcile()
    assert (deployments(world), floors(world)) == ({name: 5}, {})
    world.apply(parts.model())
    await world.reconcile()
    assert deployments(world) == {name: 2}


async def test_new_revision_is_as_large_as_the_stable_one_before_it_takes_over(world: parts.World) -> None:
    """It begins with one pod; its HPA, which stays when the old revision's goes, raises it to what the load needs."""
    world.apply(autoscaled())
    await world.reconcile()
    (old,) = deployments(world)
    resize(world, old, 5)
    world.run_pods()
    world.apply(autoscaled("file:///two"))
    await world.reconcile(2)
    assert sorted(deployments(world).values()) == [1, 5]
    (new,) = set(floors(world)) - {old}
    assert floors(world) == {old: 5, new: 1}
    world.run_pods()
    await world.reconcile(2)
    assert floors(world) == {old: 5, new: 5}
    resize(world, new, 5)
    world.run_pods()
    await world.reconcile(4)
    assert (deployments(world), floors(world)) == ({new: 5}, {new: 2})


async def test_ready_asks_for_the_floor_and_not_for_what_a_wave_added(world: parts.World) -> None:
    """Otherwise every wave would turn the object unready for the minutes that a model loads."""
    world.apply(autoscaled())
    await world.reconcile()
    (name,) = deployments(world)
    resize(world, name, 5)
    await world.models.reconcile(parts.KEY)
    ready = {each["type"]: each for each in world.status["conditions"]}["Ready"]
    assert (ready["status"], world.status["replicas"], world.status["readyReplicas"]) == ("True", 5, 2)
    assert "serves with 2 of 5 pods" in ready["message"]
