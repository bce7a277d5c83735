"""One operator with 1,000 ModelDeployments: how long a restart takes, and what it costs when nothing happens.

The API server and the controllers are real, and the operator is a real process with its own rights. Pods are faked: they are
made ready by writing their status, and one server answers for all of them: metrics pages of engines in plain HTTP, counters of
proxies over mTLS. That needs addresses, so all of it runs in a network namespace of its own, whose loopback has them.

Every write is read from the API server's audit log. The operator's CPU is that of its process, so a busy machine changes it
little; the restart is wall-clock time and needs a quiet one.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import yaml

from sluice.api import rollout_status
from tests.bench import standins
from tests.support import controlplane, kubelet, operators, world
from tests.support import metrics as metrics_support

MODELS: Final = int(os.environ.get("SLUICE_BENCH_MODELS", "1000"))
NAMESPACES: Final = 10
ROLLOUTS: Final = 20
IDLE_SECONDS: Final = 120.0
SETTLE_SECONDS: Final = 20.0
PATIENCE: Final = 900.0
KUBELET_PERIOD: Final = 3.0
XDS_PORT: Final = 18000
SERVICE_ACCOUNT: Final = f"system:serviceaccount:{operators.NAMESPACE}:sluice-operator"
ROOT: Final = pathlib.Path(__file__).resolve().parents[2]
GOALS: Final = {"restart_seconds": 15, "idle_cpu_percent": 5, "rss_mib": 400, "idle_writes": 0}
_RESULT: Final = "figures.json"
_WRITES: Final = frozenset({"create", "update", "patch", "delete"})

Object = dict[str, Any]


async def run(directory: pathlib.Path) -> Mapping[str, Any]:
    """The benchmark, in a network namespace where every pod's address is local."""
    script = f'ip link set lo up && ip route add local {standins.POD_NETWORK} dev lo && exec "$@"'
    command = ["unshare", "--net", "sh", "-ec", script, "sh", sys.executable, "-m", __name__, str(directory)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
    if await process.wait():
        raise RuntimeError(f"the benchmark ended with {process.returncode}; it needs root, for a network namespace")
    figures: dict[str, Any] = json.loads((directory / _RESULT).read_text())
    return figures


@dataclasses.dataclass
class Scene:
    """The cluster with its objects, and the operator that looks after them."""

    plane: controlplane.ControlPlane
    kubeconfig: pathlib.Path
    directory: pathlib.Path
    environment: Mapping[str, str]
    """Of the operator."""

    def operator(self, name: str) -> operators.Operator:
        """A replica that is not started yet. All share one name: a restarted container keeps its Lease."""
        folder = self.directory / name
        folder.mkdir()
        # Its port is in the proxies' pod templates, and it stays what it is when a container starts again.
        return operators.Operator(self.kubeconfig, folder, environment=self.environment, xds_port=XDS_PORT)

    def metrics(self, certificate: standins.Certificate) -> metrics_support.Server:
        """One replica of `sluice metrics` that is not started yet. Nobody asks it, so any certificate will do."""
        folder = self.directory / "certificate"
        folder.mkdir()
        (folder / "tls.crt").write_bytes(certificate.chain)
        (folder / "tls.key").write_bytes(certificate.key)
        environment = {**self.environment, "SLUICE_SCRAPE_SECONDS": "15"}
        rights = self.plane.user(metrics_support.ACCOUNT)
        return metrics_support.Server(rights, self.directory, folder, environment=environment)

    def models(self) -> list[Object]:
        """Every ModelDeployment as it is."""
        items: list[Object] = json.loads(self.plane.kubectl("get", "modeldeployments", "-A", "-o", "json").stdout)["items"]
        return items

    def until(self, what: str, condition: Callable[[], bool], period: float = 1.0) -> float:
        """Waits; returns the seconds it took."""
        started = time.monotonic()
        while not condition():
            if time.monotonic() - started > PATIENCE:
                raise TimeoutError(f"after {PATIENCE:g} s still not: {what}")
            time.sleep(period)
        return time.monotonic() - started

    def count(self, condition: Callable[[Object], bool]) -> int:
        """How many ModelDeployments are so."""
        return sum(condition(obj.get("status", {})) for obj in self.models())

    def writes(self) -> collections.Counter[str]:
        """The operator's writes so far, by verb and resource; those of its Lease aside."""
        assert self.plane.audit_log is not None
        found: collections.Counter[str] = collections.Counter()
        with self.plane.audit_log.open() as lines:
            for line in lines:
                event = json.loads(line)
                resource = event.get("objectRef", {}).get("resource", "")
                if event["user"]["username"] == SERVICE_ACCOUNT and event["verb"] in _WRITES and resource != "leases":
                    found[f"{event['verb']} {resource}"] += 1
        return found


def measure(directory: pathlib.Path) -> Mapping[str, Any]:
    """Everything, in the order of a life: first start, rollouts, restart, idleness."""
    with controlplane.ControlPlane(controller_manager=True, audit=True) as plane:
        scene = Scene(plane, plane.user(SERVICE_ACCOUNT), directory, _environment(directory))
        _install(plane)
        figures: dict[str, Any] = {"models": MODELS, "rollouts": ROLLOUTS, "goals": GOALS}
        with standins.Pods(plane.kubeconfig, XDS_PORT) as pods:
            with kubelet.Kubelet(plane.kubeconfig, period=KUBELET_PERIOD), scene.operator("first") as first:
                figures["first_start_seconds"] = round(_first_start(scene, first), 1)
                pods.refresh()
                _start_rollouts(plane)
                scene.until("rollouts under way", lambda: scene.count(_is_progressing) == ROLLOUTS, period=5.0)
                pods.refresh()
            figures |= _restart(scene, pods)
        return figures


def _first_start(scene: Scene, first: operators.Operator) -> float:
    """Seconds from nothing to a fleet that serves."""
    started = time.monotonic()
    first.wait_leading()

    def all_ready() -> bool:
        """The operator is asked first, which is cheap: a list of a thousand models every few seconds would slow all down."""
        return first.has_seen(MODELS) and scene.count(_is_ready) == MODELS

    scene.until("all models ready", all_ready, period=5.0)
    return time.monotonic() - started


def _restart(scene: Scene, pods: standins.Pods) -> Mapping[str, Any]:
    """A replica that starts on what is there, and then has nothing to do."""
    started = time.monotonic()
    with scene.operator("again") as again:
        again.wait_ready()
        scene.until("all is known", lambda: again.has_seen(MODELS), period=0.5)
        seconds = time.monotonic() - started
        return {"restart_seconds": round(seconds, 1), **_idle(scene, pods, again)}


def _idle(scene: Scene, pods: standins.Pods, again: operators.Operator) -> Mapping[str, Any]:
    """What happens while nothing does, but for rollouts that are measured. `sluice metrics` reads all engines meanwhile."""
    with scene.metrics(pods.any_certificate()) as metrics:
        _let_pass(SETTLE_SECONDS)
        writes, reads = scene.writes(), pods.reads
        of_operator, of_metrics = _cpu_seconds(again.pid), _cpu_seconds(metrics.pid)
        _let_pass(IDLE_SECONDS)
        of_operator, of_metrics = _cpu_seconds(again.pid) - of_operator, _cpu_seconds(metrics.pid) - of_metrics
        written, read = scene.writes() - writes, pods.reads - reads
        return {
            "idle_cpu_percent": round(100 * of_operator / IDLE_SECONDS, 1),
            "rss_mib": round(_rss_bytes(again.pid) / 2**20),
            "idle_writes": sum(written.values()),
            "idle_writes_by_kind": dict(written),
            "proxy_pages_read": read["proxy"],
            "engine_pages_read": read["engine"],
            "metrics_cpu_percent": round(100 * of_metrics / IDLE_SECONDS, 1),
            "metrics_rss_mib": round(_rss_bytes(metrics.pid) / 2**20),
            "still_progressing": scene.count(_is_progressing),
        }


def _environment(directory: pathlib.Path) -> Mapping[str, str]:
    """As in manifests/ and in the image, whose modules are compiled; and it listens where proxies find it."""
    documents = yaml.safe_load_all((ROOT / "manifests" / "operator.yaml").read_text())
    deployment = next(document for document in documents if document["kind"] == "Deployment")
    given = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    return {
        **{item["name"]: item["value"] for item in given if item["name"].startswith("MALLOC_")},
        "PYTHONPYCACHEPREFIX": str(directory / "compiled"),
        "PYTHONDONTWRITEBYTECODE": "",
        "SLUICE_LOG_LEVEL": "WARNING",
        "SLUICE_LISTEN_ADDRESS": "0.0.0.0",
    }


def _let_pass(seconds: float) -> None:
    """Lets time pass in which nothing is to happen: what is measured is what happens all the same."""
    limit = time.monotonic() + seconds
    while (left := limit - time.monotonic()) > 0:
        time.sleep(min(left, 1.0))


def _install(plane: controlplane.ControlPlane) -> None:
    for path in ("crds", "manifests/namespace.yaml", "manifests/rbac.yaml", "manifests/metrics/rbac.yaml"):
        plane.kubectl("apply", "--server-side", "-f", str(ROOT / path))
    plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(ROOT / "crds"))
    for objects in _objects():
        plane.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def _objects() -> Iterator[list[Object]]:
    yield [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _space(number)}} for number in range(NAMESPACES)]
    for number in range(NAMESPACES):
        yield [_gateway(_space(number)), *(_model(_space(number), one) for one in range(MODELS // NAMESPACES))]


def _space(number: int) -> str:
    return f"team-{number}"


def _gateway(namespace: str) -> Object:
    return {
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Gateway",
        "metadata": {"name": "edge", "namespace": namespace},
        "spec": {"clients": {"anonymous": True}},
    }


def _model(namespace: str, number: int) -> Object:
    step = {"name": "first", "weight": 5, "hold": "24h"}
    made = world.model(name=f"model-{number}", replicas=1, steps=[step], gatewayRefs=[{"name": "edge"}])
    made["metadata"]["namespace"] = namespace
    made["spec"]["rollout"].pop("analysis")  # the built-in one judges, so that counters are read
    return made


def _start_rollouts(plane: controlplane.ControlPlane) -> None:
    patch = json.dumps({"spec": {"template": {"model": {"source": "file:///models/two"}}}})
    for number in range(ROLLOUTS):
        space, name = _space(number % NAMESPACES), f"model-{number // NAMESPACES}"
        plane.kubectl("patch", "modeldeployment", "-n", space, name, "--type=merge", "-p", patch)


def _is_ready(status: Object) -> bool:
    return bool(world.condition(status, "Ready")["status"] == "True")


def _is_progressing(status: Object) -> bool:
    rollout = status.get("rollout") or {}
    return bool(rollout.get("phase") == rollout_status.Phase.PROGRESSING.value and "stepEnteredAt" in rollout)


def _cpu_seconds(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_bytes(pid: int) -> int:
    line = next(line for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def main(arguments: list[str]) -> int:
    """Entry point inside the network namespace; writes the figures into the directory."""
    directory = pathlib.Path(arguments[0])
    (directory / _RESULT).write_text(json.dumps(measure(directory)))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}\n{error.stderr}")
