"""The demo's cluster: Sluice installed by `manifests/`, `examples/demo` applied, and what stories ask of it by kubectl."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from hack.cluster import binaries, driver, paths
from hack.demo import attempts, traffic
from hack.images import build
from hack.vllm import install

NAMESPACE: Final = "demo"
MODEL: Final = "chat"
GATEWAY: Final = "edge"
FOLDER: Final = paths.build_root() / "demo"
DATASET: Final = paths.REPOSITORY / "hack" / "models" / "capitals.jsonl"
_APPLY: Final = ("--server-side", "--field-manager=demo", "--force-conflicts")
Engine = Literal["vllm", "simulator"]


class DemoError(Exception):
    """The demo cannot go on; the message says why and what to look at."""


@dataclasses.dataclass(frozen=True)
class Images:
    """References of the images that the demo runs."""

    operator: str
    envoy: str
    engine: str
    simulator: str
    tars: tuple[Path, ...]


def choose_engine() -> tuple[Engine, str | None]:
    """Real vLLM where it can be installed; else the simulator, and why."""
    reason = install.supported()
    return ("vllm", None) if reason is None else ("simulator", reason)


def build_images(engine: Engine) -> Images:
    """Builds, or finds in the cache, every image that the demo runs."""
    made = {name: build.ensure_image(name) for name in dict.fromkeys(("operator", "envoy", engine, "simulator"))}
    return Images(
        operator=made["operator"].ref,
        envoy=made["envoy"].ref,
        engine=made[engine].ref,
        simulator=made["simulator"].ref,
        tars=tuple(image.tar for image in made.values()),
    )


@dataclasses.dataclass
class World:
    """A running cluster with Sluice in it."""

    cluster: driver.Cluster
    images: Images
    api_key: str = dataclasses.field(default_factory=lambda: f"sk-{secrets.token_urlsafe(24)}", repr=False)

    async def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Runs kubectl on the demo's cluster; returns what it printed.

        Raises:
            DemoError: it failed; the message is its own.
        """
        process = await asyncio.create_subprocess_exec(
            str(binaries.ensure("kubectl")),
            f"--kubeconfig={self.cluster.kubeconfig}",
            *arguments,
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(stdin.encode() if stdin is not None else None)
        if process.returncode:
            raise DemoError(f"Cannot run kubectl {' '.join(arguments[:4])}: {err.decode().strip()}")
        return out.decode()

    async def get(self, *arguments: str) -> dict[str, Any]:
        """An object, or a list of them, as JSON."""
        found: dict[str, Any] = json.loads(await self.kubectl("get", "-o", "json", "-n", NAMESPACE, *arguments))
        return found

    async def apply(self, *objects: Mapping[str, Any]) -> None:
        """Applies objects as a user would."""
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        await self.kubectl("apply", *_APPLY, "-f", "-", stdin=document)

    async def install(self) -> None:
        """Installs Sluice from `manifests/` with this checkout's images, and waits for it."""
        overlay = _write(FOLDER / "install" / "kustomization.yaml", _install_overlay(self.images))
        await self.kubectl("apply", "--server-side", "-k", str(overlay.parent))
        await self.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "-l", "app.kubernetes.io/name=sluice")
        for name in ("sluice-operator", "sluice-metrics"):
            await self.kubectl("-n", "sluice-system", "rollout", "status", f"deployment/{name}", "--timeout=300s")

    async def apply_examples(self) -> None:
        """Applies `examples/demo` with the data set and the keys that do not belong into Git."""
        await self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        digest = hashlib.sha256(self.api_key.encode()).hexdigest()
        await self.apply(
            _secret("clients", {"demo": digest}, {"sluice.dev/secret-type": "api-keys"}),
            _secret("provider-keys", {"backup": f"sk-{secrets.token_urlsafe(24)}"}, {}),
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "capitals", "namespace": NAMESPACE},
                "data": {"capitals.jsonl": DATASET.read_text()},
            },
        )
        overlay = _write(FOLDER / "examples" / "kustomization.yaml", _examples_overlay(self.images))
        await self.kubectl("apply", *_APPLY, "-k", str(overlay.parent))

    async def model(self) -> dict[str, Any]:
        """The ModelDeployment as it is."""
        return await self.get("modeldeployment", MODEL)

    async def change(self, template: Mapping[str, Any]) -> None:
        """Changes spec.template as a commit to Git would, and leaves the rest."""
        found = await self.model()
        await self.apply(
            {
                "apiVersion": found["apiVersion"],
                "kind": found["kind"],
                "metadata": {"name": MODEL, "namespace": NAMESPACE},
                "spec": {**found["spec"], "template": template},
            }
        )

    async def wait(
        self, what: str, done: Callable[[dict[str, Any]], bool], *, seconds: float, tick: Callable[[dict[str, Any]], None]
    ) -> dict[str, Any]:
        """Looks at the ModelDeployment until it is as wanted; `tick` sees it each time.

        Raises:
            DemoError: the time is over; the message has the conditions.
        """
        limit = time.monotonic() + seconds
        while True:
            found = await self.model()
            tick(found)
            if done(found):
                return found
            if time.monotonic() > limit:
                raise DemoError(f"Cannot go on: {what} did not happen in {seconds:.0f} s. Status: {_conditions(found)}")
            await asyncio.sleep(0.5)

    async def base_url(self) -> str:
        """Where clients on this host reach the gateway."""
        service = await self.get("service", f"{GATEWAY}-gateway")
        return f"http://{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}"

    async def attempts(self, since: float) -> list[attempts.Attempt]:
        """All attempts that the gateway's proxies logged since a moment."""
        seconds = max(1, int(time.time() - since) + 2)
        found: list[attempts.Attempt] = []
        for pod in (await self.get("pods", "-l", f"sluice.dev/gateway={GATEWAY}"))["items"]:
            text = await self.kubectl("logs", "-n", NAMESPACE, pod["metadata"]["name"], f"--since={seconds}s")
            found += attempts.parse(text.splitlines())
        return [attempt for attempt in found if attempt.at >= since]

    async def send(self, rate: float) -> traffic.Traffic:
        """Real OpenAI traffic through the gateway, to be started by `async with`."""
        return traffic.Traffic(
            base_url=await self.base_url(), api_key=self.api_key, model=MODEL, questions=questions(), rate=rate
        )


