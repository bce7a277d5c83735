"""Standing remarks about how much a rollout can know: said while they hold, whatever the phase."""

from __future__ import annotations

from collections.abc import Iterator

from sluice.rollout import case as case_
from sluice.rollout import model, persisted, plan


def of(case: case_.Case, state: persisted.State | None) -> tuple[model.Note, ...]:
    """The remarks that hold once `state` is the state."""
    return tuple(_notes(case, state))


def _notes(case: case_.Case, state: persisted.State | None) -> Iterator[model.Note]:
    if case.inputs.split is model.Split.NONE:
        yield model.Note(
            model.NoteType.NO_TRAFFIC_SPLIT,
            "No Gateway splits the traffic, so a new revision gets all of it at once when the gates before traffic pass. "
            "Name a Gateway in spec.gatewayRefs to roll out by weights.",
        )
    if state is None or case.inputs.plan is None:
        return
    if not case.inputs.plan.first and case.inputs.split is not model.Split.NONE and not case.inputs.plan.judges_live:
        yield model.Note(
            model.NoteType.NO_LIVE_GATE,
            "No live metric judges this rollout: spec.rollout.analysis names none, or no step has weight.",
        )
    if _compares(case.inputs.plan) and (case.base is None or not case.base.ready):
        yield model.Note(
            model.NoteType.NO_BASELINE,
            "Limits relative to the stable revision say nothing: no pod of a stable revision is ready.",
        )
    yield from _nothing_to_judge(case.inputs.plan)


def _compares(frozen: plan.Plan) -> bool:
    return any(metric.regression is not None for spec in frozen.gates.values() for metric in spec.metrics)


def _nothing_to_judge(frozen: plan.Plan) -> Iterator[model.Note]:
    idle = sorted(
        f"{step.name}/{name}"
        for step in frozen.steps
        if not step.has_traffic
        for name in step.gates
        if not frozen.gates[name].evals
    )
    if idle:
        yield model.Note(
            model.NoteType.NOTHING_TO_JUDGE,
            f"Gates with metrics only cannot judge a step without weight: {', '.join(idle)}.",
        )
