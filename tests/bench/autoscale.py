"""Load comes, the queue grows, pods are added; load goes, the window is kept, pods go: on the embedded cluster, all parts real.

The HPA controller is Kubernetes' own with its own pace, the metrics are those of `sluice metrics` as installed, and the engine
is vLLM on the CPU where that can run (the figure `engine` says which it was; ENGINE=simulator asks for that one). What is
measured is the Deployment's size, not how long a model takes to load. Writes a chart beside the figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import pathlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import aiohttp
import httpx

from hack.cluster import driver
from hack.demo import world as world_
from sluice.api import base, modeldeployment, naming
from sluice.kube import client as kube_client
from sluice.kube import errors, resources
from sluice.workloads import metrics_api, pod_metrics, quantities
from tests.bench import autoscale_figures, chart
from tests.support import kubelet

CLUSTER: Final = "autoscale"
CHART: Final = pathlib.Path("build/bench/autoscale.svg")
TARGET: Final = 10
LARGEST: Final = 2
"""What two cores can run of vLLM beside a whole cluster."""
CLIENTS: Final = 40
"""Two requests run in each pod and the others wait: even with all pods there are more than the target."""
TOKENS: Final = 100
WINDOW: Final = 50
"""Not a multiple of the controller's period, so that a sync never falls on its very end."""
_STARTED_SECONDS: Final = 900.0
_RISEN_SECONDS: Final = 180.0
_LOADED_SECONDS: Final = 240.0
_FALLEN_SECONDS: Final = 300.0
_QUEUE_PERIOD: Final = 3.0
_IDLE_SECONDS: Final = 900.0


async def run(_: pathlib.Path) -> Mapping[str, Any]:
    """The benchmark. The cluster is gone afterwards unless KEEP is set."""
    engine, _reason = world_.choose_engine()
    if os.environ.get("ENGINE") == "simulator":
        engine = "simulator"
    cluster = driver.choose(CLUSTER)
    try:
        images = await asyncio.to_thread(world_.build_images, engine)
        await asyncio.to_thread(cluster.up, images.tars)
        world = world_.World(cluster, images)
        await world.install()
        seen = await measure(world)
    finally:
        if not os.environ.get("KEEP"):
            await asyncio.to_thread(cluster.down)
    CHART.parent.mkdir(parents=True, exist_ok=True)
    CHART.write_text(draw(seen, engine))
    return {"engine": engine, **autoscale_figures.figures(seen), "chart": str(CHART)}


async def measure(world: world_.World) -> autoscale_figures.Seen:
    """A model on its own, a load that comes and goes, and what became of its size."""
    await world.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": world_.NAMESPACE}}, _model())
    found = await world.wait("a first pod that is scaled", _is_scaled, seconds=_STARTED_SECONDS, tick=lambda _: None)
    name = naming.revision_name(world_.MODEL, found["status"]["stableRevision"])
    seen = autoscale_figures.Seen(target=TARGET, window=WINDOW)
    async with recording(world, name, seen):
        await _until(lambda: bool(seen.replicas and seen.queue), 30, "the first readings")
        async with load(await _address(world)):
            seen.load = (time.time(), time.time() + 1e6)
            await _until(lambda: seen.rise is not None, _RISEN_SECONDS, "a rise of the size")
            # The pods that were added take their share before the load goes; where the machine is too slow for that, without.
            with contextlib.suppress(TimeoutError):
                await _until(lambda: seen.ready[-1][1] >= LARGEST, _LOADED_SECONDS, "all pods ready")
                await _until(lambda: seen.above[-1] > seen.ready[-1][0], _RISEN_SECONDS, "a sample with all pods")
            seen.load = (seen.load[0], time.time())
        await _until(lambda: seen.replicas[-1][1] <= seen.before, _FALLEN_SECONDS, "the size of before")
    return seen


def _model() -> dict[str, Any]:
    args = {"maxModelLen": 512, "maxNumSeqs": 2}
    return {
        "apiVersion": base.API_VERSION,
        "kind": modeldeployment.KIND,
        "metadata": {"name": world_.MODEL, "namespace": world_.NAMESPACE},
        "spec": {
            "template": {
                "model": {"source": "file:///models/good"},
                "engine": {
                    "type": "VLLM",
                    "vllm": {"args": args, "extraArgs": ["--enforce-eager", "--num-gpu-blocks-override=256"]},
                },
                "resources": {
                    "requests": {"cpu": "100m", "memory": "1Gi"},
                    "limits": {"memory": "4Gi"},
                    "sharedMemory": "256Mi",
                },
            },
            "autoscaling": {
                "minReplicas": 1,
                "maxReplicas": LARGEST,
                "metrics": [{"name": "RequestsWaiting", "target": str(TARGET)}],
                "behavior": {
                    "scaleUp": {"stabilizationWindowSeconds": 0},
                    "scaleDown": {
                        "stabilizationWindowSeconds": WINDOW,
                        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 15}],
                    },
                },
            },
            "drainTimeout": "15s",
            "rollout": {"analysis": []},
        },
    }


def _is_scaled(model: Mapping[str, Any]) -> bool:
    said = {each["type"]: each["status"] for each in (model.get("status") or {}).get("conditions") or ()}
    return said.get("Ready") == said.get("AutoscalingReady") == "True"


