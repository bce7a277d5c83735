"""Rounds of readings: steady, bounded, and nobody waits for a proxy that hangs."""

from __future__ import annotations

import asyncio

import pytest

from sluice.sources import envoy, poller

READING = envoy.Reading(1.0, 1, {})


def target(name: str) -> poller.Target:
    return poller.Target(name, ("prod", "edge"), "10.0.0.1", 9902)


async def test_a_round_has_every_target_and_none_for_what_failed() -> None:
    """No reading is not the same as nothing counted."""

    async def read(which: poller.Target) -> envoy.Reading:
        if which.proxy == "bad":
            raise envoy.ScrapeError("Cannot read the counters of proxy bad: refused")
        return READING

    assert await poller.Poller(read).round([target("good"), target("bad")]) == {"good": READING, "bad": None}


async def test_a_hanging_proxy_costs_its_own_reading_only() -> None:
    """The round ends with its budget."""
    cancelled = asyncio.Event()

    async def read(which: poller.Target) -> envoy.Reading:
        if which.proxy == "hangs":
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
        return READING

    assert await poller.Poller(read, budget=0.01).round([target("hangs"), target("good")]) == {"hangs": None, "good": READING}
    assert cancelled.is_set()


async def test_no_more_than_so_many_are_read_at_once() -> None:
    """A thousand proxies must not be a thousand connections in one moment."""
    active = most = 0

    async def read(_: poller.Target) -> envoy.Reading:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await asyncio.sleep(0)
        active -= 1
        return READING

    readings = await poller.Poller(read, concurrency=3).round([target(str(index)) for index in range(20)])
    assert len(readings) == 20
    assert most == 3


async def test_a_defect_in_a_reader_is_not_hidden() -> None:
    """Only failures to read are expected; anything else ends the loop and shows."""

    async def read(_: poller.Target) -> envoy.Reading:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await poller.Poller(read).round([target("p")])
