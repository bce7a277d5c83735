"""How a rollout's plan is made from the spec, when it starts. What it holds is in `plan`."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from sluice.api import durations, evalgate, modeldeployment, rollout_spec
from sluice.rollout import capacity as capacity_
from sluice.rollout import plan as plan_  # an argument is named plan
from sluice.rollout import traffic
from sluice.routing import inputs

_DEFAULT_STEPS: Final = (("canary-5", 500), ("canary-25", 2500), ("canary-50", 5000))
_DEFAULT_HOLD: Final = 600.0
_REQUIRED_STEP: Final = "required"
"""Name of the step that is put first where gates are required and no step is without weight."""
_PREVIEW_STEP: Final = "preview"
"""Name of the only step of strategy BlueGreen."""


class PlanError(Exception):
    """The spec cannot be made into a plan. A person must change `field`; nothing is retried until then."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class RequiredGateError(PlanError):
    """A gate that the platform requires of every rollout here cannot judge this one."""


def build_plan(
    spec: modeldeployment.ModelDeploymentSpec,
    gates: Mapping[str, evalgate.EvalGateSpec],
    digests: Mapping[str, str],
    *,
    first: bool,
    direct: bool = False,
    replicas: int = 1,
) -> plan_.Plan:
    """The plan of a rollout that starts now.

    Args:
        spec: the ModelDeployment's.
        gates: the namespace's EvalGates by name. One called `default` takes the built-in's place.
        digests: SHA-256 of each dataset by `<gate>/<eval>`; those of other gates are left out.
        first: whether nothing serves yet.
        direct: whether the revision comes back within the rollback window.
        replicas: pods that serve now.

    Raises:
        PlanError: a gate does not exist, a weight falls from one step to the next, or a mirror follows a weight.
    """
    rollout = spec.rollout
    strategy = rollout.strategy or rollout_spec.Strategy(type="Canary")
    canary = strategy.canary or rollout_spec.Canary()
    timing = strategy.blue_green if strategy.blue_green is not None else canary
    steps = () if direct or strategy.type == "Recreate" else _steps_of(strategy)
    analysis = _analysis(rollout)
    used = _used(strategy, steps, analysis, {evalgate.BUILTIN_DEFAULT_NAME: evalgate.BUILTIN_DEFAULT, **gates})
    return plan_.Plan(
        steps=steps,
        step_deadline=durations.seconds(timing.step_deadline),
        analysis=analysis,
        gates=used,
        digests={key: digest for key, digest in digests.items() if key.partition("/")[0] in used},
        false_rollback=float(rollout.evidence.false_rollback.rstrip("%")) / 100,
        bake=durations.seconds(rollout.bake.duration) if rollout.bake is not None else 0.0,
        capacity=_capacity(strategy, replicas),
        direct=direct,
        recreate=strategy.type == "Recreate",
        rolls_back_inconclusive=timing.on_inconclusive == "Rollback",
        rules=_rules(canary),
        warmup=plan_.Warmup(rollout.warmup.requests, durations.seconds(rollout.warmup.duration)),
        first=first,
    )


def _analysis(rollout: rollout_spec.Rollout) -> tuple[str, ...]:
    """Names of the gates that are watched all the time: the built-in one where the spec says nothing."""
    if rollout.analysis is None:
        return (evalgate.BUILTIN_DEFAULT_NAME,)
    return tuple(reference.name for reference in rollout.analysis)


def _used(
    strategy: rollout_spec.Strategy,
    steps: tuple[plan_.StepPlan, ...],
    analysis: tuple[str, ...],
    known: Mapping[str, evalgate.EvalGateSpec],
) -> dict[str, evalgate.EvalGateSpec]:
    """The specs of the gates that are named."""
    place = "blueGreen.gates" if strategy.type == "BlueGreen" else "canary.steps[{}].gates"
    named = [("spec.rollout.analysis", name) for name in analysis]
    named += [(f"spec.rollout.strategy.{place.format(step.name)}", name) for step in steps for name in step.gates]
    for field, name in named:
        if name not in known:
            raise PlanError(field, f"Cannot roll out by EvalGate {name!r}: {field} names it, but it does not exist. Create it.")
    return {name: known[name] for _, name in named}


def _capacity(strategy: rollout_spec.Strategy, replicas: int) -> capacity_.Rules:
    given = (strategy.canary and strategy.canary.capacity) or rollout_spec.Capacity()
    full = given.mode == "Full" or strategy.type != "Canary"
    return capacity_.Rules(full=full, max_extra=given.max_extra_replicas, at_start=replicas)


def _approval(asked: rollout_spec.Approval | None) -> plan_.ApprovalPlan | None:
    return plan_.ApprovalPlan(durations.seconds(asked.timeout), asked.on_timeout == "Rollback") if asked is not None else None


def _steps_of(strategy: rollout_spec.Strategy) -> tuple[plan_.StepPlan, ...]:
    if strategy.type == "Canary":
        return _steps(strategy.canary or rollout_spec.Canary())
    given = strategy.blue_green or rollout_spec.BlueGreen()
    hold = durations.seconds(given.hold) if given.hold is not None else 0.0
    gates = tuple(reference.name for reference in given.gates or ())
    return (plan_.StepPlan(_PREVIEW_STEP, 0, hold, gates, approval=_approval(given.approval)),)


def _rules(canary: rollout_spec.Canary) -> traffic.Rules:
    asked, shield = canary.override, canary.shield
    override = inputs.Override(asked.header.lower(), asked.value, tuple(sorted(asked.clients))) if asked is not None else None
    return traffic.Rules(
        stickiness=canary.stickiness.header.lower() if canary.stickiness is not None else None,
        override=override,
        shield=inputs.Shield(shield.enabled, float(shield.max_extra_load.rstrip("%")) / 100),
    )


def _steps(canary: rollout_spec.Canary) -> tuple[plan_.StepPlan, ...]:
    if canary.steps is None:
        return tuple(plan_.StepPlan(name, weight, _DEFAULT_HOLD) for name, weight in _DEFAULT_STEPS)
    steps = tuple(
        plan_.StepPlan(
            name=step.name,
            weight=rollout_spec.weight_basis_points(step.weight or 0),
            mirror=rollout_spec.weight_basis_points(step.mirror or 0),
            hold=durations.seconds(step.hold) if step.hold is not None else 0.0,
            gates=tuple(reference.name for reference in step.gates or ()),
            approval=_approval(step.approval),
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
    plan: plan_.Plan, gates: Mapping[str, evalgate.EvalGateSpec], required: Iterable[tuple[str, str]], *, splits: bool
) -> plan_.Plan:
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


def _with_evals(steps: tuple[plan_.StepPlan, ...], gate: str) -> tuple[plan_.StepPlan, ...]:
    """The steps with the gate's evals before any traffic."""
    leading = tuple(itertools.takewhile(lambda step: not step.has_traffic, steps))
    if any(gate in step.gates for step in leading):
        return steps
    if leading:
        return (dataclasses.replace(steps[0], gates=(*steps[0].gates, gate)), *steps[1:])
    taken = {step.name for step in steps}
    name = next(each for each in _step_names() if each not in taken)
    return (plan_.StepPlan(name, 0, 0.0, (gate,)), *steps)
