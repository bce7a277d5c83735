"""Pods of a ModelDeployment on a real kubelet: admitted where only restricted pods are, with what they should have and no more.

The engine is the simulator: what is shown here is the pod, not vLLM.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hack.cluster import driver, kubectl
from hack.demo import world as world_

pytestmark = pytest.mark.timeout(1200)

NAMESPACE = "restricted"
MODEL = "chat"
PATIENCE = 120.0
SELECTOR = f"sluice.dev/model-deployment={MODEL}"
LEVELS = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
TEMPLATE = {
    "model": {
        "source": "file:///models/good",
        "servedName": "capitals",
        "files": [{"name": "system.txt", "configMapKeyRef": {"name": "prompts", "key": "system"}}],
    },
    "engine": {
        "type": "VLLM",
        "env": [{"name": "TEAM", "valueFrom": {"configMapKeyRef": {"name": "prompts", "key": "team"}}}],
    },
    "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "sharedMemory": "128Mi"},
    "podMetadata": {"labels": {"team": "search"}, "annotations": {"example.org/owner": "search"}},
    "scheduling": {"spot": {"preferred": True, "nodeSelector": {"example.org/spot": "true"}}},
    "volumes": [
        {"name": "ca", "configMap": {"name": "prompts"}},
        {"name": "scratch", "emptyDir": {"sizeLimit": "64Mi"}},
    ],
    "volumeMounts": [{"name": "ca", "mountPath": "/etc/company"}, {"name": "scratch", "mountPath": "/scratch"}],
}
INSPECT = """
import json, os, pathlib
def writable(path):
    try:
        (pathlib.Path(path) / "probe").write_text("x")
        return True
    except OSError:
        return False
print(json.dumps({
    "uid": os.getuid(), "gid": os.getgid(),
    "token": os.path.exists("/var/run/secrets/kubernetes.io"),
    "writable": {path: writable(path) for path in ("/", "/opt", "/tmp", "/dev/shm", os.environ["HOME"], "/scratch",
                                                    "/mnt/sluice/files", "/etc/company")},
    "files": sorted(name for name in os.listdir("/mnt/sluice/files") if not name.startswith(".")),
    "company": pathlib.Path("/etc/company/system").read_text(),
    "environment": dict(os.environ),
    "shm": os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize,
    "capabilities": [line.split()[1] for line in open("/proc/1/status") if line.startswith(("CapEff", "CapBnd", "Seccomp:"))],
}))
"""


class Lab:
    """A cluster with Sluice, and kubectl in the test's namespace."""

    def __init__(self, cluster: driver.Cluster) -> None:
        self._cluster = cluster

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Standard output of a kubectl that has to succeed."""
        done = kubectl.run(self._cluster.kubeconfig, "-n", NAMESPACE, *arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fails(self, *arguments: str, stdin: str | None = None) -> str:
        """Standard error of a kubectl that has to fail."""
        done = kubectl.run(self._cluster.kubeconfig, "-n", NAMESPACE, *arguments, stdin=stdin)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def apply(self, *objects: dict[str, Any]) -> None:
        """kubectl apply."""
        self.run("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def listed(self, kind: str, selector: str = SELECTOR) -> list[dict[str, Any]]:
        """Objects by label."""
        found: list[dict[str, Any]] = json.loads(self.run("get", kind, "-l", selector, "-o", "json"))["items"]
        return found

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Polls until the condition gives something true."""
        limit = time.monotonic() + PATIENCE
        while not (found := condition()):
            if time.monotonic() > limit:
                pytest.fail(f"not in {PATIENCE:g} s: {what}\n{self.run('get', 'mdep,pods,events', '-o', 'wide')}")
            time.sleep(0.3)
        return found

    def ready_pods(self) -> list[dict[str, Any]]:
        """The model's pods that are ready and stay."""
        return [pod for pod in self.listed("pods") if _is_ready(pod) and "deletionTimestamp" not in pod["metadata"]]

    def two_ready_pods(self) -> list[dict[str, Any]]:
        """Waits for as many pods as the model has replicas."""
        self.until(lambda: len(self.ready_pods()) == 2, "two pods are ready")
        return self.ready_pods()

    def evict(self, pod: str) -> tuple[str, ...]:
        """The arguments that ask for an eviction, as a drain does."""
        return ("create", "--raw", f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction", "-f", "-")


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _model(name: str = MODEL, *, replicas: int = 2, **template: Any) -> dict[str, Any]:
    return {
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "template": {**TEMPLATE, **template},
            "replicas": replicas,
            "drainTimeout": "5s",
            "networkPolicy": {"ingress": [{"namespaceSelector": {"matchLabels": {"team": "monitoring"}}}]},
            "rollout": {"analysis": []},
        },
    }


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A cluster on which a model serves in a namespace that admits restricted pods only."""
    cluster = driver.choose("pods")
    images = world_.build_images("simulator")
    cluster.up(images.tars)
    try:
        asyncio.run(world_.World(cluster, images).install())
        made = Lab(cluster)
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": LEVELS}}
        prompts = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "prompts", "namespace": NAMESPACE},
            "data": {"system": "Answer briefly.", "team": "search"},
        }
        made.apply(namespace, prompts, _model())
        made.run("wait", "--for=condition=Ready", f"mdep/{MODEL}", f"--timeout={PATIENCE:.0f}s")
        yield made
    finally:
        cluster.down()


def test_pods_run_where_only_restricted_ones_are_admitted(lab: Lab) -> None:
    """Two replicas serve, nothing was restarted, and the labels are there that people asked for."""
    for pod in lab.two_ready_pods():
        assert [status["restartCount"] for status in pod["status"]["containerStatuses"]] == [0]
        assert pod["metadata"]["labels"]["team"] == "search"
        assert pod["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"
    warnings = [event for event in lab.listed("events", "") if "PodSecurity" in event.get("message", "")]
    assert warnings == []


def test_a_container_has_what_it_should_and_nothing_more(lab: Lab) -> None:
    """Seen from inside: user, token, what can be written, files, environment, shared memory, privileges."""
    pod = lab.two_ready_pods()[0]["metadata"]["name"]
    seen = json.loads(lab.run("exec", pod, "-c", "engine", "--", "python3", "-c", INSPECT))
    assert (seen["uid"], seen["gid"]) == (2000, 2000)
    assert seen["token"] is False
    home = "/var/cache/sluice"
    assert {path for path, writable in seen["writable"].items() if writable} == {"/tmp", "/dev/shm", home, "/scratch"}
    assert seen["files"] == ["hold_headers.py", "liveness.py", "system.txt"]
    assert seen["company"] == "Answer briefly."
    environment = seen["environment"]
    assert (environment["TEAM"], environment["HOME"], environment["HF_HUB_OFFLINE"]) == ("search", home, "1")
    assert [name for name in environment if name.startswith("CHAT_")] == []  # the Services of the namespace
    assert seen["shm"] == 128 << 20
    assert sorted(seen["capabilities"]) == ["0000000000000000", "0000000000000000", "2"]


def test_the_probe_of_hangs_leaves_a_healthy_engine_alone(lab: Lab) -> None:
    """It runs in the image as it is: its state is written, and no probe failed."""
    pod = lab.two_ready_pods()[0]["metadata"]["name"]
    look = ("exec", pod, "-c", "engine", "--", "python3", "-c", "import os; print(os.path.exists('/tmp/sluice-liveness.json'))")
    lab.until(lambda: lab.run(*look).strip() == "True", "the probe has run")
    failures = [event["message"] for event in lab.listed("events", "") if "Liveness probe" in event.get("message", "")]
    assert failures == []


def test_guards_stand_around_the_pods(lab: Lab) -> None:
    """One disruption budget and a NetworkPolicy each way for the revision, as the API server took them."""
    (budget,) = lab.listed("poddisruptionbudgets")
    assert budget["spec"]["maxUnavailable"] == 1
    lab.until(lambda: lab.listed("poddisruptionbudgets")[0]["status"].get("currentHealthy") == 2, "the budget knows both pods")
    policies = {policy["metadata"]["name"]: policy for policy in lab.listed("networkpolicies")}
    revision = budget["metadata"]["name"]
    assert policies.keys() == {f"{revision}-in", f"{revision}-out"}
    assert len(policies[f"{revision}-in"]["spec"]["ingress"][0]["from"]) == 3
    assert [port["port"] for rule in policies[f"{revision}-out"]["spec"]["egress"] for port in rule["ports"]] == [53, 53]


def test_a_drain_takes_one_pod_at_a_time(lab: Lab) -> None:
    """The second eviction is refused until the first pod's successor serves."""
    first, second = (pod["metadata"]["name"] for pod in lab.two_ready_pods())
    body = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": first, "namespace": NAMESPACE}})
    lab.run(*lab.evict(first), stdin=body)
    refused = lab.fails(*lab.evict(second), stdin=body.replace(first, second))
    assert "disruption budget" in refused
    lab.until(
        lambda: len(found := lab.ready_pods()) == 2 and first not in {pod["metadata"]["name"] for pod in found},
        "another pod took its place",
    )
    assert second in {pod["metadata"]["name"] for pod in lab.ready_pods()}
    lab.until(lambda: first not in {pod["metadata"]["name"] for pod in lab.listed("pods")}, "the first pod is gone")


