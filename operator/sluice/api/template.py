"""`spec.template` of a ModelDeployment: everything that makes a revision.

It carries no schema defaults: a default is applied when a revision is rendered and is recorded in it, so that a changed
default never makes a revision. Its larger parts are in modules of their own: `model_source`, `vllm`, and the pieces that
Kubernetes has too in `pod_fields`, `affinity` and `volumes`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import pydantic

from sluice.api import affinity as affinity_  # a field is named affinity
from sluice.api import base, model_source, pod_fields
from sluice.api import vllm as vllm_  # a field is named vllm
from sluice.api import volumes as volumes_  # a field is named volumes


class Engine(base.ApiModel):
    """The inference server."""

    type: Annotated[Literal["VLLM"], pydantic.Field(description="Which engine; the member of the same name configures it.")]
    image: Annotated[
        str | None,
        pydantic.Field(
            min_length=1,
            max_length=512,
            pattern=r"^[^\s]+$",
            description="Container image. Default: the operator's engine image.",
            json_schema_extra=base.hint("must be an image without blanks, such as vllm/vllm-openai:v0.33.0"),
        ),
    ] = None
    version: Annotated[
        str | None,
        pydantic.Field(
            max_length=8,
            pattern=r"^[0-9]{1,3}\.[0-9]{1,3}$",
            description=(
                "The engine's version, such as \"0.33\": it decides which arguments exist. Default: from the image's tag where "
                "that begins with a version, else the newest that Sluice knows."
            ),
            json_schema_extra=base.hint('must be a version of two numbers, such as "0.33"'),
        ),
    ] = None
    vllm: Annotated[vllm_.VllmEngine | None, pydantic.Field(description="Settings of the VLLM engine.")] = None
    env: Annotated[
        tuple[pod_fields.EnvVar, ...] | None,
        pydantic.Field(
            max_length=64, description="Environment of the engine container.", json_schema_extra=base.map_list("name")
        ),
    ] = None


class GpuProfile(enum.StrEnum):
    """Types of GPUs for which there are defaults of the engine's arguments."""

    T4 = "T4"
    """NVIDIA T4, 16 GB, without bfloat16."""
    L4 = "L4"
    """NVIDIA L4, 24 GB."""
    A10G = "A10G"
    """NVIDIA A10 and A10G, 24 GB."""
    L40S = "L40S"
    """NVIDIA L40S, 48 GB."""
    A100_40GB = "A100-40GB"
    """NVIDIA A100, 40 GB."""
    A100_80GB = "A100-80GB"
    """NVIDIA A100, 80 GB."""
    H100 = "H100"
    """NVIDIA H100, 80 GB."""
    H200 = "H200"
    """NVIDIA H200, 141 GB."""
    B200 = "B200"
    """NVIDIA B200, 180 GB."""
    MI300X = "MI300X"
    """AMD MI300X, 192 GB."""


class Gpu(base.ApiModel):
    """GPUs of one replica."""

    count: Annotated[int, pydantic.Field(ge=0, le=64, description="GPUs of each replica.")]
    resource_name: Annotated[
        str | None,
        pydantic.Field(
            max_length=253,
            pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$",
            description="Default: nvidia.com/gpu.",
            json_schema_extra=base.hint("must be a resource with its domain, such as nvidia.com/gpu"),
        ),
    ] = None
    profile: Annotated[
        GpuProfile | None,
        pydantic.Field(description="Type of the GPUs: it gives the engine's arguments where engine.vllm.args is silent."),
    ] = None


_GPU_NAME: Final = "(has(self.gpu.resourceName) ? self.gpu.resourceName : 'nvidia.com/gpu')"


_EXTENDED: Final = "^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"


def _amount(side: str) -> str:
    return f"quantity(string(self.{side}[name]))"


