"""Why a model does not serve, as users read it: each cause brought about on a real kubelet, scheduler and container runtime.

The engine is the simulator: what is shown here is Kubernetes' side. What vLLM itself says is in tests/unit/rollout/seen.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hack.cluster import driver, kubectl, nodepaths
from hack.demo import world as world_
from tests.e2e import registry

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        os.environ.get("CLUSTER", "embedded") != "embedded", reason="a registry without TLS has to be made known to the node"
    ),
]

CLUSTER = "causes"
NAMESPACE, FULL = "causes", "full"
PATIENCE = 300.0
HOST = f"localhost:{registry.PORT}"
ENVIRONMENT, REVISION = "Environment", "Revision"


@dataclasses.dataclass(frozen=True)
class Case:
    """A template that cannot run, and what is said of it."""

    name: str
    template: dict[str, Any]
    reason: str
    effect: str
    words: tuple[str, ...]
    timeout: str = "20m"
    namespace: str = NAMESPACE


def engine(image: str | None = None, **rest: Any) -> dict[str, Any]:
    """The part of a template that is about the engine."""
    return {"engine": {"type": "VLLM", **({"image": image} if image else {}), **rest}}


def hub(owner: str, port: int = registry.PORT) -> dict[str, Any]:
    """A template whose model comes from our hub."""
    return {
        "model": {"source": f"hf://{owner}/chat"},
        **engine(env=[{"name": "HF_ENDPOINT", "value": f"http://$NODE:{port}"}]),
    }


MOUNT = {"volumeMounts": [{"name": "more", "mountPath": "/more"}]}
CASES = (
    Case(
        "image-unknown", engine(f"{HOST}/team/chat:v9"), "ImageNotFound", ENVIRONMENT, ("/team/chat:v9: not found", "push the")
    ),
    Case(
        "image-stays-unknown", engine(f"{HOST}/team/chat:v9"), "ImageNotFound", REVISION, ("/team/chat:v9: not found",), "10s"
    ),
    Case("image-refused", engine(f"{HOST}/refused/chat:v1"), "ImageAccessDenied", ENVIRONMENT, ("no basic auth credentials",)),
    Case("image-denied", engine(f"{HOST}/denied/chat:v1"), "ImageAccessDenied", ENVIRONMENT, ("403 Forbidden",)),
    Case("image-limited", engine(f"{HOST}/limited/chat:v1"), "PullFailed", ENVIRONMENT, ("429 Too Many Requests",)),
    Case("registry-broken", engine(f"{HOST}/broken/chat:v1"), "PullFailed", ENVIRONMENT, ("503 Service Unavailable",)),
    Case("registry-unknown", engine("registry.invalid/chat:v1"), "PullFailed", ENVIRONMENT, ("lookup registry.invalid",)),
    Case("image-invalid", engine("Team/Chat:v1"), "InvalidImage", REVISION, ("couldn't parse image name",)),
    Case(
        "volume-unknown",
        {"model": {"source": f"oci://{HOST}/team/model:v9"}, **engine()},
        "ModelNotFound",
        ENVIRONMENT,
        ("/team/model:v9: not found", "upload the model"),
    ),
    Case(
        "volume-denied",
        {"model": {"source": f"oci://{HOST}/denied/model:v9"}, **engine()},
        "ModelAccessDenied",
        ENVIRONMENT,
        ("403 Forbidden",),
    ),
    Case("hub-denied", hub("denied"), "ModelAccessDenied", ENVIRONMENT, ("hf://denied/chat", "403")),
    Case("hub-unknown", hub("team"), "ModelNotFound", ENVIRONMENT, ("hf://team/chat", "404")),
    Case("hub-unreachable", hub("team", 5999), "DownloadFailed", ENVIRONMENT, ("hf://team/chat", ":5999")),
    Case(
        "no-gpu",
        {"resources": {"gpu": {"count": 8}}},
        "Unschedulable",
        ENVIRONMENT,
        ("asks for 8 nvidia.com/gpu; 0/1 nodes have them", "add nodes that fit"),
    ),
    Case("no-node", {"scheduling": {"nodeSelector": {"example.org/gpu": "a100"}}}, "Unschedulable", ENVIRONMENT, ("selector",)),
    Case(
        "no-claim",
        {"resources": {"claims": [{"name": "gpu", "resourceClaimTemplateName": "gpus"}]}},
        "ResourceClaimPending",
        ENVIRONMENT,
        ("ResourceClaimTemplate gpus",),
    ),
    Case(
        "no-volume",
        {"volumes": [{"name": "more", "persistentVolumeClaim": {"claimName": "nope"}}], **MOUNT},
        "VolumePending",
        ENVIRONMENT,
        ('persistentvolumeclaim "nope" not found',),
    ),
    Case(
        "no-configmap",
        {"volumes": [{"name": "more", "configMap": {"name": "nope"}}], **MOUNT},
        "Mounting",
        ENVIRONMENT,
        ("kubectl describe pod",),
    ),
    Case(
        "no-secret",
        engine(env=[{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "nope", "key": "key"}}}]),
        "ConfigMissing",
        ENVIRONMENT,
        ('secret "nope" not found',),
    ),
    Case("quota", {}, "QuotaExceeded", ENVIRONMENT, ("exceeded quota: none",), namespace=FULL),
    Case(
        "crash", {"model": {"source": "file:///models/nope"}}, "CrashLoop", REVISION, ("Cannot serve /models/nope", "3 times")
    ),
    Case(
        "arguments",
        engine(vllm={"extraArgs": ["--middleware"]}),
        "InvalidArguments",
        REVISION,
        ("error: argument --middleware: expected one argument",),
    ),
    Case(
        "memory",
        {"resources": {"requests": {"cpu": "20m"}, "limits": {"memory": "12Mi"}}},
        "OOMKilled",
        REVISION,
        ("using more memory than its limit", "limits.memory"),
    ),
)


class Lab:
    """A cluster with Sluice, where everything in `CASES` is asked for."""

    def __init__(self, cluster: driver.Cluster) -> None:
        self._cluster = cluster

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Standard output of a kubectl that has to succeed."""
        done = kubectl.run(self._cluster.kubeconfig, *arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def apply(self, *objects: dict[str, Any]) -> None:
        """kubectl apply."""
        self.run("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def status(self, name: str, namespace: str = NAMESPACE) -> dict[str, Any]:
        """The status of a ModelDeployment as it is."""
        found = json.loads(self.run("get", "mdep", "-n", namespace, name, "-o", "json"))
        status: dict[str, Any] = found.get("status", {})
        return status

    def until(self, name: str, condition: Callable[[dict[str, Any]], Any], namespace: str = NAMESPACE) -> dict[str, Any]:
        """Polls until the status is so."""
        limit = time.monotonic() + PATIENCE
        while not condition(status := self.status(name, namespace)):
            if time.monotonic() > limit:
                pods = self.run("get", "pods", "-n", namespace, "-l", f"sluice.dev/model-deployment={name}", "-o", "yaml")
                pytest.fail(f"{name} is not so in {PATIENCE:g} s: {json.dumps(status, indent=1)}\n{pods}")
            time.sleep(0.5)
        return status


def reason(status: dict[str, Any], type_: str) -> tuple[str, str]:
    """Status and reason of a condition."""
    return next(((c["status"], c["reason"]) for c in status.get("conditions", ()) if c["type"] == type_), ("", ""))


def message(status: dict[str, Any], type_: str) -> str:
    """Message of a condition."""
    return next((c["message"] for c in status.get("conditions", ()) if c["type"] == type_), "")


def model(
    name: str, template: dict[str, Any], *, namespace: str = NAMESPACE, timeout: str = "20m", **spec: Any
) -> dict[str, Any]:
    """A ModelDeployment of the simulator, but for what the template changes."""
    plain = {
        "model": {"source": "file:///models/good"},
        **engine(),
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
    }
    return {
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "template": {**plain, **template},
            "replicas": 1,
            "startupTimeout": timeout,
            "drainTimeout": "5s",
            "rollout": {"analysis": []},
            **spec,
        },
    }


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A cluster on which nothing of this can run, and everything was asked for."""
    cluster = driver.choose(CLUSTER)
    images = world_.build_images("simulator")
    cluster.up(images.tars)
    try:
        _know_registry(nodepaths.on_host(CLUSTER).registries)
        asyncio.run(world_.World(cluster, images).install())
        made = Lab(cluster)
        _prepare(made, images.simulator)
        node = made.run("get", "nodes", "-o", "jsonpath={.items[0].status.addresses[?(@.type=='InternalIP')].address}")
        asked = json.dumps([model(c.name, c.template, namespace=c.namespace, timeout=c.timeout) for c in CASES])
        made.apply(*json.loads(asked.replace("$NODE", node)))
        yield made
    finally:
        if not os.environ.get("KEEP"):
            cluster.down()


def _know_registry(folder: Path) -> None:
    """Tells the node's containerd that our registry has no TLS."""
    directory = folder / HOST
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "hosts.toml").write_text(f'server = "http://{HOST}"\n')


