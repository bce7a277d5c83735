"""Two electors on a real API server's Lease: deaths, hand-overs, cuts and outages."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from sluice.engine import clock
from sluice.kube import client, election, lease, resources
from tests.support import apiproxy, controlplane

Role = election.Role
TIMING = election.Timing(duration=3.0, renew_deadline=2.0, retry=0.5, request_timeout=0.5)
OPERATOR_PREFIX = "operator-"


@pytest.fixture(scope="module")
def plane() -> Iterator[controlplane.ControlPlane]:
    with controlplane.ControlPlane() as made:
        yield made


@pytest.fixture
def namespace(plane: controlplane.ControlPlane) -> str:
    """The operator's namespace of one test: it holds the test's own Lease."""
    name = OPERATOR_PREFIX + uuid.uuid4().hex[:8]
    plane.kubectl("create", "namespace", name)
    return name


class Replica:
    """An elector with a client of its own."""

    def __init__(self, api: client.Client, namespace: str, name: str) -> None:
        self.roles: list[Role] = []
        leases = lease.KubeLeases(api, namespace, timeout=TIMING.request_timeout)
        self.elector = lease.Elector(leases, name, time=clock.SystemClock(), timing=TIMING, on_change=self.roles.append)
        self.task = asyncio.create_task(self.elector.run())

    async def becomes(self, *roles: Role, seconds: float = 15) -> float:
        """Waits for one of the roles; returns how long it took."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with asyncio.timeout(seconds):
            await self.elector.wait_for(*roles)
        return loop.time() - started

    async def kill(self) -> None:
        """As kill -9: nothing is released."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@contextlib.asynccontextmanager
async def replica(kubeconfig: pathlib.Path, namespace: str, name: str) -> AsyncIterator[Replica]:
    async with await client.Client.connect(kubeconfig, operator_namespace=namespace) as api:
        made = Replica(api, namespace, name)
        try:
            yield made
        finally:
            await made.kill()


@contextlib.asynccontextmanager
async def pair(first: pathlib.Path, second: pathlib.Path, namespace: str) -> AsyncIterator[tuple[Replica, Replica]]:
    """Two replicas of which the first leads and the second knows it; never do both lead."""
    async with replica(first, namespace, "a") as a:
        await a.becomes(Role.LEADER)
        async with replica(second, namespace, "b") as b:
            async with asyncio.timeout(5):
                while b.elector.holder != "a":  # noqa: ASYNC110 - what it has seen is not announced
                    await asyncio.sleep(0.02)
            watch = asyncio.create_task(_both_lead(a, b))
            yield a, b
            assert not watch.done(), "both led"
            watch.cancel()


async def _both_lead(a: Replica, b: Replica) -> None:
    while not (a.elector.role is Role.LEADER and b.elector.role is Role.LEADER):  # noqa: ASYNC110 - samples as often as it can
        await asyncio.sleep(0.005)


async def test_when_the_leader_is_killed_the_other_leads_once_its_lease_has_run_out(
    plane: controlplane.ControlPlane, namespace: str
) -> None:
    """Not before, and without anybody's help."""
    async with pair(plane.kubeconfig, plane.kubeconfig, namespace) as (a, b):
        await a.kill()
        took = await b.becomes(Role.LEADER)
        # The last renewal was at most one retry period, and a request, before the kill.
        assert took >= TIMING.duration - TIMING.retry - TIMING.request_timeout
        assert b.roles == [Role.LEADER]


async def test_a_leader_that_stops_hands_over_at_once(plane: controlplane.ControlPlane, namespace: str) -> None:
    """The other hears of the release by its watch, long before the Lease would have run out."""
    async with pair(plane.kubeconfig, plane.kubeconfig, namespace) as (a, b):
        await a.elector.stop()
        took = await b.becomes(Role.LEADER)
        assert a.roles == [Role.LEADER, Role.FOLLOWER]
        assert took < TIMING.duration - TIMING.retry - TIMING.request_timeout, "it waited for the Lease to run out"


async def test_the_lease_tells_people_who_leads(plane: controlplane.ControlPlane, namespace: str) -> None:
    """`kubectl get lease` shows the holder; a change of hands counts up the transitions."""
    async with pair(plane.kubeconfig, plane.kubeconfig, namespace) as (a, b):
        await a.elector.stop()
        await b.becomes(Role.LEADER)
        async with await client.Client.connect(plane.kubeconfig, operator_namespace=namespace) as api:
            spec = (await api.get(resources.LEASES, namespace, resources.LEASE_NAME))["spec"]
    assert spec["holderIdentity"] == "b"
    assert spec["leaseTransitions"] == 1
    assert spec["leaseDurationSeconds"] == 3
    assert spec["acquireTime"] <= spec["renewTime"]


async def test_a_leader_that_is_cut_off_protects_and_follows_its_successor_once_it_sees_it(
    plane: controlplane.ControlPlane, namespace: str, tmp_path: pathlib.Path
) -> None:
    """Protecting may overlap with the successor's lead, leading may not."""
    async with (
        apiproxy.ApiProxy(plane.kubeconfig, tmp_path) as proxy,
        pair(proxy.kubeconfig, plane.kubeconfig, namespace) as (a, b),
    ):
        proxy.cut()
        await a.becomes(Role.PROTECT_ONLY)
        await b.becomes(Role.LEADER)
        assert a.elector.role is Role.PROTECT_ONLY
        proxy.heal()
        await a.becomes(Role.FOLLOWER)
        assert a.roles == [Role.LEADER, Role.PROTECT_ONLY, Role.FOLLOWER]
        assert b.elector.role is Role.LEADER


async def test_without_the_api_server_the_leader_protects_and_leads_again_when_it_is_back(
    plane: controlplane.ControlPlane, namespace: str
) -> None:
    """The other does not take the Lease in between: it leaves the former leader time to renew."""
    async with pair(plane.kubeconfig, plane.kubeconfig, namespace) as (a, b):
        plane.stop_apiserver()
        await a.becomes(Role.PROTECT_ONLY)
        await asyncio.to_thread(plane.start_apiserver)
        await a.becomes(Role.LEADER, seconds=30)
        assert a.roles == [Role.LEADER, Role.PROTECT_ONLY, Role.LEADER]
        assert b.roles == []
