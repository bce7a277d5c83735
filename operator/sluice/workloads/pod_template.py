"""Renders a revision's pod template, once: it is stored in the revision and never rendered again for it.

So neither a new operator version nor a changed default restarts a pod that serves.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Final

from sluice.api import durations, model_source, modeldeployment, naming, pod_fields
from sluice.api import template as template_api  # parameters are named template
from sluice.workloads import files, prefetch, probes, profiles, scheduling, security, sources, vllm_args
from sluice.workloads import volumes as volumes_  # a member is named volumes

PORT: Final = 8000
PORT_NAME: Final = "http"
CONTAINER: Final = "engine"
UID: Final = 2000
PRE_STOP_SECONDS: Final = 5
"""Endpoints must be gone everywhere before SIGTERM: vLLM answers new requests with 500 after it."""
GRACE_MARGIN_SECONDS: Final = 10
RENDERER_MARK: Final = "sluice.dev/renderer-mark"
COMPONENT: Final = "engine"
"""Value of the pods' label `app.kubernetes.io/component`: what selects all engines of a namespace."""
NO_MESH_LABELS: Final[Mapping[str, str]] = {"sidecar.istio.io/inject": "false"}
NO_MESH_ANNOTATIONS: Final[Mapping[str, str]] = {"linkerd.io/inject": "disabled"}
"""Keep the sidecars of service meshes away: they end at SIGTERM, with the streams that the engine still drains.
A template's podMetadata may ask for them."""