def _prepare(lab: Lab, image: str) -> None:
    """The registry, and a namespace without room for any pod."""
    script = Path(registry.__file__).read_text()
    lab.apply(
        *({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in (NAMESPACE, FULL)),
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "none", "namespace": FULL},
            "spec": {"hard": {"pods": "0"}},
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "registry", "namespace": NAMESPACE},
            "data": {"registry.py": script},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "registry", "namespace": NAMESPACE},
            "spec": {
                "hostNetwork": True,
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {
                        "name": "registry",
                        "image": image,
                        "command": ["python3", "/code/registry.py", "0.0.0.0"],
                        "volumeMounts": [{"name": "code", "mountPath": "/code"}],
                    }
                ],
                "volumes": [{"name": "code", "configMap": {"name": "registry"}}],
            },
        },
    )
    lab.run("wait", "-n", NAMESPACE, "--for=condition=Ready", "pod/registry", "--timeout=60s")


@pytest.mark.parametrize("case", [case for case in CASES if case.effect == ENVIRONMENT], ids=lambda case: case.name)
def test_what_a_person_can_mend_is_waited_for(lab: Lab, case: Case) -> None:
    """The condition has the cause as its reason, the words of whoever refused, and what to do; nothing is rejected."""
    status = lab.until(case.name, lambda status: reason(status, "Ready") == ("False", case.reason), case.namespace)

    assert status["rollout"]["reason"] == case.reason
    assert reason(status, "Reconciling") == ("True", case.reason)
    assert reason(status, "Available")[0] == "False"
    for words in (*case.words, "Environment"):
        assert words in message(status, "Ready")


