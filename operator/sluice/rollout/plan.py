"""The plan of a rollout: steps, gates and the digests of their datasets, frozen when the rollout starts.

It is stored with the evidence, so that editing a gate or the steps counts for the next rollout only.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sluice.api import durations, evalgate, modeldeployment

_DEFAULT_STEPS: Final = (("canary-5", 500), ("canary-25", 2500), ("canary-50", 5000))
_DEFAULT_HOLD: Final = 600.0


class PlanError(Exception):
    """The spec cannot be made into a plan. A person must change `field`; nothing is retried until then."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclasses.dataclass(frozen=True)
class StepPlan:
    """One step."""

    name: str
    weight: int
    """Basis points of traffic for the revision, 0 to 10000."""
    hold: float
    """Seconds it lasts at least, counted from when every proxy had its weight."""
    gates: tuple[str, ...] = ()


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

    def index(self, step: str | None) -> int | None:
        """Position of the step of that name."""
        return next((position for position, planned in enumerate(self.steps) if planned.name == step), None)

    def before_traffic(self) -> tuple[StepPlan, ...]:
        """The leading steps without weight: all that a rollout without a traffic split can do."""
        leading: list[StepPlan] = []
        for step in self.steps:
            if step.weight:
                break
            leading.append(dataclasses.replace(step, hold=0.0) if self.first else step)
        return tuple(leading)

    def evals_of(self, step: StepPlan) -> tuple[tuple[str, str], ...]:
        """The (gate, eval) pairs that a step requires."""
        return tuple((name, one.name) for name in step.gates for one in self._spec(name).evals)

    def metrics_of(self, step: StepPlan) -> tuple[tuple[str, str], ...]:
        """The (gate, metric) pairs that a step requires: none where no traffic can be judged."""
        return tuple((name, one.name) for name in step.gates for one in self._spec(name).metrics) if step.weight else ()

    def analysis_metrics(self) -> tuple[tuple[str, str], ...]:
        """The (gate, metric) pairs that promotion requires: none when no step has traffic."""
        if not any(step.weight for step in self.steps):
            return ()
        return tuple((name, one.name) for name in self.analysis for one in self._spec(name).metrics)

    def live_metrics(self) -> tuple[tuple[str, evalgate.Metric], ...]:
        """Every (gate, metric) that traffic is judged by, each once: the families that share `false_rollback`."""
        return tuple(dict.fromkeys(self._live())) if not self.first else ()

    def _live(self) -> Iterator[tuple[str, evalgate.Metric]]:
        wanted = {*self.analysis_metrics(), *(pair for step in self.steps for pair in self.metrics_of(step))}
        for name, spec in self.gates.items():
            yield from ((name, metric) for metric in spec.metrics if (name, metric.name) in wanted)

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
            "first": self.first,
        }


def from_json(data: Mapping[str, Any]) -> Plan:
    """The inverse of `Plan.to_json`.

    Raises:
        KeyError, TypeError, ValueError: the data was not written by `to_json`.
    """
    return Plan(
        steps=tuple(
            StepPlan(str(step["name"]), int(step["weight"]), float(step["hold"]), tuple(step["gates"]))
            for step in data["steps"]
        ),
        step_deadline=float(data["stepDeadline"]),
        analysis=tuple(data["analysis"]),
        gates={name: evalgate.EvalGateSpec.model_validate(spec) for name, spec in data["gates"].items()},
        digests=dict(data["digests"]),
        false_rollback=float(data["falseRollback"]),
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
        PlanError: a gate does not exist, or a weight falls from one step to the next.
    """
    rollout = spec.rollout
    canary = (rollout.strategy and rollout.strategy.canary) or modeldeployment.Canary()
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


def _steps(canary: modeldeployment.Canary) -> tuple[StepPlan, ...]:
    if canary.steps is None:
        return tuple(StepPlan(name, weight, _DEFAULT_HOLD) for name, weight in _DEFAULT_STEPS)
    steps = tuple(
        StepPlan(
            name=step.name,
            weight=modeldeployment.weight_basis_points(step.weight),
            hold=durations.seconds(step.hold) if step.hold is not None else 0.0,
            gates=tuple(reference.name for reference in step.gates or ()),
        )
        for step in canary.steps
    )
    for before, after in itertools.pairwise(steps):
        if after.weight < before.weight:
            field = f"spec.rollout.strategy.canary.steps[{after.name}].weight"
            raise PlanError(
                field,
                f"Cannot lower the weight from step {before.name!r} to {after.name!r}: "
                f"{field} must be at least {modeldeployment.weight_text(before.weight)}.",
            )
    return steps
