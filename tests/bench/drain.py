"""Pods are removed while streams are open on them: does anybody notice? Real kubelet, real vLLM, real Envoy, one YAML file.

Streams are long enough to be open when their pod gets SIGTERM, and only those count: vLLM's own log tells when that was, and
its count of requests in flight how many there were. Short requests are sent all along, for those that come too late.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import pathlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, Self

import httpx
import yaml

from hack.cluster import binaries, embedded
from hack.demo import world as world_
from sluice.api import base, gateway, modeldeployment, rollout_status
from sluice.workloads import pod_template
from tests.bench import drain_evidence as evidence
from tests.support import streams, vllm

CLUSTER: Final = "drain"
MANIFEST: Final = pathlib.Path("build/bench/drain.yaml")
EVIDENCE: Final = pathlib.Path("build/bench/drain-evidence.json")
CHAT: Final = "/v1/chat/completions"
STREAMS: Final = 32
REPLICAS: Final = 4
TOKENS: Final = 1000
CONTEXT: Final = 2048
"""More than the tiny model was made for: what it says does not matter here."""
STEPS: Final = ({"name": "open", "weight": 0, "hold": "8s"}, {"name": "half", "weight": 50, "hold": "2s"})
"""In the first the streams begin, on the old revision's pod."""
LIMITS: Final = {"cpu": "400m", "memory": "4Gi"}
"""Four engines leave something of two cores to the proxy, the control plane and the clients, and streams last long enough."""
_READY_SECONDS: Final = 1200.0
_BEGUN_SECONDS: Final = 120.0
_GONE_SECONDS: Final = 600.0
_LOOK_SECONDS: Final = 0.25


async def run(_: pathlib.Path) -> Mapping[str, Any]:
    """The benchmark. The cluster is gone afterwards unless KEEP is set."""
    engine, reason = world_.choose_engine()
    if reason is not None:
        raise world_.DemoError(f"Cannot run this benchmark: {reason}")
    cluster = embedded.Embedded(CLUSTER)
    try:
        images = await asyncio.to_thread(world_.build_images, engine)
        await asyncio.to_thread(cluster.up, images.tars)
        next_image = f"{images.engine}-next"
        await asyncio.to_thread(cluster.tag_image, images.engine, next_image)
        world = world_.World(cluster, images)
        await world.install()
        return await measure(world, next_image)
    finally:
        if not os.environ.get("KEEP"):
            await asyncio.to_thread(cluster.down)


async def measure(world: world_.World, next_image: str) -> dict[str, Any]:
    """One YAML file is applied; then 4 pods become 1, and that one is replaced by one of another image."""
    started = time.monotonic()
    MANIFEST.parent.mkdir(parents=True, exist_ok=True)
    MANIFEST.write_text(yaml.safe_dump_all(objects(), sort_keys=False))
    await world.kubectl("apply", "--server-side", "-f", str(MANIFEST))
    await world.wait("Ready with all pods", _is_serving(REPLICAS), seconds=_READY_SECONDS, tick=lambda _: None)
    limits = httpx.Limits(max_connections=2 * STREAMS)
    async with (
        httpx.AsyncClient(base_url=await world.base_url(), timeout=300, limits=limits) as client,
        Pods(world) as pods,
    ):
        first = await first_answer(client)
        ready = time.monotonic() - started
        async with asking(client) as others:
            scaled = await remove(client, pods, "scale", lambda: scale(world, 1), REPLICAS - 1)
            await change_image(world, next_image)
            rolled = await remove(client, pods, "roll", _wait_for_it, 1)
    EVIDENCE.write_text(json.dumps({name: pod.raw() for name, pod in pods.seen.items()}, indent=1) + "\n")
    return {
        **evidence.figures([scaled, rolled], others),
        "ready_seconds": round(ready, 1),
        "first_answer": first,
    }


