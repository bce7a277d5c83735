"""Ways to break a running cluster on purpose, and a small model whose rollouts are quick, for the tests of faults."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from hack.cluster import registry
from hack.demo import traffic
from hack.demo import world as world_

NAME = "sim"


def manifest(world: world_.World, **template: Any) -> dict[str, Any]:
    """A ModelDeployment of the simulator, which starts within a second, behind the demo's gateway."""
    return {
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": NAME, "namespace": world_.NAMESPACE},
        "spec": {
            "template": {
                "model": {"source": "file:///models/good"},
                "engine": {"type": "VLLM", "image": world.images.simulator},
                "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
                **template,
            },
            "replicas": 1,
            "drainTimeout": "5s",
            "gatewayRefs": [{"name": world_.GATEWAY}],
            "rollout": {
                "strategy": {
                    "type": "Canary",
                    "canary": {
                        "steps": [
                            {"name": "half", "weight": 50, "hold": "10s"},
                            {"name": "most", "weight": 80, "hold": "5s"},
                        ]
                    },
                }
            },
        },
    }


def failing_after(world: world_.World, requests: int) -> dict[str, Any]:
    """The same with a revision that starts to fail after so many requests."""
    made = manifest(world)
    engine = made["spec"]["template"]["engine"]
    engine["vllm"] = {"extraArgs": ["--middleware=sluice_demo.FailAfter"]}
    engine["env"] = [{"name": "SLUICE_DEMO_FAIL_AFTER", "value": str(requests)}]
    return made


class Model:
    """The small model, and how to wait for what becomes of it."""

    def __init__(self, world: world_.World) -> None:
        self.world = world

    async def get(self) -> dict[str, Any]:
        """The ModelDeployment as it is."""
        return await self.world.get("modeldeployment", NAME)

    async def wait(self, what: str, done: Any, *, seconds: float = 180.0) -> dict[str, Any]:
        """Looks until `done(status)`; the failure has the last status."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            with contextlib.suppress(world_.DemoError):  # the API server may be stopped by the test
                found = await self.get()
                status = found.get("status") or {}
                if done(status):
                    return found
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"{what} did not happen in {seconds:.0f} s; status: {json.dumps(status, indent=1)}")
            await asyncio.sleep(0.3)

    async def settle(self, obj: Mapping[str, Any]) -> dict[str, Any]:
        """Applies it and waits until its revision serves."""
        await self.world.apply(obj)
        return await self.wait("Ready", is_ready)

    async def pods(self) -> dict[str, str]:
        """Name -> uid of the model's pods that are not on their way out."""
        found = await self.world.get("pods", "-l", f"sluice.dev/model-deployment={NAME}")
        return {
            pod["metadata"]["name"]: pod["metadata"]["uid"]
            for pod in found["items"]
            if not pod["metadata"].get("deletionTimestamp")
        }

    async def revisions(self) -> dict[str, str]:
        """Hash -> outcome label."""
        found = await self.world.get("controllerrevisions", "-l", f"sluice.dev/model-deployment={NAME}")
        return {
            item["metadata"]["labels"]["sluice.dev/revision"]: item["metadata"]["labels"].get("sluice.dev/outcome", "")
            for item in found["items"]
        }

    @contextlib.asynccontextmanager
    async def load(self, rate: float = 20.0) -> AsyncIterator[traffic.Traffic]:
        """Users of this model; it starts once they are answered."""
        async with traffic.Traffic(
            base_url=await self.world.base_url(),
            api_key=self.world.api_key,
            model=NAME,
            questions=world_.questions(),
            rate=rate,
        ) as sent:
            for _ in range(200):
                if any(result.error is None for result in sent.results):
                    break
                await asyncio.sleep(0.1)
            else:
                raise AssertionError(f"no request was answered: {[result.error for result in sent.results][-3:]}")
            sent.results.clear()
            yield sent


def is_ready(status: Mapping[str, Any]) -> bool:
    """The revision that the spec asks for serves."""
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions") or ()}
    return conditions.get("Ready") == "True"


def errors(sent: traffic.Traffic) -> list[str]:
    """What clients saw go wrong."""
    return [result.error for result in sent.results if result.error is not None]


async def leader(world: world_.World) -> str:
    """Name of the pod that leads."""
    lease = json.loads(await world.kubectl("get", "lease", "-n", "sluice-system", "sluice-operator", "-o", "json"))
    return str(lease["spec"]["holderIdentity"])


async def restarts(world: world_.World) -> int:
    """How often operators were started again, all replicas together."""
    found = json.loads(await world.kubectl("get", "pods", "-n", "sluice-system", "-o", "json"))
    return sum(status["restartCount"] for pod in found["items"] for status in pod["status"].get("containerStatuses") or ())


def processes(wanted: str, *, hostname: str | None = None) -> Iterator[int]:
    """PIDs, as the host sees them, of programs whose command line has `wanted`, in the pod of that name."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (folder / "environ").read_bytes().split(b"\0") if hostname else []
        except OSError:
            continue
        if wanted in command and (hostname is None or f"HOSTNAME={hostname}".encode() in environment):
            yield int(folder.name)


def kill_pod(name: str) -> None:
    """Kills the operator in the pod of that name, as a crash would."""
    found = list(processes("sluice operator", hostname=name))
    assert found, f"no operator process of pod {name}"
    for pid in found:
        os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def stopped_api_server(cluster_name: str) -> Iterator[None]:
    """While inside, the API server of the embedded cluster answers nobody."""
    found = [pid for pid in processes("kube-apiserver --") if _network(pid) == _network(_init(cluster_name))]
    assert len(found) == 1, f"API servers of {cluster_name}: {found}"
    os.kill(found[0], signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(found[0], signal.SIGCONT)


def _init(cluster_name: str) -> int:
    """The first process of the embedded cluster's node."""
    record = registry.read(cluster_name)
    assert record is not None, f"cluster {cluster_name} is not up"
    assert record.init is not None, f"cluster {cluster_name} is not up"
    return record.init.pid


def _network(pid: int) -> str:
    """The network namespace of a process: each cluster has its own."""
    return str(Path(f"/proc/{pid}/ns/net").readlink())
