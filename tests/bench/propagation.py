"""How long a weight takes: from its write until all traffic of a real Envoy has moved.

The write begins as the operator's does: the status of a ModelDeployment on a real API server, then the traffic table, and
the gateway's programming from the cache. Only pods are missing: the cache is given endpoints on loopback.

All traffic has moved when a request has ended that began after the write, was answered by the new revision, and after
which none began that was not. So the time includes one whole request, and is what a client could notice at worst.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import pathlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import aiohttp

from sluice.api import base, gateway, modeldeployment, naming
from sluice.kube import cache, resources
from sluice.kube import client as kube_client
from sluice.reconcile import lookup, programmer, traffic
from sluice.rollout import model as rollout
from sluice.rollout import traffic as rollout_traffic
from sluice.workloads import pod_template
from sluice.xds import server
from tests.support import controlplane, fleet, ports, upstream

NAMESPACE: Final = fleet.EDGE[0]
MODEL: Final = "chat"
CHANGES: Final = 50
GOAL_P99_MS: Final = 250.0
_CLIENTS: Final = 4
_QUIET: Final = 40
"""So many answers in a row of the new revision, on all connections together, end a change."""

Write = Callable[[int], Awaitable[None]]
"""Brings the canary's weight (basis points) into the world; returns when it is written, not when it is in force."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """One request: when it began and ended (`time.perf_counter`), how, and who answered."""

    began: float
    ended: float
    status: int
    name: str


async def run(directory: pathlib.Path) -> Mapping[str, Any]:
    """The benchmark on a real API server and a real Envoy."""
    certificates, port = fleet.Certificates(), ports.free()
    with controlplane.ControlPlane() as plane:
        plane.kubectl("apply", "--server-side", "-f", "crds")
        plane.kubectl("create", "namespace", NAMESPACE)
        plane.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": _objects(port)}))
        async with (
            await kube_client.Client.connect(plane.kubeconfig, operator_namespace=NAMESPACE) as client,
            upstream.running("stable", "canary") as (stable, canary),
            fleet.operator(certificates) as (ads, xds),
        ):
            write = await write_status(client, ads, stable, canary)
            await write(0)
            async with fleet.proxy(directory / "proxy", certificates.gateway(), xds):
                return {"first_stage": "status of the ModelDeployment", **await measure(port, write)}


async def write_status(
    client: kube_client.Client, ads: server.AdsServer, stable: upstream.Upstream, canary: upstream.Upstream
) -> Write:
    """The stage that begins with a status write; an increase is sent once that is answered."""
    known = cache.Cache()
    for resource in (resources.MODEL_DEPLOYMENTS, resources.GATEWAYS):
        for item in (await client.list(resource, NAMESPACE)).items:
            known.put(resource, item)
    for name, upstream_ in (("stable", stable), ("canary", canary)):
        known.put(resources.ENDPOINT_SLICES, _endpoints(name, upstream_.port))
    table = traffic.TrafficTable()
    program = programmer.Programmer(known, lookup.Lookup(known), table, ads)
    key = naming.ObjectKey(modeldeployment.KIND, NAMESPACE, MODEL)
    epochs = itertools.count(1)

    async def write(weight: int) -> None:
        sent = rollout_traffic.Traffic("stable", "canary" if weight else None, weight, next(epochs))
        status = modeldeployment.ModelDeploymentStatus(epoch=sent.epoch, stable_revision="stable").to_wire()
        version = known.get(resources.MODEL_DEPLOYMENTS, NAMESPACE, MODEL)["metadata"]["resourceVersion"]  # type: ignore[index]
        written = await client.apply_status(resources.MODEL_DEPLOYMENTS, NAMESPACE, MODEL, status, resource_version=version)
        known.put(resources.MODEL_DEPLOYMENTS, written)
        table.put(key, rollout.Sent(None, sent))
        program.program_for(modeldeployment.parse(written))

    return write


def _objects(port: int) -> list[dict[str, Any]]:
    """The gateway of the test fleet, open to all, and a model behind it."""
    return [
        {
            "apiVersion": base.API_VERSION,
            "kind": gateway.KIND,
            "metadata": {"name": fleet.EDGE[1], "namespace": NAMESPACE},
            "spec": {"listeners": [{"name": "http", "port": port}], "clients": {"anonymous": True}},
        },
        {
            "apiVersion": base.API_VERSION,
            "kind": modeldeployment.KIND,
            "metadata": {"name": MODEL, "namespace": NAMESPACE},
            "spec": {
                "template": {"model": {"source": "file:///models/good"}, "engine": {"type": "VLLM"}},
                "gatewayRefs": [{"name": fleet.EDGE[1]}],
            },
        },
    ]


def _endpoints(revision: str, port: int) -> dict[str, Any]:
    name = naming.revision_name(MODEL, revision)
    return {
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "resourceVersion": "1",
            "labels": {programmer.SERVICE_NAME_LABEL: name},
        },
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
        "ports": [{"name": pod_template.PORT_NAME, "port": port}],
    }


async def measure(port: int, write: Write, *, changes: int = CHANGES) -> dict[str, Any]:
    """Turns all traffic over `changes` times; p50 and p99 of the times in milliseconds, and the requests that failed."""
    traffic = _Traffic(port)
    times = []
    async with traffic:
        await traffic.moved("stable", time.perf_counter())
        for change in range(changes):
            weight, name = (0, "stable") if change % 2 else (10_000, "canary")
            written = time.perf_counter()
            await write(weight)
            times.append(1000 * await traffic.moved(name, written))
    times.sort()
    return {
        "p50_ms": round(percentile(times, 50), 2),
        "p99_ms": round(percentile(times, 99), 2),
        "max_ms": round(times[-1], 2),
        "goal_p99_ms": GOAL_P99_MS,
        "changes": changes,
        "requests": traffic.requests,
        "failed": traffic.failed,
    }


def percentile(ordered: list[float], percent: float) -> float:
    """The smallest value that so many percent of the values do not exceed."""
    return ordered[max(0, -(-int(percent * len(ordered)) // 100) - 1)]


class _Traffic:
    """Clients that ask without pause."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._answers: asyncio.Queue[Answer] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self.requests = self.failed = 0

    async def __aenter__(self) -> None:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(_CLIENTS)]

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    async def moved(self, name: str, since: float) -> float:
        """Seconds from `since` until the end of the first request from which on `name` answers everything."""
        last_old, new = since, list[Answer]()
        while len(new) < _QUIET:
            answer = await self._answers.get()
            self.requests += 1
            self.failed += answer.status != 200
            if answer.name == name:
                new.append(answer)
            else:
                last_old = max(last_old, answer.began)
            new = [each for each in new if each.began > last_old]
        return min(new, key=lambda each: each.began).ended - since

    async def _ask(self) -> None:
        while True:
            began = time.perf_counter()
            status, name = await fleet.ask(self._session, self._port)
            self._answers.put_nowait(Answer(began, time.perf_counter(), status, name))
