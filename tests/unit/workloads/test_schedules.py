"""When schedules are in force: by example on days when clocks jump, and against an oracle that looks at every minute."""

from __future__ import annotations

import datetime
import functools
import math
import zoneinfo
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluice.api import autoscaling
from sluice.workloads import schedules

BERLIN = "Europe/Berlin"
MINUTE = 60.0
HOUR = 3600.0


def schedule(cron: str, zone: str = "UTC", duration: str = "1h", least: int = 6, name: str = "x") -> autoscaling.Schedule:
    return autoscaling.Schedule(name=name, cron=cron, time_zone=zone, duration=duration, min_replicas=least)


def at(text: str, zone: str = "UTC", fold: int = 0) -> float:
    """Epoch seconds of a local time; `fold` 1 is the second time that clocks show it."""
    return datetime.datetime.fromisoformat(text).replace(tzinfo=zoneinfo.ZoneInfo(zone), fold=fold).timestamp()


@pytest.mark.parametrize(
    ("now", "least", "next_change", "reason"),
    [
        ("2027-03-01T06:59:59", 2, "2027-03-01T07:00", "before it begins"),
        ("2027-03-01T07:00", 6, "2027-03-01T17:00", "its first moment belongs to it"),
        ("2027-03-01T16:59:59.5", 6, "2027-03-01T17:00", "its last moment"),
        ("2027-03-01T17:00", 2, "2027-03-02T07:00", "its end does not belong to it"),
        ("2027-03-05T17:00", 2, "2027-03-08T07:00", "the weekend has none"),
    ],
)
def test_working_hours(now: str, least: int, next_change: str, reason: str) -> None:
    """Monday to Friday from 7 for ten hours, on days without a jump."""
    hours = schedule("0 7 * * 1-5", BERLIN, "10h")
    found = schedules.floor([hours], 2, at(now, BERLIN))
    assert (found.min_replicas, found.next_change_at) == (least, at(next_change, BERLIN)), reason
    assert found.in_force == (("x",) if least == 6 else ())


def test_time_that_the_clocks_skip() -> None:
    """On the last Sunday of March there is no 2:30 in Berlin: it begins when the clocks jump from 2 to 3, and lasts an hour."""
    night = schedule("30 2 * * *", BERLIN)
    jump = at("2027-03-28T03:00", BERLIN)
    assert schedules.around("30 2 * * *", BERLIN, jump - 1) == (at("2027-03-27T02:30", BERLIN), jump)
    assert schedules.floor([night], 2, jump - 1).min_replicas == 2
    assert schedules.floor([night], 2, jump) == schedules.Floor(6, ("x",), jump + HOUR)
    assert schedules.floor([night], 2, jump + HOUR) == schedules.Floor(2, (), at("2027-03-29T02:30", BERLIN))


def test_time_that_the_clocks_show_twice() -> None:
    """On the last Sunday of October 2:30 comes twice in Berlin, and it begins at both."""
    night = schedule("30 2 * * *", BERLIN, "20m")
    first, second = at("2027-10-31T02:30", BERLIN), at("2027-10-31T02:30", BERLIN, fold=1)
    assert second - first == HOUR
    assert schedules.floor([night], 2, first - 1) == schedules.Floor(2, (), first)
    assert schedules.floor([night], 2, first) == schedules.Floor(6, ("x",), first + 20 * MINUTE)
    assert schedules.floor([night], 2, first + 20 * MINUTE) == schedules.Floor(2, (), second)
    assert schedules.floor([night], 2, second) == schedules.Floor(6, ("x",), second + 20 * MINUTE)


def test_duration_is_elapsed_time() -> None:
    """Eight hours from 22:00 end at 7:00 by the clock when it was put forward meanwhile."""
    night = schedule("0 22 * * *", BERLIN, "8h")
    found = schedules.floor([night], 2, at("2027-03-28T01:00", BERLIN))
    assert found.next_change_at == at("2027-03-28T07:00", BERLIN)


