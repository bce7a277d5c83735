"""A namespace of a test, with the few things that tests of the operator do and wait for in it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import pytest
import yaml

from tests.support import controlplane, kubelet, statuses

PATIENCE: Final = 40.0
PERIOD: Final = 0.15

Object = dict[str, Any]


class World:
    """A context manager; its objects of ours are deleted at the end, so that later operators have none of them."""

    def __init__(
        self, cluster: controlplane.ControlPlane, kubelets: kubelet.Kubelet, history: statuses.History, name: str
    ) -> None:
        self.cluster = cluster
        self.kubelets = kubelets
        self.history = history
        self.name = name
        self._api = kubelet.client(cluster.kubeconfig)

    def __enter__(self) -> Self:
        self.cluster.kubectl("create", "namespace", self.name)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kubectl("delete", "sluice", "--all", "--wait=false", check=False)
        self._api.close()

    # -- acting -------------------------------------------------------------------------------------------------------

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """kubectl as the administrator in this namespace."""
        done = self.cluster.kubectl("-n", self.name, *arguments, stdin=stdin, check=False)
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """kubectl apply, as a user does."""
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([dict(obj) for obj in objects]))

    def behave(self, image: str, behaviour: kubelet.Behaviour) -> None:
        """Says what becomes of pods of an image, from now on."""
        self.kubelets.behaviours[image] = behaviour

    # -- looking ------------------------------------------------------------------------------------------------------

    def get(self, kind: str, name: str) -> Object:
        """One object; empty when there is none."""
        text = self.kubectl("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text else {}

    def objects(self, kind: str, selector: str = "") -> list[Object]:
        """The objects of one kind, or of several separated by commas."""
        items: list[Object] = json.loads(self.kubectl("get", kind, "-l", selector, "-o", "json"))["items"]
        return items

    def model(self, name: str = "chat") -> Object:
        """A ModelDeployment as it is."""
        answer = self._api.get(f"/apis/sluice.dev/v1alpha1/namespaces/{self.name}/modeldeployments/{name}")
        return answer.json() if answer.status_code == 200 else {}

    def revisions(self, name: str = "chat") -> dict[str, str]:
        """Outcome label by hash, of every stored revision."""
        found = self.objects("controllerrevision", f"sluice.dev/model-deployment={name}")
        return {
            obj["metadata"]["labels"]["sluice.dev/revision"]: obj["metadata"]["labels"]["sluice.dev/outcome"] for obj in found
        }

    def pods(self, name: str = "chat") -> dict[str, str]:
        """UID by name of the model's pods."""
        found = self.objects("pod", f"sluice.dev/model-deployment={name},sluice.dev/revision")
        return {obj["metadata"]["name"]: obj["metadata"]["uid"] for obj in found}

    def created(self, name: str = "chat") -> list[str]:
        """Names of all pods that the model ever had."""
        return [pod for space, pod in self.kubelets.created if space == self.name and pod.startswith(f"{name}-")]

    def served_by(self, name: str = "chat") -> str | None:
        """Hash of the revision that the model's Service selects."""
        selector = self.get("service", name).get("spec", {}).get("selector", {})
        found: str | None = selector.get("sluice.dev/revision")
        return found

    # -- waiting ------------------------------------------------------------------------------------------------------

    def until(
        self, condition: Callable[[], Any], what: str, *, show: Callable[[], Any] | None = None, patience: float = PATIENCE
    ) -> Any:
        """Polls until the condition gives something true, and returns that. A failure shows what was seen last."""
        limit = time.monotonic() + patience
        while not (found := condition()):
            if time.monotonic() > limit:
                pytest.fail(f"after {patience:g} s still not: {what}\n{_text(show() if show is not None else None)}")
            time.sleep(PERIOD)
        return found

    def status(self, what: str, condition: Callable[[Object], Any], name: str = "chat") -> Object:
        """Waits for a status of the model that speaks of its present generation; returns it."""

        def seen() -> Object | None:
            obj = self.model(name)
            status: Object = obj.get("status", {})
            current = bool(obj) and status.get("observedGeneration") == obj["metadata"]["generation"]
            return status if current and condition(status) else None

        found: Object = self.until(seen, what, show=lambda: self.model(name).get("status"))
        return found

    def ready(self, name: str = "chat") -> Object:
        """Waits until the model is Ready."""
        return self.status(f"{name} is Ready", lambda status: condition(status, "Ready")["status"] == "True", name)

    def ended(self, outcome: str, revision: str | None = None, name: str = "chat") -> Object:
        """Waits until the latest rollout has ended so, and no other is about to begin for the spec as it is."""

        def over(status: Object) -> bool:
            last = status.get("lastRollout") or {}
            same = revision is None or last.get("revision") == revision
            settled = "rollout" not in status and condition(status, "Reconciling")["status"] != "True"
            return settled and last.get("outcome") == outcome and same

        return self.status(f"the rollout of {name} ended {outcome}", over, name)

    def reason(self, kind: str, name: str, type_: str, reason: str) -> Object:
        """Waits until a condition of any object of ours has a reason; returns the condition."""

        def seen() -> Object | None:
            obj = self.get(kind, name)
            found = condition(obj.get("status", {}), type_)
            current = obj.get("status", {}).get("observedGeneration") == obj["metadata"]["generation"]
            return found if current and found["reason"] == reason else None

        found: Object = self.until(seen, f"{kind}/{name} {type_}={reason}", show=lambda: self.get(kind, name).get("status"))
        return found


def condition(status: Mapping[str, Any], type_: str) -> Object:
    """The condition of that type; one with empty members when it is not there."""
    found = (entry for entry in status.get("conditions", ()) if entry["type"] == type_)
    return dict(next(found, {"status": "", "reason": "", "message": ""}))


def model(
    source: str = "file:///models/one",
    *,
    name: str = "chat",
    image: str = "localhost/sluice/vllm:test",
    replicas: int | None = 2,
    steps: Sequence[Mapping[str, Any]] | None = (),
    **spec: Any,
) -> Object:
    """A ModelDeployment. Without `steps` nothing is waited for; None leaves the default steps."""
    rollout: Object = {"analysis": []}
    if steps is not None:
        given = [dict(step) for step in steps] or [{"name": "start", "weight": 0}]
        rollout["strategy"] = {"type": "Canary", "canary": {"steps": given}}
    return {
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name},
        "spec": {
            "template": {"model": {"source": source}, "engine": {"type": "VLLM", "image": image}},
            **({"replicas": replicas} if replicas is not None else {}),
            "rollout": rollout,
            **spec,
        },
    }


def dump(value: Any) -> str:
    """YAML, as a file of a user's."""
    return yaml.safe_dump(value, sort_keys=False)


def _text(value: Any) -> str:
    return "" if value is None else dump(value)