def objects() -> list[dict[str, Any]]:
    """The YAML file: a namespace, a gateway that is open to all, and a model behind it."""
    # Twenty tokens an event: the client, which sees 32 streams at once, must not be what is slow.
    arguments = ("--enforce-eager", "--num-gpu-blocks-override=600", "--stream-interval=20")
    named = {"namespace": world_.NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": world_.NAMESPACE}},
        {
            "apiVersion": base.API_VERSION,
            "kind": gateway.KIND,
            "metadata": {"name": world_.GATEWAY, **named},
            "spec": {
                "replicas": 1,
                "listeners": [{"name": "http", "port": 8080}],
                "clients": {"anonymous": True},
                "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
            },
        },
        {
            "apiVersion": base.API_VERSION,
            "kind": modeldeployment.KIND,
            "metadata": {"name": world_.MODEL, **named},
            "spec": {
                "template": {
                    "model": {"source": "file:///models/good"},
                    "engine": {
                        "type": "VLLM",
                        "vllm": {"args": {"maxModelLen": CONTEXT, "maxNumSeqs": STREAMS + 8}, "extraArgs": list(arguments)},
                        "env": [{"name": "VLLM_ALLOW_LONG_MAX_MODEL_LEN", "value": "1"}],
                    },
                    "resources": {
                        "requests": {"cpu": "100m", "memory": "1Gi"},
                        "limits": LIMITS,
                        "sharedMemory": "256Mi",
                    },
                },
                "replicas": REPLICAS,
                "drainTimeout": "300s",
                "gatewayRefs": [{"name": world_.GATEWAY}],
                "rollout": {
                    "strategy": {"type": "Canary", "canary": {"steps": STEPS}},
                    "analysis": [],
                },
            },
        },
    ]


def _is_serving(replicas: int) -> Callable[[dict[str, Any]], bool]:
    def is_serving(model: dict[str, Any]) -> bool:
        status = model.get("status") or {}
        ready = any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", ()))
        return ready and status.get("readyReplicas", status.get("replicas")) == replicas

    return is_serving


async def first_answer(client: httpx.AsyncClient) -> str:
    """What the model says through the gateway, once a proxy is there."""
    deadline = time.monotonic() + _BEGUN_SECONDS
    while True:
        with contextlib.suppress(httpx.HTTPError):
            answer = await client.post(CHAT, json=vllm.chat(world_.MODEL, "What is the capital of Peru?", max_tokens=16))
            if answer.status_code == httpx.codes.OK:
                return str(answer.json()["choices"][0]["message"]["content"])
        if time.monotonic() > deadline:
            raise world_.DemoError("Cannot reach the model through the gateway")
        await asyncio.sleep(0.5)


async def remove(
    client: httpx.AsyncClient, pods: Pods, name: str, act: Callable[[], Awaitable[None]], count: int
) -> evidence.Removal:
    """Open the streams, act when all have begun, and wait until `count` pods got SIGTERM and all streams have ended."""
    started = time.monotonic()
    before = set(pods.removed())
    async with streams.opened(client, CHAT, [vllm.endless(world_.MODEL, TOKENS)] * STREAMS) as (opened, tasks):
        async with asyncio.timeout(_BEGUN_SECONDS):
            await asyncio.gather(*(stream.began.wait() for stream in opened))
        await act()
        async with asyncio.timeout(_GONE_SECONDS):
            await asyncio.gather(*tasks)
            removed = await pods.until_removed(before, count)
    gone = [pods.seen[pod] for pod in sorted(removed)]
    return evidence.Removal(name, gone, opened, TOKENS, time.monotonic() - started)


async def scale(world: world_.World, replicas: int) -> None:
    """As a user does."""
    name = f"modeldeployment/{world_.MODEL}"
    await world.kubectl("scale", "-n", world_.NAMESPACE, name, f"--replicas={replicas}")


async def change_image(world: world_.World, image: str) -> None:
    """Start a rollout, and wait until the new revision's pods are there and its traffic is about to come."""
    template = (await world.model())["spec"]["template"]
    patch = {"spec": {"template": {"engine": {**template["engine"], "image": image}}}}
    name = f"modeldeployment/{world_.MODEL}"
    await world.kubectl("patch", "-n", world_.NAMESPACE, name, "--type=merge", "-p", json.dumps(patch))
    await world.wait("the first step", _is_stepping, seconds=_READY_SECONDS, tick=lambda _: None)


