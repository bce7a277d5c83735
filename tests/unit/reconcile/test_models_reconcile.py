"""One reconcile after the other against an API server in memory: order of writes, protection, pace of the status."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from sluice.api import rollout_status
from sluice.kube import errors, resources
from sluice.reconcile import evidence
from sluice.rollout import persisted
from tests.support import statuses
from tests.unit.reconcile import parts

HALF = [{"name": "half", "weight": 50, "hold": "10m"}]
Verdict = rollout_status.Verdict


@pytest.fixture
def world() -> parts.World:
    return parts.World()


async def halfway(world: parts.World) -> None:
    """A rollout with half of the traffic on the canary, which the default analysis judges."""
    world.apply(parts.edge())
    world.apply(parts.model(steps=HALF, gated=True, analysis=None))
    await world.reconcile()
    world.apply(parts.model("file:///two", steps=HALF, gated=True, analysis=None))
    await world.reconcile()
    assert world.status["rollout"]["weight"] == "50"
    traffic = world.table.traffic(parts.KEY)
    assert traffic is not None
    assert traffic.weight == 5000


def fail_gate(world: parts.World, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the live gate has proven harm."""
    failed = rollout_status.GateStatus(name="default", metric="errors", verdict=Verdict.FAIL, n=40)
    monkeypatch.setattr(evidence.Family, "statuses", lambda *_, **__: (failed,))


async def test_first_revision_serves(world: parts.World) -> None:
    """Labels, plan, objects and status of the first revision are there after a few reconciles, and then nothing is written."""
    world.apply(parts.model())
    await world.reconcile()
    assert not list(statuses.contradictions({c["type"]: c for c in world.status["conditions"]}, serves=True))
    assert world.status["lastRollout"]["outcome"] == "Promoted"
    count = len(world.api.statuses)
    assert await world.reconcile(3) is None
    assert len(world.api.statuses) == count


