"""What is kept of old revisions and what is told of them; and what the status says of an API server that fails."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.api import naming
from sluice.kube import errors, resources
from sluice.reconcile.models import faults
from tests.support import statuses
from tests.unit.reconcile import parts


@pytest.fixture
def world() -> parts.World:
    return parts.World()


def model(source: str, limit: int = 2) -> parts.Object:
    """A ModelDeployment that keeps so many revisions."""
    obj = parts.model(source)
    obj["spec"]["revisionHistoryLimit"] = limit
    return obj


async def roll(world: parts.World, *sources: str, limit: int = 2) -> None:
    """One rollout after the other, each promoted."""
    for source in sources:
        world.apply(model(source, limit))
        await world.reconcile(16)
        assert world.status["lastRollout"]["outcome"] == "Promoted"
        await world.clock.advance(60)


def revisions(world: parts.World) -> list[str]:
    """Hashes of the stored revisions, oldest first."""
    found = world.cache.list(resources.CONTROLLER_REVISIONS, parts.KEY.namespace)
    return [obj["metadata"]["labels"][naming.LABEL_REVISION] for obj in sorted(found, key=lambda obj: obj["revision"])]


async def test_history_says_what_became_of_each_revision_and_why(world: parts.World) -> None:
    """Newest first: the one that serves, and those that served before."""
    await roll(world, "file:///one", "file:///two")

    new, old = world.status["history"]

    assert (new["outcome"], new["result"], new["reason"]) == ("Stable", "Promoted", "AllGatesPassed")
    assert (old["outcome"], old["result"]) == ("Previous", "Promoted")
    assert (new["model"], old["model"]) == ("file:///two", "file:///one")
    assert (new["number"], old["number"]) == (2, 1)
    assert new["finishedAt"] > old["finishedAt"]
    assert new["revision"] in new["message"]


async def test_a_lost_status_has_the_same_history_again(world: parts.World) -> None:
    """Everything in it is kept by the revisions; how the latest rollout ended, too."""
    await roll(world, "file:///one", "file:///two")
    before = world.status
    obj = world.cache.get(resources.MODEL_DEPLOYMENTS, parts.KEY.namespace, parts.KEY.name)
    assert obj is not None
    world.api.put({key: value for key, value in obj.items() if key != "status"})
    world.start()

    await world.reconcile()

    assert world.status["history"] == before["history"]
    last, known = world.status["lastRollout"], before["lastRollout"]
    assert {key: last[key] for key in ("revision", "outcome", "reason", "message", "startedAt")} == {
        key: known[key] for key in ("revision", "outcome", "reason", "message", "startedAt")
    }


async def test_only_so_many_revisions_are_kept(world: parts.World) -> None:
    """The oldest go with all that was kept for them; what serves stays; then nothing is written any more."""
    await roll(world, *(f"file:///{number}" for number in range(5)))
    kept = revisions(world)
    configs = world.cache.list(resources.CONFIG_MAPS, parts.KEY.namespace)

    assert len(kept) == 3
    assert kept[-1] == world.status["stableRevision"]
    assert [entry["revision"] for entry in world.status["history"]] == kept[::-1]
    assert {obj["metadata"]["labels"].get(naming.LABEL_REVISION) for obj in configs} <= {*kept, None}
    count = len(world.api.statuses)
    await world.reconcile(3)
    assert (revisions(world), len(world.api.statuses)) == (kept, count)


async def test_none_are_kept_where_none_are_asked_for(world: parts.World) -> None:
    """A limit of 0 leaves the one that serves."""
    await roll(world, "file:///one", "file:///two", limit=0)

    assert revisions(world) == [world.status["stableRevision"]]
    assert [entry["outcome"] for entry in world.status["history"]] == ["Stable"]


async def test_a_fault_of_the_api_server_shows_only_when_it_lasts(world: parts.World) -> None:
    """A webhook that fails for a moment is nobody's business; then the status has its words, and loses them again."""
    world.apply(parts.model())
    await world.reconcile()
    world.apply({**parts.model(), "spec": {**parts.model()["spec"], "replicas": 3}})
    world.api.refuse = errors.ServerError("apply deployments.apps ml/chat", "failed calling webhook", status=500)
    before = len(world.api.statuses)
    with pytest.raises(errors.ServerError):
        await world.models.reconcile(parts.KEY)
    assert len(world.api.statuses) == before

    await world.clock.advance(faults.SHOWS_AFTER)
    with pytest.raises(errors.ServerError):
        await world.models.reconcile(parts.KEY)
    told = conditions(world)
    assert (told["Ready"]["status"], told["Ready"]["reason"]) == ("False", "APIFault")
    assert "failed calling webhook" in told["Reconciling"]["message"]
    assert not list(statuses.contradictions(told, serves=True))

    world.api.refuse = None
    await world.reconcile()
    assert conditions(world)["Ready"]["reason"] == "Serving"


def conditions(world: parts.World) -> dict[str, Any]:
    """The conditions of the status by type."""
    return {condition["type"]: condition for condition in world.status["conditions"]}


async def test_trouble_of_a_pod_that_serves_reaches_the_status(world: parts.World) -> None:
    """Not only a canary's pods are spoken of."""
    world.apply(parts.model())
    await world.reconcile()
    pod = world.cache.list(resources.PODS, parts.KEY.namespace)[0]
    said = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: taint"}
    pending = {**pod, "status": {"phase": "Pending", "conditions": [said | {"lastTransitionTime": "2027-01-15T08:00:00Z"}]}}
    world.api.put(pending)

    again = await world.models.reconcile(parts.KEY)

    ready = conditions(world)["Ready"]
    assert (ready["status"], ready["reason"]) == ("False", "Unschedulable")
    assert "1 of 2 pods" in ready["message"]
    assert "taint" in ready["message"]
    assert again is not None, "it is looked at again when that has lasted"


async def test_url_is_where_clients_ask(world: parts.World) -> None:
    """The first Gateway that there is, else the Service."""
    world.apply(parts.model())
    await world.reconcile()
    assert world.status["url"] == "http://chat.ml.svc:8000"
    world.apply(parts.edge())
    world.apply(parts.model(gated=True))
    await world.reconcile()
    assert world.status["url"] == "http://edge-gateway.ml.svc:8080"
