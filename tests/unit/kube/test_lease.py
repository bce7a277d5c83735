"""Electors on a Lease in memory, under virtual time, with a network that a test can cut."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator

import pytest

from sluice.kube import election, errors, lease
from tests.support import clock

Role = election.Role


class Store:
    """One Lease, with versions and watchers."""

    def __init__(self) -> None:
        self.record: election.Record | None = None
        self.version = 0
        self.watchers: list[asyncio.Queue[election.Record | None]] = []

    def write(self, record: election.Record | None) -> election.Record | None:
        self.version += 1
        self.record = record and dataclasses.replace(record, version=str(self.version))
        for watcher in self.watchers:
            watcher.put_nowait(self.record)
        return self.record


class Line:
    """One replica's way to the store: `up`, `refused` at once, or `hung` until its timeout."""

    def __init__(self, store: Store, time: clock.FakeClock) -> None:
        self.store = store
        self.time = time
        self.state = "up"
        self.requests = 0

    async def _pass(self) -> None:
        self.requests += 1
        if self.state == "hung":
            await self.time.sleep(1.5)
        if self.state != "up":
            raise errors.Unreachable("reach leases", self.state)

    async def get(self) -> election.Record | None:
        await self._pass()
        return self.store.record

    async def create(self, record: election.Record, now: float) -> election.Record:
        await self._pass()
        if self.store.record is not None:
            raise errors.AlreadyExists("create leases", "there is one")
        written = self.store.write(record)
        assert written
        return written

    async def replace(self, record: election.Record, now: float) -> election.Record:
        await self._pass()
        if self.store.record is None:
            raise errors.NotFound("replace leases", "there is none")
        if self.store.record.version != record.version:
            raise errors.Conflict("replace leases", "changed")
        written = self.store.write(record)
        assert written
        return written

    async def watch(self, version: str, idle: float) -> AsyncIterator[election.Record | None]:
        await self._pass()
        queue: asyncio.Queue[election.Record | None] = asyncio.Queue()
        self.store.watchers.append(queue)
        while True:
            record = await queue.get()
            if self.state != "up":
                raise errors.Unreachable("watch leases", self.state)
            yield record


class Cluster:
    """Some electors on one store; their roles are noted with the time of each change."""

    def __init__(self, *names: str) -> None:
        self.time = clock.FakeClock()
        self.store = Store()
        self.lines = {name: Line(self.store, self.time) for name in names}
        self.changes: list[tuple[float, str, Role]] = []
        self.electors = {name: self._elector(name) for name in names}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def _elector(self, name: str) -> lease.Elector:
        def note(role: Role) -> None:
            self.changes.append((self.time.monotonic(), name, role))

        return lease.Elector(self.lines[name], name, time=self.time, on_change=note, chance=lambda: 0.0)

    def start(self, *names: str) -> None:
        for name in names:
            self.tasks[name] = asyncio.create_task(self.electors[name].run())

    def kill(self, name: str) -> None:
        """As kill -9: no release, and not another word from it."""
        self.tasks[name].cancel()

    async def end(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)

    def since(self, at: float) -> list[tuple[float, str, Role]]:
        return [(round(when - at, 3), name, role) for when, name, role in self.changes if when >= at]


@contextlib.asynccontextmanager
async def cluster(*names: str) -> AsyncIterator[Cluster]:
    """Electors of which the first leads."""
    made = Cluster(*names)
    for name in names:
        made.start(name)
        await made.time.advance(0.5)
    assert made.electors[names[0]].role is Role.LEADER
    try:
        yield made
    finally:
        await made.end()


async def test_the_first_replica_leads_at_once_and_keeps_leading() -> None:
    """It renews every two seconds, and no second change happens."""
    async with cluster("a", "b") as world:
        await world.time.advance(60)
        assert world.changes == [(0.0, "a", Role.LEADER)]
        assert 30 <= world.store.version <= 32


async def test_when_the_leader_dies_another_leads_once_the_lease_has_run_out() -> None:
    """Nine seconds after the last renewal that it saw."""
    async with cluster("a", "b") as world:
        await world.time.advance(9.5)
        world.kill("a")  # 10.0; its last renewal was at 10.0
        await world.time.advance(20)
        assert world.since(1) == [(18.0, "b", Role.LEADER)]


