"""`ModelDeployment`: one model that is served, its revisions and how a new one is rolled out.

`spec.template` is everything that makes a revision and carries no schema defaults: a default is applied when a revision
is rendered and is recorded in it, so that a changed default never makes a revision.

One kind is one file, so this one is long: it is declarations, one field after the other.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import pydantic

from sluice.api import base
from sluice.api import conditions as cond  # a field is named conditions

KIND: Final = "ModelDeployment"
PLURAL: Final = "modeldeployments"


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int) else value


Quantity = Annotated[
    str,
    pydantic.BeforeValidator(_as_text),
    pydantic.WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "maxLength": 32,
            "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$",
            "description": "A Kubernetes quantity such as 500m, 2 or 16Gi.",
        }
    ),
]
"""Text in the model, though YAML may have it as a number, as in `cpu: 2`."""

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
        Mapping[str, Quantity] | None, pydantic.Field(max_length=16, description="Requested amounts by resource name.")
    ] = None
    limits: Annotated[
        Mapping[str, Quantity] | None, pydantic.Field(max_length=16, description="Most that may be used, by resource name.")
    ] = None
    shared_memory: Annotated[Quantity | None, pydantic.Field(description="Size of /dev/shm. Default: 2Gi.")] = None

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


class GatewayRef(base.ApiModel):
    """A Gateway that may send traffic here."""

    name: Annotated[str, pydantic.Field(min_length=1, max_length=50, description="The Gateway's name.")]
    namespace: Annotated[base.DnsLabel | None, pydantic.Field(description="Its namespace. Default: this object's own.")] = None


class GateRef(base.ApiModel):
    """Names an EvalGate of the same namespace."""

    name: Annotated[str, pydantic.Field(min_length=1, max_length=50, description="The EvalGate's name.")]


WEIGHT_PATTERN: Final = r"^(100(\.0{1,2})?|[0-9]{1,2}(\.[0-9]{1,2})?)$"

Weight = Annotated[
    int | str,
    pydantic.Field(
        description='Percent of traffic for the new revision, 0 to 100: an integer, or a string such as "0.5".',
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "minimum": 0,
            "maximum": 100,
            "pattern": WEIGHT_PATTERN,
        },
    ),
]


class Step(base.ApiModel):
    """One step of a canary: set the weight, hold it, pass the gates."""

    name: Annotated[base.DnsLabel, pydantic.Field(description="Name of the step; unique among the steps.")]
    weight: Weight
    hold: Annotated[
        base.Duration | None,
        pydantic.Field(
            description="How long the step lasts at least. Default: 0s.",
            json_schema_extra=base.duration_between("hold", "0s", "720h"),
        ),
    ] = None
    gates: Annotated[
        tuple[GateRef, ...] | None,
        pydantic.Field(
            max_length=8,
            description="EvalGates that must pass before the next step. Evals run when the step is entered.",
            json_schema_extra=base.map_list("name"),
        ),
    ] = None


class Canary(base.ApiModel):
    """Traffic moves to the new revision in steps."""

    steps: Annotated[
        tuple[Step, ...] | None,
        pydantic.Field(
            min_length=1,
            max_length=16,
            description="Steps in order. Default: 5, 25 and 50 percent for 10 minutes each.",
            json_schema_extra=base.map_list("name"),
        ),
    ] = None
    step_deadline: Annotated[
        base.Duration,
        pydantic.Field(
            description="After its hold, how long a step waits for its gates before it is rolled back.",
            json_schema_extra=base.duration_between("stepDeadline", "1s", "720h"),
        ),
    ] = "2h"


class Strategy(base.ApiModel):
    """How traffic moves to a new revision."""

    type: Annotated[Literal["Canary"], pydantic.Field(description="Which strategy; the member of the same name configures it.")]
    canary: Annotated[Canary | None, pydantic.Field(description="Settings of the Canary strategy.")] = None


class Evidence(base.ApiModel):
    """How sure a verdict must be."""

    false_rollback: Annotated[
        base.Percent,
        pydantic.Field(
            description="Chance that a healthy revision is rolled back, over the whole rollout and all its metrics.",
            json_schema_extra=base.validations(
                base.cel(
                    f"!{base.matches(base.PERCENT_PATTERN)} || "
                    "(double(self.replace('%', '')) > 0.0 && double(self.replace('%', '')) <= 20.0)",
                    'falseRollback must be above "0%" and at most "20%", such as "1%"',
                )
            ),
        ),
    ] = "1%"


class Rollout(base.ApiModel):
    """How a new revision is judged and promoted."""

    strategy: Annotated[Strategy | None, pydantic.Field(description="Default: Canary with its default steps.")] = None
    analysis: Annotated[
        tuple[GateRef, ...] | None,
        pydantic.Field(
            max_length=8,
            description=(
                "EvalGates whose metrics are watched during the whole rollout. Unset: the built-in `default` "
                "(error rate at most one point above the stable revision). An empty list: none."
            ),
            json_schema_extra=base.map_list("name"),
        ),
    ] = None
    evidence: Annotated[Evidence, pydantic.Field(description="How sure a verdict must be.")] = Evidence()


class ModelDeploymentSpec(base.ApiModel):
    """What is served, where its traffic comes from and how it changes."""

    template: Annotated[Template, pydantic.Field(description="Everything that makes a revision.")]
    replicas: Annotated[int, pydantic.Field(ge=0, le=1000, description="Pods of the stable revision.")] = 1
    startup_timeout: Annotated[
        base.Duration,
        pydantic.Field(
            description="How long a pod may take to become ready while its engine container runs.",
            json_schema_extra=base.duration_between("startupTimeout", "10s", "24h"),
        ),
    ] = "20m"
    drain_timeout: Annotated[
        base.Duration,
        pydantic.Field(
            description="How long a pod that leaves may go on with requests in flight.",
            json_schema_extra=base.duration_between("drainTimeout", "1s", "24h"),
        ),
    ] = "300s"
    gateway_refs: Annotated[
        tuple[GatewayRef, ...],
        pydantic.Field(
            max_length=8, description="Gateways that route to this model by its served name; each must allow this namespace."
        ),
    ] = ()
    rollout: Annotated[Rollout, pydantic.Field(description="How a new revision is judged and promoted.")] = Rollout()


class Phase(enum.StrEnum):
    """Where a rollout is."""

    IDLE = "Idle"
    """No rollout: the stable revision is what the spec asks for, or the spec's revision is not tried again."""
    WARMING_UP = "WarmingUp"
    """Pods of the new revision load; no traffic reaches it."""
    PROGRESSING = "Progressing"
    """Steps set the weight, hold and wait for their gates."""
    PROMOTING = "Promoting"
    """The new revision has all traffic and is being made the stable one."""
    ROLLING_BACK = "RollingBack"
    """The weight is 0 at the proxies; pods of the new revision drain."""


