"""The frozen plan of a rollout's live metrics: what each is held against, and its share of the chance of a false alarm."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable
from decimal import Decimal

from sluice.api import evalgate
from sluice.gates import sequential


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

    @property
    def is_relative(self) -> bool:
        """Whether it is held against the stable revision."""
        return isinstance(self.bound, sequential.Margin)


def percent(text: str) -> float:
    """A `base.Percent` as a share: "0.5%" -> 0.005."""
    return float(Decimal(text.removesuffix("%")) / 100)


def bound_of(metric: evalgate.Metric) -> sequential.Bound:
    """What the metric is held against.

    Raises:
        ValueError: neither or both of limit and regression are set, which the CRD refuses.
    """
    match metric.limit, metric.regression:
        case evalgate.Limit() as limit, None:
            return sequential.Limit(float(limit.ratio))
        case None, evalgate.Regression() as regression:
            return sequential.Margin(percent(regression.points))
    raise ValueError(f"Cannot judge metric {metric.name!r}: it needs exactly one of limit and regression")


def build_plans(gates: Iterable[tuple[str, evalgate.EvalGateSpec]], false_rollback: str) -> tuple[MetricPlan, ...]:
    """Plans of all metrics of a rollout, by gate name; a gate that is named twice counts once.

    `false_rollback` ("1%"), the chance that a healthy revision is rolled back, is split evenly over all of them, so that
    it holds for the rollout as a whole.
    """
    metrics = [(name, metric) for name, spec in dict(gates).items() for metric in spec.metrics]
    return tuple(
        MetricPlan(
            gate=name,
            metric=metric.name,
            signal=metric.signal.type,
            bound=bound_of(metric),
            require=Require(metric.require),
            alpha=percent(false_rollback) / len(metrics),
        )
        for name, metric in metrics
    )
