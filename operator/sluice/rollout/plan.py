"""The plan of a rollout: steps, gates and the digests of their datasets, frozen when the rollout starts.

It is stored with the evidence, so that editing a gate or the steps counts for the next rollout only.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sluice.api import durations, evalgate, modeldeployment, rollout_spec
from sluice.rollout import capacity as capacity_  # a field is named capacity
from sluice.rollout import traffic

_DEFAULT_STEPS: Final = (("canary-5", 500), ("canary-25", 2500), ("canary-50", 5000))
_DEFAULT_HOLD: Final = 600.0
SHADOW_SUFFIX: Final = "/shadow"
"""Of a metric's name, where it is measured on copied requests."""
_PREVIEW_STEP: Final = "preview"
"""Name of the only step of strategy BlueGreen."""
_REQUIRED_STEP: Final = "required"
"""Name of the step that is put first where gates are required and no step is without weight."""


class PlanError(Exception):
    """The spec cannot be made into a plan. A person must change `field`; nothing is retried until then."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class RequiredGateError(PlanError):
    """A gate that the platform requires of every rollout here cannot judge this one."""


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
        if not any(step.weight for step in self.steps):
            return ()
        return tuple((name, one.name) for name in self.analysis for one in self._spec(name).metrics)

    def live_metrics(self) -> tuple[LiveMetric, ...]:
        """All that traffic is judged by, each once: the families that share `false_rollback`."""
        return tuple(dict.fromkeys(self._live())) if not self.first else ()

    def _live(self) -> Iterator[LiveMetric]:
        wanted = {*self.analysis_metrics(), *(pair for step in self.steps for pair in self.metrics_of(step))}
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


def build_plan(
    spec: modeldeployment.ModelDeploymentSpec,
    gates: Mapping[str, evalgate.EvalGateSpec],
    digests: Mapping[str, str],
    *,
    first: bool,
    direct: bool = False,
    replicas: int = 1,
) -> Plan:
    """The plan of a rollout that starts now.

    Args:
        spec: the ModelDeployment's.
        gates: the namespace's EvalGates by name. One called `default` takes the built-in's place.
        digests: SHA-256 of each dataset by `<gate>/<eval>`; those of other gates are left out.
        first: whether nothing serves yet.
        direct: whether the revision comes back within the rollback window.
        replicas: pods that serve now.

    Raises:
        PlanError: a gate does not exist, or a weight falls from one step to the next.
    """
    rollout = spec.rollout
    strategy = rollout.strategy or rollout_spec.Strategy(type="Canary")
    canary = strategy.canary or rollout_spec.Canary()
    timing = strategy.blue_green if strategy.blue_green is not None else canary
    steps = () if direct or strategy.type == "Recreate" else _steps_of(strategy)
    analysis: tuple[str, ...] = (evalgate.BUILTIN_DEFAULT_NAME,)
    if rollout.analysis is not None:
        analysis = tuple(reference.name for reference in rollout.analysis)
    used = _used(steps, analysis, {evalgate.BUILTIN_DEFAULT_NAME: evalgate.BUILTIN_DEFAULT, **gates})
    return Plan(
        steps=steps,
        step_deadline=durations.seconds(timing.step_deadline),
        analysis=analysis,
        gates=used,
        digests={key: digest for key, digest in digests.items() if key.partition("/")[0] in used},
        false_rollback=float(rollout.evidence.false_rollback.rstrip("%")) / 100,
        rules=traffic.DEFAULT,
        bake=durations.seconds(rollout.bake.duration) if rollout.bake is not None else 0.0,
        capacity=_capacity(strategy, replicas),
        direct=direct,
        recreate=strategy.type == "Recreate",
        rolls_back_inconclusive=timing.on_inconclusive == "Rollback",
        first=first,
    )


def _used(
    steps: tuple[StepPlan, ...], analysis: tuple[str, ...], known: Mapping[str, evalgate.EvalGateSpec]
) -> dict[str, evalgate.EvalGateSpec]:
    """The specs of the gates that are named."""
    named = [("spec.rollout.analysis", name) for name in analysis]
    named += [(f"spec.rollout.strategy.canary.steps[{step.name}].gates", name) for step in steps for name in step.gates]
    for field, name in named:
        if name not in known:
            raise PlanError(field, f"Cannot roll out by EvalGate {name!r}: {field} names it, but it does not exist. Create it.")
    return {name: known[name] for _, name in named}


def _capacity(strategy: rollout_spec.Strategy, replicas: int) -> capacity_.Rules:
    given = (strategy.canary and strategy.canary.capacity) or rollout_spec.Capacity()
    full = given.mode == "Full" or strategy.type != "Canary"
    return capacity_.Rules(full=full, max_extra=given.max_extra_replicas, at_start=replicas)


def _capacity_from_json(data: Mapping[str, Any]) -> capacity_.Rules:
    extra = data["max_extra"]
    return capacity_.Rules(bool(data["full"]), int(extra) if extra is not None else None, int(data["at_start"]))


def _approval(asked: rollout_spec.Approval | None) -> ApprovalPlan | None:
    return ApprovalPlan(durations.seconds(asked.timeout), asked.on_timeout == "Rollback") if asked is not None else None


def _steps_of(strategy: rollout_spec.Strategy) -> tuple[StepPlan, ...]:
    if strategy.type == "Canary":
        return _steps(strategy.canary or rollout_spec.Canary())
    given = strategy.blue_green or rollout_spec.BlueGreen()
    hold = durations.seconds(given.hold) if given.hold is not None else 0.0
    gates = tuple(reference.name for reference in given.gates or ())
    return (StepPlan(_PREVIEW_STEP, 0, hold, gates, approval=_approval(given.approval)),)


def _steps(canary: rollout_spec.Canary) -> tuple[StepPlan, ...]:
    if canary.steps is None:
        return tuple(StepPlan(name, weight, _DEFAULT_HOLD) for name, weight in _DEFAULT_STEPS)
    steps = tuple(
        StepPlan(
            name=step.name,
            weight=rollout_spec.weight_basis_points(step.weight),
            hold=durations.seconds(step.hold) if step.hold is not None else 0.0,
            gates=tuple(reference.name for reference in step.gates or ()),
            approval=_approval(step.approval),
        )
        for step in canary.steps
    )
    for before, after in itertools.pairwise(steps):
        if after.weight < before.weight:
            field = f"spec.rollout.strategy.canary.steps[{after.name}].weight"
            raise PlanError(
                field,
                f"Cannot lower the weight from step {before.name!r} to {after.name!r}: "
                f"{field} must be at least {rollout_spec.weight_text(before.weight)}.",
            )
    return steps


def require(
    plan: Plan, gates: Mapping[str, evalgate.EvalGateSpec], required: Iterable[tuple[str, str]], *, splits: bool
) -> Plan:
    """The plan with the gates that rules of the platform require, wherever the spec does not have them already.

    Their evals are passed before any traffic, and their metrics are watched as those of the analysis.

    Args:
        plan: as the spec asks for it.
        gates: the namespace's EvalGates by name.
        required: (gate, name of the rule that requires it).
        splits: whether the spec names Gateways, without which no metric says anything.

    Raises:
        RequiredGateError: a gate does not exist, or has metrics that this rollout would never measure.
    """
    known = {evalgate.BUILTIN_DEFAULT_NAME: evalgate.BUILTIN_DEFAULT, **gates}
    for name, rule in required:
        by = f"rule {rule!r} of the platform requires EvalGate {name!r}"
        spec = known.get(name)
        if spec is None:
            raise RequiredGateError(
                "spec.rollout", f"Cannot roll out: {by}, which does not exist in this namespace. Create it."
            )
        if spec.metrics and not splits:
            raise RequiredGateError(
                "spec.gatewayRefs",
                f"Cannot roll out: {by}, whose metrics are measured at Gateways, and spec.gatewayRefs names none. Add one.",
            )
        if spec.metrics and not any(step.weight for step in plan.steps):
            raise RequiredGateError(
                "spec.rollout.strategy.canary.steps",
                f"Cannot roll out: {by}, whose metrics need traffic, and no step has weight. Add a step with weight to "
                "spec.rollout.strategy.canary.steps.",
            )
        analysis = (*plan.analysis, name) if spec.metrics and name not in plan.analysis else plan.analysis
        steps = _with_evals(plan.steps, name) if spec.evals else plan.steps
        plan = dataclasses.replace(plan, analysis=analysis, steps=steps, gates={**plan.gates, name: spec})
    return plan


def _step_names() -> Iterator[str]:
    yield _REQUIRED_STEP
    yield from (f"{_REQUIRED_STEP}-{number}" for number in itertools.count(2))


def _with_evals(steps: tuple[StepPlan, ...], gate: str) -> tuple[StepPlan, ...]:
    """The steps with the gate's evals before any traffic."""
    leading = tuple(itertools.takewhile(lambda step: not step.weight, steps))
    if any(gate in step.gates for step in leading):
        return steps
    if leading:
        return (dataclasses.replace(steps[0], gates=(*steps[0].gates, gate)), *steps[1:])
    taken = {step.name for step in steps}
    name = next(each for each in _step_names() if each not in taken)
    return (StepPlan(name, 0, 0.0, (gate,)), *steps)
