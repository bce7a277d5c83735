"""Our leader elector: keeps the Lease in sight, renews or takes it, and tells when this replica's role changes.

The rules are in `election`; here are the requests, the tasks and the clock. What a role means for workers and proxies is the
caller's.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from sluice.kube import client, election, errors, resources, retry, times
from sluice.observability import logs

_log = logs.get(__name__)

OnChange = Callable[[election.Role], None]
"""Told of each new role, in the event loop. Must not block: put it on a queue or set an event."""


class Time(Protocol):
    """The part of a clock that an elector needs; see `sluice.engine.clock`."""

    def now(self) -> float:
        """Seconds since the epoch: only written for people to read."""

    def monotonic(self) -> float:
        """Seconds since some start: decides."""

    async def sleep(self, seconds: float) -> None:
        """Waits."""


class Leases(Protocol):
    """Where the Lease is kept. All raise errors.ApiError."""

    async def get(self) -> election.Record | None:
        """The Lease, or None when there is none."""

    async def create(self, record: election.Record, now: float) -> election.Record:
        """Makes it, with the version that it got."""

    async def replace(self, record: election.Record, now: float) -> election.Record:
        """Writes it over the one of `record.version`, else Conflict."""

    def watch(self, version: str, idle: float) -> AsyncIterator[election.Record | None]:
        """Its changes after `version`; None when it is deleted."""


class Elector:
    """Keeps one replica's role. `run` it as a task; `stop` it, after the work has stopped, to hand over at once."""

    def __init__(
        self,
        leases: Leases,
        identity: str,
        *,
        time: Time,
        timing: election.Timing | None = None,
        on_change: OnChange | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._leases = leases
        self._identity = identity
        self._time = time
        self._timing = timing or election.Timing()
        self._on_change = on_change
        self._chance = chance
        self._state = election.INITIAL
        self._told = election.Role.FOLLOWER
        self._stopping = False
        self._failing = False
        self._moves = 0
        self._news = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def role(self) -> election.Role:
        """The role at this very instant: never LEADER past the deadline, even if this process has stood still."""
        return election.elapse(self._state, self._time.monotonic(), timing=self._timing).role

    @property
    def holder(self) -> str:
        """Who holds the Lease as far as we know; "" for nobody."""
        return self._state.record.holder if self._state.record else ""

    async def wait_for(self, *roles: election.Role) -> None:
        """Returns when the role is one of these."""
        async with self._news:
            await self._news.wait_for(lambda: self.role in roles)

    async def run(self) -> None:
        """Takes part in the election until cancelled or stopped."""
        self._tasks = [
            asyncio.create_task(self._forever(step), name=f"elector {step.__name__}")
            for step in (self._work, self._watch, self._expire)
        ]
        try:
            await asyncio.gather(*self._tasks)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def stop(self) -> None:
        """Becomes a follower, ends `run`, and frees the Lease so that another takes it at once.

        An unreachable API server is logged, not raised: the Lease then runs out by itself.
        """
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._move(election.resign(self._state))
        try:
            # A renewal that was under way may have changed the version, so look first.
            record = await self._leases.get()
            if record is not None and record.holder == self._identity:
                released = election.Record("", 1.0, record.version, record.transitions)
                await self._leases.replace(released, self._time.now())
        except errors.ApiError as error:
            _log.warning("lease not released", cause=str(error))

    async def _forever(self, step: Callable[[], Any]) -> None:
        while True:
            await step()

    async def _move(self, state: election.State) -> None:
        self._state = state
        self._moves += 1
        if state.role is not self._told:
            self._told = state.role
            _log.info("role changed", role=state.role.value, holder=self.holder, identity=self._identity)
            if self._on_change:
                self._on_change(state.role)
        async with self._news:
            self._news.notify_all()

    async def _pause(self, until: float) -> None:
        """Sleeps until then on the monotonic clock, or until the state has moved since the call."""
        sleep = asyncio.create_task(self._time.sleep(until - self._time.monotonic()))
        news = asyncio.create_task(self._moved_since(self._moves))
        try:
            await asyncio.wait({sleep, news}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sleep, news):
                task.cancel()
            await asyncio.gather(sleep, news, return_exceptions=True)

    async def _moved_since(self, moves: int) -> None:
        async with self._news:
            await self._news.wait_for(lambda: self._moves != moves)

    async def _expire(self) -> None:
        """Changes the role when time alone says so, also while a request hangs."""
        due = election.deadline(self._state, timing=self._timing)
        now = self._time.monotonic()
        if now >= due:
            await self._move(election.elapse(self._state, now, timing=self._timing))
        else:
            await self._pause(min(due, now + self._timing.protect))

    async def _work(self) -> None:
        """One look at the plan: waits, or sends one request and takes in its outcome."""
        now = self._time.monotonic()
        plan = election.plan(self._state, now, me=self._identity)
        if plan.action is election.Action.WAIT:
            await self._pause(plan.until)
            return
        try:
            await self._act(plan.action, now)
        except (errors.Conflict, errors.AlreadyExists, errors.NotFound):
            await self._move(election.doubt(self._state, self._time.monotonic()))
        except errors.ApiError as error:
            if not self._failing:  # once: an outage is one event, however often we try
                _log.warning("lease out of reach", action=plan.action.value, cause=str(error), role=self.role.value)
            self._failing = True
            await self._move(election.miss(self._state, now, self._time.monotonic(), timing=self._timing))
        else:
            self._failing = False

    async def _act(self, action: election.Action, now: float) -> None:
        if action is election.Action.LOOK:
            await self._see(await self._leases.get())
            return
        written = await self._write(action)
        await self._move(election.hold(self._state, written, now, self._time.monotonic(), timing=self._timing))

    async def _write(self, action: election.Action) -> election.Record:
        known = self._state.record
        mine = election.Record(self._identity, self._timing.duration, version="", acquired=times.micro_time(self._time.now()))
        if action is election.Action.CREATE or known is None:
            return await self._leases.create(mine, self._time.now())
        taken = known.holder != self._identity
        record = election.Record(
            holder=self._identity,
            duration=self._timing.duration,
            version=known.version,
            transitions=known.transitions + taken,
            acquired=mine.acquired if taken or not known.acquired else known.acquired,
        )
        return await self._leases.replace(record, self._time.now())

    async def _see(self, record: election.Record | None) -> None:
        await self._move(election.observe(self._state, record, self._time.monotonic(), me=self._identity))

    async def _watch(self) -> None:
        """Reads the Lease, then follows its changes until the stream ends for whatever reason."""
        pause = self._timing.retry * (0.5 + 0.5 * self._chance())
        try:
            record = await self._leases.get()
        except errors.ApiError as error:
            _log.debug("lease not read", cause=str(error))
            await self._move(election.lose_sight(self._state, timing=self._timing))
        else:
            await self._see(record)
            if record is not None and await self._follow(record.version):
                pause /= 10  # streams end now and then: a release must not be missed for long
        await self._time.sleep(pause)  # back-off: an API server that is away, or refuses, is not asked without end

    async def _follow(self, version: str) -> bool:
        """Takes in every change after the version; returns whether the stream ended in order."""
        try:
            async for change in self._leases.watch(version, idle=self._timing.duration):
                await self._see(change)
        except errors.ApiError as error:
            _log.debug("lease watch ended", cause=str(error))
            return False
        return True


class KubeLeases:
    """The Lease in the operator's namespace."""

    def __init__(self, api: client.Client, namespace: str, *, name: str = resources.LEASE_NAME, timeout: float = 1.5) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name
        # One attempt only: the elector counts time itself.
        self._policy = retry.Policy(timeout=timeout, attempts=1)

    async def get(self) -> election.Record | None:
        """The Lease, or None when there is none."""
        try:
            return _parse(await self._api.get(resources.LEASES, self._namespace, self._name, policy=self._policy))
        except errors.NotFound:
            return None

    async def create(self, record: election.Record, now: float) -> election.Record:
        """Makes it."""
        return _parse(await self._api.create(resources.LEASES, self._build(record, now), policy=self._policy))

    async def replace(self, record: election.Record, now: float) -> election.Record:
        """Writes it over the one of `record.version`."""
        return _parse(await self._api.replace(resources.LEASES, self._build(record, now), policy=self._policy))

    async def watch(self, version: str, idle: float) -> AsyncIterator[election.Record | None]:
        """Its changes after `version`."""
        events = self._api.watch(resources.LEASES, self._namespace, self._name, resource_version=version, idle=idle)
        async for event in events:
            if event.type == "DELETED":
                yield None
            elif event.type != "BOOKMARK":
                yield _parse(event.object)

    def _build(self, record: election.Record, now: float) -> client.Object:
        metadata: client.Object = {"name": self._name, "namespace": self._namespace}
        if record.version:
            metadata["resourceVersion"] = record.version
        spec: client.Object = {
            "holderIdentity": record.holder,
            "leaseDurationSeconds": max(1, math.ceil(record.duration)),
            "renewTime": times.micro_time(now),
            "leaseTransitions": record.transitions,
        }
        if record.acquired:
            spec["acquireTime"] = record.acquired
        return {"metadata": metadata, "spec": spec}


def _parse(lease: client.Object) -> election.Record:
    spec = lease.get("spec") or {}
    return election.Record(
        holder=spec.get("holderIdentity") or "",
        duration=float(spec.get("leaseDurationSeconds") or 0),
        version=str(lease["metadata"].get("resourceVersion", "")),
        transitions=int(spec.get("leaseTransitions") or 0),
        acquired=spec.get("acquireTime") or "",
    )
