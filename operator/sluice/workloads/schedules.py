"""Which schedules of an autoscaling are in force, how high the floor is, and when that changes next.

A schedule is in force in [begin, begin + duration), in elapsed time. It begins at every moment at which the clocks of its time
zone show what its cron expression says: twice where they are turned back over it. A time that they skip begins when they skip
it. The time zone data is read once a zone; the present comes in as an argument.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import zoneinfo
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import cronsim

from sluice.api import autoscaling, durations

_DAY: Final = datetime.timedelta(hours=26)
"""Clocks that jump within so much of the present matter for what comes before and after it."""
_SECOND: Final = datetime.timedelta(seconds=1)


@dataclasses.dataclass(frozen=True)
class Floor:
    """The fewest pods at one moment."""

    min_replicas: int
    in_force: tuple[str, ...] = ()
    """Names of the schedules that hold it up, in their order."""
    next_change_at: float | None = None
    """Epoch seconds of the next moment at which a schedule begins or ends; None when none ever does."""


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A schedule that cannot be followed."""

    schedule: str
    field: str
    """`cron` or `timeZone`."""
    value: str
    cause: str


def floor(schedules: Iterable[autoscaling.Schedule], base: int, now: float) -> Floor:
    """The highest of `base` and the floors of the schedules in force at `now` (epoch seconds).

    Schedules with mistakes are left out: see `mistakes`.
    """
    usable = [schedule for schedule in schedules if mistake(schedule) is None]
    holding, changes = [], []
    for schedule in usable:
        begun, begins = around(schedule.cron, schedule.time_zone, now)
        ends = None if begun is None else begun + durations.seconds(schedule.duration)
        if ends is not None and ends > now:
            holding.append(schedule)
            changes.append(ends)
        if begins is not None:
            changes.append(begins)
    highest = max((schedule.min_replicas for schedule in holding), default=base)
    raising = tuple(schedule.name for schedule in holding if schedule.min_replicas == highest > base)
    return Floor(max(base, highest), raising, min(changes, default=None))


def mistakes(schedules: Sequence[autoscaling.Schedule]) -> Iterator[Mistake]:
    """What keeps schedules from being followed: what the CRD's patterns cannot see."""
    return (found for schedule in schedules if (found := mistake(schedule)) is not None)


def mistake(schedule: autoscaling.Schedule) -> Mistake | None:
    """What keeps this schedule from being followed."""
    if _zone(schedule.time_zone) is None:
        return Mistake(schedule.name, "timeZone", schedule.time_zone, "the time zone database has no such name")
    cause = _cron_mistake(schedule.cron)
    return None if cause is None else Mistake(schedule.name, "cron", schedule.cron, cause)


@functools.lru_cache(maxsize=1024)
def _cron_mistake(cron: str) -> str | None:
    try:
        next(cronsim.CronSim(cron, datetime.datetime(2024, 1, 1)))  # noqa: DTZ001 - local time, of no zone yet
    except cronsim.CronSimError as error:
        return str(error)
    except StopIteration:
        return "no day fits"
    return None


@functools.lru_cache(maxsize=1024)
def _zone(name: str) -> zoneinfo.ZoneInfo | None:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # a directory of the database is an OSError
        return None


def around(cron: str, time_zone: str, now: float) -> tuple[float | None, float | None]:
    """The latest beginning not after `now`, and the earliest one after it; epoch seconds, None where there is none.

    Both arguments must be free of mistakes.
    """
    zone = _zone(time_zone)
    assert zone is not None
    moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
    # Where clocks jump, the order of the times they show is not that of the moments: so much wider is the search.
    offsets = [_offset(moment + shift, zone) for shift in (-_DAY, datetime.timedelta(0), _DAY)]
    spread = max(offsets) - min(offsets)
    shown = (moment + offsets[1]).replace(tzinfo=None, microsecond=0)
    begun = _best(cronsim.CronSim(cron, shown + spread + _SECOND, reverse=True), zone, spread, now, before=True)
    begins = _best(cronsim.CronSim(cron, shown - spread - _SECOND), zone, spread, now, before=False)
    return begun, begins


def _best(
    shown: Iterator[datetime.datetime], zone: zoneinfo.ZoneInfo, spread: datetime.timedelta, now: float, *, before: bool
) -> float | None:
    """The moment nearest to `now` on its side, of the local times as they come: away from it, from `spread` beyond it."""
    best, found = None, None
    for local in shown:
        if found is not None and abs(local - found) > spread:
            break
        sides = [at for at in _moments(local, zone) if (at <= now) == before]
        if not sides:
            continue
        nearest = max(sides) if before else min(sides)
        if best is None or (nearest > best) == before:
            best = nearest
        found = found or local
    return best


def _moments(local: datetime.datetime, zone: zoneinfo.ZoneInfo) -> tuple[float, ...]:
    """The moments at which clocks show this time: one, two where they are turned back, the jump where they skip it."""
    first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(datetime.UTC) for fold in (0, 1))
    if first == second:
        return (first.timestamp(),)
    if first < second:
        return (first.timestamp(), second.timestamp())
    return (_jump(second, first, zone),)


def _jump(earlier: datetime.datetime, later: datetime.datetime, zone: zoneinfo.ZoneInfo) -> float:
    """The moment between these two at which the clocks are put forward; epoch seconds."""
    low, high = int(earlier.timestamp()), int(later.timestamp())
    after = _offset(later, zone)
    while low < high:
        middle = (low + high) // 2
        if _offset(datetime.datetime.fromtimestamp(middle, datetime.UTC), zone) == after:
            high = middle
        else:
            low = middle + 1
    return float(low)


def _offset(moment: datetime.datetime, zone: zoneinfo.ZoneInfo) -> datetime.timedelta:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None
    return offset
