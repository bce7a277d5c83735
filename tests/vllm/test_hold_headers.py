"""HoldHeaders in real vLLM: headers come with the first token, errors before it have their status, and aborts still abort."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import httpx

from tests.support import vllm

CHAT = "/v1/chat/completions"
PAUSE = 1.5


async def test_headers_come_with_the_first_token(server: vllm.Server, client: httpx.AsyncClient) -> None:
    """While the engine stands still a router sees nothing, so that its time to the first byte covers the prefill."""
    with server.stopped():
        async with asyncio.TaskGroup() as group:
            request = group.create_task(client.post(CHAT, json=vllm.endless("chat", 5)))
            await asyncio.to_thread(vllm.wait, lambda: server.load() == 1, "the request is in flight")
            done, _ = await asyncio.wait([request], timeout=PAUSE)
            assert not done
            os.kill(server.engine_pid, signal.SIGCONT)
    assert len(vllm.events(request.result().raise_for_status().text)) >= 5


async def test_headers_are_not_sent_before(server: vllm.Server, client: httpx.AsyncClient) -> None:
    """The response's headers, not just its body, are what waits."""
    started = time.monotonic()
    with server.stopped():
        resume = asyncio.get_running_loop().call_later(PAUSE, os.kill, server.engine_pid, signal.SIGCONT)
        async with client.stream("POST", CHAT, json=vllm.endless("chat", 5)) as response:
            headers = time.monotonic() - started
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream")
        resume.cancel()
    assert headers >= PAUSE


async def test_aborts_end_the_request(server: vllm.Server, client: httpx.AsyncClient) -> None:
    """A client that goes frees its place: before the first token, after it, and without streaming. Nothing stays counted."""
    generated = "vllm:generation_tokens_total"
    with server.stopped():
        for body in (vllm.endless("chat", 450), vllm.endless("chat", 450) | {"stream": False}):
            request = asyncio.create_task(client.post(CHAT, json=body))
            await asyncio.to_thread(vllm.wait, lambda: server.load() == 1, "the request is in flight")
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
            await asyncio.to_thread(vllm.wait, lambda: server.load() == 0, "the request is gone")
    async with client.stream("POST", CHAT, json=vllm.endless("chat", 450)) as response:
        await anext(response.aiter_text())
    await asyncio.to_thread(vllm.wait, lambda: server.total("vllm:num_requests_running") == 0, "nothing runs")
    assert server.load() == 0
    before = server.total(generated)
    await client.post(CHAT, json=vllm.endless("chat", 5))
    assert server.total(generated) - before == 5


async def test_engine_that_dies_before_the_first_token_is_a_500(tmp_path: Path) -> None:
    """A stream gets the status and the body that a request without streaming gets, so that a gateway may try another pod."""
    bodies = [vllm.endless("chat", 5), vllm.chat("chat", "What is the capital of Peru?")]
    with vllm.deployed(tmp_path, vllm.template()) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            (await client.post(CHAT, json=bodies[0])).raise_for_status()
            with server.stopped() as engine:
                requests = [asyncio.create_task(client.post(CHAT, json=body)) for body in bodies]
                await asyncio.to_thread(vllm.wait, lambda: server.load() == len(bodies), "both requests are in flight")
                os.kill(engine, signal.SIGKILL)
            answers = await asyncio.gather(*requests)
    for answer in answers:
        assert answer.status_code == 500
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["error"]["code"] == 500
