"""Where models come from, on a real kubelet: a hub's branch that moves, an image, refusals, a tag that is pushed again.

The engine is the simulator and the hub a fake one on the host: what is shown here is how a model gets to its pod.
"""

from __future__ import annotations

import asyncio
import base64
import json
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hack.cluster import embedded, kubectl
from hack.demo import world as world_
from hack.images import cache, catalogue, layers, oci
from hack.models import answers
from tests.support import hub as fake

pytestmark = pytest.mark.timeout(1200)

NAMESPACE = "models"
REPOSITORY = "acme/capitals"
TOKEN = "hf_secret"
PATIENCE = 180.0
TABLE = cache.to_json(answers.table(answers.Name.GOOD, answers.load()))
FILES = {"answers.json": TABLE, "model.safetensors": bytes(range(256)) * 4096}
MODEL_IMAGE = "localhost/sluice/test-model:1"
ENGINE_IMAGE = "localhost/sluice/test-engine:1"


class Lab:
    """A cluster with Sluice, a hub that its pods reach, and kubectl."""

    def __init__(self, cluster: embedded.Embedded, hub: fake.FakeHub) -> None:
        self.cluster = cluster
        self.hub = hub

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Standard output of a kubectl that has to succeed."""
        done = kubectl.run(self.cluster.kubeconfig, "-n", NAMESPACE, *arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def apply(self, *objects: dict[str, Any]) -> None:
        """kubectl apply."""
        self.run("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def model(self, name: str) -> dict[str, Any]:
        """The ModelDeployment."""
        found: dict[str, Any] = json.loads(self.run("get", "mdep", name, "-o", "json"))
        return found

    def condition(self, name: str, type_: str) -> dict[str, Any] | None:
        """A condition of it."""
        found = self.model(name).get("status", {}).get("conditions", ())
        return next((each for each in found if each["type"] == type_), None)

    def pods(self, name: str) -> list[dict[str, Any]]:
        """Its pods that stay."""
        selector = f"sluice.dev/model-deployment={name}"
        found = json.loads(self.run("get", "pods", "-l", selector, "-o", "json"))["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Polls until the condition gives something true."""
        limit = time.monotonic() + PATIENCE
        while not (found := condition()):
            if time.monotonic() > limit:
                pytest.fail(f"not in {PATIENCE:g} s: {what}\n{self.run('get', 'mdep,pods,events', '-o', 'wide')}")
            time.sleep(0.3)
        return found

    def ready_pods(self, name: str, count: int) -> list[dict[str, Any]]:
        """Waits for exactly so many pods, all ready."""

        def all_ready() -> list[dict[str, Any]] | None:
            found = self.pods(name)
            return found if len(found) == count and all(map(_is_ready, found)) else None

        found: list[dict[str, Any]] = self.until(all_ready, f"{count} pods of {name} are ready")
        return found


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _downloaded(pod: dict[str, Any]) -> str:
    """The version that the pod's download told."""
    ended = pod["status"]["initContainerStatuses"][0]["state"]["terminated"]
    version: str = json.loads(ended["message"])["resolved"]["model"]
    return version


def _model(name: str, model: dict[str, Any], *, replicas: int = 1, **engine: Any) -> dict[str, Any]:
    return {
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "template": {
                "model": model,
                "engine": {"type": "VLLM", **engine},
                "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "sharedMemory": "64Mi"},
            },
            "replicas": replicas,
            "drainTimeout": "5s",
            "rollout": {"analysis": []},
        },
    }


def _image(
    folder: pathlib.Path, ref: str, lower: tuple[layers.LayerSpec, ...], config: oci.Config, **files: bytes
) -> pathlib.Path:
    """An image with these files (`__` stands for `/` in their names) on top."""
    named = {name.replace("__", "/").replace("_json", ".json"): content for name, content in files.items()}
    entries = [layers.Entry(path, content) for path, content in named.items()]
    key = cache.content_key(*named, *named.values())
    parts = [layers.ensure(spec) for spec in (*lower, layers.LayerSpec("test", key, lambda _: entries))]
    tar = folder / f"{key}.tar"
    oci.write_image(tar, ref, parts, config)
    return tar


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A cluster with Sluice and a hub beside it."""
    cluster = embedded.Embedded("sources")
    images = world_.build_images("simulator")
    cluster.up(images.tars)
    try:
        with fake.FakeHub(cluster.host_ip, cluster.host_ip) as hub:
            asyncio.run(world_.World(cluster, images).install())
            made = Lab(cluster, hub)
            token = {"token": base64.b64encode(TOKEN.encode()).decode()}
            made.apply(
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
                {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hub", "namespace": NAMESPACE}, "data": token},
            )
            yield made
    finally:
        cluster.down()


def test_a_branch_is_downloaded_once_and_held(lab: Lab) -> None:
    """The first pod's commit is recorded; a pod that comes after the branch moved gets the same."""
    first = lab.hub.push(REPOSITORY, FILES)
    lab.hub.repositories[REPOSITORY].token = TOKEN
    source = {"source": f"hf://{REPOSITORY}", "revision": "main", "credentialsSecretRef": {"name": "hub", "key": "token"}}
    env = [{"name": "HF_ENDPOINT", "value": lab.hub.url}]
    lab.apply(_model("branch", source, env=env))
    [pod] = lab.ready_pods("branch", 1)
    assert _downloaded(pod) == first
    lab.until(lambda: lab.model("branch")["status"].get("resolved"), "what was resolved is shown")
    [resolved] = lab.model("branch")["status"]["resolved"]
    assert resolved["model"] == first
    assert resolved["image"].startswith("sha256:")
    moved = lab.hub.push(REPOSITORY, {**FILES, "config.json": b"{}"})
    assert moved != first
    lab.run("scale", "mdep", "branch", "--replicas=2")
    assert {_downloaded(pod) for pod in lab.ready_pods("branch", 2)} == {first}
    engine = f"import json, os, urllib.request as u; print(os.environ['HF_HUB_OFFLINE']); {_ASK}"
    offline, answer = lab.run("exec", pod["metadata"]["name"], "-c", "engine", "--", "python3", "-c", engine).splitlines()
    assert (offline, "Paris" in answer) == ("1", True)
    secret = lab.run("exec", pod["metadata"]["name"], "-c", "engine", "--", "ls", "/mnt/sluice")
    assert "credentials" not in secret.split()