def test_highest_floor_counts_and_is_named() -> None:
    """Of several in force the highest counts; one below the usual floor raises nothing and is not named."""
    both = [schedule("0 7 * * *", duration="4h", least=4, name="day"), schedule("0 8 * * *", least=9, name="rush")]
    low = schedule("0 0 * * *", duration="24h", least=1, name="low")
    found = schedules.floor([*both, low], 2, at("2027-03-01T08:30"))
    assert (found.min_replicas, found.in_force) == (9, ("rush",))
    found = schedules.floor([*both, low], 2, at("2027-03-01T09:00"))
    assert (found.min_replicas, found.in_force, found.next_change_at) == (4, ("day",), at("2027-03-01T11:00"))
    assert schedules.floor([low], 2, at("2027-03-01T09:00")).in_force == ()


def test_without_schedules_nothing_ever_changes() -> None:
    """Then there is nothing to wake up for."""
    assert schedules.floor([], 3, at("2027-03-01T09:00")) == schedules.Floor(3)


def test_a_longer_schedule_than_its_period_never_ends() -> None:
    """It begins anew before it ends."""
    always = schedule("0 0 * * *", duration="25h")
    for hour in range(48):
        assert schedules.floor([always], 2, at("2027-03-01T00:00") + hour * HOUR).min_replicas == 6


@pytest.mark.parametrize(
    ("wrong", "field", "cause"),
    [
        (schedule("0 7 * * 5-1"), "cron", "Bad day-of-week"),
        (schedule("0 7 31 2 *"), "cron", "Bad day-of-month"),
        (schedule("*/0 7 * * *"), "cron", "Bad minute"),
        (schedule("0 7 * * *", "Europe/Berln"), "timeZone", "the time zone database has no such name"),
        (schedule("0 7 * * *", "Europe"), "timeZone", "the time zone database has no such name"),
    ],
)
def test_mistakes(wrong: autoscaling.Schedule, field: str, cause: str) -> None:
    """What a pattern cannot see is found, named, and left out; the other schedules are followed."""
    good = schedule("0 7 * * *", least=4, name="good")
    mistakes = [(mistake.schedule, mistake.field, mistake.cause) for mistake in schedules.mistakes([wrong, good])]
    assert mistakes == [("x", field, cause)]
    assert schedules.floor([wrong, good], 2, at("2027-03-01T07:30")).min_replicas == 4


# -- against an oracle -----------------------------------------------------------------------------------------------

ZONES = {
    BERLIN: ("2027-03-27T12:00", "2027-10-30T12:00"),
    "America/New_York": ("2027-03-13T18:00", "2027-11-06T18:00"),
    "Australia/Lord_Howe": ("2027-10-02T00:00", "2027-04-03T00:00"),  # by half an hour
    "America/Sao_Paulo": ("2018-11-03T12:00", "2018-02-17T12:00"),  # at midnight
    "Pacific/Apia": ("2011-12-29T00:00", "2011-12-31T00:00"),  # a whole day is skipped
    "Asia/Kolkata": ("2027-03-01T00:00",),
    "UTC": ("2027-02-28T00:00",),
}
"""A day before the days on which clocks jump."""

MINUTES = st.sampled_from(["0", "30", "15,45", "*/20", "*", "59", "0-10"])
HOURS = st.sampled_from(["*", "0", "1", "2", "2-3", "*/6", "23", "1,2,3", "22"])
DAYS = st.sampled_from(["*", "L", "28", "1-31/2", "31"])
WEEKDAYS = st.sampled_from(["*", "0", "SUN", "1-5", "7L", "sun#4"])


@st.composite
def windows(draw: st.DrawFn) -> tuple[float, list[autoscaling.Schedule], str]:
    """A moment near a jump, and schedules of that zone."""
    zone = draw(st.sampled_from(sorted(ZONES)))
    start = at(draw(st.sampled_from(ZONES[zone])), zone)
    crons = st.tuples(MINUTES, HOURS, DAYS, st.just("*"), WEEKDAYS).map(" ".join)
    duration = st.sampled_from(["1m", "20m", "90m", "10h", "26h"])
    drawn = draw(st.lists(st.tuples(crons, duration, st.integers(1, 9)), min_size=1, max_size=3))
    made = [schedule(cron, zone, length, least, f"s{index}") for index, (cron, length, least) in enumerate(drawn)]
    return start + draw(st.integers(0, 48 * 3600)), made, zone


