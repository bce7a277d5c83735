"""A new revision's real engine that hangs or dies before the first token: behind a real Envoy no client sees it."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import pathlib
import signal
from collections.abc import AsyncIterator

from sluice.routing import inputs
from tests.support import gateway, upstream, vllm

FIRST_BYTE = "5s"
"""Of an engine that is well on a busy machine: never reached."""
STREAMS = 3
QUESTION = [{"role": "user", "content": "What is the capital of Peru?"}]


@contextlib.asynccontextmanager
async def shielding(directory: pathlib.Path, engine: vllm.Server) -> AsyncIterator[tuple[gateway.Gateway, upstream.Upstream]]:
    """A gateway that gives all requests to this engine as the canary, and the stand-in for stable behind it."""
    async with upstream.running("stable") as (stable,):
        chain = [{"backends": [{"type": "ModelDeployment", "modelDeployment": {"name": "chat"}}]}]
        route = {"name": "chat", "match": {"models": ["chat"]}, "chain": chain, "timeouts": {"firstByte": FIRST_BYTE}}
        canary = inputs.Revision("prod/chat-2", (inputs.Endpoint("127.0.0.1", engine.port),))
        split = inputs.Split(gateway.revision(stable, "chat-1"), canary, 10_000)
        given = inputs.GatewayInputs(gateway.spec(routes=[route]), (gateway.model("chat", split),))
        async with gateway.running(given, directory) as running:
            yield running, stable


async def ask(running: gateway.Gateway, *, stream: bool) -> gateway.Answer:
    """One short answer of the model."""
    return await running.ask(messages=QUESTION, stream=stream, max_tokens=5, temperature=0)


def is_of_stable(answer: gateway.Answer) -> bool:
    """Whether a stream is whole and the stand-in's."""
    return answer.text.endswith("data: [DONE]\n\n") and '"system_fingerprint": "stable"' in answer.text


async def test_a_hung_engine_is_taken_over_after_the_first_byte_is_late(server: vllm.Server, tmp_path: pathlib.Path) -> None:
    """Its headers wait for the first token, so the gateway notices; once the engine goes on, it answers itself again."""
    vllm.wait(lambda: server.load() == 0, "no request in flight")
    async with shielding(tmp_path, server) as (running, stable):
        await ask(running, stream=False)
        before = await ask(running, stream=True)
        with server.stopped():
            answers = await asyncio.gather(*(ask(running, stream=True) for _ in range(STREAMS)))
        # What was taken over is not left behind in the engine.
        await asyncio.to_thread(vllm.wait, lambda: server.load() == 0, "the engine is free")
        after = await ask(running, stream=True)
        attempts = await running.counted("envoy_sluice_attempts", 3 + 2 * STREAMS)
    assert [answer.status for answer in (before, *answers, after)] == [200] * (2 + STREAMS)
    assert [is_of_stable(answer) for answer in (before, *answers, after)] == [False, *[True] * STREAMS, False]
    assert stable.count == STREAMS
    canary: collections.Counter[tuple[str, str]] = collections.Counter()
    for tags, count in attempts.items():
        labels = dict(tags)
        if labels["revision"] == "prod/chat-2":
            canary[labels["code"], labels["flags"]] += int(count)
    assert canary == {("200", "-"): 3, ("0", "UT"): STREAMS}


async def test_an_engine_that_dies_before_the_first_token_is_taken_over(tmp_path: pathlib.Path) -> None:
    """Streams and other requests alike are answered by stable, at once and while the pod is still listed."""
    with vllm.deployed(tmp_path, vllm.template()) as engine:
        async with shielding(tmp_path, engine) as (running, stable):
            assert (await ask(running, stream=False)).status == 200
            assert stable.count == 0
            with engine.stopped() as process:
                asked = [asyncio.create_task(ask(running, stream=stream)) for stream in (True, True, False)]
                await asyncio.to_thread(vllm.wait, lambda: engine.load() == len(asked), "all are in the engine")
                os.kill(process, signal.SIGKILL)
            answers = await asyncio.gather(*asked)
            later = await ask(running, stream=True)
    assert [answer.status for answer in (*answers, later)] == [200] * 4
    assert [is_of_stable(answer) for answer in (*answers[:2], later)] == [True] * 3
    assert stable.count == 4