_ASK = (
    "r = u.Request('http://127.0.0.1:8000/v1/chat/completions', headers={'content-type': 'application/json'}, data=json.dumps("
    "{'model': 'branch', 'messages': [{'role': 'user', 'content': 'What is the capital of France?'}]}).encode()); "
    "print(json.load(u.urlopen(r))['choices'][0]['message']['content'])"
)


def test_a_refusal_is_told_with_url_and_status(lab: Lab) -> None:
    """In the condition, as the environment's fault: nothing is rejected, and a Secret can mend it."""
    lab.hub.push("acme/private", FILES)
    lab.hub.repositories["acme/private"].token = TOKEN
    lab.apply(_model("refused", {"source": "hf://acme/private"}, env=[{"name": "HF_ENDPOINT", "value": lab.hub.url}]))

    def told() -> bool:
        ready = lab.condition("refused", "Ready")
        return ready is not None and "answered 401" in ready["message"]

    lab.until(told, "the refusal is in the condition")
    ready = lab.condition("refused", "Ready")
    assert ready is not None
    assert f"{lab.hub.url}/api/models/acme/private" in ready["message"]
    assert ready["reason"] == "ModelAccessDenied"
    lab.run("delete", "mdep", "refused")


def test_a_model_in_an_image_is_mounted(lab: Lab, tmp_path: pathlib.Path) -> None:
    """oci:// is an image volume: read-only, without a download."""
    lab.cluster.load_image(_image(tmp_path, MODEL_IMAGE, (), oci.Config(()), models__good__answers_json=TABLE))
    lab.apply(_model("image", {"source": f"oci://{MODEL_IMAGE}#models/good"}))
    [pod] = lab.ready_pods("image", 1)
    assert "initContainers" not in pod["spec"]
    name = pod["metadata"]["name"]
    written = kubectl.run(lab.cluster.kubeconfig, "-n", NAMESPACE, "exec", name, "--", "touch", "/mnt/sluice/model/x")
    assert written.returncode != 0
    assert "Read-only" in written.stderr


def test_a_tag_that_is_pushed_again_is_not_mixed_in(lab: Lab, tmp_path: pathlib.Path) -> None:
    """A new pod with another image is deleted, ever more seldom, until the old image is back; the old pod serves on."""
    simulator = catalogue.recipe("simulator")
    one, other = (
        _image(tmp_path, ENGINE_IMAGE, simulator.layers, simulator.config, opt__mark=mark) for mark in (b"one", b"two")
    )
    lab.cluster.load_image(one)
    lab.apply(_model("tagged", {"source": "file:///models/good"}, image=ENGINE_IMAGE))
    [first] = lab.ready_pods("tagged", 1)
    lab.until(lambda: lab.model("tagged")["status"].get("resolved"), "the image is recorded")
    lab.cluster.load_image(other)
    lab.run("scale", "mdep", "tagged", "--replicas=2")
    seen: set[str] = set()

    def replaced() -> bool:
        seen.update(pod["metadata"]["uid"] for pod in lab.pods("tagged"))
        return len(seen) > 3 and lab.condition("tagged", "PodsDiffer") is not None

    lab.until(replaced, "pods that differ are replaced")
    differ = lab.condition("tagged", "PodsDiffer")
    assert differ is not None
    assert differ["reason"] == "ImageMoved"
    assert "by its digest" in differ["message"]
    assert first["metadata"]["uid"] in {pod["metadata"]["uid"] for pod in lab.pods("tagged")}
    lab.cluster.load_image(one)
    lab.until(lambda: lab.condition("tagged", "PodsDiffer") is None, "nothing differs any more")
    pods = lab.ready_pods("tagged", 2)
    assert len({pod["status"]["containerStatuses"][0]["imageID"] for pod in pods}) == 1