def _is_stepping(model: dict[str, Any]) -> bool:
    return ((model.get("status") or {}).get("rollout") or {}).get("phase") == rollout_status.Phase.PROGRESSING


async def _wait_for_it() -> None:
    """The rollout goes on by itself."""


@contextlib.asynccontextmanager
async def asking(client: httpx.AsyncClient) -> AsyncIterator[collections.Counter[int | None]]:
    """Short requests all along; how often they got which status, None for none at all."""
    counts: collections.Counter[int | None] = collections.Counter()

    async def ask() -> None:
        while True:
            try:
                body = vllm.chat(world_.MODEL, "What is the capital of Peru?", max_tokens=4)
                counts[(await client.post(CHAT, json=body)).status_code] += 1
            except httpx.HTTPError:
                counts[None] += 1
            await asyncio.sleep(_LOOK_SECONDS)

    tasks = [asyncio.create_task(ask()) for _ in range(2)]
    try:
        yield counts
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Pods:
    """All engine pods that there were: looked at while they are there, and listened to until their logs end."""

    def __init__(self, world: world_.World) -> None:
        self.seen: dict[str, evidence.Pod] = {}
        self._world = world
        self._logs: list[asyncio.subprocess.Process] = []
        self._tasks: list[asyncio.Task[None]] = []

    def removed(self) -> list[str]:
        """Names of those that got SIGTERM."""
        return [name for name, pod in self.seen.items() if pod.terminated_at is not None]

    async def until_removed(self, before: set[str], count: int) -> set[str]:
        """Wait until so many more than `before` got SIGTERM; their names."""
        while True:
            more = set(self.removed()) - before
            if len(more) >= count:
                return more
            await asyncio.sleep(_LOOK_SECONDS)

    async def __aenter__(self) -> Self:
        await self._list()
        self._tasks.append(asyncio.create_task(self._keep_listing()))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for process in self._logs:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def _keep_listing(self) -> None:
        while True:
            await self._list()
            await asyncio.sleep(4 * _LOOK_SECONDS)

    async def _list(self) -> None:
        found = await self._world.get("pods", "-l", f"sluice.dev/model-deployment={world_.MODEL}")
        for pod in found["items"]:
            name, address = pod["metadata"]["name"], pod["status"].get("podIP")
            if name not in self.seen and address and pod["status"]["phase"] == "Running":
                self.seen[name] = evidence.Pod(name)
                self._tasks += [asyncio.create_task(self._listen(name)), asyncio.create_task(self._count(name, address))]

    async def _count(self, name: str, address: str) -> None:
        async with httpx.AsyncClient(base_url=f"http://{address}:{pod_template.PORT}", timeout=5) as client:
            while True:
                with contextlib.suppress(httpx.HTTPError, ValueError, KeyError):
                    load = (await client.get("/load")).json()["server_load"]
                    self.seen[name].readings.append((time.time(), load))
                await asyncio.sleep(_LOOK_SECONDS)

    async def _listen(self, name: str) -> None:
        """Take down the pod's log; a connection that is lost on a busy machine is made again, and its lines are read again."""
        kubectl = [str(binaries.ensure("kubectl")), f"--kubeconfig={self._world.cluster.kubeconfig}"]
        arguments = ("logs", "-n", world_.NAMESPACE, "-f", "--timestamps", name)
        status: int | None = 1
        while status:
            process = await asyncio.create_subprocess_exec(*kubectl, *arguments, stdout=asyncio.subprocess.PIPE)
            self._logs.append(process)
            assert process.stdout is not None
            async for line in process.stdout:
                self.seen[name].log.append(line.decode(errors="replace"))
            status = await process.wait()
            await asyncio.sleep(_LOOK_SECONDS)
