"""Warm-up of pods: each once, a few requests at a time, never for ever."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from typing import Any

import pytest

from sluice.api import naming
from sluice.reconcile import warmup
from sluice.sources import completions
from tests.support import clock

KEY = naming.ObjectKey("ModelDeployment", "ml", "chat")
ONE, TWO = warmup.Pod("chat-a-1", "uid-1", "10.0.0.1"), warmup.Pod("chat-a-2", "uid-2", "10.0.0.2")


@dataclasses.dataclass
class Engines:
    """Engines by address, and what became of requests to them."""

    clock: clock.FakeClock
    seconds: float = 1.0
    """How long an answer takes."""
    broken: dict[str, completions.CompletionError] = dataclasses.field(default_factory=dict)
    asked: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    prompts: list[str] = dataclasses.field(default_factory=list)
    busy: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    busiest: int = 0

    async def ask(self, address: str, port: int, model: str, prompt: str) -> None:
        """One request."""
        assert (port, model) == (8000, "served")
        self.asked[address] += 1
        self.prompts.append(prompt)
        self.busy[address] += 1
        self.busiest = max(self.busiest, self.busy[address])
        try:
            await self.clock.sleep(self.seconds)
            if address in self.broken:
                raise self.broken[address]
        finally:
            self.busy[address] -= 1


class World:
    """A warmer of engines, in virtual time."""

    def __init__(self) -> None:
        self.clock = clock.FakeClock()
        self.engines = Engines(self.clock)
        self.done: list[naming.ObjectKey] = []
        self.warmer = warmup.Warmer(self.engines.ask, self.clock, self.done.append)

    def look(self, *pods: warmup.Pod, requests: int = 20) -> warmup.Warmth:
        """What the warmer says of these pods."""
        return self.warmer.look(KEY, "served", requests, pods)


@pytest.fixture
def world() -> World:
    return World()


async def test_every_pod_answers_its_requests_once(world: World) -> None:
    """Two at a time and each another prompt; what is missing is told meanwhile, and whoever waits is told at the end."""
    assert world.look(ONE, TWO) == warmup.Warmth(False, missing="pod chat-a-1 answered 0 of 20; pod chat-a-2 answered 0 of 20")
    await world.clock.advance(3.5)
    assert world.look(ONE, TWO).missing == "pod chat-a-1 answered 6 of 20; pod chat-a-2 answered 6 of 20"
    assert world.done == []
    await world.clock.advance(10)
    assert world.look(TWO, ONE) == warmup.Warmth(True)
    assert world.engines.asked == {ONE.address: 20, TWO.address: 20}
    assert world.engines.busiest == warmup.CONCURRENCY
    assert len(set(world.engines.prompts)) == 20
    assert world.done == [KEY, KEY]


async def test_a_pod_that_comes_later_is_warmed_too(world: World) -> None:
    """And those that are warm are not asked again, not even after they were not ready for a while."""
    world.look(ONE)
    await world.clock.advance(60)
    assert world.look(ONE, TWO).missing == "pod chat-a-2 answered 0 of 20"
    await world.clock.advance(60)
    assert world.look(TWO).done
    assert world.look(ONE, TWO).done
    assert world.engines.asked == {ONE.address: 20, TWO.address: 20}


async def test_none_are_wanted(world: World) -> None:
    """Zero requests, or no pods, are done at once."""
    assert world.look(ONE, requests=0) == world.look() == warmup.Warmth(True)
    assert not world.engines.asked


async def test_a_request_that_failed_is_tried_again(world: World) -> None:
    """An engine that is slow to come is warm in the end, and nothing is said of it."""
    world.engines.broken[ONE.address] = completions.CompletionError("it answered 503: busy")
    world.look(ONE)
    await world.clock.advance(5)
    world.engines.broken.clear()
    await world.clock.advance(30)
    assert world.look(ONE) == warmup.Warmth(True)
    assert 20 < world.engines.asked[ONE.address] <= 20 + warmup.MOST_FAILURES


async def test_an_engine_that_fails_is_given_up(world: World) -> None:
    """After a bounded number of tries the rollout goes on, and says what it was."""
    world.engines.broken[ONE.address] = completions.CompletionError("it answered 500: boom")
    world.look(ONE, TWO)
    await world.clock.advance(60)
    assert world.look(ONE, TWO) == warmup.Warmth(
        True, failed="pod chat-a-1 answered 0 of 20 warm-up requests: it answered 500: boom"
    )
    assert world.engines.asked[ONE.address] <= warmup.MOST_FAILURES + warmup.CONCURRENCY
    assert world.engines.asked[TWO.address] == 20


async def test_an_engine_that_refuses_is_not_asked_again(world: World) -> None:
    """What is wrong with the request stays wrong."""
    world.engines.broken[ONE.address] = completions.CompletionError("it answered 404: no such model", final=True)
    world.look(ONE)
    await world.clock.advance(1)
    assert world.look(ONE).failed == "pod chat-a-1 answered 0 of 20 warm-up requests: it answered 404: no such model"
    assert world.engines.asked[ONE.address] <= warmup.CONCURRENCY


async def test_an_engine_that_hangs_is_given_up(world: World) -> None:
    """Each try ends by its own limit, and all of them together end too."""
    world.engines.seconds = completions.TIMEOUT_SECONDS
    world.engines.broken[ONE.address] = completions.CompletionError("no answer within 60 s")
    world.look(ONE)
    await world.clock.advance(warmup.LONGEST_SECONDS + 2 * completions.TIMEOUT_SECONDS)
    told = world.look(ONE)
    assert told.done
    assert told.failed.endswith("not within 300 s; at last no answer within 60 s")


async def test_a_pod_that_is_gone_is_not_waited_for(world: World) -> None:
    """Its requests end with it; should it be ready again, it is warmed."""
    world.look(ONE, TWO)
    await world.clock.advance(3.5)
    assert "chat-a-1" not in world.look(TWO).missing
    asked = world.engines.asked[ONE.address]
    await world.clock.advance(60)
    assert world.engines.asked[ONE.address] == asked
    assert world.look(ONE, TWO).missing == "pod chat-a-1 answered 0 of 20"


@pytest.mark.parametrize("end", ["forget", "stop"])
async def test_what_is_forgotten_ends(world: World, end: str) -> None:
    """No request is sent for a rollout that is over, or by a process that no longer leads; and nobody is told."""
    world.look(ONE)
    await world.clock.advance(3.5)
    if end == "forget":
        world.warmer.forget(KEY)
    else:
        await world.warmer.stop()
    asked = world.engines.asked[ONE.address]
    await world.clock.advance(60)
    assert world.engines.asked[ONE.address] == asked
    assert world.done == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


def pod(name: str, *, ready: str = "True", ip: str | None = "10.0.0.1", deleted: bool = False) -> dict[str, Any]:
    """A Pod as the API server has it."""
    metadata = {"name": name, "uid": f"uid-{name}", **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleted else {})}
    status = {"conditions": [{"type": "Ready", "status": ready}], **({"podIP": ip} if ip else {})}
    return {"metadata": metadata, "status": status}


def test_only_ready_pods_are_asked() -> None:
    """Not those without an address, not ready, being deleted, or of which nothing is known yet."""
    pods = [
        pod("good"),
        pod("loading", ready="False"),
        pod("nowhere", ip=None),
        pod("leaving", deleted=True),
        {"metadata": {"name": "new", "uid": "u"}},
    ]
    assert list(warmup.ready_pods(pods)) == [warmup.Pod("good", "uid-good", "10.0.0.1")]
