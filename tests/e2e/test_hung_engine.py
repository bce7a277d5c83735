"""An engine that hangs is found and started again by the kubelet within the documented time, and one that is slow is not.

Real vLLM in a real pod: its engine process is stopped, while its API process goes on answering 200 everywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import pytest

from hack.demo import telling
from hack.demo import world as world_
from sluice.workloads import pod_template, probes
from tests.support import streams, vllm

pytestmark = pytest.mark.timeout(1800)

NAME: Final = "hung"
STALL: Final = 20
"""Seconds, in place of two minutes: the operator's setting reaches revisions that are made from then on."""
CHAT: Final = "/v1/chat/completions"
OPERATOR: Final = ("-n", "sluice-system", "deployment/sluice-operator")
PREFILL: Final = "Paris Rome Doha Lima " * 28
PAUSE: Final = 2.5
"""Seconds between two steps of the slowed engine: of some 22 steps of the prompt, so that it takes longer than a hang may."""
FIND_ENGINE: Final = """
import os, pathlib, signal, sys, time
def engine():
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"EngineCore" in path.read_bytes().split(b"\\0")[0]:
                return int(path.parent.name)
        except OSError:
            pass
    sys.exit("there is no engine process")
"""
STOP: Final = FIND_ENGINE + "os.kill(engine(), signal.SIGSTOP)"
SLOW: Final = f"""{FIND_ENGINE}
pid, end = engine(), time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    os.kill(pid, signal.SIGSTOP)
    time.sleep({PAUSE})
    os.kill(pid, signal.SIGCONT)
    time.sleep(0.004)
"""


def manifest() -> dict[str, Any]:
    """A model on real vLLM that reads prompts in pieces of 16 tokens."""
    args = {"maxModelLen": 512, "maxNumSeqs": 8, "maxNumBatchedTokens": 16}
    extra = ["--enforce-eager", "--num-gpu-blocks-override=256", "--block-size=32"]
    return {
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": NAME, "namespace": world_.NAMESPACE},
        "spec": {
            "template": {
                "model": {"source": "file:///models/good"},
                "engine": {"type": "VLLM", "vllm": {"args": args, "extraArgs": extra}},
                "resources": {
                    "requests": {"cpu": "100m", "memory": "1Gi"},
                    "limits": {"memory": "4Gi"},
                    "sharedMemory": "256Mi",
                },
            },
            "replicas": 1,
            "drainTimeout": "15s",
            "gatewayRefs": [{"name": world_.GATEWAY}],
        },
    }


class Engine:
    """The model's only pod."""

    def __init__(self, world: world_.World) -> None:
        self.world = world

    async def pod(self) -> dict[str, Any]:
        """As it is now."""
        found = await self.world.get("pods", "-l", f"sluice.dev/model-deployment={NAME}")
        assert len(found["items"]) == 1, [pod["metadata"]["name"] for pod in found["items"]]
        pod: dict[str, Any] = found["items"][0]
        return pod

    async def container(self) -> dict[str, Any]:
        """The status of the engine's container."""
        statuses = (await self.pod())["status"].get("containerStatuses") or [{}]
        found: dict[str, Any] = next((status for status in statuses if status.get("name") == pod_template.CONTAINER), {})
        return found

    async def run(self, program: str, *arguments: str) -> None:
        """Run Python in the container, as the container's user."""
        name = (await self.pod())["metadata"]["name"]
        command = ("exec", "-n", world_.NAMESPACE, name, "-c", pod_template.CONTAINER, "--")
        await self.world.kubectl(*command, "python3", "-c", program, *arguments)

    async def until(self, what: str, done: Any, *, seconds: float) -> float:
        """Look at the container until it is so; the seconds that it took."""
        started = time.monotonic()
        while not done(seen := await self.container()):
            assert time.monotonic() - started < seconds, f"not within {seconds:.0f} s: {what}; {json.dumps(seen)}"
            await asyncio.sleep(0.5)
        return time.monotonic() - started

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """A user of the gateway; it is there once the model answers."""
        headers = {"Authorization": f"Bearer {self.world.api_key}"}
        async with httpx.AsyncClient(base_url=await self.world.base_url(), headers=headers, timeout=300) as client:
            await answered(client)
            yield client


async def answered(client: httpx.AsyncClient) -> None:
    """Wait until the model answers."""
    async with asyncio.timeout(120):
        while True:
            if (await client.post(CHAT, json=vllm.chat(NAME, "What is the capital of Peru?"))).is_success:
                return
            await asyncio.sleep(0.5)


@pytest.fixture
async def engine(stage: telling.Stage) -> AsyncIterator[Engine]:
    """A model whose engine may stall for 20 seconds only."""
    if stage.engine != "vllm":
        pytest.skip("it needs real vLLM, which cannot run on this machine")
    world = stage.world
    await world.kubectl("set", "env", *OPERATOR, f"SLUICE_STALL_SECONDS={STALL}")
    await world.kubectl("rollout", "status", *OPERATOR, "--timeout=180s")
    await world.apply(manifest())
    try:
        made = Engine(world)
        await world.kubectl(
            "wait", "-n", world_.NAMESPACE, f"modeldeployment/{NAME}", "--for=condition=Ready", "--timeout=900s"
        )
        yield made
    finally:
        await world.kubectl("delete", "modeldeployment", "-n", world_.NAMESPACE, NAME, "--wait")
        await world.kubectl("set", "env", *OPERATOR, "SLUICE_STALL_SECONDS-")
        await world.kubectl("rollout", "status", *OPERATOR, "--timeout=180s")


async def test_hung_engine_is_restarted_in_time_and_a_long_prefill_is_not(engine: Engine) -> None:
    """One pod, since a start is slow: first a prompt that takes longer to read than a hang may last, then a hang."""
    async with engine.client() as client:
        await prefill_slowly(engine, client)
        assert (await engine.container())["restartCount"] == 0
        limit = probes.longest_detection(STALL)
        async with streams.opened(client, CHAT, [vllm.endless(NAME, 480)] * 2) as (opened, _):
            await asyncio.gather(*(stream.began.wait() for stream in opened))
            await engine.run(STOP)
            seconds = await engine.until("a restart", lambda status: status.get("restartCount") == 1, seconds=limit)
        print(f"a hung engine was restarted after {seconds:.0f} s, of {limit} s that are documented")
        assert seconds >= STALL
        events = await engine.world.kubectl(
            "get", "events", "-n", world_.NAMESPACE, "--field-selector=reason=Unhealthy", "-o", "json"
        )
        assert any("the engine hangs" in event["message"] for event in json.loads(events)["items"])
        await engine.until("ready again", lambda status: status.get("ready"), seconds=600)
        await answered(client)


async def prefill_slowly(engine: Engine, client: httpx.AsyncClient) -> None:
    """Let the engine read a long prompt so slowly that nothing but the KV cache moves for longer than a hang may last."""
    await engine.run(STOP)  # kubectl takes longer than the whole prompt would
    started = time.monotonic()
    request = asyncio.create_task(client.post(CHAT, json=vllm.chat(NAME, PREFILL, max_tokens=1)))
    slowing = asyncio.create_task(engine.run(SLOW, "75"))
    answer = await request
    seconds = time.monotonic() - started
    await slowing
    assert answer.status_code == httpx.codes.OK
    assert seconds > STALL + 2 * probes.LIVENESS_PERIOD_SECONDS, "the prefill was too quick to show anything"
