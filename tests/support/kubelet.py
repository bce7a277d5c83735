"""Stands in for the kubelet where there is none: makes pods of ours run and become ready by writing their status.

No container runs. Pods that are deleted go at once, since no node holds them. A test may say how pods of an image behave.
"""

from __future__ import annotations

import base64
import datetime
import ssl
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
import yaml

SELECTOR: Final = "app.kubernetes.io/managed-by=sluice"
PERIOD_SECONDS: Final = 0.1

Status = dict[str, Any]
Behaviour = Callable[[Mapping[str, Any], str], Status]
"""From a pod and its address to the status to write."""


class Kubelet:
    """A context manager: while inside, pods run."""

    def __init__(self, kubeconfig: Path, *, period: float = PERIOD_SECONDS) -> None:
        self._client = client(kubeconfig)
        self._period = period
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kubelet", daemon=True)
        self._addresses: dict[str, str] = {}
        self.behaviours: dict[str, Behaviour] = {}
        """By image; others become ready at once."""
        self.created: list[tuple[str, str]] = []
        """Namespace and name of all pods ever seen."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        while not self._stop.wait(self._period):
            try:
                self._look()
            except httpx.HTTPError:
                continue  # the API server is stopped by the test: a real kubelet waits too

    def _look(self) -> None:
        answer = self._client.get("/api/v1/pods", params={"labelSelector": SELECTOR})
        if answer.status_code != httpx.codes.OK:
            return
        for pod in answer.json()["items"]:
            self._settle(pod)

    def _settle(self, pod: Mapping[str, Any]) -> None:
        metadata = pod["metadata"]
        if metadata["uid"] not in self._addresses:
            self._addresses[metadata["uid"]] = f"10.244.{len(self._addresses) // 250}.{len(self._addresses) % 250 + 2}"
            self.created.append((metadata["namespace"], metadata["name"]))
        behaviour = self.behaviours.get(pod["spec"]["containers"][0]["image"], ready)
        wanted = behaviour(pod, self._addresses[metadata["uid"]])
        if all((pod.get("status") or {}).get(key) == value for key, value in wanted.items()):
            return
        self._client.patch(
            f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status",
            json={"status": wanted},
            headers={"Content-Type": "application/merge-patch+json"},
        )


def ready(pod: Mapping[str, Any], address: str) -> Status:
    """The pod runs and is ready."""
    started = pod["metadata"]["creationTimestamp"]
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [
            {"type": type_, "status": "True", "lastTransitionTime": started, "lastProbeTime": None}
            for type_ in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        ],
        "containerStatuses": [_container(pod, {"running": {"startedAt": started}}, is_ready=True, restarts=0)],
    }


def loading(pod: Mapping[str, Any], address: str) -> Status:
    """The engine runs and is not ready yet."""
    status = ready(pod, address)
    for condition in status["conditions"]:
        if condition["type"] in ("Ready", "ContainersReady"):
            condition["status"] = "False"
    started = pod["metadata"]["creationTimestamp"]
    status["containerStatuses"] = [_container(pod, {"running": {"startedAt": started}}, is_ready=False, restarts=0)]
    return status


def crash_looping(pod: Mapping[str, Any], address: str) -> Status:
    """The engine ended three times and waits to be started again."""
    started = pod["metadata"]["creationTimestamp"]
    state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}}
    last = {
        "terminated": {
            "exitCode": 1,
            "reason": "Error",
            "message": "RuntimeError: the weights do not fit",
            "startedAt": started,
            "finishedAt": started,
        }
    }
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": started, "lastProbeTime": None},
            {"type": "Ready", "status": "False", "lastTransitionTime": started, "lastProbeTime": None},
        ],
        "containerStatuses": [_container(pod, state, is_ready=False, restarts=2) | {"lastState": last}],
    }


def unschedulable(pod: Mapping[str, Any], _: str) -> Status:
    """No node has room."""
    return {
        "phase": "Pending",
        "conditions": [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
                "lastTransitionTime": pod["metadata"]["creationTimestamp"],
                "lastProbeTime": None,
            }
        ],
    }


def client(kubeconfig: Path) -> httpx.Client:
    """An HTTP client with the credentials of a kubeconfig, for what tests ask of the API server directly."""
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    with tempfile.NamedTemporaryFile() as file:
        file.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
        file.flush()
        context.load_cert_chain(file.name)
    return httpx.Client(base_url=cluster["server"], verify=context, timeout=5)


def now() -> str:
    """The time as Kubernetes writes it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _container(pod: Mapping[str, Any], state: Mapping[str, Any], *, is_ready: bool, restarts: int) -> dict[str, Any]:
    spec = pod["spec"]["containers"][0]
    return {
        "name": spec["name"],
        "image": spec["image"],
        "imageID": "",
        "ready": is_ready,
        "started": is_ready,
        "restartCount": restarts,
        "state": dict(state),
        "lastState": {},
    }