async def test_a_leader_that_stops_hands_over_at_once() -> None:
    """The other is told by its watch, and needs no timer."""
    async with cluster("a", "b") as world:
        await world.electors["a"].stop()
        await world.time.advance(0.2)
        assert world.since(0.1) == [(0.9, "a", Role.FOLLOWER), (0.9, "b", Role.LEADER)]


async def test_stop_ends_run_and_does_not_raise_when_the_api_server_is_away() -> None:
    """A pod must be able to end while the control plane is down."""
    async with cluster("a") as world:
        world.lines["a"].state = "refused"
        await world.electors["a"].stop()
        await world.time.advance(0)
        assert world.tasks["a"].done()
        assert world.tasks["a"].exception() is None
        assert world.electors["a"].role is Role.FOLLOWER


@pytest.mark.parametrize("failure", ["refused", "hung"])
async def test_without_the_api_server_a_leader_protects_only_and_leads_again_when_it_is_back(failure: str) -> None:
    """Six seconds after its last renewal; the others leave it time to renew, for it holds the state of the rollouts."""
    async with cluster("a", "b") as world:
        await world.time.advance(9.1)  # last renewal at 10.0
        for line in world.lines.values():
            line.state = failure
        await world.time.advance(30)
        assert world.since(1) == [(15.0, "a", Role.PROTECT_ONLY)]
        assert world.electors["b"].role is Role.FOLLOWER
        for line in world.lines.values():
            line.state = "up"
        await world.time.advance(5)
        assert world.electors["a"].role is Role.LEADER
        assert world.electors["b"].role is Role.FOLLOWER


async def test_a_leader_that_is_cut_off_alone_protects_until_it_sees_its_successor() -> None:
    """The other leads after nine seconds; both protect meanwhile; when the line is back, the first follows."""
    async with cluster("a", "b") as world:
        await world.time.advance(9.1)
        world.lines["a"].state = "refused"
        await world.time.advance(30)
        assert world.since(1) == [(15.0, "a", Role.PROTECT_ONLY), (18.0, "b", Role.LEADER)]
        world.lines["a"].state = "up"
        await world.time.advance(3)
        assert world.electors["a"].role is Role.FOLLOWER
        assert world.electors["b"].role is Role.LEADER


async def test_protect_only_ends_after_ten_minutes() -> None:
    """Then the replica follows, and goes on trying."""
    async with cluster("a") as world:
        world.lines["a"].state = "refused"
        await world.time.advance(700)
        assert [(round(at), role) for at, _, role in world.changes[1:]] == [(6, Role.PROTECT_ONLY), (606, Role.FOLLOWER)]
        world.lines["a"].state = "up"
        await world.time.advance(5)
        assert world.electors["a"].role is Role.LEADER


async def test_a_deleted_lease_is_made_anew_by_its_holder() -> None:
    """Nobody else uses the gap."""
    async with cluster("a", "b") as world:
        await world.time.advance(5)
        world.store.write(None)
        await world.time.advance(20)
        assert world.changes == [(0.0, "a", Role.LEADER)]
        assert world.store.record
        assert world.store.record.holder == "a"


async def test_a_process_that_stood_still_past_its_deadline_does_not_take_itself_for_the_leader() -> None:
    """The role is read off the clock, before any task has run again."""
    async with cluster("a") as world:
        elector = world.electors["a"]
        world.time._elapsed += 30
        assert elector.role is Role.PROTECT_ONLY


async def test_of_candidates_that_find_the_lease_expired_together_one_leads() -> None:
    """They write the same version; one is refused, looks, and waits again."""
    async with cluster("a", "b", "c", "d") as world:
        world.kill("a")
        await world.time.advance(30)
        assert len([role for _, name, role in world.changes if role is Role.LEADER and name != "a"]) == 1
        assert world.store.record
        assert world.store.record.transitions == 1


async def test_a_broken_line_is_not_hammered() -> None:
    """Attempts keep to the retry period, for a leader and for a follower."""
    async with cluster("a", "b") as world:
        for line in world.lines.values():
            line.state = "refused"
            line.requests = 0
        await world.time.advance(100)
        assert 40 <= world.lines["a"].requests <= 160
        assert 40 <= world.lines["b"].requests <= 160
