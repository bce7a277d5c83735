"""`spec.autoscaling` of a ModelDeployment: between which sizes it is scaled, by what, how fast, and when the floor is higher.

What the HorizontalPodAutoscaler made of it looks like is `workloads.hpa`'s; defaults of `behavior` are applied there, so that
`behavior: {}` and none at all are the same.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import pydantic

from sluice.api import base

COUNT_PATTERN: Final = r"^[0-9]{1,6}(\.[0-9]{1,3})?$"
SHARE_PATTERN: Final = r"^(0\.[0-9]{1,3}|[0-9]{1,2}(\.[0-9])?%)$"
CPU_PATTERN: Final = r"^([0-9]{1,4}%|[0-9]{1,6}m|[0-9]{1,3}(\.[0-9]{1,3})?)$"
QUANTITY_PATTERN: Final = r"^[0-9]{1,18}(\.[0-9]{1,3})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"


class MetricName(enum.StrEnum):
    """What pods are scaled by."""

    REQUESTS_RUNNING = "RequestsRunning"
    """Requests that the engine works on."""
    REQUESTS_WAITING = "RequestsWaiting"
    """Requests that wait for the engine: the depth of its queue."""
    REQUESTS_IN_FLIGHT = "RequestsInFlight"
    """Both together."""
    KV_CACHE_USAGE = "KVCacheUsage"
    """Share of the KV cache in use."""
    TTFT = "TTFT"
    """A percentile of the time to the first token."""
    ITL = "ITL"
    """A percentile of the time between two tokens."""
    ERROR_RATE = "ErrorRate"
    """Share of requests that the engine answered with 5xx."""
    CPU = "CPU"
    """CPU use of the pod, as metrics-server reports it."""
    EXTERNAL = "External"
    """A metric of the cluster's external.metrics.k8s.io, such as KEDA's."""


COUNTS: Final = (MetricName.REQUESTS_RUNNING, MetricName.REQUESTS_WAITING, MetricName.REQUESTS_IN_FLIGHT)
SHARES: Final = (MetricName.KV_CACHE_USAGE, MetricName.ERROR_RATE)
LATENCIES: Final = (MetricName.TTFT, MetricName.ITL)
DEFAULT_PERCENTILE: Final = 95
"""The percentile of a latency that names none."""


class MatchExpression(base.ApiModel):
    """One requirement on a label."""

    key: Annotated[str, pydantic.Field(min_length=1, max_length=317, description="The label's key.")]
    operator: Annotated[
        Literal["In", "NotIn", "Exists", "DoesNotExist"], pydantic.Field(description="How the label's value is compared.")
    ]
    values: Annotated[
        tuple[Annotated[str, pydantic.Field(max_length=63)], ...] | None,
        pydantic.Field(max_length=16, description="Values for In and NotIn."),
    ] = None


class MetricSelector(base.ApiModel):
    """Selects series of an external metric by their labels."""

    match_labels: Annotated[
        Mapping[str, Annotated[str, pydantic.Field(max_length=63)]] | None,
        pydantic.Field(max_length=16, description="Labels that must all be there."),
    ] = None
    match_expressions: Annotated[
        tuple[MatchExpression, ...] | None, pydantic.Field(max_length=16, description="Requirements that must all hold.")
    ] = None


class External(base.ApiModel):
    """A metric that somebody else serves."""

    metric_name: Annotated[
        str, pydantic.Field(min_length=1, max_length=253, description="Its name in external.metrics.k8s.io.")
    ]
    selector: Annotated[MetricSelector | None, pydantic.Field(description="Which of its series. Default: all.")] = None
    target_type: Annotated[
        Literal["AverageValue", "Value"] | None,
        pydantic.Field(description="AverageValue (the default): the value divided by the pods; Value: as it is."),
    ] = None


def _among(names: tuple[MetricName, ...]) -> str:
    return "self.name in [" + ", ".join(f"'{name.value}'" for name in names) + "]"


def _form(names: tuple[MetricName, ...], pattern: str, words: str) -> dict[str, str]:
    """The rule for the form of `target` with these metrics."""
    listed = ", ".join(name.value for name in names)
    return base.cel(
        f"!({_among(names)}) || self.target.matches(r'{pattern}')",
        f"target of {listed} must be {words}",
        field_path=".target",
        message_expression=f"'target of ' + self.name + ' must be {words}'",
    )


class Metric(base.ApiModel):
    """One metric and the value per pod that the HPA holds it at."""

    name: Annotated[
        MetricName, pydantic.Field(description="Which metric; its average over the pods is compared with the target.")
    ]
    target: Annotated[
        str,
        pydantic.Field(
            min_length=1,
            max_length=24,
            description=(
                'Requests…: a number such as "10". KVCacheUsage, ErrorRate: a share such as "80%" or "0.8". TTFT, ITL: a '
                'duration such as 500ms. CPU: percent of the request such as "70%", or cores such as "1500m". '
                "External: a quantity."
            ),
            json_schema_extra=base.validations(
                base.cel("self.matches('[1-9]') || !self.matches('[0-9]')", "target must be above zero: raise it")
            ),
        ),
    ]
    percentile: Annotated[Literal[50, 90, 95, 99] | None, pydantic.Field(description="Of TTFT and ITL only. Default: 95.")] = (
        None
    )
    external: Annotated[External | None, pydantic.Field(description="Required for External, refused otherwise.")] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            _form(COUNTS, COUNT_PATTERN, 'a number of requests per pod, such as "10"'),
            _form(SHARES, SHARE_PATTERN, 'a share, such as "80%" or "0.8"'),
            _form(LATENCIES, base.DURATION_PATTERN, "a duration, such as 500ms"),
            _form((MetricName.CPU,), CPU_PATTERN, 'percent of the request, such as "70%", or cores, such as "1500m"'),
            _form((MetricName.EXTERNAL,), QUANTITY_PATTERN, 'a quantity, such as "100" or "500m"'),
            base.cel(
                f"!has(self.percentile) || {_among(LATENCIES)}",
                "percentile applies to TTFT and ITL only: remove it",
                field_path=".percentile",
            ),
            base.cel(
                "has(self.external) || self.name != 'External'",
                "name: External needs external: say which metric by external.metricName",
                field_path=".external",
            ),
            base.cel(
                "!has(self.external) || self.name == 'External'",
                "external has an effect with name: External only: set that, or remove external",
                field_path=".external",
            ),
        )
    )


class ScalingPolicy(base.ApiModel):
    """Most pods, absolute or in percent, that may be added or removed within a period."""

    type: Annotated[Literal["Pods", "Percent"], pydantic.Field(description="What value counts.")]
    value: Annotated[int, pydantic.Field(ge=1, le=1_000_000, description="So many pods, or percent of the pods there are.")]
    period_seconds: Annotated[int, pydantic.Field(ge=1, le=1800, description="Length of the period.")]


class ScalingRules(base.ApiModel):
    """How fast the size changes in one direction, as in a HorizontalPodAutoscaler."""

    stabilization_window_seconds: Annotated[
        int | None,
        pydantic.Field(ge=0, le=3600, description="How long the most cautious recommendation of the past counts."),
    ] = None
    select_policy: Annotated[
        Literal["Max", "Min", "Disabled"] | None,
        pydantic.Field(description="Which policy counts; Disabled: the size never changes in this direction."),
    ] = None
    policies: Annotated[
        tuple[ScalingPolicy, ...] | None, pydantic.Field(min_length=1, max_length=8, description="Limits of speed.")
    ] = None
    tolerance: Annotated[
        str | None,
        pydantic.Field(
            max_length=16,
            pattern=r"^([0-9](\.[0-9]{1,6})?|[0-9]{1,4}m)$",
            description='How far from the target nothing changes, such as "0.05"; needs Kubernetes 1.35 or newer.',
            json_schema_extra=base.hint('must be a share, such as "0.05"'),
        ),
    ] = None


class Behavior(base.ApiModel):
    """The `behavior` of a HorizontalPodAutoscaler; a direction that is given is used as it is."""

    scale_up: Annotated[ScalingRules | None, pydantic.Field(description="Default: at most 4 pods in 60 s, at once.")] = None
    scale_down: Annotated[
        ScalingRules | None,
        pydantic.Field(description="Default: one pod in 60 s, once fewer were enough for 300 s."),
    ] = None


def _list(value: str, *, also: str = "") -> str:
    """Pattern of one field of a cron expression: values, ranges and steps, separated by commas."""
    one = rf"((\*|{value}(-{value})?)(/[0-9]{{1,2}})?{also})"
    return f"{one}(,{one})*"


_MINUTE: Final = _list(r"[0-5]?[0-9]")
_HOUR: Final = _list(r"(2[0-3]|[01]?[0-9])")
_DAY: Final = _list(r"(3[01]|[12][0-9]|0?[1-9])", also="|L|LW")
_MONTH: Final = _list(r"(1[0-2]|0?[1-9]|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)")
_WEEKDAY: Final = _list(r"([0-7]|SUN|MON|TUE|WED|THU|FRI|SAT)", also=r"|([0-7]|SUN|MON|TUE|WED|THU|FRI|SAT)#[1-5]|[0-7]L")
CRON_PATTERN: Final = rf"^(?i:{_MINUTE} +{_HOUR} +{_DAY} +{_MONTH} +{_WEEKDAY})$"
"""Five fields: minute, hour, day of the month, month, day of the week."""
TIME_ZONE_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$"


class Schedule(base.ApiModel):
    """A time of day or week during which there are at least so many pods."""

    name: Annotated[base.DnsLabel, pydantic.Field(description="Name of the schedule; unique among the schedules.")]
    cron: Annotated[
        str,
        pydantic.Field(
            min_length=9,
            max_length=100,
            pattern=CRON_PATTERN,
            description=(
                "When it begins: minute, hour, day of month, month, day of week. Pods start then: say it as early as they "
                "need to load."
            ),
            json_schema_extra=base.hint(
                "must be five fields (minute hour day-of-month month day-of-week) with values in range, such as 30 7 * * 1-5"
            ),
        ),
    ]
    time_zone: Annotated[
        str,
        pydantic.Field(
            min_length=1,
            max_length=64,
            pattern=TIME_ZONE_PATTERN,
            description="Time zone of cron: a name of the IANA database such as Europe/Berlin.",
            json_schema_extra=base.hint("must be a name of the IANA time zone database, such as Europe/Berlin"),
        ),
    ] = "UTC"
    duration: Annotated[
        base.Duration,
        pydantic.Field(
            description="How long it lasts, in elapsed time whatever the clocks do.",
            json_schema_extra=base.duration_between("duration", "1m", "744h"),
        ),
    ]
    min_replicas: Annotated[int, pydantic.Field(ge=1, le=1000, description="Fewest pods while it lasts.")]


class Autoscaling(base.ApiModel):
    """Pods follow the load, between a floor and a ceiling."""

    min_replicas: Annotated[int, pydantic.Field(ge=1, le=1000, description="Fewest pods, at any time.")] = 1
    max_replicas: Annotated[int, pydantic.Field(ge=1, le=1000, description="Most pods.")]
    metrics: Annotated[
        tuple[Metric, ...],
        pydantic.Field(
            min_length=1,
            max_length=9,
            description="What the size follows; of several the one that asks for most pods counts.",
            json_schema_extra=base.map_list("name"),
        ),
    ]
    behavior: Annotated[
        Behavior | None,
        pydantic.Field(description="How fast the size changes, as in a HorizontalPodAutoscaler."),
    ] = None
    schedules: Annotated[
        tuple[Schedule, ...],
        pydantic.Field(
            max_length=16,
            description="Times with a higher floor; where several hold, the highest counts.",
            json_schema_extra=base.map_list("name"),
        ),
    ] = ()

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel(
                "!has(self.minReplicas) || self.minReplicas <= self.maxReplicas",
                "minReplicas must not be above maxReplicas: lower it, or raise maxReplicas",
                field_path=".minReplicas",
            ),
            base.cel(
                "!has(self.schedules) || self.schedules.all(schedule, schedule.minReplicas <= self.maxReplicas)",
                "minReplicas of a schedule must not be above maxReplicas: lower it, or raise maxReplicas",
                field_path=".schedules",
            ),
        )
    )
