"""Records of what first pods got, from pod to ConfigMap to status, and the deletion of pods that differ."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sluice.kube import errors, resources
from sluice.rollout import resolved
from tests.unit.reconcile import parts


@pytest.fixture
async def world() -> parts.World:
    """A world in which a first revision serves."""
    made = parts.World()
    made.apply(parts.model())
    await made.reconcile()
    return made


def run_image(world: parts.World, index: int, image: str) -> parts.Object:
    """The pod of that number runs an image."""
    (deployment,) = world.cache.list(resources.DEPLOYMENTS, parts.KEY.namespace)
    pod = parts.pod(deployment, index)
    pod["metadata"]["creationTimestamp"] = f"2027-01-15T08:00:{index:02}Z"
    pod["spec"] = {"containers": [{"name": "engine", "image": "engine:test"}]}
    pod["status"]["containerStatuses"][0]["imageID"] = image
    return world.api.put(pod)  # type: ignore[no-any-return]


def pods(world: parts.World) -> set[str]:
    """Names of the pods that are there, by their numbers."""
    return {pod["metadata"]["name"].rpartition("-")[2] for pod in world.cache.list(resources.PODS, parts.KEY.namespace)}


def differing(world: parts.World) -> Any:
    """The condition PodsDiffer, if it is there."""
    return next((each for each in world.status["conditions"] if each["type"] == "PodsDiffer"), None)


async def test_the_first_image_is_recorded_and_shown(world: parts.World) -> None:
    """Once: a later look changes nothing."""
    run_image(world, 0, "docker.io/engine@sha256:1")
    await world.models.reconcile(parts.KEY)
    (shown,) = world.status["resolved"]
    assert shown["image"] == "sha256:1"
    (record,) = world.cache.list(resources.CONFIG_MAPS, parts.KEY.namespace, labels=resolved.labels(parts.KEY.name))
    await world.models.reconcile(parts.KEY)
    assert world.cache.list(resources.CONFIG_MAPS, parts.KEY.namespace, labels=resolved.labels(parts.KEY.name)) == [record]


async def test_an_orphaned_record_gets_its_owner_back(world: parts.World) -> None:
    """Or it would stay behind when the ModelDeployment that took it up goes."""
    run_image(world, 0, "docker.io/engine@sha256:1")
    await world.models.reconcile(parts.KEY)
    (record,) = world.cache.list(resources.CONFIG_MAPS, parts.KEY.namespace, labels=resolved.labels(parts.KEY.name))
    owners = record["metadata"]["ownerReferences"]
    world.api.put({**record, "metadata": {**record["metadata"], "ownerReferences": []}})
    await world.models.reconcile(parts.KEY)
    (record,) = world.cache.list(resources.CONFIG_MAPS, parts.KEY.namespace, labels=resolved.labels(parts.KEY.name))
    assert record["metadata"]["ownerReferences"] == owners


async def test_a_pod_with_another_image_is_deleted_and_told(world: parts.World) -> None:
    """The next one of its kind only after a pause, which the reconcile asks to be woken for."""
    run_image(world, 0, "docker.io/engine@sha256:1")
    await world.models.reconcile(parts.KEY)
    (record,) = world.cache.list(resources.CONFIG_MAPS, parts.KEY.namespace, labels=resolved.labels(parts.KEY.name))
    world.api.put({**record, "metadata": {**record["metadata"], "creationTimestamp": "2027-01-15T08:00:00Z"}})
    run_image(world, 1, "docker.io/engine@sha256:2")
    await world.models.reconcile(parts.KEY)
    assert pods(world) == {"0"}
    assert differing(world)["reason"] == "ImageMoved"
    run_image(world, 1, "docker.io/engine@sha256:2")
    again = await world.models.reconcile(parts.KEY)
    assert pods(world) == {"0", "1"}
    assert again == pytest.approx(resolved.LEAST_PAUSE)
    await world.clock.advance(resolved.LEAST_PAUSE)
    await world.models.reconcile(parts.KEY)
    assert pods(world) == {"0"}


async def test_the_condition_goes_with_the_pods(world: parts.World) -> None:
    """Once all are alike again."""
    run_image(world, 0, "docker.io/engine@sha256:1")
    await world.models.reconcile(parts.KEY)
    run_image(world, 1, "docker.io/engine@sha256:2")
    await world.models.reconcile(parts.KEY)
    run_image(world, 1, "mirror.example/engine@sha256:1")
    await world.models.reconcile(parts.KEY)
    assert differing(world) is None


async def test_a_record_that_cannot_be_written_is_a_problem_like_any_other(world: parts.World) -> None:
    """It is shown and tried again, and no pod is deleted meanwhile."""
    run_image(world, 0, "docker.io/engine@sha256:1")
    run_image(world, 1, "docker.io/engine@sha256:2")
    world.api.refuse = errors.Forbidden("apply", "quota")
    with pytest.raises(errors.Forbidden):
        await world.models.reconcile(parts.KEY)
    assert pods(world) == {"0", "1"}
    assert "quota" in next(each["message"] for each in world.status["conditions"] if each["type"] == "Ready")


async def test_an_image_source_waits_for_a_cluster_that_mounts_images(world: parts.World) -> None:
    """Stalled with the version that it takes; what runs is left alone, and no revision is made of it."""
    image = parts.model("oci://registry.example/model:1")
    world.apply(image)
    await world.reconcile(3)
    stalled = next(each for each in world.status["conditions"] if each["type"] == "Stalled")
    assert stalled["reason"] == "SourceUnsupported"
    assert "1.35" in stalled["message"]
    assert len(world.cache.list(resources.DEPLOYMENTS, parts.KEY.namespace)) == 1
    world.models.gatherer.defaults = dataclasses.replace(parts.DEFAULTS, image_volumes=True)
    await world.reconcile()
    assert not any(each["type"] == "Stalled" for each in world.status["conditions"])
