"""Who leads, as a pure function of what was seen of the Lease and when, on this process's own monotonic clock.

Safety rests on three facts. A leader counts from when it *sent* its last successful renewal and gives up after
`renew_deadline`; the others count from when they *saw* that renewal, later, and wait for the longer `duration`. Every write
names the version it replaces, so of two candidates one wins. No clock is ever compared with another's.

Requests, tasks and waiting are in `lease`.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import Final


class Role(enum.StrEnum):
    """What this replica may do."""

    FOLLOWER = "Follower"
    """Keeps its cache warm and does nothing else."""
    LEADER = "Leader"
    """Reconciles, writes, serves the proxies. At most one replica at a time."""
    PROTECT_ONLY = "ProtectOnly"
    """Led until the API server went out of reach: writes nothing, raises no weight, but still takes weight away."""


class Action(enum.StrEnum):
    """What to do about the Lease next."""

    WAIT = "Wait"
    """Nothing before the plan's time."""
    LOOK = "Look"
    """Read it: what is known is stale, or nothing is."""
    CREATE = "Create"
    """Make it: there is none."""
    RENEW = "Renew"
    """Write our own record again."""
    TAKE = "Take"
    """Replace a record that has expired or was released."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds. Raises ValueError when two replicas could lead at once, or a single request could cost the lead."""

    duration: float = 9.0
    """How long the others wait after the last renewal they saw."""
    renew_deadline: float = 6.0
    """How long a leader goes on without a renewal that succeeded."""
    retry: float = 2.0
    """Between renewals, and between attempts."""
    request_timeout: float = 1.5
    """Of a single request."""
    protect: float = 600.0
    """How long protect-only lasts at most."""

    def __post_init__(self) -> None:
        if not 0 < self.retry < self.renew_deadline < self.duration:
            raise ValueError("Cannot elect a leader: the times must satisfy 0 < retry < renew_deadline < duration")
        if not 0 < self.request_timeout <= self.renew_deadline - self.retry:
            raise ValueError(
                "Cannot elect a leader: request_timeout must leave room for a second attempt before renew_deadline"
            )


@dataclasses.dataclass(frozen=True)
class Record:
    """The Lease as the API server shows it. `holder` is "" after a release; `duration` is the holder's own."""

    holder: str
    duration: float
    version: str
    transitions: int = 0
    acquired: str = ""


@dataclasses.dataclass(frozen=True)
class State:
    """What one replica knows. Times are of its monotonic clock."""

    role: Role = Role.FOLLOWER
    looked: bool = False
    """Whether `record` is the latest we could know; None then means that there is no Lease."""
    record: Record | None = None
    free_at: float = -math.inf
    """When the last holder that we saw, if it is another, has lost its claim."""
    grace: float = 0.0
    """Seconds after the next look in which a former leader is left alone: requests failed, so its own may have failed too."""
    renewed_at: float = -math.inf
    """When our last successful renewal was sent."""
    protect_until: float = math.inf
    next_try: float = -math.inf


@dataclasses.dataclass(frozen=True)
class Plan:
    """The next action, due now; or WAIT and until when."""

    action: Action
    until: float = -math.inf


INITIAL: Final = State()


def observe(state: State, record: Record | None, now: float, *, me: str) -> State:
    """The Lease was read, or the watch told of it. None: there is none."""
    state = dataclasses.replace(state, looked=True, free_at=max(state.free_at, now + state.grace), grace=0.0)
    if record is None:
        # Whoever held it may not know yet: `free_at` stands.
        return dataclasses.replace(state, record=None)
    if state.record is not None and not _newer(record, state.record):
        return state
    if record.holder == me:
        return dataclasses.replace(state, record=record)
    free_at = now if not record.holder else now + record.duration
    return dataclasses.replace(
        state, role=Role.FOLLOWER, record=record, free_at=free_at, next_try=-math.inf, protect_until=math.inf
    )


def hold(state: State, record: Record, sent_at: float, now: float, *, timing: Timing) -> State:
    """Our write of the Lease, sent at `sent_at`, succeeded with this record."""
    if state.record is not None and _newer(state.record, record):
        return state  # somebody wrote after us, and we have seen it already
    held = dataclasses.replace(
        state,
        role=Role.LEADER,
        looked=True,
        record=record,
        renewed_at=sent_at,
        next_try=sent_at + timing.retry,
        protect_until=math.inf,
    )
    return elapse(held, now, timing=timing)


def miss(state: State, sent_at: float, now: float, *, timing: Timing) -> State:
    """A request of ours about the Lease, sent at `sent_at`, failed for a reason that says nothing about it."""
    return lose_sight(dataclasses.replace(state, next_try=max(now, sent_at + timing.retry)), timing=timing)


def lose_sight(state: State, *, timing: Timing) -> State:
    """The API server could not be asked.

    After an outage a follower looks first, and from then on leaves the former leader, which still has the state in memory, time
    for two attempts to renew. An outage may be shorter than the Lease: then nobody but who only looks notices it.
    """
    if state.role is not Role.FOLLOWER:
        return state
    return dataclasses.replace(state, looked=False, grace=2 * (timing.retry + timing.request_timeout))


def doubt(state: State, now: float) -> State:
    """A write was refused because the Lease is not as we knew it: look again at once."""
    return dataclasses.replace(state, looked=False, next_try=now)


def elapse(state: State, now: float, *, timing: Timing) -> State:
    """Time passed: a leader without renewal protects only, and does not do so for ever."""
    if state.role is Role.LEADER and now >= state.renewed_at + timing.renew_deadline:
        state = dataclasses.replace(state, role=Role.PROTECT_ONLY, protect_until=now + timing.protect)
    if state.role is Role.PROTECT_ONLY and now >= state.protect_until:
        state = dataclasses.replace(state, role=Role.FOLLOWER, protect_until=math.inf)
    return state


def resign(state: State) -> State:
    """We stop leading of our own will."""
    return dataclasses.replace(state, role=Role.FOLLOWER, protect_until=math.inf)


def deadline(state: State, *, timing: Timing) -> float:
    """When `elapse` would next change the role; infinity when it would not."""
    if state.role is Role.LEADER:
        return state.renewed_at + timing.renew_deadline
    return state.protect_until


def plan(state: State, now: float, *, me: str) -> Plan:
    """What to do about the Lease at `now`."""
    if now < state.next_try:
        return Plan(Action.WAIT, state.next_try)
    if not state.looked:
        return Plan(Action.LOOK)
    if state.record is not None and state.record.holder == me:
        return Plan(Action.RENEW)
    if state.role is Role.FOLLOWER and now < state.free_at:
        return Plan(Action.WAIT, state.free_at)
    return Plan(Action.CREATE if state.record is None else Action.TAKE)


def _newer(record: Record, than: Record) -> bool:
    """Versions of one object are numbers in order; should they not be, any other one is news."""
    if record.version.isdigit() and than.version.isdigit():
        return int(record.version) > int(than.version)
    return record.version != than.version