class Outcome(enum.StrEnum):
    """How a rollout ended."""

    PROMOTED = "Promoted"
    """The revision became the stable one."""
    ROLLED_BACK = "RolledBack"
    """It failed after it had traffic."""
    REJECTED = "Rejected"
    """It failed before it had any traffic."""
    SUPERSEDED = "Superseded"
    """The spec asked for another revision meanwhile."""


class Verdict(enum.StrEnum):
    """What a gate says. No data is never a Pass."""

    PASS = "Pass"
    """What the gate asks for is shown."""
    FAIL = "Fail"
    """Harm is proven."""
    INCONCLUSIVE = "Inconclusive"
    """Not enough evidence yet, or nothing to compare with."""
    ERROR = "Error"
    """The measurement itself failed."""
    RUNNING = "Running"
    """An eval is under way."""


class GateStatus(base.ApiModel):
    """What one metric or eval of a gate says of the revision in rollout."""

    name: Annotated[str, pydantic.Field(max_length=63, description="The EvalGate, or `default`.")]
    metric: Annotated[str, pydantic.Field(max_length=63, description="The metric or eval inside the gate.")]
    verdict: Annotated[Verdict, pydantic.Field(description="What it says.")]
    reason: Annotated[str | None, pydantic.Field(max_length=64, description="Why, for machines.")] = None
    message: Annotated[str | None, pydantic.Field(max_length=1024, description="Why, for people.")] = None
    n: Annotated[int, pydantic.Field(ge=0, description="Requests or items of the new revision that were judged.")] = 0
    estimate: Annotated[str | None, pydantic.Field(max_length=32, description="Best estimate of the measured value.")] = None
    interval: Annotated[str | None, pydantic.Field(max_length=64, description="Range the value is sure to lie in.")] = None
    limit: Annotated[str | None, pydantic.Field(max_length=64, description="What the value is held against.")] = None
    needs: Annotated[str | None, pydantic.Field(max_length=128, description="What is still needed for a verdict.")] = None


