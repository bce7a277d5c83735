"""`EvalGate`: a reusable statement of what a good revision is. Results live on the ModelDeployment that is judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import pydantic

from sluice.api import base, live_metric
from sluice.api import conditions as cond  # a field is named conditions

KIND: Final = "EvalGate"
PLURAL: Final = "evalgates"


# The live half of a gate, by the names that belong to its kind.
Metric = live_metric.Metric
Signal = live_metric.Signal
Limit = live_metric.Limit
Regression = live_metric.Regression


class Runner(base.ApiModel):
    """What runs the eval."""

    type: Annotated[Literal["Builtin"], pydantic.Field(description="Builtin: Sluice's own runner, one request an item.")]


class Dataset(base.ApiModel):
    """Where the items come from: JSON lines with `id`, `prompt` or `messages`, and `reference`."""

    type: Annotated[Literal["ConfigMap"], pydantic.Field(description="The member of the same name says where.")]
    config_map: Annotated[base.KeyRef | None, pydantic.Field(description="A key of a ConfigMap in the same namespace.")] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel("self.type != 'ConfigMap' || has(self.configMap)", "dataset.configMap is required for type ConfigMap")
        )
    )


class Generation(base.ApiModel):
    """Sampling parameters of each request."""

    temperature: Annotated[
        str,
        pydantic.Field(
            max_length=8,
            pattern=r"^([01](\.[0-9]{1,4})?|2(\.0{1,4})?)$",
            description='Sampling temperature, such as "0".',
            json_schema_extra=base.hint('must be between 0 and 2, such as "0.7"'),
        ),
    ] = "0"
    max_tokens: Annotated[int, pydantic.Field(ge=1, le=131072, description="Longest answer in tokens.")] = 256
    seed: Annotated[int, pydantic.Field(ge=0, description="Seed of the sampling.")] = 1


class Scorer(base.ApiModel):
    """How an answer is scored."""

    type: Annotated[
        Literal["ExactMatch"],
        pydantic.Field(description="ExactMatch: the answer equals the reference, white space at the ends aside."),
    ]


class Threshold(base.ApiModel):
    """What the score is held against."""

    min: Annotated[base.Ratio, pydantic.Field(description='Lowest acceptable share of right answers, such as "0.9".')]


class Eval(base.ApiModel):
    """An offline eval: a Job asks the new revision directly, without the gateway."""

    name: Annotated[base.DnsLabel, pydantic.Field(description="Name of the eval; unique in the gate.")]
    runner: Annotated[Runner, pydantic.Field(description="What runs it.")]
    dataset: Annotated[Dataset, pydantic.Field(description="Where the items come from.")]
    generation: Annotated[Generation, pydantic.Field(description="Sampling parameters.")] = Generation()
    scorer: Annotated[Scorer, pydantic.Field(description="How an answer is scored.")]
    threshold: Annotated[Threshold, pydantic.Field(description="What the score is held against.")]
    sample_size: Annotated[
        int | None, pydantic.Field(ge=1, le=100_000, description="Items to use, taken evenly over the dataset. Default: all.")
    ] = None
    concurrency: Annotated[int, pydantic.Field(ge=1, le=64, description="Requests at a time.")] = 4
    timeout: Annotated[
        base.Duration,
        pydantic.Field(
            description="Longest time of the whole eval.", json_schema_extra=base.duration_between("timeout", "1s", "24h")
        ),
    ] = "30m"
    max_error_rate: Annotated[
        base.Ratio,
        pydantic.Field(description="Above this share of failed requests the run is an Error, not a verdict."),
    ] = "0.05"


class EvalGateSpec(base.ApiModel):
    """Metrics and evals that must all pass."""

    metrics: Annotated[
        tuple[Metric, ...],
        pydantic.Field(max_length=8, description="Live metrics.", json_schema_extra=base.map_list("name")),
    ] = ()
    evals: Annotated[
        tuple[Eval, ...],
        pydantic.Field(max_length=8, description="Offline evals.", json_schema_extra=base.map_list("name")),
    ] = ()

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel(
                "(has(self.metrics) && size(self.metrics) > 0) || (has(self.evals) && size(self.evals) > 0)",
                "an EvalGate needs at least one entry in spec.metrics or spec.evals",
            ),
            base.cel(
                "!has(self.metrics) || !has(self.evals) || !self.metrics.exists(m, self.evals.exists(e, e.name == m.name))",
                "a metric and an eval may not share a name, for status lists them together: rename one",
                field_path=".evals",
            ),
        )
    )


class EvalGateStatus(base.ApiModel):
    """Whether the gate can be used, and by how many."""

    observed_generation: Annotated[int, pydantic.Field(description="The generation this status speaks of.")] = -1
    conditions: Annotated[
        tuple[cond.Condition, ...],
        pydantic.Field(max_length=16, description="State for people and tools.", json_schema_extra=base.map_list("type")),
    ] = ()
    users: Annotated[int, pydantic.Field(ge=0, description="ModelDeployments that refer to this gate.")] = 0


class EvalGate(base.ApiModel):
    """What a good revision is."""

    metadata: base.NamedObject
    spec: EvalGateSpec
    status: EvalGateStatus = EvalGateStatus()


def parse(obj: Mapping[str, Any]) -> EvalGate:
    """The typed form of an object that the API server admitted."""
    return EvalGate.model_validate(obj)


BUILTIN_DEFAULT: Final = EvalGateSpec(
    metrics=(Metric(name="errors", signal=Signal(type="ErrorRate"), regression=Regression(points="1%")),)
)
"""The analysis of a rollout that names none."""
BUILTIN_DEFAULT_NAME: Final = "default"
