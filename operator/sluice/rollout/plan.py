"""The plan of a rollout: steps, gates and the digests of their datasets, frozen when the rollout starts.

It is stored with the evidence, so that editing a gate or the steps counts for the next rollout only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sluice.api import evalgate
from sluice.rollout import capacity as capacity_  # a field is named capacity
from sluice.rollout import traffic

SHADOW_SUFFIX: Final = "/shadow"
"""Of a metric's name, where it is measured on copied requests."""


@dataclasses.dataclass(frozen=True)
class ApprovalPlan:
    """How long a person is waited for."""

    timeout: float
    """Seconds."""
    rolls_back: bool
    """Whether the revision is taken back when nobody approved in that time."""


@dataclasses.dataclass(frozen=True)
class StepPlan:
    """One step."""

    name: str
    weight: int
    """Basis points of traffic for the revision, 0 to 10000."""
    hold: float
    """Seconds it lasts at least, counted from when every proxy had its weight."""
    gates: tuple[str, ...] = ()
    mirror: int = 0
    """Basis points of the requests that the revision gets a copy of. Without weight."""
    approval: ApprovalPlan | None = None

    @property
    def has_traffic(self) -> bool:
        """Whether the revision gets requests, if only copies."""
        return self.weight > 0 or self.mirror > 0


@dataclasses.dataclass(frozen=True)
class LiveMetric:
    """One metric that traffic is judged by. Copied requests are evidence of their own."""

    gate: str
    metric: evalgate.Metric
    shadow: bool

    @property
    def pair(self) -> tuple[str, str]:
        """How the status names it."""
        return self.gate, f"{self.metric.name}{SHADOW_SUFFIX}" if self.shadow else self.metric.name


