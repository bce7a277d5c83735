"""`spec.template` of a ModelDeployment: everything that makes a revision.

It carries no schema defaults: a default is applied when a revision is rendered and is recorded in it, so that a changed
default never makes a revision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import pydantic

from sluice.api import base

OWNED_FLAGS: Final = (
    "model", "revision", "config", "served-model-name", "host", "port", "root-path", "uds", "api-key", "ssl-[a-z-]+",
    "max-model-len", "tensor-parallel-size", "tp", "gpu-memory-utilization", "max-num-seqs", "max-num-batched-tokens",
    "max-num-queued-reqs", "quantization", "q", "dtype", "kv-cache-dtype", "(no-)?enable-prefix-caching",
    "tool-call-parser", "(no-)?enable-auto-tool-choice", "reasoning-parser", "shutdown-timeout",
    "(no-)?enable-server-load-tracking", "(no-)?enable-force-include-usage",
)  # fmt: skip
"""vLLM flags, as regular expressions, that typed fields or Sluice itself own: `extraArgs` may not repeat them."""


class ModelSource(base.ApiModel):
    """Where the weights come from and what clients call the model."""

    source: Annotated[
        str,
        pydantic.Field(
            min_length=1,
            max_length=512,
            pattern=r"^(hf://[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?|pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[^\s]+)?|file:///[^\s]+)$",
            json_schema_extra=base.hint(
                "must be hf://<organisation>/<model>, pvc://<claim>/<path> or file:///<path inside the engine image>"
            ),
            description=(
                "hf://<organisation>/<model> (downloaded by the engine), pvc://<claim>/<path> (mounted read-only) or "
                "file:///<path> (inside the engine image)."
            ),
        ),
    ]
    revision: Annotated[
        str | None,
        pydantic.Field(min_length=1, max_length=128, description="Commit, tag or branch of an hf:// source."),
    ] = None
    served_name: Annotated[
        base.ModelName | None,
        pydantic.Field(description="The name clients put into `model`. Default: metadata.name."),
    ] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel(
                "!has(self.revision) || self.source.startsWith('hf://')",
                "revision applies to hf:// sources only: remove it or use an hf:// source",
                field_path=".revision",
                message_expression=(
                    "'revision applies to hf:// sources only, and source is ' + self.source + "
                    "': remove revision or use an hf:// source'"
                ),
            )
        )
    )


class VllmArgs(base.ApiModel):
    """Typed arguments of `vllm serve`. What is unset is left to vLLM."""

    max_model_len: Annotated[int | None, pydantic.Field(ge=1, le=10_000_000, description="Longest context in tokens.")] = None
    tensor_parallel_size: Annotated[int | None, pydantic.Field(ge=1, le=64, description="GPUs that share one layer.")] = None
    gpu_memory_utilization: Annotated[
        base.Ratio | None, pydantic.Field(description='Share of GPU memory to use, such as "0.9".')
    ] = None
    max_num_seqs: Annotated[int | None, pydantic.Field(ge=1, le=65536, description="Most sequences in one batch.")] = None
    max_num_batched_tokens: Annotated[
        int | None, pydantic.Field(ge=1, le=10_000_000, description="Most tokens in one batch.")
    ] = None
    max_queued_requests: Annotated[
        int | None,
        pydantic.Field(ge=1, le=1_000_000, description="Requests in flight beyond which vLLM answers 503."),
    ] = None
    quantization: Annotated[
        str | None,
        pydantic.Field(
            max_length=64,
            pattern=r"^[a-z0-9_-]+$",
            description="Quantization method, such as fp8 or awq.",
            json_schema_extra=base.hint("must be a method of vLLM's in lower case, such as fp8 or awq"),
        ),
    ] = None
    dtype: Annotated[
        Literal["auto", "half", "float16", "bfloat16", "float", "float32"] | None,
        pydantic.Field(description="Type of weights and activations."),
    ] = None
    kv_cache_dtype: Annotated[
        str | None,
        pydantic.Field(
            max_length=32,
            pattern=r"^[a-z0-9_]+$",
            description="Type of the KV cache, such as auto or fp8.",
            json_schema_extra=base.hint("must be a type of vLLM's in lower case, such as auto or fp8"),
        ),
    ] = None
    prefix_caching: Annotated[bool | None, pydantic.Field(description="Whether prompts share cached prefixes.")] = None
    tool_call_parser: Annotated[
        str | None,
        pydantic.Field(
            max_length=64,
            pattern=r"^[A-Za-z0-9_.-]+$",
            description="Parser of tool calls; also turns automatic tool choice on.",
            json_schema_extra=base.hint("must be the name of a parser, such as hermes"),
        ),
    ] = None
    reasoning_parser: Annotated[
        str | None,
        pydantic.Field(
            max_length=64,
            pattern=r"^[A-Za-z0-9_.-]+$",
            description="Parser of reasoning content.",
            json_schema_extra=base.hint("must be the name of a parser, such as deepseek_r1"),
        ),
    ] = None


ExtraArg = Annotated[
    str,
    pydantic.Field(
        min_length=1,
        max_length=512,
        description="One argument, such as --enforce-eager.",
        json_schema_extra=base.validations(
            base.cel(
                # vLLM takes `_` for `-` in the names of flags.
                "!self.replace('_', '-').matches('^--?(" + "|".join(OWNED_FLAGS) + ")(=|$)')",
                "extraArgs may not hold a flag that Sluice sets itself or that has a field of its own under "
                "spec.template.model or spec.template.engine.vllm.args: remove it, or use that field",
            )
        ),
    ),
]


class VllmEngine(base.ApiModel):
    """How vLLM is started."""

    args: Annotated[VllmArgs | None, pydantic.Field(description="Typed arguments.")] = None
    extra_args: Annotated[
        tuple[ExtraArg, ...] | None,
        pydantic.Field(
            max_length=32,
            description="Further arguments, passed as they are. A flag that Sluice or a typed argument owns is refused.",
        ),
    ] = None


class EnvVar(base.ApiModel):
    """One environment variable of the engine container."""

    name: Annotated[
        str,
        pydantic.Field(
            min_length=1,
            max_length=128,
            pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
            description="Name of the variable.",
            json_schema_extra=base.hint("must be letters, digits and _, the first no digit"),
        ),
    ]
    value: Annotated[str, pydantic.Field(max_length=4096, description="Its value.")]


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
    vllm: Annotated[VllmEngine | None, pydantic.Field(description="Settings of the VLLM engine.")] = None
    env: Annotated[
        tuple[EnvVar, ...] | None,
        pydantic.Field(
            max_length=64, description="Environment of the engine container.", json_schema_extra=base.map_list("name")
        ),
    ] = None


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


_GPU_NAME: Final = "(has(self.gpu.resourceName) ? self.gpu.resourceName : 'nvidia.com/gpu')"


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

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            *(
                base.cel(
                    f"!has(self.gpu) || !has(self.{amounts}) || !({_GPU_NAME} in self.{amounts})",
                    f"resources.{amounts} may not hold the GPU resource beside resources.gpu: keep resources.gpu.count only",
                    field_path=f".{amounts}",
                )
                for amounts in ("requests", "limits")
            )
        )
    )


_HAS_PARALLEL: Final = "(has(self.engine.vllm) && has(self.engine.vllm.args) && has(self.engine.vllm.args.tensorParallelSize))"


class Template(base.ApiModel):
    """Everything that makes a revision: a change here starts a rollout, a change elsewhere never does."""

    model: Annotated[ModelSource, pydantic.Field(description="The model.")]
    engine: Annotated[Engine, pydantic.Field(description="The inference server.")]
    resources: Annotated[Resources | None, pydantic.Field(description="Resources of one replica.")] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel(
                f"!{_HAS_PARALLEL} || !has(self.resources) || !has(self.resources.gpu) || self.resources.gpu.count == 0 || "
                "self.engine.vllm.args.tensorParallelSize <= self.resources.gpu.count",
                "tensorParallelSize may not be above resources.gpu.count: raise the count or lower the size",
                field_path=".engine.vllm.args.tensorParallelSize",
            )
        )
    )