def questions() -> list[traffic.Question]:
    """The data set as questions of users."""
    rows = [json.loads(line) for line in DATASET.read_text().splitlines() if line]
    return [traffic.Question(row["prompt"], row["reference"]) for row in rows]


def _secret(name: str, values: Mapping[str, str], labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": dict(labels)},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
    }


def _conditions(model: Mapping[str, Any]) -> str:
    found = (model.get("status") or {}).get("conditions") or []
    return "; ".join(f"{c['type']}={c['status']} {c['reason']}: {c['message']}" for c in found) or "none"


def _write(path: Path, document: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2))  # JSON is YAML
    return path


def _up(path: Path) -> str:
    """The path of a folder of the repository as a kustomization below `build/demo/…` refers to it."""
    depth = len((FOLDER / "x").relative_to(paths.REPOSITORY).parts)
    return "../" * depth + str(path)


def _image(name: str, ref: str) -> dict[str, str]:
    repository, _, tag = ref.rpartition(":")
    return {"name": name, "newName": repository, "newTag": tag}


def _install_overlay(images: Images) -> dict[str, Any]:
    environment = {
        "SLUICE_OPERATOR_IMAGE": images.operator,
        "SLUICE_ENVOY_IMAGE": images.envoy,
        "SLUICE_ENGINE_IMAGE": images.engine,
    }
    patch = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "sluice-operator", "namespace": "sluice-system"},
        "spec": {
            "template": {
                "spec": {
                    "containers": [
                        {"name": "operator", "env": [{"name": name, "value": value} for name, value in environment.items()]}
                    ]
                }
            }
        },
    }
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [_up(Path("manifests")), _up(Path("manifests/metrics"))],
        "images": [_image("localhost/sluice/operator", images.operator)],
        "patches": [{"patch": json.dumps(patch)}],
    }


def _examples_overlay(images: Images) -> dict[str, Any]:
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [_up(Path("examples/demo"))],
        "images": [_image("localhost/sluice/simulator", images.simulator)],
    }
