"""Metrics that are a number now and then: so many of the last readings beyond a limit fail.

No test can be made of them, for nobody knows how such numbers vary, so there is no statistical guarantee, and the status
says so. A source that does not answer, or not with one finite number, is an `Error`: it never passes and never fails.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping
from typing import Any, Final

from sluice.api import durations, live_metric, rollout_status
from sluice.gates import plans

_NO_GUARANTEE: Final = "no statistical guarantee"


class Reason(enum.StrEnum):
    """Why such a metric says what it says."""

    LIMIT_EXCEEDED = "LimitExceeded"
    """Fail: too many of the last readings were beyond the limit."""
    LIMIT_KEPT = "LimitKept"
    """Pass: enough readings in one go, of which few enough were beyond the limit."""
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    """Error: the source did not answer, or not with one finite number; the message says which."""
    NEEDS_MORE_READINGS = "NeedsMoreReadings"
    """Inconclusive: there were not enough readings in one go yet."""
    NO_DATA = "NoData"
    """Inconclusive: nothing was read yet, for the revision has no traffic."""


@dataclasses.dataclass(frozen=True, slots=True)
class ThresholdPlan:
    """What one such metric is held against."""

    gate: str
    metric: str
    signal: live_metric.Signal
    low: float | None
    high: float | None
    readings: live_metric.Readings
    shadow: bool = False

    @property
    def interval(self) -> float:
        """Seconds between two readings."""
        return durations.seconds(self.readings.interval)

    def is_within(self, value: float) -> bool:
        """Whether the limit is kept."""
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def text(self) -> str:
        """Such as "at most 0.95" or "0.1 to 0.9"."""
        match self.low, self.high:
            case float(low), float(high):
                return f"{low:g} to {high:g}"
            case float(low), None:
                return f"at least {low:g}"
        return f"at most {self.high:g}"


def build_plans(live: tuple[plans.Live, ...]) -> tuple[ThresholdPlan, ...]:
    """Plans of those metrics that are values."""
    return tuple(_build_plan(each) for each in live if each.metric.signal.type in live_metric.VALUES)


def _build_plan(live: plans.Live) -> ThresholdPlan:
    limit = live.metric.limit
    if limit is None or limit.value is None:
        raise ValueError(f"Cannot judge metric {live.name!r}: it needs limit.value")
    low, high = (float(end) if end is not None else None for end in (limit.value.min, limit.value.max))
    return ThresholdPlan(
        live.gate, live.name, live.metric.signal, low, high, live.metric.readings or live_metric.Readings(), live.shadow
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Threshold:
    """The last readings of one metric. Immutable; once `failed`, it stays so."""

    plan: ThresholdPlan
    values: tuple[float, ...] = ()
    """The last ones, oldest first."""
    taken: int = 0
    streak: int = 0
    """Readings since the last attempt that gave none."""
    cause: str | None = None
    """Why the latest attempt gave no value."""
    failed: bool = False

    def read(self, value: float) -> Threshold:
        """With one more reading; one that is no finite number is none."""
        if not math.isfinite(value):
            return self.missed(f"it answered {value}, which is no number")
        values = (*self.values, value)[-self.plan.readings.of :]
        beyond = sum(not self.plan.is_within(each) for each in values)
        failed = self.failed or beyond >= self.plan.readings.failures
        return dataclasses.replace(self, values=values, taken=self.taken + 1, streak=self.streak + 1, cause=None, failed=failed)

    def missed(self, cause: str) -> Threshold:
        """With an attempt that gave no value: a Pass needs its readings in one go, and a Fail may have gaps."""
        return dataclasses.replace(self, streak=0, cause=cause)

    def verdict(self) -> tuple[rollout_status.Verdict, Reason]:
        """The closed rules, first match wins."""
        verdicts = rollout_status.Verdict
        if self.failed:
            return verdicts.FAIL, Reason.LIMIT_EXCEEDED
        if self.cause is not None:
            return verdicts.ERROR, Reason.SOURCE_UNAVAILABLE
        if self.streak >= self.plan.readings.of:
            return verdicts.PASS, Reason.LIMIT_KEPT
        return verdicts.INCONCLUSIVE, Reason.NEEDS_MORE_READINGS if self.taken else Reason.NO_DATA

    def status(self) -> rollout_status.GateStatus:
        """What to tell people."""
        verdict, reason = self.verdict()
        missing = self.plan.readings.of - self.streak
        needs = f"{missing} more readings; about {missing * self.plan.interval:.0f} s"
        return rollout_status.GateStatus(
            name=self.plan.gate,
            metric=self.plan.metric,
            verdict=verdict,
            reason=reason.value,
            message=self._message(),
            n=self.taken,
            estimate=f"{self.values[-1]:.6g}" if self.values else None,
            limit=self.plan.text(),
            needs=needs if verdict is rollout_status.Verdict.INCONCLUSIVE else None,
        )

    def _message(self) -> str:
        if self.cause is not None and not self.failed:
            return f"Cannot read {self.plan.signal.type}: {self.cause}. Nothing passes until it can be read"[:1024]
        beyond = sum(not self.plan.is_within(each) for each in self.values)
        rule = f"{self.plan.readings.failures} of {self.plan.readings.of} fail; {_NO_GUARANTEE}"
        return f"{beyond} of the last {len(self.values)} readings were not {self.plan.text()} ({rule})"

    def to_json(self) -> dict[str, Any]:
        """What a restart may not lose."""
        return {"limit": self.fingerprint(), "taken": self.taken, "failed": self.failed}

    def fingerprint(self) -> list[Any]:
        """What the state belongs to."""
        return [self.plan.low, self.plan.high, self.plan.readings.failures, self.plan.readings.of]


def resume(frozen: ThresholdPlan, data: Any) -> Threshold:
    """The state that `to_json` wrote for the same plan; an empty one for anything else.

    Readings from before a restart are not taken up, for nobody knows what was between; a failure is.
    """
    empty = Threshold(frozen)
    if not isinstance(data, Mapping) or data.get("limit") != empty.fingerprint():
        return empty
    taken, failed = data.get("taken"), data.get("failed")
    if not isinstance(taken, int) or not isinstance(failed, bool) or taken < 0:
        return empty
    return dataclasses.replace(empty, taken=taken, failed=failed)
