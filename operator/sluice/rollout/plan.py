"""The plan of a rollout: steps, gates and the digests of their datasets, frozen when the rollout starts.

It is stored with the evidence, so that editing a gate or the steps counts for the next rollout only.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sluice.api import durations, evalgate, modeldeployment, rollout_spec
from sluice.rollout import traffic

_DEFAULT_STEPS: Final = (("canary-5", 500), ("canary-25", 2500), ("canary-50", 5000))
_DEFAULT_HOLD: Final = 600.0
SHADOW_SUFFIX: Final = "/shadow"
"""Of a metric's name, where it is measured on copied requests."""
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
            "warmup": dataclasses.asdict(self.warmup),
            "first": self.first,
        }


def from_json(data: Mapping[str, Any]) -> Plan:
    """The inverse of `Plan.to_json`.

    Raises:
        KeyError, TypeError, ValueError: the data was not written by `to_json`.
    """
    return Plan(
        steps=tuple(
            StepPlan(str(step["name"]), int(step["weight"]), float(step["hold"]), tuple(step["gates"]), int(step["mirror"]))
            for step in data["steps"]
        ),
        step_deadline=float(data["stepDeadline"]),
        analysis=tuple(data["analysis"]),
        gates={name: evalgate.EvalGateSpec.model_validate(spec) for name, spec in data["gates"].items()},
        digests=dict(data["digests"]),
        false_rollback=float(data["falseRollback"]),
        rules=traffic.rules_from_json(data["rules"]),
        warmup=Warmup(int(data["warmup"]["requests"]), float(data["warmup"]["duration"])),
        first=bool(data["first"]),
    )


def build_plan(
    spec: modeldeployment.ModelDeploymentSpec,
    gates: Mapping[str, evalgate.EvalGateSpec],
    digests: Mapping[str, str],
    *,
    first: bool,
) -> Plan:
    """The plan of a rollout that starts now.

    Args:
        spec: the ModelDeployment's.
        gates: the namespace's EvalGates by name. One called `default` takes the built-in's place.
        digests: SHA-256 of each dataset by `<gate>/<eval>`; those of other gates are left out.
        first: whether nothing serves yet.

    Raises:
        PlanError: a gate does not exist, a weight falls from one step to the next, or a mirror follows a weight.
    """
    rollout = spec.rollout
    canary = (rollout.strategy and rollout.strategy.canary) or rollout_spec.Canary()
    steps = _steps(canary)
    analysis: tuple[str, ...] = (evalgate.BUILTIN_DEFAULT_NAME,)
    if rollout.analysis is not None:
        analysis = tuple(reference.name for reference in rollout.analysis)
    used = _used(steps, analysis, {evalgate.BUILTIN_DEFAULT_NAME: evalgate.BUILTIN_DEFAULT, **gates})
    return Plan(
        steps=steps,
        step_deadline=durations.seconds(canary.step_deadline),
        analysis=analysis,
        gates=used,
        digests={key: digest for key, digest in digests.items() if key.partition("/")[0] in used},
        false_rollback=float(rollout.evidence.false_rollback.rstrip("%")) / 100,
        rules=_rules(canary),
        warmup=Warmup(rollout.warmup.requests, durations.seconds(rollout.warmup.duration)),
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


def _rules(canary: rollout_spec.Canary) -> traffic.Rules:
    asked, shield = canary.override, canary.shield
    override = traffic.Override(asked.header.lower(), asked.value, tuple(sorted(asked.clients))) if asked is not None else None
    return traffic.Rules(
        stickiness=canary.stickiness.header.lower() if canary.stickiness is not None else None,
        override=override,
        shield=traffic.Shield(shield.enabled, float(shield.max_extra_load.rstrip("%")) / 100),
    )


def _steps(canary: rollout_spec.Canary) -> tuple[StepPlan, ...]:
    if canary.steps is None:
        return tuple(StepPlan(name, weight, _DEFAULT_HOLD) for name, weight in _DEFAULT_STEPS)
    steps = tuple(
        StepPlan(
            name=step.name,
            weight=rollout_spec.weight_basis_points(step.weight or 0),
            mirror=rollout_spec.weight_basis_points(step.mirror or 0),
            hold=durations.seconds(step.hold) if step.hold is not None else 0.0,
            gates=tuple(reference.name for reference in step.gates or ()),
        )
        for step in canary.steps
    )
    for before, after in itertools.pairwise(steps):
        if after.mirror and before.weight:
            field = f"spec.rollout.strategy.canary.steps[{after.name}].mirror"
            raise PlanError(
                field,
                f"Cannot mirror in step {after.name!r}: {field} comes after step {before.name!r}, which has weight "
                f"{rollout_spec.weight_text(before.weight)}. Move it before the first step with weight.",
            )
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
    leading = tuple(itertools.takewhile(lambda step: not step.has_traffic, steps))
    if any(gate in step.gates for step in leading):
        return steps
    if leading:
        return (dataclasses.replace(steps[0], gates=(*steps[0].gates, gate)), *steps[1:])
    taken = {step.name for step in steps}
    name = next(each for each in _step_names() if each not in taken)
    return (StepPlan(name, 0, 0.0, (gate,)), *steps)
