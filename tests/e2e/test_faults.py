"""What breaks in production, done on purpose under traffic: rollouts end as they should and users are answered."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import secrets
import time
from collections.abc import Iterator

import httpx
import pytest

from hack.demo import attempts
from hack.demo import world as world_
from tests.e2e import faults

pytestmark = pytest.mark.timeout(600)
CLUSTER_NAME = "e2e"


@pytest.fixture
def model(world: world_.World) -> Iterator[faults.Model]:
    """The small model, which no test finds as another left it."""
    made = faults.Model(world)
    asyncio.run(_remove(made))
    yield made
    asyncio.run(_remove(made))


async def _remove(model: faults.Model) -> None:
    await model.world.kubectl("delete", "modeldeployment", "-n", world_.NAMESPACE, faults.NAME, "--ignore-not-found", "--wait")
    while await model.pods():  # noqa: ASYNC110 - the API server tells nobody here
        await asyncio.sleep(0.3)


def in_traffic(status: dict[str, object]) -> bool:
    """A rollout has weight, and every proxy has acknowledged it."""
    rollout = status.get("rollout")
    return isinstance(rollout, dict) and rollout.get("weight") not in (None, "0") and bool(rollout.get("stepEnteredAt"))


def is_over(outcome: str) -> object:
    """Whether the latest rollout ended so, and none is under way."""

    def check(status: dict[str, object]) -> bool:
        last = status.get("lastRollout")
        return isinstance(last, dict) and last.get("outcome") == outcome and not status.get("rollout")

    return check


async def test_kill_of_the_leader_in_mid_rollout_changes_nothing_of_its_end(model: faults.Model) -> None:
    """A new leader goes on, the revision is promoted, and the gateway answered all the time."""
    await model.settle(faults.manifest(model.world))
    restarts = await faults.restarts(model.world)
    async with model.load() as sent:
        await model.world.apply(faults.manifest(model.world, model={"source": "file:///models/better"}))
        await model.wait("weight", in_traffic)
        faults.kill_pod(await faults.leader(model.world))
        ended = await model.wait("the promotion", lambda s: is_ready_and_promoted(s))
    assert await faults.restarts(model.world) == restarts + 1
    assert ended["status"]["lastRollout"]["outcome"] == "Promoted"
    assert faults.errors(sent) == []
    assert len(sent.results) > 0


def is_ready_and_promoted(status: dict[str, object]) -> bool:
    """The new revision serves."""
    last = status.get("lastRollout")
    second = isinstance(last, dict) and bool(last.get("gates"))  # the first revision had nothing to be compared with
    return second and faults.is_ready(status) and not status.get("rollout")


async def test_a_canary_that_fails_while_the_api_server_is_stopped_is_off(model: faults.Model) -> None:
    """Weight 0 reaches Envoy at once, and the status follows when the API server is back."""
    await model.settle(faults.manifest(model.world))
    async with model.load() as sent:
        started = time.time()
        await model.world.apply(faults.failing_after(model.world, 60))
        rolling = await model.wait("weight", in_traffic)
        revision = rolling["status"]["rollout"]["revision"]
        with faults.stopped_api_server(CLUSTER_NAME):
            stopped = time.time()
            await asyncio.sleep(OUTAGE)  # how long it lasts is the fault itself, not a wait for something
        ended = await model.wait("the rollback", is_over("RolledBack"))
        canary = attempts.on_revision(await model.world.attempts(started), revision)
    assert ended["status"]["lastRollout"]["revision"] == revision
    first_bad = next(attempt.at for attempt in canary if attempt.bad)
    assert first_bad > stopped, "the canary failed before the API server was stopped: the test shows nothing"
    back = max(attempt.at for attempt in canary)
    assert back < stopped + OUTAGE, "the canary had traffic until the API server was back"
    assert faults.errors(sent) == []


OUTAGE = 25.0
"""Seconds for which the API server is stopped: long enough that the Lease is lost meanwhile."""


async def test_a_successor_never_sends_the_old_weight_to_a_bad_canary(model: faults.Model) -> None:
    """The leader dies between the push of a decrease and its status write; the canary stays off."""
    deployment = ("-n", "sluice-system", "deployment/sluice-operator")
    await model.settle(faults.manifest(model.world))
    await model.world.kubectl("set", "env", *deployment, "SLUICE_CRASH_AFTER_DECREASE=/tmp/crashed")
    await model.world.kubectl("rollout", "status", *deployment, "--timeout=120s")
    try:
        restarts = await faults.restarts(model.world)
        async with model.load() as sent:
            started = time.time()
            await model.world.apply(faults.failing_after(model.world, 60))
            rolling = await model.wait("weight", in_traffic)
            revision = rolling["status"]["rollout"]["revision"]
            ended = await model.wait("the rollback", is_over("RolledBack"))
            canary = attempts.on_revision(await model.world.attempts(started), revision)
        assert await faults.restarts(model.world) > restarts, "the leader did not die: the test shows nothing"
        assert ended["status"]["lastRollout"]["revision"] == revision
        assert longest_pause(canary) < 5.0, "the canary was off, and then had traffic again"
        assert faults.errors(sent) == []
    finally:
        await model.world.kubectl("set", "env", *deployment, "SLUICE_CRASH_AFTER_DECREASE-")
        await model.world.kubectl("rollout", "status", *deployment, "--timeout=120s")


def longest_pause(found: list[attempts.Attempt]) -> float:
    """The longest time between two attempts on one revision; they come many times a second while it has weight."""
    return max((later.at - earlier.at for earlier, later in itertools.pairwise(found)), default=0.0)


async def test_lost_status_resumes_at_the_stable_revision(model: faults.Model) -> None:
    """No eval, no step and no new pod; users notice nothing."""
    settled = await model.settle(faults.manifest(model.world))
    pods, revisions = await model.pods(), await model.revisions()
    async with model.load() as sent:
        await model.world.kubectl(
            "patch", "modeldeployment", "-n", world_.NAMESPACE, faults.NAME, "--subresource=status", "--type=json",
            "-p", '[{"op": "remove", "path": "/status"}]',
        )  # fmt: skip
        again = await model.wait("Ready", faults.is_ready)
    assert again["status"]["stableRevision"] == settled["status"]["stableRevision"]
    assert again["status"].get("rollout") is None
    assert await model.pods() == pods
    assert await model.revisions() == revisions
    assert faults.errors(sent) == []


async def test_an_object_that_was_deleted_as_an_orphan_is_taken_up_again(model: faults.Model) -> None:
    """Applied again, it adopts its revision and its pods as they are."""
    await model.settle(faults.manifest(model.world))
    pods, revisions = await model.pods(), await model.revisions()
    await model.world.kubectl("delete", "modeldeployment", "-n", world_.NAMESPACE, faults.NAME, "--cascade=orphan", "--wait")
    again = await model.settle(faults.manifest(model.world))
    assert await model.pods() == pods
    assert await model.revisions() == revisions
    owners = await model.world.get("controllerrevisions", "-l", f"sluice.dev/model-deployment={faults.NAME}")
    uids = {reference["uid"] for item in owners["items"] for reference in item["metadata"]["ownerReferences"]}
    assert uids == {again["metadata"]["uid"]}


async def test_a_revoked_key_is_refused_and_drops_nobody_else(model: faults.Model) -> None:
    """A client's key goes while another client's requests are under way."""
    await model.settle(faults.manifest(model.world))
    key = f"sk-{secrets.token_urlsafe(24)}"
    async with model.load() as sent, httpx.AsyncClient(base_url=await model.world.base_url()) as other:
        await _set_key(model.world, "other", hashlib.sha256(key.encode()).hexdigest())
        await _until_status(other, key, 200)
        await _set_key(model.world, "other", None)
        await _until_status(other, key, 401)
    assert faults.errors(sent) == []
    assert len(sent.results) > 0


async def _until_status(client: httpx.AsyncClient, key: str, wanted: int) -> None:
    """Asks until the gateway answers so."""
    for _ in range(200):
        answer = await client.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
        if answer.status_code == wanted:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"the gateway goes on answering {answer.status_code}, not {wanted}")


async def _set_key(world: world_.World, client: str, digest: str | None) -> None:
    patch = json.dumps({"stringData": {client: digest}} if digest else {"data": {client: None}})
    await world.kubectl("patch", "secret", "-n", world_.NAMESPACE, "clients", "--type=merge", "-p", patch)


async def test_everything_goes_with_its_owner(model: faults.Model) -> None:
    """Deleting the ModelDeployment leaves no object of it."""
    await model.settle(faults.manifest(model.world))
    await model.world.kubectl("delete", "modeldeployment", "-n", world_.NAMESPACE, faults.NAME, "--wait")
    kinds = "deployments,replicasets,pods,services,configmaps,controllerrevisions,jobs,endpointslices"
    left: list[str] = []
    for _ in range(200):
        found = await model.world.get(kinds, "-l", f"sluice.dev/model-deployment={faults.NAME}")
        left = [f"{item['kind']}/{item['metadata']['name']}" for item in found["items"]]
        if not left:
            break
        await asyncio.sleep(0.3)
    assert left == []