def test_claims_of_devices_reach_the_scheduler(lab: Lab) -> None:
    """Nothing here drives devices: the pod waits for its claim, which Kubernetes made from the template, and says so."""
    lab.apply(
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaimTemplate",
            "metadata": {"name": "gpu", "namespace": NAMESPACE},
            "spec": {"spec": {"devices": {"requests": [{"name": "whole", "exactly": {"deviceClassName": "gpu.example.org"}}]}}},
        },
        _model(
            "claiming",
            replicas=1,
            resources={"claims": [{"name": "gpu", "resourceClaimTemplateName": "gpu", "request": "whole"}]},
        ),
    )
    selector = "sluice.dev/model-deployment=claiming"
    (pod,) = lab.until(lambda: lab.listed("pods", selector), "the pod is made")
    assert pod["spec"]["resourceClaims"] == [{"name": "gpu", "resourceClaimTemplateName": "gpu"}]
    assert pod["spec"]["containers"][0]["resources"]["claims"] == [{"name": "gpu", "request": "whole"}]
    lab.until(lambda: lab.listed("pods", selector)[0]["status"].get("resourceClaimStatuses"), "the claim is made")
    lab.run("delete", "mdep", "claiming", "--wait=false")


def test_what_is_no_longer_wanted_goes(lab: Lab) -> None:
    """Without replicas there is nothing to protect; the policies stay for the next pod."""
    lab.run("scale", f"mdep/{MODEL}", "--replicas=0")
    lab.until(lambda: not lab.listed("poddisruptionbudgets"), "the budget is gone")
    assert len(lab.listed("networkpolicies")) == 2
    lab.run("delete", "mdep", MODEL)
    lab.until(lambda: not lab.listed("networkpolicies"), "the policies are gone with their owner")