@pytest.mark.parametrize("case", [case for case in CASES if case.effect == REVISION], ids=lambda case: case.name)
def test_what_never_gets_better_is_rejected(lab: Lab, case: Case) -> None:
    """The rollout ends, and every place that tells of it has the cause and the last words."""
    status = lab.until(case.name, lambda status: reason(status, "Stalled") == ("True", "RevisionRejected"), case.namespace)

    assert (status["lastRollout"]["outcome"], status["lastRollout"]["reason"]) == ("Rejected", case.reason)
    assert (status["history"][0]["outcome"], status["history"][0]["reason"]) == ("Rejected", case.reason)
    for words in (*case.words, "Revision: "):
        assert words in message(status, "Stalled")
        assert words in status["lastRollout"]["message"]


def test_what_lasts_stalls_and_goes_on_when_it_is_mended(lab: Lab) -> None:
    """After spec.startupTimeout a person has to look; once there is room, the rollout goes on by itself."""
    lab.apply(model("lasting", {"scheduling": {"nodeSelector": {"example.org/room": "yes"}}}, timeout="10s"))
    status = lab.until("lasting", lambda status: reason(status, "Stalled") == ("True", "Unschedulable"))
    assert "longer than spec.startupTimeout (10s)" in message(status, "Stalled")
    assert status["rollout"]["phase"] == "WarmingUp"

    lab.run("label", "node", "--all", "example.org/room=yes")

    assert lab.until("lasting", lambda status: reason(status, "Ready")[0] == "True")["lastRollout"]["outcome"] == "Promoted"


def test_trouble_of_what_serves_is_told_and_goes(lab: Lab) -> None:
    """A pod of the stable revision cannot start any more: Ready and Available say why, in the kubelet's words."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "key", "namespace": NAMESPACE},
        "stringData": {"k": "v"},
    }
    variable = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}}
    lab.apply(secret, model("serving", engine(env=[variable])))
    lab.until("serving", lambda status: reason(status, "Ready") == ("True", "Serving"))
    lab.run("delete", "secret", "-n", NAMESPACE, "key")
    lab.run("delete", "pod", "-n", NAMESPACE, "-l", "sluice.dev/model-deployment=serving", "--wait=false")

    status = lab.until("serving", lambda status: reason(status, "Available") == ("False", "ConfigMissing"))
    assert reason(status, "Ready") == ("False", "ConfigMissing")
    assert 'secret "key" not found' in message(status, "Available")
    assert "Environment: create what it names" in message(status, "Ready")
    assert status["podsReady"] == "0/1"

    lab.apply(secret)
    assert lab.until("serving", lambda status: reason(status, "Ready")[0] == "True")["podsReady"] == "1/1"


def test_no_replicas_are_no_fault(lab: Lab) -> None:
    """What was asked for is there, and nothing serves: two conditions, one reason."""
    lab.apply(model("none", {}))
    lab.until("none", lambda status: reason(status, "Ready")[0] == "True")
    lab.run("scale", "mdep/none", "-n", NAMESPACE, "--replicas=0")

    status = lab.until("none", lambda status: reason(status, "Available") == ("False", "ScaledToZero"))

    assert reason(status, "Ready") == ("True", "ScaledToZero")
    assert status["podsReady"] == "0/0"


def test_columns_tell_it_at_a_glance(lab: Lab) -> None:
    """`kubectl get mdep`: whether it is ready, why not, what serves with how many pods, and where to ask."""
    lab.apply(model("columns", {}))
    status = lab.until("columns", lambda status: reason(status, "Ready")[0] == "True")
    head, row = lab.run("get", "mdep", "-n", NAMESPACE, "columns").splitlines()
    assert head.split() == ["NAME", "READY", "REASON", "MODEL", "REVISION", "REPLICAS", "CANARY", "URL", "AGE"]
    serving = [status["stableRevision"], "1/1", "http://columns.causes.svc:8000"]
    assert row.split()[:-1] == ["columns", "True", "Serving", "columns", *serving]
