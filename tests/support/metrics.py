"""Runs `sluice metrics` as a process behind a real API server: registered by our manifest, reached through the aggregator.

There is no pod network: the Service leads to this host by name, and a folder stands for the mounted Secret.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

import httpx
import yaml

from tests.support import controlplane, operators, ports

MANIFESTS: Final = pathlib.Path(__file__).resolve().parents[2] / "manifests"
ACCOUNT: Final = f"system:serviceaccount:{operators.NAMESPACE}:sluice-metrics"
ROOT: Final = "/apis/custom.metrics.k8s.io/v1beta2"
PATIENCE: Final = 100.0


@dataclasses.dataclass
class Server:
    """One replica, by the rights of `kubeconfig`. A context manager. `certificate` is the folder with tls.crt and tls.key."""

    kubeconfig: pathlib.Path
    folder: pathlib.Path
    certificate: pathlib.Path
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    http_port: int = dataclasses.field(default_factory=ports.free)
    api_port: int = dataclasses.field(default_factory=ports.free)

    def __enter__(self) -> Self:
        self._log = self.folder / f"metrics-{self.api_port}.log"
        settings = {
            "SLUICE_NAMESPACE": operators.NAMESPACE,
            "SLUICE_KUBECONFIG": str(self.kubeconfig),
            "SLUICE_LISTEN_ADDRESS": "127.0.0.1",
            "SLUICE_HTTP_PORT": str(self.http_port),
            "SLUICE_API_PORT": str(self.api_port),
            "SLUICE_CERTIFICATE_DIRECTORY": str(self.certificate),
            "SLUICE_SCRAPE_SECONDS": "1",
            **self.environment,
        }
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sluice", "metrics"],
                env={**os.environ, **settings},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def log(self) -> str:
        """Everything it has said."""
        return self._log.read_text(errors="replace")

    def ready(self) -> tuple[int, str]:
        """Code and text of /readyz; 0 while nobody answers."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.http_port}/readyz", timeout=2)
        except httpx.HTTPError as error:
            assert self._process.poll() is None, f"sluice metrics ended:\n{self.log[-4000:]}"
            return 0, str(error)
        return answer.status_code, answer.text

    def wait_ready(self) -> None:
        """Returns once /readyz says so."""
        until(lambda: self.ready()[0] == 200, lambda: f"sluice metrics is not ready: {self.ready()[1]}\n{self.log[-4000:]}")

    def stop(self) -> int:
        """As Kubernetes would end it. Returns its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(timeout=20)
        return self._process.returncode


def register(cluster: controlplane.ControlPlane, port: int) -> None:
    """Applies our APIService and a Service that leads to a port of this host."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "sluice-metrics", "namespace": operators.NAMESPACE},
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
    name = ("get", "secret", "-n", operators.NAMESPACE, "sluice-metrics-tls", "-o", "json", "--ignore-not-found")
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
