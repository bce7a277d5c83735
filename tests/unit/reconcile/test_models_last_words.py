"""Logs of engines that ended are read only where they are needed, once, and their failure harms nothing."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.kube import errors
from sluice.reconcile.models import last_words
from tests.unit.reconcile import parts
from tests.unit.rollout import pod_json as k8s

VAGUE = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}"
LOG = "(EngineCore pid=20) ERROR 11-21 14:37:00 [core.py:1510] ValueError: No available memory for the cache blocks."


class Client:
    """Answers with a log, or fails."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool]] = []
        self.error: errors.ApiError | None = None

    async def log(self, namespace: str, pod: str, container: str, *, previous: bool, lines: int, seconds: float) -> str:
        assert (namespace, container) == ("team", "engine")
        assert lines > 0
        assert seconds > 0
        self.asked.append((pod, previous))
        if self.error is not None:
            raise self.error
        return LOG


@pytest.fixture
def client() -> Any:
    return Client()


@pytest.fixture
def words(client: Any) -> last_words.LastWords:
    return last_words.LastWords(client)


def pod(message: str, restarts: int = 0, uid: str = "u1") -> k8s.Json:
    """A pod whose engine waits to be started again."""
    made = k8s.pod(name=f"chat-{uid}", phase="Running", engine=k8s.back_off(message, restarts=restarts))
    made["metadata"]["uid"] = uid
    return made


async def test_a_vague_end_is_looked_up_once(words: last_words.LastWords, client: Any) -> None:
    """The next end of the same pod is another one."""
    assert await words.refresh(parts.KEY, [pod(VAGUE)])
    assert words.of(parts.KEY) == {"u1": "ValueError: No available memory for the cache blocks."}
    assert not await words.refresh(parts.KEY, [pod(VAGUE)])
    assert await words.refresh(parts.KEY, [pod(VAGUE, restarts=1)])
    assert client.asked == [("chat-u1", True), ("chat-u1", True)]


async def test_an_end_that_tells_is_not_looked_up(words: last_words.LastWords, client: Any) -> None:
    """Most ends tell."""
    assert not await words.refresh(parts.KEY, [pod("ValueError: 9"), k8s.ready_pod(), k8s.pod()])
    assert client.asked == []


async def test_a_log_that_cannot_be_read_leaves_the_message(words: last_words.LastWords, client: Any) -> None:
    """Its node may be gone; it is not asked for again, and what was known stays."""
    await words.refresh(parts.KEY, [pod(VAGUE)])
    client.error = errors.Unreachable("read the log of", "no answer in time")
    assert await words.refresh(parts.KEY, [pod(VAGUE, restarts=1)])
    assert not await words.refresh(parts.KEY, [pod(VAGUE, restarts=1)])
    assert len(client.asked) == 2
    assert words.of(parts.KEY) == {"u1": "ValueError: No available memory for the cache blocks."}


async def test_pods_that_are_gone_are_forgotten(words: last_words.LastWords, client: Any) -> None:
    """Nothing grows for ever; and one reconcile reads a few logs only."""
    await words.refresh(parts.KEY, [pod(VAGUE, uid=f"u{number}") for number in range(9)])
    assert len(client.asked) == last_words.AT_ONCE
    await words.refresh(parts.KEY, [])
    assert words.of(parts.KEY) == {}
