"""The frozen plan of a rollout's live metrics: what each is held against, and its share of the chance of a false alarm."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Collection
from decimal import Decimal
from typing import Final

from sluice.api import durations, live_metric
from sluice.gates import sequential

DEFAULT_PERCENTILE: Final = 95
"""Of a latency that names none."""


class Require(enum.StrEnum):
    """What a metric needs for a Pass."""

    NO_HARM = "NoHarm"
    """Harm of twice the bound is ruled out: a revision at twice the bound passes with at most 20 %."""
    PROOF = "Proof"
    """The bound itself is proven to be kept, at 5 %."""


@dataclasses.dataclass(frozen=True, slots=True)
class MetricPlan:
    """One metric of one gate. `alpha`: chance that it says Fail of a revision within its bound, over the whole rollout."""

    gate: str
    metric: str
    signal: str
    bound: sequential.Bound
    require: Require
    alpha: float
    percentile: int | None = None
    """Of a latency or a length: the bound then speaks of the requests that are above."""
    threshold: float | None = None
    """Of an absolute limit on a latency or a length: milliseconds, or tokens, from which on a request is bad."""
    shadow: bool = False
    """Whether it is measured on copied requests."""

    @property
    def is_relative(self) -> bool:
        """Whether it is held against the stable revision."""
        return not isinstance(self.bound, sequential.Limit)

    @property
    def is_retried(self) -> bool:
        """Whether what is bad of the canary is sent to stable again, and so makes stable's sample grow."""
        return self.signal == "ErrorRate" and not self.shadow

    @property
    def share(self) -> float:
        """Of the requests that may be slower than the percentile: 0.05 for the 95th."""
        return slow_share(self.percentile or DEFAULT_PERCENTILE)


def percent(text: str) -> float:
    """A `base.Percent` as a share: "0.5%" -> 0.005."""
    return float(Decimal(text.removesuffix("%")) / 100)


def slow_share(percentile: int) -> float:
    """The share of requests above a percentile: 95 -> 0.05."""
    return (100 - percentile) / 100


def bound_of(metric: live_metric.Metric) -> sequential.Bound:
    """What the metric is held against.

    Raises:
        ValueError: neither or both of limit and regression are set, or no member of it, which the CRD refuses.
    """
    match metric.limit, metric.regression:
        case live_metric.Limit(ratio=str(ratio)), None:
            return sequential.Limit(float(ratio))
        case ((live_metric.Limit(latency=str()) | live_metric.Limit(tokens=int())), None):
            return sequential.Limit(slow_share(metric.signal.percentile or DEFAULT_PERCENTILE))
        case None, live_metric.Regression(points=str(points)):
            return sequential.Margin(percent(points))
        case None, live_metric.Regression(ratio=str(ratio)):
            return sequential.Slower(percent(ratio))
    raise ValueError(f"Cannot judge metric {metric.name!r}: it needs exactly one of limit and regression")


@dataclasses.dataclass(frozen=True, slots=True)
class Live:
    """A metric that traffic is judged by. `name` is its name in the status."""

    gate: str
    name: str
    metric: live_metric.Metric
    shadow: bool = False


def build_plans(live: Collection[Live], false_rollback: float) -> tuple[MetricPlan, ...]:
    """Plans of all metrics of a rollout that a test can be made of; the others are `thresholds`.

    `false_rollback`, the chance that a healthy revision is rolled back, is split evenly over all of them, so that it
    holds for the rollout as a whole.
    """
    return tuple(
        _build_plan(each, false_rollback / len(live)) for each in live if each.metric.signal.type not in live_metric.VALUES
    )


def _build_plan(live: Live, alpha: float) -> MetricPlan:
    metric = live.metric
    has_percentile = metric.signal.type in live_metric.TAILS
    return MetricPlan(
        gate=live.gate,
        metric=live.name,
        signal=metric.signal.type,
        bound=bound_of(metric),
        require=Require(metric.require),
        alpha=alpha,
        percentile=metric.signal.percentile or DEFAULT_PERCENTILE if has_percentile else None,
        threshold=_threshold(metric.limit) if metric.limit is not None else None,
        shadow=live.shadow,
    )


def _threshold(limit: live_metric.Limit) -> float | None:
    if limit.latency is not None:
        return round(1000 * durations.seconds(limit.latency), 3)
    return float(limit.tokens) if limit.tokens is not None else None