class RolloutStatus(base.ApiModel):
    """The rollout that is under way."""

    revision: Annotated[str, pydantic.Field(max_length=63, description="Hash of the revision in rollout.")]
    phase: Annotated[Phase, pydantic.Field(description="Where the rollout is.")]
    step: Annotated[str | None, pydantic.Field(max_length=63, description="The current step.")] = None
    weight: Annotated[str, pydantic.Field(max_length=8, description="Percent of traffic for the revision.")] = "0"
    epoch: Annotated[int, pydantic.Field(ge=0, description="Rises with every change of traffic.")] = 0
    started_at: Annotated[
        str, pydantic.Field(json_schema_extra={"format": "date-time"}, description="Start of the rollout.")
    ] = ""
    step_entered_at: Annotated[
        str | None,
        pydantic.Field(
            json_schema_extra={"format": "date-time"},
            description="When every connected proxy had acknowledged the step's weight.",
        ),
    ] = None
    had_traffic: Annotated[bool, pydantic.Field(description="Whether the revision ever had weight.")] = False
    gates: Annotated[
        tuple[GateStatus, ...],
        pydantic.Field(max_length=64, description="What each gate says.", json_schema_extra=base.map_list("name", "metric")),
    ] = ()
    reason: Annotated[str | None, pydantic.Field(max_length=64, description="Why the rollout waits or fails.")] = None
    message: Annotated[str | None, pydantic.Field(max_length=2048, description="The same for people.")] = None


class LastRollout(base.ApiModel):
    """How the latest rollout ended."""

    revision: Annotated[str, pydantic.Field(max_length=63, description="Hash of the revision.")]
    outcome: Annotated[Outcome, pydantic.Field(description="How it ended.")]
    reason: Annotated[str, pydantic.Field(max_length=64, description="Why, for machines.")]
    message: Annotated[str, pydantic.Field(max_length=2048, description="Why, for people.")] = ""
    started_at: Annotated[str, pydantic.Field(json_schema_extra={"format": "date-time"}, description="Start.")] = ""
    finished_at: Annotated[str, pydantic.Field(json_schema_extra={"format": "date-time"}, description="End.")] = ""
    gates: Annotated[
        tuple[GateStatus, ...],
        pydantic.Field(
            max_length=64, description="What each gate said last.", json_schema_extra=base.map_list("name", "metric")
        ),
    ] = ()


class ModelDeploymentStatus(base.ApiModel):
    """A projection of durable facts: it may be lost and is computed again."""

    observed_generation: Annotated[int, pydantic.Field(description="The generation this status speaks of.")] = -1
    conditions: Annotated[
        tuple[cond.Condition, ...],
        pydantic.Field(max_length=16, description="State for people and tools.", json_schema_extra=base.map_list("type")),
    ] = ()
    model: Annotated[str | None, pydantic.Field(max_length=128, description="Served name of the model.")] = None
    replicas: Annotated[int, pydantic.Field(ge=0, description="Pods of the stable revision.")] = 0
    ready_replicas: Annotated[int, pydantic.Field(ge=0, description="Those that are ready.")] = 0
    selector: Annotated[
        str | None, pydantic.Field(max_length=512, description="Label selector of the stable revision's pods, for /scale.")
    ] = None
    stable_revision: Annotated[str | None, pydantic.Field(max_length=63, description="Hash of the revision that serves.")] = (
        None
    )
    epoch: Annotated[int, pydantic.Field(ge=0, description="Highest traffic epoch ever written.")] = 0
    rollout: Annotated[RolloutStatus | None, pydantic.Field(description="The rollout under way.")] = None
    last_rollout: Annotated[LastRollout | None, pydantic.Field(description="How the latest rollout ended.")] = None


class ModelDeployment(base.ApiModel):
    """A model that is served, rolled out by evidence."""

    metadata: base.NamedObject
    spec: ModelDeploymentSpec
    status: ModelDeploymentStatus = ModelDeploymentStatus()


def parse(obj: Mapping[str, Any]) -> ModelDeployment:
    """The typed form of an object that the API server admitted.

    Raises:
        pydantic.ValidationError: the object predates the CRD in force; its message names the field.
    """
    return ModelDeployment.model_validate(obj)


def weight_basis_points(weight: int | str) -> int:
    """A step's weight in hundredths of a percent, 0 to 10000: 5 -> 500, "0.5" -> 50."""
    whole, _, fraction = str(weight).partition(".")
    return int(whole) * 100 + int(fraction.ljust(2, "0") or 0)


def weight_text(basis_points: int) -> str:
    """The inverse of `weight_basis_points`, without needless decimals: 50 -> "0.5"."""
    whole, rest = divmod(basis_points, 100)
    return str(whole) if not rest else f"{whole}.{rest:02d}".rstrip("0")
