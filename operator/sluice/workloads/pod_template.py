"""Renders a revision's pod template, once: it is stored in the revision and never rendered again for it.

So neither a new operator version nor a changed default restarts a pod that serves.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Final

from sluice.api import durations, modeldeployment, naming
from sluice.api import template as template_api  # parameters are named template
from sluice.workloads import security, sources, vllm_args

PORT: Final = 8000
PORT_NAME: Final = "http"
CONTAINER: Final = "engine"
UID: Final = 2000
PRE_STOP_SECONDS: Final = 5
"""Endpoints must be gone everywhere before SIGTERM: vLLM answers new requests with 500 after it."""
GRACE_MARGIN_SECONDS: Final = 10
PROBE_PERIOD_SECONDS: Final = 5
HOME: Final = "/var/cache/sluice"
RENDERER_MARK: Final = "sluice.dev/renderer-mark"


@dataclasses.dataclass(frozen=True)
class Defaults:
    """What a template leaves unset. Recorded in each revision, so that changing a default starts nothing."""

    engine_image: str
    gpu_resource: str = "nvidia.com/gpu"
    shared_memory: str = "2Gi"
    renderer_mark: str = ""
    """Stands for a change of this module, in tests of upgrades: an annotation of the pods."""

    def to_json(self) -> dict[str, str]:
        """Plain data, for the revision."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value}


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds that a pod is given to start and to drain."""

    startup: float
    drain: float

    @classmethod
    def of(cls, spec: modeldeployment.ModelDeploymentSpec) -> Timing:
        """The spec's times; they reach pods with the next revision."""
        return cls(durations.seconds(spec.startup_timeout), durations.seconds(spec.drain_timeout))


def render_pod_template(
    name: str, template: template_api.Template, *, revision_hash: str, defaults: Defaults, timing: Timing
) -> dict[str, Any]:
    """The PodTemplateSpec of one revision of the ModelDeployment called `name`."""
    source = template.model.source
    grace = PRE_STOP_SECONDS + math.ceil(timing.drain) + GRACE_MARGIN_SECONDS
    resources = template.resources or template_api.Resources()
    return {
        "metadata": {"labels": revision_labels(name, revision_hash), **_mark(defaults)},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,  # a Service named vllm would inject VLLM_PORT=tcp://… and break the engine
            "terminationGracePeriodSeconds": grace,
            "securityContext": security.pod(UID),
            "containers": [_engine(template, served_name(name, template), defaults, timing)],
            "volumes": [
                *sources.volumes(source),
                {"name": "tmp", "emptyDir": {}},
                {"name": "cache", "emptyDir": {}},
                {
                    "name": "shm",
                    "emptyDir": {"medium": "Memory", "sizeLimit": resources.shared_memory or defaults.shared_memory},
                },
            ],
        },
    }


def _mark(defaults: Defaults) -> dict[str, Any]:
    return {"annotations": {RENDERER_MARK: defaults.renderer_mark}} if defaults.renderer_mark else {}


def served_name(name: str, template: template_api.Template) -> str:
    """What clients put into `model`."""
    return template.model.served_name or name


def revision_labels(name: str, revision_hash: str) -> dict[str, str]:
    """Labels of everything that belongs to one revision; also the selector of its pods."""
    return {
        naming.LABEL_MANAGED_BY: naming.MANAGED_BY,
        naming.LABEL_MODEL_DEPLOYMENT: name,
        naming.LABEL_REVISION: revision_hash,
    }


def _engine(template: template_api.Template, served: str, defaults: Defaults, timing: Timing) -> dict[str, Any]:
    health = {"httpGet": {"path": "/health", "port": PORT_NAME}, "periodSeconds": PROBE_PERIOD_SECONDS, "timeoutSeconds": 3}
    return {
        "name": CONTAINER,
        "image": template.engine.image or defaults.engine_image,
        "command": list(vllm_args.COMMAND),
        "args": vllm_args.build_args(template, served_name=served, port=PORT, shutdown_timeout=max(1, math.ceil(timing.drain))),
        "env": _environment(template, timing),
        "ports": [{"name": PORT_NAME, "containerPort": PORT}],
        "resources": _resources(template.resources or template_api.Resources(), defaults),
        "startupProbe": {**health, "failureThreshold": max(1, math.ceil(timing.startup / PROBE_PERIOD_SECONDS))},
        "readinessProbe": {**health, "failureThreshold": 3},
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        "securityContext": security.container(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            *sources.mounts(template.model.source),
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of the pod's own
            {"name": "cache", "mountPath": HOME},
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - an emptyDir of the pod's own
        ],
    }


def _environment(template: template_api.Template, timing: Timing) -> list[dict[str, str]]:
    own = {
        "HOME": HOME,  # the engine writes caches there; the root file system is read-only
        # vLLM gives up by itself after 600 s unless this follows the startup budget.
        "VLLM_ENGINE_READY_TIMEOUT_S": str(math.ceil(timing.startup)),
        "VLLM_NO_USAGE_STATS": "1",
    }
    given = {entry.name: entry.value for entry in template.engine.env or ()}
    return [{"name": name, "value": value} for name, value in {**own, **given}.items()]


def _resources(resources: template_api.Resources, defaults: Defaults) -> dict[str, Any]:
    requests: Mapping[str, str] = dict(resources.requests or {})
    limits: Mapping[str, str] = dict(resources.limits or {})
    if resources.gpu is not None and resources.gpu.count:
        gpu = {resources.gpu.resource_name or defaults.gpu_resource: str(resources.gpu.count)}
        requests, limits = {**requests, **gpu}, {**limits, **gpu}
    return {key: dict(value) for key, value in (("requests", requests), ("limits", limits)) if value}