class Resources(base.ApiModel):
    """What one replica asks the scheduler for."""

    gpu: Annotated[Gpu | None, pydantic.Field(description="GPUs of one replica.")] = None
    requests: Annotated[
        Mapping[str, base.Quantity] | None, pydantic.Field(max_length=16, description="Requested amounts by resource name.")
    ] = None
    limits: Annotated[
        Mapping[str, base.Quantity] | None,
        pydantic.Field(max_length=16, description="Upper bounds, by resource name."),
    ] = None
    shared_memory: Annotated[base.Quantity | None, pydantic.Field(description="Size of /dev/shm. Default: 2Gi.")] = None
    claims: Annotated[
        tuple[pod_fields.Claim, ...] | None,
        pydantic.Field(
            max_length=8,
            description="Devices by dynamic resource allocation (DRA), in place of or beside gpu.",
            json_schema_extra=base.map_list("name"),
        ),
    ] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            *(
                base.cel(
                    f"!has(self.gpu) || !has(self.{amounts}) || !({_GPU_NAME} in self.{amounts})",
                    f"resources.{amounts} may not hold the GPU resource beside resources.gpu: keep resources.gpu.count only",
                    field_path=f".{amounts}",
                )
                for amounts in ("requests", "limits")
            ),
            *(
                base.cel(
                    f"!has(self.{amounts}) || self.{amounts}.all(name, name in ['cpu', 'memory', 'ephemeral-storage'] || "
                    f"name.startsWith('hugepages-') || name.matches(r'{_EXTENDED}'))",
                    f"names in resources.{amounts} must be cpu, memory, ephemeral-storage, hugepages-<size> or a resource with "
                    "its domain, such as example.com/nic",
                    field_path=f".{amounts}",
                )
                for amounts in ("requests", "limits")
            ),
            base.cel(
                "!has(self.requests) || !has(self.limits) || self.requests.all(name, !(name in self.limits) || "
                f"{_amount('requests')}.compareTo({_amount('limits')}) <= 0)",
                "resources.requests may not be above resources.limits: lower the request, or raise the limit",
                field_path=".requests",
            ),
            base.cel(
                "!has(self.requests) || self.requests.all(name, !name.contains('/') || (has(self.limits) && "
                f"name in self.limits && {_amount('requests')}.compareTo({_amount('limits')}) == 0))",
                "a resource with a domain cannot be overcommitted: put the same amount into resources.limits",
                field_path=".requests",
            ),
            base.cel(
                f"!has(self.limits) || self.limits.all(name, !name.contains('/') || {_amount('limits')}.isInteger())",
                "a resource with a domain cannot be divided: use whole numbers in resources.limits",
                field_path=".limits",
            ),
        )
    )


class Spot(base.ApiModel):
    """Spot nodes: preferred where there are any, and never required, so that a replica still finds a place without them."""

    preferred: Annotated[bool, pydantic.Field(description="Whether pods prefer these nodes.")]
    node_selector: Annotated[
        pod_fields.LabelMap | None, pydantic.Field(description="Labels that spot nodes carry; required to prefer them.")
    ] = None
    tolerations: Annotated[
        pod_fields.Tolerations | None, pydantic.Field(description="Taints that spot nodes carry; tolerated while preferred.")
    ] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel(
                "!self.preferred || (has(self.nodeSelector) && size(self.nodeSelector) > 0)",
                "spot.preferred needs spot.nodeSelector: name a label of spot nodes, as {cloud.google.com/gke-spot: 'true'}",
                field_path=".nodeSelector",
            )
        )
    )


class Scheduling(base.ApiModel):
    """Where pods run, and what they are worth."""

    node_selector: Annotated[pod_fields.LabelMap | None, pydantic.Field(description="Labels that a node must have.")] = None
    tolerations: Annotated[pod_fields.Tolerations | None, pydantic.Field(description="Taints that pods tolerate.")] = None
    affinity: Annotated[
        affinity_.Affinity | None, pydantic.Field(description="Nodes and neighbours that pods want or avoid.")
    ] = None
    topology_spread_constraints: Annotated[
        tuple[affinity_.TopologySpreadConstraint, ...] | None,
        pydantic.Field(
            max_length=4,
            description="How pods spread. Default: evenly over zones where that can be done. An empty list: no constraint.",
            json_schema_extra=base.map_list("topologyKey", "whenUnsatisfiable"),
        ),
    ] = None
    priority_class_name: Annotated[pod_fields.ObjectName | None, pydantic.Field(description="PriorityClass of the pods.")] = (
        None
    )
    runtime_class_name: Annotated[pod_fields.ObjectName | None, pydantic.Field(description="RuntimeClass of the pods.")] = None
    spot: Annotated[Spot | None, pydantic.Field(description="Spot nodes, with on-demand nodes as the fallback.")] = None


