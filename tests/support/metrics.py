"""Runs `sluice metrics` as a process behind a real API server: registered by our manifest, reached through the aggregator.

There is no pod network: the Service leads to this host by name, and a folder stands for the mounted Secret.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import pathlib
import time
from collections.abc import Callable
from typing import Any, Final

import yaml

from tests.support import controlplane, ports, process

MANIFESTS: Final = pathlib.Path(__file__).resolve().parents[2] / "manifests"
ACCOUNT: Final = f"system:serviceaccount:{process.NAMESPACE}:sluice-metrics"
ROOT: Final = "/apis/custom.metrics.k8s.io/v1beta2"
PATIENCE: Final = 100.0


@dataclasses.dataclass
class Server(process.Process):
    """One replica."""

    command = "metrics"
    start_seconds = PATIENCE

    certificate: pathlib.Path
    """The folder with tls.crt and tls.key."""
    api_port: int = dataclasses.field(default_factory=ports.free, kw_only=True)

    def settings(self) -> dict[str, str]:
        """Its port for the aggregator, its certificate, and a quick look at the engines."""
        return {
            "SLUICE_API_PORT": str(self.api_port),
            "SLUICE_CERTIFICATE_DIRECTORY": str(self.certificate),
            "SLUICE_SCRAPE_SECONDS": "1",
        }


def register(cluster: controlplane.ControlPlane, port: int) -> None:
    """Applies our APIService and a Service that leads to a port of this host."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "sluice-metrics", "namespace": process.NAMESPACE},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"name": "api", "port": port}]},
    }
    registration = yaml.safe_load((MANIFESTS / "metrics" / "apiservice.yaml").read_text())
    registration["spec"]["service"]["port"] = port
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all([service, registration]))


def unregister(cluster: controlplane.ControlPlane) -> None:
    """Removes every APIService of custom metrics."""
    for version in ("v1beta1", "v1beta2"):
        cluster.kubectl("delete", "apiservice", f"{version}.custom.metrics.k8s.io", "--ignore-not-found")


def wait_available(cluster: controlplane.ControlPlane) -> None:
    """Returns once the aggregator reaches and trusts the server."""
    done = cluster.kubectl(
        "wait", "--for=condition=Available", "--timeout=100s", "apiservice/v1beta2.custom.metrics.k8s.io", check=False
    )
    assert done.returncode == 0, cluster.kubectl("get", "apiservice", "v1beta2.custom.metrics.k8s.io", "-o", "yaml").stdout


def mount(cluster: controlplane.ControlPlane, folder: pathlib.Path) -> None:
    """Writes Secret `sluice-metrics-tls` into the folder, as soon as the operator has issued it."""
    name = ("get", "secret", "-n", process.NAMESPACE, "sluice-metrics-tls", "-o", "json", "--ignore-not-found")
    text = until(lambda: cluster.kubectl(*name).stdout, lambda: "the operator has not issued Secret sluice-metrics-tls")
    folder.mkdir(exist_ok=True)
    for key, value in json.loads(text)["data"].items():
        (folder / key).write_bytes(base64.b64decode(value))


def ask(cluster: controlplane.ControlPlane, namespace: str, metric: str, pod: str = "*", query: str = "") -> dict[str, Any]:
    """A question through the aggregator, as the administrator. The values by pod, or the Status of a refusal."""
    path = f"{ROOT}/namespaces/{namespace}/pods/{pod}/{metric}{query}"
    done = cluster.kubectl("get", "--raw", path, check=False)
    if done.returncode:
        return {"error": done.stderr}
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["kind"] == "MetricValueList"
    return {item["describedObject"]["name"]: item["value"] for item in found["items"]}


def until(condition: Callable[[], Any], failure: Callable[[], str], patience: float = PATIENCE) -> Any:
    """Polls until the condition gives something true, and returns that."""
    limit = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < limit, failure()
        time.sleep(0.1)
    return found