@dataclasses.dataclass(frozen=True)
class Warmup:
    """What each pod of the revision does before its first weight."""

    requests: int = 20
    duration: float = 30.0
    """Seconds after the first weight in which latencies are no evidence."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything a rollout is judged by."""

    steps: tuple[StepPlan, ...]
    step_deadline: float
    """Seconds after a step's hold for which it waits for its gates."""
    analysis: tuple[str, ...]
    """Gates whose metrics are watched during the whole rollout."""
    gates: Mapping[str, evalgate.EvalGateSpec]
    """Specs of all gates that steps and analysis name."""
    digests: Mapping[str, str]
    """SHA-256 of each dataset by `<gate>/<eval>`."""
    false_rollback: float
    """Chance that a healthy revision is rolled back, over the whole rollout."""
    first: bool
    """Nothing serves yet: there is no traffic to split and nothing to be compared with."""
    rules: traffic.Rules = traffic.DEFAULT
    """How traffic is split."""
    rolls_back_inconclusive: bool = False
    """Whether a gate that is still inconclusive at the step's deadline takes the revision back."""
    bake: float = 0.0
    """Seconds for which the revision before stays warm after the promotion."""
    capacity: capacity_.Rules = capacity_.DEFAULT
    """How many pods each side gets."""
    direct: bool = False
    """Whether it comes back within the rollback window: it has no steps."""
    recreate: bool = False
    """Whether the serving revision leaves before the new one starts."""
    warmup: Warmup = Warmup()

    def index(self, step: str | None) -> int | None:
        """Position of the step of that name."""
        return next((position for position, planned in enumerate(self.steps) if planned.name == step), None)

    def before_traffic(self) -> tuple[StepPlan, ...]:
        """The leading steps without weight: all that a rollout without a traffic split can do."""
        leading: list[StepPlan] = []
        for step in self.steps:
            if step.has_traffic:
                break
            leading.append(dataclasses.replace(step, hold=0.0) if self.first else step)
        return tuple(leading)

    def evals_of(self, step: StepPlan) -> tuple[tuple[str, str], ...]:
        """The (gate, eval) pairs that a step requires."""
        return tuple((name, one.name) for name in step.gates for one in self._spec(name).evals)

    def metrics_of(self, step: StepPlan) -> tuple[tuple[str, str], ...]:
        """The (gate, metric) pairs that a step requires: none where no traffic can be judged."""
        return tuple(live.pair for live in self._live_of(step))

    def analysis_metrics(self) -> tuple[tuple[str, str], ...]:
        """The (gate, metric) pairs that promotion requires: none when no step has traffic."""
        return self._watched() if any(step.weight for step in self.steps) else ()

    @property
    def judges_live(self) -> bool:
        """Whether any traffic of the revision decides anything: before the promotion, or while it bakes."""
        required = {*self.analysis_metrics(), *(pair for step in self.steps for pair in self.metrics_of(step))}
        return bool(required or (self.bake and self._watched())) and not self.first and not self.recreate

    def _watched(self) -> tuple[tuple[str, str], ...]:
        return tuple((name, one.name) for name in self.analysis for one in self._spec(name).metrics)

    def live_metrics(self) -> tuple[LiveMetric, ...]:
        """All that traffic is judged by, each once: the families that share `false_rollback`."""
        return tuple(dict.fromkeys(self._live())) if not self.first and not self.recreate else ()

    def _live(self) -> Iterator[LiveMetric]:
        wanted = {*self._watched(), *(pair for step in self.steps for pair in self.metrics_of(step))}
        for name, spec in self.gates.items():
            both = (LiveMetric(name, metric, shadow=shadow) for metric in spec.metrics for shadow in (False, True))
            yield from (live for live in both if live.pair in wanted)

    def _live_of(self, step: StepPlan) -> Iterator[LiveMetric]:
        if step.has_traffic:
            metrics = ((name, metric) for name in step.gates for metric in self._spec(name).metrics)
            yield from (LiveMetric(name, metric, shadow=step.mirror > 0) for name, metric in metrics)

    def _spec(self, gate: str) -> evalgate.EvalGateSpec:
        return self.gates.get(gate) or evalgate.EvalGateSpec()

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` reads it back."""
        return {
            "steps": [{**dataclasses.asdict(step), "gates": list(step.gates)} for step in self.steps],
            "stepDeadline": self.step_deadline,
            "analysis": list(self.analysis),
            "gates": {name: spec.to_wire() for name, spec in self.gates.items()},
            "digests": dict(self.digests),
            "falseRollback": self.false_rollback,
            "rules": self.rules.to_json(),
            "bake": self.bake,
            "capacity": dataclasses.asdict(self.capacity),
            "direct": self.direct,
            "recreate": self.recreate,
            "rollsBackInconclusive": self.rolls_back_inconclusive,
            "warmup": dataclasses.asdict(self.warmup),
            "first": self.first,
        }


def from_json(data: Mapping[str, Any]) -> Plan:
    """The inverse of `Plan.to_json`.

    Raises:
        KeyError, TypeError, ValueError: the data was not written by `to_json`.
    """
    return Plan(
        steps=tuple(_step_from_json(step) for step in data["steps"]),
        step_deadline=float(data["stepDeadline"]),
        analysis=tuple(data["analysis"]),
        gates={name: evalgate.EvalGateSpec.model_validate(spec) for name, spec in data["gates"].items()},
        digests=dict(data["digests"]),
        false_rollback=float(data["falseRollback"]),
        rules=traffic.rules_from_json(data["rules"]),
        bake=float(data["bake"]),
        capacity=_capacity_from_json(data["capacity"]),
        direct=bool(data["direct"]),
        recreate=bool(data["recreate"]),
        rolls_back_inconclusive=bool(data["rollsBackInconclusive"]),
        warmup=Warmup(int(data["warmup"]["requests"]), float(data["warmup"]["duration"])),
        first=bool(data["first"]),
    )


def _step_from_json(data: Mapping[str, Any]) -> StepPlan:
    approval = data["approval"]
    return StepPlan(
        name=str(data["name"]),
        weight=int(data["weight"]),
        hold=float(data["hold"]),
        gates=tuple(data["gates"]),
        mirror=int(data["mirror"]),
        approval=ApprovalPlan(float(approval["timeout"]), bool(approval["rolls_back"])) if approval is not None else None,
    )


def _capacity_from_json(data: Mapping[str, Any]) -> capacity_.Rules:
    extra = data["max_extra"]
    return capacity_.Rules(bool(data["full"]), int(extra) if extra is not None else None, int(data["at_start"]))
