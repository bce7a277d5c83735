"""SIGTERM with requests in flight: with the flags that the operator sets vLLM completes them all, then ends by itself."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import httpx

from tests.support import streams, vllm

CHAT = "/v1/chat/completions"
STREAMS = 16
"""Twice as many as run at once."""


async def test_requests_in_flight_are_completed(tmp_path: Path) -> None:
    """Streams that run, streams that wait and requests without streaming: none is cut, and the process ends with status 0."""
    with vllm.deployed(tmp_path, vllm.template()) as server:
        limits = httpx.Limits(max_connections=STREAMS + 1)
        async with httpx.AsyncClient(base_url=server.url, timeout=vllm.DRAIN_SECONDS, limits=limits) as client:
            bodies = [vllm.endless("chat", 480)] * STREAMS
            plain = asyncio.create_task(client.post(CHAT, json=vllm.endless("chat", 480) | {"stream": False}))
            async with streams.opened(client, CHAT, bodies) as (opened, tasks):
                await asyncio.to_thread(vllm.wait, lambda: server.total("vllm:num_requests_waiting") >= 1, "some wait")
                begun = sum(stream.status is not None for stream in opened)
                os.kill(server.api_pid, signal.SIGTERM)
                await asyncio.gather(*tasks)
            answer = await plain
        status = server.process.wait(vllm.DRAIN_SECONDS)
    assert 0 < begun < STREAMS, "some ran and some waited at SIGTERM"
    assert [stream.error for stream in opened if not stream.whole] == []
    assert {stream.completion_tokens for stream in opened} == {480}
    assert answer.json()["usage"]["completion_tokens"] == 480
    assert status == 0