# -- what happens ----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def recording(world: world_.World, name: str, seen: autoscale_figures.Seen) -> AsyncIterator[None]:
    """Fills `seen` while inside, by watching the Deployment and its HPA and by asking the metrics API."""
    async with await kube_client.Client.connect(world.cluster.kubeconfig) as client:
        tasks = [
            asyncio.create_task(_watch(client, resources.DEPLOYMENTS, name, lambda obj: _take_deployment(seen, obj))),
            asyncio.create_task(_watch(client, resources.HORIZONTAL_POD_AUTOSCALERS, name, lambda obj: _take_hpa(seen, obj))),
            asyncio.create_task(_ask_queue(world.cluster.kubeconfig, seen)),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _watch(client: kube_client.Client, resource: resources.Resource, name: str, take: Any) -> None:
    """Gives every version of an object to `take`."""
    while True:
        obj = await client.get(resource, world_.NAMESPACE, name)
        take(obj)
        version = obj["metadata"]["resourceVersion"]
        with contextlib.suppress(errors.Unreachable, errors.Expired):
            events = client.watch(resource, world_.NAMESPACE, name, resource_version=version, idle=_IDLE_SECONDS)
            async for event in events:
                if event.type == "MODIFIED":
                    take(event.object)


def _take_deployment(seen: autoscale_figures.Seen, obj: Mapping[str, Any]) -> None:
    _note(seen.replicas, obj["spec"]["replicas"])
    _note(seen.ready, (obj.get("status") or {}).get("readyReplicas", 0))


def _take_hpa(seen: autoscale_figures.Seen, obj: Mapping[str, Any]) -> None:
    """A metric that could not be read has an entry without a value: that is no sample."""
    for entry in (obj.get("status") or {}).get("currentMetrics") or ():
        value = ((entry.get("pods") or {}).get("current") or {}).get("averageValue")
        if value is not None:
            _note(seen.samples, float(quantities.parse(value)))


def _note(series: autoscale_figures.Series, value: float) -> None:
    if not series or series[-1][1] != value:
        series.append((time.time(), value))


async def _ask_queue(kubeconfig: pathlib.Path, seen: autoscale_figures.Seen) -> None:
    """Asks the metrics API as an HPA does; an error is an answer without a reading."""
    path = (
        f"/apis/{metrics_api.GROUP}/{metrics_api.VERSION}/namespaces/{world_.NAMESPACE}/pods/*/{pod_metrics.REQUESTS_WAITING}"
    )
    selector = f"{naming.LABEL_MODEL_DEPLOYMENT}={world_.MODEL}"
    with kubelet.client(kubeconfig) as api:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                answer = await asyncio.to_thread(api.get, path, params={"labelSelector": selector})
                if answer.status_code == httpx.codes.OK:
                    waiting = sum(float(quantities.parse(item["value"])) for item in answer.json()["items"])
                    _note(seen.queue, waiting)
            await asyncio.sleep(_QUEUE_PERIOD)


# -- the load --------------------------------------------------------------------------------------------------------


async def _address(world: world_.World) -> str:
    service = await world.get("service", world_.MODEL)
    return f"http://{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}"


@contextlib.asynccontextmanager
async def load(address: str) -> AsyncIterator[None]:
    """So many clients that each ask again as soon as they are answered, each time by a new connection, so to any pod."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(address, connector=connector, timeout=aiohttp.ClientTimeout(total=300)) as session:
        tasks = [asyncio.create_task(_ask_forever(session, number)) for number in range(CLIENTS)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _ask_forever(session: aiohttp.ClientSession, number: int) -> None:
    body = {"model": world_.MODEL, "prompt": f"Client {number} asks.", "max_tokens": TOKENS, "ignore_eos": True}
    while True:
        try:
            async with session.post("/v1/completions", data=json.dumps(body), headers=_JSON) as answer:
                await answer.read()
                if answer.status < 500:
                    continue
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.5)  # a pod that leaves or is full: what counts here is the queue, not the answers


_JSON: Final = {"Content-Type": "application/json"}


async def _until(condition: Any, seconds: float, what: str) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(f"Cannot go on: {what} did not come in {seconds:.0f} s")
        await asyncio.sleep(0.2)


def draw(seen: autoscale_figures.Seen, engine: str) -> str:
    """The chart: sizes above, queues below."""
    begin, end = seen.load
    first = begin - 10
    last = max(series[-1][0] for series in (seen.replicas, seen.samples, seen.queue))
    seconds = 50.0 * math.ceil((last - first + 10) / 50)

    def moved(series: autoscale_figures.Series) -> list[tuple[float, float]]:
        return [(max(0.0, at - first), value) for at, value in series]

    panels = [
        chart.Panel("Pods", [chart.Line("wanted", moved(seen.replicas)), chart.Line("ready", moved(seen.ready))]),
        chart.Panel(
            "Requests that wait",
            [chart.Line("average, as the HPA has it", moved(seen.samples)), chart.Line("all pods", moved(seen.queue))],
            limit=(f"target {seen.target:g}", seen.target),
        ),
    ]
    cool = seen.above[-1] if seen.above else end
    spans = [
        chart.Span("load", begin - first, end - first),
        chart.Span("no fall allowed", max(end, cool) - first, cool + seen.window - first),
    ]
    return chart.svg(f"Autoscaling by queue depth ({engine})", panels, seconds=seconds, spans=spans)
