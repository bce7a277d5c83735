"""Warm-up of real vLLM: every request is a completion that it answers."""

from __future__ import annotations

import asyncio
import functools

import aiohttp
import httpx

from sluice.api import naming
from sluice.engine import clock
from sluice.reconcile import warmup
from sluice.sources import completions
from tests.support import vllm

REQUESTS = 6


async def test_real_vllm_answers_all_that_it_is_asked(server: vllm.Server, client: httpx.AsyncClient) -> None:
    """By the name that it serves, with the tokens asked for; the engine has counted them and nothing is left behind."""
    key = naming.ObjectKey("ModelDeployment", "ml", "chat")
    before = server.total("vllm:request_success_total"), server.total("vllm:generation_tokens_total")
    done = asyncio.Event()
    async with aiohttp.ClientSession() as session:
        ask = functools.partial(completions.complete, session)
        warmer = warmup.Warmer(
            lambda address, _, *more: ask(address, server.port, *more), clock.SystemClock(), lambda _: done.set()
        )
        pods = [warmup.Pod("chat-1", "uid-1", "127.0.0.1")]
        assert not warmer.look(key, "chat", REQUESTS, pods).done
        async with asyncio.timeout(120):
            await done.wait()
        assert warmer.look(key, "chat", REQUESTS, pods) == warmup.Warmth(True)
        await warmer.stop()
    await asyncio.to_thread(vllm.wait, lambda: server.load() == 0, "nothing is in flight")
    assert server.total("vllm:request_success_total") - before[0] == REQUESTS
    assert 0 < server.total("vllm:generation_tokens_total") - before[1] <= REQUESTS * completions.MAX_TOKENS