@dataclasses.dataclass(frozen=True)
class Defaults:
    """What a template leaves unset. Recorded in each revision, so that changing a default starts nothing."""

    engine_image: str
    gpu_resource: str = "nvidia.com/gpu"
    shared_memory: str = "2Gi"
    operator_image: str = ""
    """Runs what is ours beside the engine: the download of the model."""
    stall_seconds: int = probes.STALL_SECONDS
    openshift: bool = False
    """The platform gives each namespace its user IDs, and refuses others."""
    image_volumes: bool = False
    """The platform mounts images as volumes (Kubernetes 1.35 and newer)."""
    renderer_mark: str = ""
    """Stands for a change of this module, in tests of upgrades: an annotation of the pods."""

    def to_json(self) -> dict[str, str]:
        """Plain data, for the revision: text by name, without what is off or empty."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if value}
        return {name: "true" if value is True else str(value) for name, value in values.items()}


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
    labels = revision_labels(name, revision_hash)
    resources = template.resources or template_api.Resources()
    parts = volumes_.combine(
        (
            volumes_.own(resources.shared_memory or defaults.shared_memory),
            _model_parts(name, template, revision_hash, defaults),
            files.pod_parts(name, revision_hash),
        ),
        volumes=[volume.to_wire() for volume in template.volumes or ()],
        mounts=[mount.to_wire() for mount in template.volume_mounts or ()],
    )
    return {
        "metadata": _metadata(template.pod_metadata or pod_fields.PodMetadata(), labels, defaults),
        "spec": {
            **_identity(template),
            "enableServiceLinks": False,  # a Service named vllm would inject VLLM_PORT=tcp://… and break the engine
            "terminationGracePeriodSeconds": PRE_STOP_SECONDS + shutdown_seconds(timing) + GRACE_MARGIN_SECONDS,
            "securityContext": {
                **security.pod(None if defaults.openshift else UID),
                # Otherwise the kubelet walks the whole volume at each start: minutes, for a large cache of models.
                "fsGroupChangePolicy": "OnRootMismatch",
            },
            **scheduling.build(template.scheduling, labels),
            **({"initContainers": list(parts.init_containers)} if parts.init_containers else {}),
            "containers": [_engine(template, served_name(name, template), defaults, timing, parts)],
            "volumes": list(parts.volumes),
            **({"resourceClaims": [_claim(claim) for claim in resources.claims]} if resources.claims else {}),
        },
    }


def shutdown_seconds(timing: Timing) -> int:
    """How long the engine goes on with what it has after SIGTERM. Never 0: with that vLLM freezes the streams that it cuts."""
    return max(1, math.ceil(timing.drain))


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


def _metadata(given: pod_fields.PodMetadata, labels: Mapping[str, str], defaults: Defaults) -> dict[str, Any]:
    user_labels, user_annotations = dict(given.labels or {}), dict(given.annotations or {})
    # Meshes know the keys as labels and as annotations: what the user says by either counts, not ours by the other.
    said = user_labels.keys() | user_annotations.keys()
    return {
        "labels": {
            **{key: value for key, value in NO_MESH_LABELS.items() if key not in said},
            **user_labels,
            naming.LABEL_COMPONENT: COMPONENT,
            **labels,
        },
        "annotations": {
            **{key: value for key, value in NO_MESH_ANNOTATIONS.items() if key not in said},
            "kubectl.kubernetes.io/default-container": CONTAINER,
            **user_annotations,
            **({RENDERER_MARK: defaults.renderer_mark} if defaults.renderer_mark else {}),
        },
    }


def _identity(template: template_api.Template) -> dict[str, Any]:
    """Who the pods are: without a token, unless an account is named. Then the account itself says whether it gives one."""
    account = template.service_account_name
    secrets = [secret.to_wire() for secret in template.image_pull_secrets or ()]
    return {
        **({"automountServiceAccountToken": False} if account is None else {"serviceAccountName": account}),
        **({"imagePullSecrets": secrets} if secrets else {}),
    }


def model_items(template: template_api.Template) -> tuple[sources.Item, ...]:
    """What the engine loads: the model, and its adapters."""
    model = template.model
    return (
        sources.model_item(model.source, model.revision),
        *(sources.adapter_item(adapter.name, adapter.source, adapter.revision) for adapter in model.adapters or ()),
    )


def _model_parts(name: str, template: template_api.Template, revision_hash: str, defaults: Defaults) -> volumes_.PodParts:
    """What brings model and adapters to the engine: mounts of what is there, and the download of what is not."""
    model, items = template.model, model_items(template)
    secret = model.credentials_secret_ref
    request = prefetch.Request(
        items=items,
        image=defaults.operator_image,
        resolved_config_map=naming.resolved_name(name, revision_hash),
        cache=_cache(model.cache),
        credentials=prefetch.Secret(secret.name, secret.key) if secret is not None else None,
        env=[variable.to_wire() for variable in template.engine.env or ()],
        mounts=[mount.to_wire() for mount in template.volume_mounts or ()],
    )
    return volumes_.PodParts(
        volumes=(*sources.volumes(items), *prefetch.volumes(request)),
        engine_mounts=(*sources.mounts(items), *prefetch.engine_mounts(request)),
        init_containers=tuple(prefetch.containers(request)),
        engine_env=prefetch.engine_environment(request),
    )


def _cache(given: model_source.Cache | None) -> prefetch.Cache:
    if given is None:
        return prefetch.Cache()
    claim, folder = given.persistent_volume_claim, given.empty_dir
    return prefetch.Cache(
        claim=claim.claim_name if claim is not None else None, size_limit=folder.size_limit if folder is not None else None
    )


def _engine(
    template: template_api.Template, served: str, defaults: Defaults, timing: Timing, parts: volumes_.PodParts
) -> dict[str, Any]:
    return {
        "name": CONTAINER,
        "image": template.engine.image or defaults.engine_image,
        "command": list(vllm_args.COMMAND),
        "args": vllm_args.build_args(
            template,
            served_name=served,
            port=PORT,
            shutdown_timeout=shutdown_seconds(timing),
            hold_headers=profiles.holds_headers(template),
        ),
        "env": _environment(template, timing, parts.engine_env),
        "ports": [{"name": PORT_NAME, "containerPort": PORT}],
        "resources": _resources(template.resources or template_api.Resources(), defaults),
        "startupProbe": probes.startup(PORT_NAME, timing.startup),
        "readinessProbe": probes.readiness(PORT_NAME),
        "livenessProbe": probes.liveness(f"{files.MOUNT_PATH}/{files.LIVENESS}", PORT, defaults.stall_seconds),
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        "securityContext": security.container(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": list(parts.engine_mounts),
    }


def _environment(template: template_api.Template, timing: Timing, more: Mapping[str, str]) -> list[dict[str, Any]]:
    own = {
        **more,
        **vllm_args.build_environment(template),
        # vLLM gives up by itself after 600 s unless this follows the startup budget.
        "VLLM_ENGINE_READY_TIMEOUT_S": str(math.ceil(timing.startup)),
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",  # all that the engine loads is on its disk; asking a hub would only wait for the policy's no
    }
    ours = {name: {"name": name, "value": value} for name, value in own.items()}
    return list({**ours, **{entry.name: entry.to_wire() for entry in template.engine.env or ()}}.values())


def _resources(resources: template_api.Resources, defaults: Defaults) -> dict[str, Any]:
    requests: Mapping[str, str] = dict(resources.requests or {})
    limits: Mapping[str, str] = dict(resources.limits or {})
    if resources.gpu is not None and resources.gpu.count:
        gpu = {resources.gpu.resource_name or defaults.gpu_resource: str(resources.gpu.count)}
        requests, limits = {**requests, **gpu}, {**limits, **gpu}
    amounts = {key: dict(value) for key, value in (("requests", requests), ("limits", limits)) if value}
    used = [{"name": claim.name, **({"request": claim.request} if claim.request else {})} for claim in resources.claims or ()]
    return {**amounts, **({"claims": used} if used else {})}


def _claim(claim: pod_fields.Claim) -> dict[str, Any]:
    """A claim as the pod has it; which of its requests the engine uses is said in the container."""
    return {key: value for key, value in claim.to_wire().items() if key != "request"}
