"""A live metric of an EvalGate: what is measured, and what it is held against. What a verdict is made of is in `gates`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Final, Literal

import pydantic

from sluice.api import base, external

SHARES: Final = frozenset({"ErrorRate", "TruncationRate"})
"""Signals that are shares of requests."""
GATEWAY_LATENCIES: Final = frozenset({"TTFT", "E2ELatency"})
"""Latencies as the gateway measured them, by the bounds below."""
LATENCIES: Final = GATEWAY_LATENCIES | {"ITL", "QueueTime"}
SIZES: Final = frozenset({"OutputTokens"})
ENGINE: Final = frozenset({"ITL", "QueueTime", "TruncationRate", "OutputTokens", "KVCacheUsage"})
"""Signals that the engines measure."""
VALUES: Final = frozenset({"KVCacheUsage", "Prometheus", "Webhook"})
"""Signals that are a number now and then, of which no test can be made."""
TAILS: Final = LATENCIES | SIZES
"""Signals with a percentile."""
_DIGITS: Final = (10, 11, 12, 15, 20, 22, 25, 30, 33, 35, 40, 44, 45, 50, 55, 60, 66, 70, 77, 80, 88, 90, 99)
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


def _listed(types: Collection[str]) -> str:
    names = sorted(types)
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _member(parent: str, field: str, types: Collection[str]) -> dict[str, str]:
    """A rule for the signals that are limited by this member of `limit` or `regression`."""
    return base.cel(
        f"!has(self.{parent}) || !(self.signal.type in {sorted(SHARES | TAILS | VALUES)}) || "
        f"has(self.{parent}.{field}) == (self.signal.type in {sorted(types)})",
        f"{parent}.{field} is what {_listed(types)} use, and no other signal",
        field_path=f".{parent}",
    )


class Signal(base.ApiModel):
    """What is measured, once for each request."""

    type: Annotated[
        Literal[
            "ErrorRate",
            "TTFT",
            "E2ELatency",
            "ITL",
            "QueueTime",
            "TruncationRate",
            "OutputTokens",
            "KVCacheUsage",
            "Prometheus",
            "Webhook",
        ],
        pydantic.Field(
            description=(
                "At the gateway, for each attempt: ErrorRate (share that ended with a 5xx or broke), TTFT (time to the first "
                "byte of the body, of streamed answers), E2ELatency (time to the end of the answer). By the engine, for each "
                "request: ITL (mean time between its tokens), QueueTime (time until it was scheduled), TruncationRate (share "
                "that ended at a token limit), OutputTokens (length of the answer). Read now and then, without a statistical "
                "guarantee: KVCacheUsage (share of the cache in use, of the pod where it is highest), Prometheus (a query), "
                "Webhook (a POST)."
            )
        ),
    ]
    percentile: Annotated[
        int | None, pydantic.Field(ge=50, le=99, description="Of latencies and OutputTokens only. Default: 95.")
    ] = None
    prometheus: Annotated[
        external.Prometheus | None, pydantic.Field(description="Required for Prometheus, refused otherwise.")
    ] = None
    webhook: Annotated[external.Webhook | None, pydantic.Field(description="Required for Webhook, refused otherwise.")] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel(
                "has(self.prometheus) == (self.type == 'Prometheus')",
                "signal.prometheus is what type Prometheus needs, and no other",
            ),
            base.cel(
                "has(self.webhook) == (self.type == 'Webhook')", "signal.webhook is what type Webhook needs, and no other"
            ),
            base.cel(
                f"!has(self.percentile) || self.type in {sorted(TAILS)}",
                f"percentile applies to {_listed(TAILS)} only: remove it",
                field_path=".percentile",
            ),
        )
    )


Decimal = Annotated[
    str,
    pydantic.Field(
        max_length=26,
        pattern=r"^-?[0-9]{1,15}(\.[0-9]{1,9})?$",
        description='A number as a string, such as "0.95".',
        json_schema_extra=base.hint('must be a decimal number as a string, such as "0.95"'),
    ),
]


class ValueLimit(base.ApiModel):
    """The range that a reading must be in."""

    min: Annotated[Decimal | None, pydantic.Field(description="Lowest acceptable value.")] = None
    max: Annotated[Decimal | None, pydantic.Field(description="Highest acceptable value.")] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(base.cel("has(self.min) || has(self.max)", "limit.value needs min, max or both"))
    )


class Limit(base.ApiModel):
    """An absolute limit: the member that fits the signal."""

    ratio: Annotated[
        base.Ratio | None,
        pydantic.Field(
            description='Of shares: highest acceptable share of bad requests, such as "0.01".',
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
                "Of latencies: what the percentile must stay below, such as 800ms. One of the bounds that requests are "
                "counted by (docs/evals.md)."
            )
        ),
    ] = None
    tokens: Annotated[
        int | None,
        pydantic.Field(
            ge=1,
            le=10_000_000,
            description=(
                "Of OutputTokens: what the percentile must not exceed, such as 500. One of the bounds that the engine counts "
                "by: 1, 2 or 5, or one of them times 10, 100, …"
            ),
        ),
    ] = None
    value: Annotated[
        ValueLimit | None, pydantic.Field(description="Of KVCacheUsage, Prometheus and Webhook: what a reading must keep to.")
    ] = None


class Readings(base.ApiModel):
    """How a value that is read now and then becomes a verdict."""

    interval: Annotated[
        base.Duration,
        pydantic.Field(
            description="Time between two readings.", json_schema_extra=base.duration_between("interval", "5s", "1h")
        ),
    ] = "10s"
    failures: Annotated[int, pydantic.Field(ge=1, le=50, description="So many of the last readings beyond the limit fail.")] = 3
    of: Annotated[int, pydantic.Field(ge=1, le=50, description="How many of the last readings are looked at.")] = 5

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel("self.failures <= self.of", "readings.failures may not exceed readings.of", field_path=".failures")
        )
    )


class Regression(base.ApiModel):
    """A limit relative to the stable revision over the same seconds: the member that fits the signal."""

    points: Annotated[
        base.Percent | None,
        pydantic.Field(
            description=(
                'Of shares: by how many percentage points the rate may exceed that of the stable revision, such as "0.5%".'
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
            description="Of latencies and OutputTokens: by how much the percentile may exceed that of the stable revision."
        ),
    ] = None


class Metric(base.ApiModel):
    """A live metric, judged from what the gateway or the engines counted."""

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
    readings: Annotated[
        Readings | None,
        pydantic.Field(description="Of KVCacheUsage, Prometheus and Webhook only. Default: 3 of 5, every 10 s."),
    ] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel("has(self.limit) != has(self.regression)", "a metric needs exactly one of limit and regression"),
            _member("limit", "latency", LATENCIES),
            _member("limit", "tokens", SIZES),
            _member("limit", "ratio", SHARES),
            _member("limit", "value", VALUES),
            _member("regression", "ratio", TAILS),
            _member("regression", "points", SHARES),
            base.cel(
                f"!has(self.regression) || !(self.signal.type in {sorted(VALUES)})",
                f"{_listed(VALUES)} have no regression, for stable is not read at the same time: use limit.value, "
                "or compare both revisions in the query",
                field_path=".regression",
            ),
            base.cel(
                f"self.require != 'Proof' || !(self.signal.type in {sorted(VALUES)})",
                f"{_listed(VALUES)} prove nothing: remove require",
                field_path=".require",
            ),
            base.cel(
                f"!has(self.readings) || self.signal.type in {sorted(VALUES)}",
                f"readings are of {_listed(VALUES)} only: remove them",
                field_path=".readings",
            ),
            base.cel(
                f"!(self.signal.type in {sorted(GATEWAY_LATENCIES)}) || !has(self.limit) || !has(self.limit.latency) || "
                f"!self.limit.latency.matches(r'{base.DURATION_PATTERN}') || "
                f"duration(self.limit.latency).getMilliseconds() in {list(LATENCY_BOUNDS)}",
                _BOUND_HINT,
                field_path=".limit.latency",
            ),
        )
    )