_ARGS: Final = "self.engine.vllm.args"
_HAS_ARGS: Final = f"(has(self.engine.vllm) && has({_ARGS}))"
_HAS_GPUS: Final = "(has(self.resources) && has(self.resources.gpu) && self.resources.gpu.count > 0)"
_HAS_ADAPTERS: Final = "(has(self.model.adapters) && size(self.model.adapters) > 0)"
PARALLEL_SIZES: Final = ("tensorParallelSize", "pipelineParallelSize", "dataParallelSize")
"""Their product is the number of GPUs that vLLM uses."""
_PARALLEL: Final = " * ".join(f"(has({_ARGS}.{size}) ? {_ARGS}.{size} : 1)" for size in PARALLEL_SIZES)
_PARALLEL_WORDS: Final = f"the product of {', '.join(PARALLEL_SIZES[:-1])} and {PARALLEL_SIZES[-1]}"


class Template(base.ApiModel):
    """Everything that makes a revision: a change here starts a rollout, a change elsewhere never does."""

    model: Annotated[model_source.ModelSource, pydantic.Field(description="The model.")]
    engine: Annotated[Engine, pydantic.Field(description="The inference server.")]
    resources: Annotated[Resources | None, pydantic.Field(description="Resources of one replica.")] = None
    scheduling: Annotated[Scheduling | None, pydantic.Field(description="Where pods run.")] = None
    service_account_name: Annotated[
        pod_fields.ObjectName | None,
        pydantic.Field(
            description=(
                "ServiceAccount of the pods; it says whether its token is mounted. Default: the namespace's, without a token."
            )
        ),
    ] = None
    image_pull_secrets: Annotated[
        tuple[pod_fields.LocalObjectRef, ...] | None,
        pydantic.Field(max_length=8, description="Secrets to pull the images with.", json_schema_extra=base.map_list("name")),
    ] = None
    pod_metadata: Annotated[
        pod_fields.PodMetadata | None, pydantic.Field(description="Labels and annotations of the pods.")
    ] = None
    volumes: Annotated[
        tuple[volumes_.Volume, ...] | None,
        pydantic.Field(max_length=16, description="Further volumes of the pods.", json_schema_extra=base.map_list("name")),
    ] = None
    volume_mounts: Annotated[
        tuple[volumes_.VolumeMount, ...] | None,
        pydantic.Field(
            max_length=16,
            description="Where those volumes are in the engine container.",
            json_schema_extra=base.map_list("mountPath"),
        ),
    ] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel(
                f"!{_HAS_ARGS} || !{_HAS_GPUS} || {_PARALLEL} <= self.resources.gpu.count",
                f"{_PARALLEL_WORDS} may not be above resources.gpu.count: raise the count or lower a size",
                field_path=".engine.vllm.args",
            ),
            base.cel(
                f"!{_HAS_ARGS} || {_HAS_ADAPTERS} || (!has({_ARGS}.maxLoras) && !has({_ARGS}.maxLoraRank))",
                "maxLoras and maxLoraRank apply to model.adapters, and there are none: remove them, or add an adapter",
                field_path=".engine.vllm.args",
            ),
            base.cel(
                "!has(self.volumeMounts) || self.volumeMounts.all(mount, has(self.volumes) && "
                "self.volumes.exists(volume, volume.name == mount.name))",
                "each of volumeMounts names one of volumes: add the volume, or remove the mount",
                field_path=".volumeMounts",
            ),
        )
    )