async def test_decrease_reaches_the_proxies_before_the_api_server(world: parts.World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed gate takes the weight away even when nothing can be written."""
    await halfway(world)
    fail_gate(world, monkeypatch)
    world.api.refuse = errors.Unreachable("apply", "no answer")
    with pytest.raises(errors.Unreachable):
        await world.models.reconcile(parts.KEY)
    traffic = world.table.traffic(parts.KEY)
    assert traffic is not None
    assert traffic.weight == 0
    world.api.refuse = None
    await world.reconcile()
    assert world.status["lastRollout"]["outcome"] == "RolledBack"


async def test_increase_is_persisted_before_it_is_sent(world: parts.World) -> None:
    """While the status with a weight is being written, no proxy has that weight."""
    world.apply(parts.edge())
    world.apply(parts.model(steps=HALF, gated=True))
    await world.reconcile()
    world.apply(parts.model("file:///two", steps=HALF, gated=True))
    seen: list[tuple[str, int]] = []
    written = world.api.apply_status

    async def spy(*arguments: Any, **options: Any) -> Any:
        if "rollout" in arguments[3]:
            sent = world.table.traffic(parts.KEY)
            seen.append((arguments[3]["rollout"]["weight"], sent.weight if sent is not None else 0))
        return await written(*arguments, **options)

    world.api.apply_status = spy
    await world.reconcile()
    assert ("50", 0) in seen


async def test_verdict_overtakes_a_write_that_hangs(world: parts.World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protection takes the weight away while a status write hangs, and the increase that hung is not sent after it."""
    steps = [{"name": "ten", "weight": 10}, *HALF]
    world.apply(parts.edge())
    world.apply(parts.model(steps=steps, gated=True, analysis=None))
    await world.reconcile()
    world.apply(parts.model("file:///two", steps=steps, gated=True, analysis=None))
    while world.status.get("rollout", {}).get("step") != "ten" or world.status["rollout"].get("stepEnteredAt") is None:
        await world.reconcile(1)
    world.api.gate.clear()
    world.api.arrived.clear()
    hanging = asyncio.create_task(world.models.reconcile(parts.KEY))
    await asyncio.wait_for(world.api.arrived.wait(), 5)
    fail_gate(world, monkeypatch)
    world.models.protect(parts.KEY)
    traffic = world.table.traffic(parts.KEY)
    assert traffic is not None
    assert traffic.weight == 0
    world.api.gate.set()
    assert await hanging == 0.0
    traffic = world.table.traffic(parts.KEY)
    assert traffic is not None
    assert traffic.weight == 0
    await world.reconcile()
    assert world.status["lastRollout"]["outcome"] == "RolledBack"


async def test_protection_gives_nothing(world: parts.World) -> None:
    """A leader that may not write sends no increase, however good everything looks."""
    await halfway(world)
    await world.clock.advance(3600)
    before = world.table.traffic(parts.KEY)
    world.models.protect(parts.KEY)
    assert world.table.traffic(parts.KEY) == before


async def test_successor_judges_before_it_serves(world: parts.World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new leader whose evidence says Fail never sends the persisted weight, and its epoch is above the persisted one."""
    await halfway(world)
    persisted = world.status["epoch"]
    world.start()
    fail_gate(world, monkeypatch)
    world.models.protect(parts.KEY)
    traffic = world.table.traffic(parts.KEY)
    assert traffic is not None
    assert (traffic.weight, traffic.epoch > persisted) == (0, True)


async def test_promotion_that_a_crash_cut_off_is_told(world: parts.World) -> None:
    """The label Stable was written and the process died: the successor still says how the rollout ended."""
    world.apply(parts.edge())
    world.apply(parts.model(gated=True))
    await world.reconcile()
    world.apply(parts.model("file:///two", gated=True))
    stable = world.status["stableRevision"]

    def promoted() -> Any:
        found = world.cache.list(resources.CONTROLLER_REVISIONS, parts.KEY.namespace)
        labels = {
            obj["metadata"]["labels"]["sluice.dev/revision"]: obj["metadata"]["labels"]["sluice.dev/outcome"] for obj in found
        }
        return labels[stable] == "Previous"

    while not promoted():
        await world.reconcile(1)
    assert world.status["rollout"]["phase"] == "Promoting"
    world.start()
    world.models.protect(parts.KEY)
    await world.reconcile()
    assert "rollout" not in world.status
    assert world.status["lastRollout"]["revision"] == world.status["stableRevision"] != stable


async def test_status_is_written_at_most_every_ten_seconds_for_numbers(
    world: parts.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While only numbers change the status waits; a verdict that changes is written at once."""
    await halfway(world)
    said = rollout_status.GateStatus(name="default", metric="errors", verdict=Verdict.INCONCLUSIVE, n=1)
    monkeypatch.setattr(evidence.Family, "statuses", lambda *_, **__: (said,))
    await world.reconcile()
    start, times = world.clock.monotonic(), []
    for second in range(60):
        said = said.model_copy(update={"n": second + 2})
        count = len(world.api.statuses)
        again = await world.models.reconcile(parts.KEY)
        times += [world.clock.monotonic() - start] * (len(world.api.statuses) - count)
        assert again is not None
        await world.clock.advance(1)
    assert times
    assert all(later - earlier >= 10 for earlier, later in itertools.pairwise(times))
    count = len(world.api.statuses)
    said = said.model_copy(update={"verdict": Verdict.PASS})
    await world.models.reconcile(parts.KEY)
    assert len(world.api.statuses) == count + 1


async def test_conflict_is_left_to_the_caller(world: parts.World) -> None:
    """A status of an object that changed meanwhile is not written: the reconcile gathers again."""
    world.apply(parts.model())
    world.api.gate.clear()
    running = asyncio.create_task(world.models.reconcile(parts.KEY))
    await asyncio.wait_for(world.api.arrived.wait(), 5)
    world.apply(parts.model("file:///two"))
    world.api.gate.set()
    with pytest.raises(errors.Conflict):
        await running


async def test_refused_object_is_said_and_tried_again(world: parts.World) -> None:
    """What the API server forbids is Stalled with its words, and the rollout has not moved on."""
    world.apply(parts.model())
    world.api.refuse = errors.Forbidden("apply deployments.apps ml/chat", "exceeded quota: none")
    with pytest.raises(errors.Forbidden):
        await world.models.reconcile(parts.KEY)
    stalled = next(c for c in world.status["conditions"] if c["type"] == "Stalled")
    assert stalled["reason"] == "CannotApply"
    assert "exceeded quota" in stalled["message"]
    assert "rollout" not in world.status
    world.api.refuse = None
    await world.reconcile()
    assert not [c for c in world.status["conditions"] if c["type"] == "Stalled"]


async def test_an_object_of_somebody_else_is_left_alone(world: parts.World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's Service of our name is neither taken over nor pruned: the status says what is in the way."""
    theirs = {"metadata": {"name": "chat", "namespace": "ml", "uid": "theirs"}, "spec": {"selector": {"app": "theirs"}}}
    get = world.api.get

    async def get_theirs(resource: resources.Resource, namespace: str, name: str) -> parts.Object:
        return theirs if (resource, name) == (resources.SERVICES, "chat") else await get(resource, namespace, name)

    monkeypatch.setattr(world.api, "get", get_theirs)
    world.apply(parts.model())
    with pytest.raises(errors.AlreadyExists):
        await world.reconcile()
    assert world.cache.get(resources.SERVICES, "ml", "chat") is None
    stalled = next(c for c in world.status["conditions"] if c["type"] == "Stalled")
    assert "services ml/chat" in stalled["message"]


async def test_orphans_go_and_what_others_own_stays(world: parts.World) -> None:
    """Deployments with our labels that belong to nobody are removed; those of another uid are left to the collector."""
    world.apply(parts.model())
    await world.reconcile()
    mine = world.cache.list(resources.DEPLOYMENTS, parts.KEY.namespace)[0]
    for name, owners in (("chat-orphan", []), ("chat-other", [{"uid": "another"}])):
        labels = {**mine["metadata"]["labels"], "sluice.dev/revision": name}
        metadata = {"name": name, "namespace": parts.KEY.namespace, "labels": labels, "ownerReferences": owners}
        world.api.put({**mine, "metadata": metadata})
    await world.reconcile(2)
    left = {obj["metadata"]["name"] for obj in world.cache.list(resources.DEPLOYMENTS, parts.KEY.namespace)}
    assert left == {mine["metadata"]["name"], "chat-other"}


async def test_late_leader_cannot_change_labels(world: parts.World) -> None:
    """A ControllerRevision that changed since it was seen is not labelled: its outcome is a durable fact."""
    world.apply(parts.model())
    await world.reconcile()
    known = world.cache.list(resources.CONTROLLER_REVISIONS, parts.KEY.namespace)[0]
    stale = {**known, "metadata": {**known["metadata"], "resourceVersion": "1"}}
    labels = {**known["metadata"]["labels"], "sluice.dev/outcome": "Rejected"}
    late = parts.World()
    late.cache.put(resources.CONTROLLER_REVISIONS, stale)
    late.models.applier.client = world.api
    with pytest.raises(errors.Conflict):
        await late.models.applier.apply({**known, "metadata": {**known["metadata"], "labels": labels}})


async def test_waits_for_proxies_after_the_rollout(world: parts.World) -> None:
    """Once a rollout has ended, the old revision's pods stay until the proxies acknowledge, which is waited for."""
    world.apply(parts.edge())
    world.apply(parts.model(gated=True))
    await world.reconcile()
    assert not world.models.waits_for_proxies(parts.KEY)
    world.apply(parts.model("file:///two", gated=True))
    while world.status.get("rollout", {}).get("reason") != "LabelsPending":
        await world.reconcile(1)
    world.ads.prompt = False
    await world.reconcile()
    assert "rollout" not in world.status
    assert len(world.cache.list(resources.DEPLOYMENTS, parts.KEY.namespace)) == 2
    assert world.models.waits_for_proxies(parts.KEY)
    world.ads.prompt = True
    await world.reconcile()
    assert len(world.cache.list(resources.DEPLOYMENTS, parts.KEY.namespace)) == 1
    assert not world.models.waits_for_proxies(parts.KEY)


def test_messages_of_decisions_are_not_kept() -> None:
    """A state survives the status: what is read back is what was written."""
    state = persisted.State("abc", rollout_status.Phase.PROGRESSING, 1.5, "half", 5000, 3, 2.25, had_traffic=True, reason="R")
    assert persisted.from_status(persisted.to_status(state)) == state


async def test_evidence_goes_once_the_status_says_that_its_rollout_is_over(world: parts.World) -> None:
    """A rollout that ended leaves no ConfigMap behind, and one under way keeps its own."""
    world.apply(parts.model())
    await world.reconcile()
    names = [obj["metadata"]["name"] for obj in world.cache.list(resources.CONFIG_MAPS)]
    assert not [name for name in names if name.endswith("-evidence")]
    await halfway(world)
    names = [obj["metadata"]["name"] for obj in world.cache.list(resources.CONFIG_MAPS)]
    assert len([name for name in names if name.endswith("-evidence")]) == 1


async def test_pods_answer_before_they_leave(world: parts.World) -> None:
    """Also when every proxy knows: what is in flight ends first, or drainTimeout does."""
    world.apply(parts.edge())
    world.apply(parts.model(gated=True))
    await world.reconcile()
    world.in_flight.requests = 2
    world.apply(parts.model("file:///two", gated=True))
    await world.reconcile(12)
    assert world.status["lastRollout"]["outcome"] == "Promoted"
    assert len(world.cache.list(resources.DEPLOYMENTS, parts.KEY.namespace)) == 2
    world.in_flight.requests = 0
    await world.reconcile()
    assert len(world.cache.list(resources.DEPLOYMENTS, parts.KEY.namespace)) == 1
