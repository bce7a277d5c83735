"""`EvalGate`: a reusable statement of what a good revision is. Results live on the ModelDeployment that is judged."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Final, Literal

import pydantic

from sluice.api import base
from sluice.api import conditions as cond  # a field is named conditions

KIND: Final = "EvalGate"
PLURAL: Final = "evalgates"
_DIGITS: Final = (10, 11, 12, 15, 20, 22, 25, 30, 33, 35, 40, 44, 45, 50, 55, 60, 66, 70, 77, 80, 88, 90, 99)


SHARES: Final = frozenset({"ErrorRate"})
"""Signals that are shares of requests."""
LATENCIES: Final = frozenset({"TTFT", "E2ELatency"})
"""Signals that are latencies: each has a percentile."""
LATENCY_BOUNDS: Final[tuple[int, ...]] = (
    *(1, 2, 3, 5, 7),
    *(digits * 10**power for power in range(4) for digits in _DIGITS),
    *(digits * 10_000 for digits in _DIGITS if digits <= 60),
)
"""Milliseconds by which the gateway counts requests, rising: 1 ms to 600 s. Two digits, for its histograms have no more."""
_BOUND_HINT: Final = (
    "limit.latency must be a bound that requests are counted by, such as 500ms, 800ms or 2s: "
    f"{' '.join(map(str, _DIGITS))} ms, their multiples by 10, 100, 1000 and 10000, or 1 2 3 5 7 ms, up to 600s"
)
"""Cost of CEL forbids to look for the nearest ones."""


def _among(types: Collection[str]) -> str:
    """CEL: whether the signal is one of these."""
    return f"self.type in {sorted(types)}"


def _member(parent: str, field: str, types: Collection[str]) -> dict[str, str]:
    """A rule for the signals that are limited by this member of `limit` or `regression`."""
    listed, known = " and ".join(sorted(types)), sorted(SHARES | LATENCIES)
    return base.cel(
        f"!has(self.{parent}) || !(self.signal.type in {known}) || "
        f"has(self.{parent}.{field}) == (self.signal.type in {sorted(types)})",
        f"{parent}.{field} belongs to the signals {listed}, and to these only",
        field_path=f".{parent}",
    )


class Signal(base.ApiModel):
    """What is measured, once for each attempt at the gateway."""

    type: Annotated[
        Literal["ErrorRate", "TTFT", "E2ELatency"],
        pydantic.Field(
            description=(
                "ErrorRate: share of attempts that ended with a 5xx or broke. TTFT: time to the first byte of the body, of "
                "streamed answers. E2ELatency: time to the end of the answer."
            )
        ),
    ]
    percentile: Annotated[int | None, pydantic.Field(ge=50, le=99, description="Of TTFT and E2ELatency only. Default: 95.")] = (
        None
    )

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel(
                f"!has(self.percentile) || {_among(LATENCIES)}",
                "percentile applies to TTFT and E2ELatency only: remove it",
                field_path=".percentile",
            )
        )
    )


class Limit(base.ApiModel):
    """An absolute limit: the member that fits the signal."""

    ratio: Annotated[
        base.Ratio | None,
        pydantic.Field(
            description='Of ErrorRate: highest acceptable share of bad requests, such as "0.01".',
            json_schema_extra=base.validations(
                base.cel(
                    f"!{base.matches(base.RATIO_PATTERN)} || (double(self) > 0.0 && double(self) < 0.5)",
                    'limit.ratio must be above 0 and below 0.5, such as "0.01"',
                )
            ),
        ),
    ] = None
    latency: Annotated[
        base.Duration | None,
        pydantic.Field(
            description=(
                "Of TTFT and E2ELatency: what the percentile must stay below, such as 800ms. One of the bounds that "
                "requests are counted by, which have two digits (docs/evals.md)."
            ),
            json_schema_extra=base.validations(
                base.cel(
                    f"!{base.matches(base.DURATION_PATTERN)} || duration(self).getMilliseconds() in {list(LATENCY_BOUNDS)}",
                    _BOUND_HINT,
                )
            ),
        ),
    ] = None


class Regression(base.ApiModel):
    """A limit relative to the stable revision over the same seconds: the member that fits the signal."""

    points: Annotated[
        base.Percent | None,
        pydantic.Field(
            description=(
                'Of ErrorRate: by how many percentage points the rate may exceed that of the stable revision, such as "0.5%".'
            ),
            json_schema_extra=base.validations(
                base.cel(
                    f"!{base.matches(base.PERCENT_PATTERN)} || "
                    "(double(self.replace('%', '')) > 0.0 && double(self.replace('%', '')) <= 25.0)",
                    'regression.points must be above "0%" and at most "25%", such as "0.5%"',
                )
            ),
        ),
    ] = None
    ratio: Annotated[
        Literal["10%", "20%", "50%", "100%"] | None,
        pydantic.Field(
            description="Of TTFT and E2ELatency: by how much the percentile may exceed that of the stable revision."
        ),
    ] = None


class Metric(base.ApiModel):
    """A live metric, judged from the gateway's own counters."""

    name: Annotated[base.DnsLabel, pydantic.Field(description="Name of the metric; unique in the gate.")]
    signal: Annotated[Signal, pydantic.Field(description="What is measured.")]
    limit: Annotated[Limit | None, pydantic.Field(description="An absolute limit.")] = None
    regression: Annotated[Regression | None, pydantic.Field(description="A limit relative to the stable revision.")] = None
    require: Annotated[
        Literal["NoHarm", "Proof"],
        pydantic.Field(
            description=(
                "NoHarm: passes once harm of twice the margin is ruled out. Proof: passes once non-inferiority is proven."
            )
        ),
    ] = "NoHarm"

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel("has(self.limit) != has(self.regression)", "a metric needs exactly one of limit and regression"),
            _member("limit", "latency", LATENCIES),
            _member("limit", "ratio", SHARES),
            _member("regression", "ratio", LATENCIES),
            _member("regression", "points", SHARES),
        )
    )


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