@functools.lru_cache(maxsize=100_000)
def shown(zone: str, minute: float) -> tuple[datetime.datetime, ...]:
    """What clocks show in this minute, and what they skipped right before it."""
    clock = zoneinfo.ZoneInfo(zone)
    before, now = (datetime.datetime.fromtimestamp(each, clock).replace(tzinfo=None) for each in (minute - MINUTE, minute))
    skipped = int((now - before) / datetime.timedelta(minutes=1)) - 1
    return (now, *(now - datetime.timedelta(minutes=each) for each in range(1, skipped + 1)))


def fires(cron: str, zone: str, first: float, last: float) -> Iterator[float]:
    """Every beginning in [first, last], by looking at every minute."""
    minutes = range(math.ceil(first / MINUTE), math.floor(last / MINUTE) + 1)
    return (each * MINUTE for each in minutes if any(matches(cron, local) for local in shown(zone, each * MINUTE)))


def matches(cron: str, local: datetime.datetime) -> bool:
    """Whether clocks that show this time show what the expression says: written down anew, of the fields above."""
    minute, hour, day, _, weekday = cron.upper().split()
    of_month = in_field(minute, local.minute, 59) and in_field(hour, local.hour, 23)
    last = (local + datetime.timedelta(days=1)).day == 1
    day_fits = last if day == "L" else in_field(day, local.day, 31)
    sunday = local.isoweekday() == 7
    weekday_fits = {
        "*": True,
        "0": sunday,
        "SUN": sunday,
        "1-5": local.isoweekday() <= 5,
        "7L": sunday and (local + datetime.timedelta(days=7)).month != local.month,
        "SUN#4": sunday and 22 <= local.day <= 28,
    }[weekday]
    both = day.startswith("*") or weekday.startswith("*")
    return of_month and (day_fits and weekday_fits if both else day_fits or weekday_fits)


def in_field(field: str, value: int, largest: int) -> bool:
    for part in field.split(","):
        span, _, step = part.partition("/")
        low, _, high = span.partition("-")
        first, last = (0, largest) if span == "*" else (int(low), int(high or low))
        if first <= value <= last and (value - (first if span != "*" or largest != 31 else 1)) % int(step or 1) == 0:
            return True
    return False


@given(windows())
@example((at("2027-10-31T02:15", BERLIN, fold=1), [schedule("30 2 * * *", BERLIN, "2h")], BERLIN))
@example((at("2027-03-28T03:10", BERLIN), [schedule("30 2 * * *", BERLIN, "2h")], BERLIN))
@example((at("2011-12-31T01:00", "Pacific/Apia"), [schedule("0 2 30 * *", "Pacific/Apia", "2h")], "Pacific/Apia"))
def test_floor_is_what_an_oracle_finds(drawn: tuple[float, list[autoscaling.Schedule], str]) -> None:
    """The same floor now, the same names, and no change before the one that is announced."""
    now, made, zone = drawn
    spans: list[tuple[float, float, autoscaling.Schedule]] = []
    for each in made:
        length = {"1m": 60, "20m": 1200, "90m": 5400, "10h": 36000, "26h": 93600, "2h": 7200}[each.duration]
        begins = fires(each.cron, zone, now - length - MINUTE, now + 8 * HOUR)
        spans += [(begin, begin + length, each) for begin in begins]

    def expected(moment: float) -> int:
        return max([2, *(each.min_replicas for begin, end, each in spans if begin <= moment < end)])

    found = schedules.floor(made, 2, now)
    assert found.min_replicas == expected(now)
    names = {each.name for begin, end, each in spans if begin <= now < end and each.min_replicas == found.min_replicas > 2}
    assert set(found.in_force) == names
    change = found.next_change_at if found.next_change_at is not None else float("inf")
    assert change > now
    ends = sorted({edge for begin, end, _ in spans for edge in (begin, end) if now < edge < min(change, now + 8 * HOUR)})
    assert [edge for edge in ends if expected(edge) != expected(now)] == []
    if change < now + 7 * HOUR:
        assert schedules.floor(made, 2, change).min_replicas == expected(change)
