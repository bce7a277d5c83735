"""A ModelDeployment as people look at it, read from its JSON.

Read by hand and not by the API's models: a plugin may be older or younger than the operator, and has to show what it does not
know rather than fail. Pure.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import pydantic

from sluice.api import commands, durations, evalgate, modeldeployment, rollout_spec
from sluice.rollout import planning

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Object = Mapping[str, Any]

T = TypeVar("T", bound="DataclassInstance")


@dataclasses.dataclass(frozen=True)
class Gate:
    """What one metric or eval says."""

    name: str
    metric: str
    verdict: str
    reason: str = ""
    message: str = ""
    n: int = 0
    estimate: str = ""
    interval: str = ""
    limit: str = ""
    needs: str = ""


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of the plan."""

    name: str
    weight: str
    """Percent."""
    mirror: str = ""
    """Percent of the requests that are copied; empty where none are."""
    hold: str = ""
    """A duration; empty where it is none."""
    gates: tuple[str, ...] = ()
    approval: bool = False

    @property
    def hold_seconds(self) -> float:
        """How long it lasts at least."""
        try:
            return durations.seconds(self.hold) if self.hold else 0.0
        except ValueError:
            return 0.0


@dataclasses.dataclass(frozen=True)
class Rollout:
    """The rollout under way."""

    revision: str
    phase: str
    step: str = ""
    weight: str = "0"
    mirror: str = ""
    started_at: str = ""
    step_entered_at: str = ""
    awaiting_since: str = ""
    previous: str = ""
    """The revision that served before, once this one does."""
    peak_gpus: int = 0
    """What the rollout needs at its height, of both revisions together; 0: not known."""
    approved_by: str = ""
    paused_by: str = ""
    resumed_at: str = ""
    released: str = ""
    released_by: str = ""
    reason: str = ""
    message: str = ""
    gates: tuple[Gate, ...] = ()
    steps: tuple[Step, ...] = ()

    @property
    def number(self) -> int | None:
        """Position of the present step, from 0."""
        return next((index for index, step in enumerate(self.steps) if step.name == self.step), None)

    @property
    def present(self) -> Step | None:
        """The present step."""
        return self.steps[self.number] if self.number is not None else None


@dataclasses.dataclass(frozen=True)
class Last:
    """How the latest rollout ended."""

    revision: str
    outcome: str
    reason: str = ""
    message: str = ""
    started_at: str = ""
    finished_at: str = ""
    gates: tuple[Gate, ...] = ()


@dataclasses.dataclass(frozen=True)
class Condition:
    """One condition."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str = ""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One revision of the history."""

    revision: str
    number: int = 0
    outcome: str = ""
    created_at: str = ""
    model: str = ""
    image: str = ""
    result: str = ""
    reason: str = ""
    message: str = ""
    finished_at: str = ""


@dataclasses.dataclass(frozen=True)
class Handled:
    """What became of an order."""

    command: str
    by: str = ""
    at: str = ""
    accepted: bool = False
    message: str = ""


@dataclasses.dataclass(frozen=True)
class Undone:
    """What a person has undone, until the template changes."""

    revision: str
    held: str
    """The revision in its place."""
    by: str = ""


@dataclasses.dataclass(frozen=True)
class Model:
    """The ModelDeployment."""

    namespace: str
    name: str
    generation: int = 0
    observed_generation: int = -1
    served_name: str = ""
    url: str = ""
    pods_ready: str = ""
    stable: str = ""
    rollout: Rollout | None = None
    last_rollout: Last | None = None
    conditions: tuple[Condition, ...] = ()
    history: tuple[Entry, ...] = ()
    handled: Handled | None = None
    undone: Undone | None = None
    paused: bool = False
    """Whether the spec says so."""
    command: str = ""
    command_by: str = ""

    @property
    def title(self) -> str:
        """How messages name it."""
        return f"ModelDeployment {self.namespace}/{self.name}"

    @property
    def pending(self) -> bool:
        """Whether an order stands that the operator has not handled."""
        return bool(self.command) and (self.handled is None or self.handled.command != self.command)

    def condition(self, type_: str) -> Condition | None:
        """The condition of that type."""
        return next((each for each in self.conditions if each.type == type_), None)

    def entry(self, revision: str) -> Entry | None:
        """The revision in the history."""
        return next((each for each in self.history if each.revision == revision), None)


def read(obj: Object) -> Model:
    """The view of an object."""
    metadata, status = obj.get("metadata") or {}, obj.get("status") or {}
    annotations = metadata.get("annotations") or {}
    handled, undone = status.get("lastHandledCommand"), status.get("undone")
    return Model(
        namespace=_text(metadata, "namespace"),
        name=_text(metadata, "name"),
        generation=_number(metadata, "generation"),
        observed_generation=_number(status, "observedGeneration", -1),
        served_name=_text(status, "model"),
        url=_text(status, "url"),
        pods_ready=_text(status, "podsReady"),
        stable=_text(status, "stableRevision"),
        rollout=_rollout(status.get("rollout"), obj),
        last_rollout=_last(status.get("lastRollout")),
        conditions=tuple(_fill(Condition, each) for each in _objects(status, "conditions")),
        history=tuple(_fill(Entry, each) for each in _objects(status, "history")),
        handled=_fill(Handled, handled) if isinstance(handled, Mapping) else None,
        undone=_fill(Undone, undone) if isinstance(undone, Mapping) else None,
        paused=(obj.get("spec") or {}).get("paused") is True,
        command=_text(annotations, commands.ANNOTATION),
        command_by=_text(annotations, commands.BY_ANNOTATION),
    )


def _rollout(given: Any, obj: Object) -> Rollout | None:
    if not isinstance(given, Mapping) or not given.get("revision"):
        return None
    frozen = [_step(each) for each in _objects(given, "steps")]
    gates = tuple(_fill(Gate, each) for each in _objects(given, "gates"))
    known = _fill(Rollout, given)
    return dataclasses.replace(known, gates=gates, steps=tuple(frozen) if frozen else planned_steps(obj.get("spec") or {}))


def _last(given: Any) -> Last | None:
    if not isinstance(given, Mapping) or not given.get("revision"):
        return None
    return dataclasses.replace(_fill(Last, given), gates=tuple(_fill(Gate, each) for each in _objects(given, "gates")))


def planned_steps(spec: Object) -> tuple[Step, ...]:
    """The steps that a rollout which starts now would have, for a status that does not say the frozen ones."""
    try:
        parsed = modeldeployment.ModelDeploymentSpec.model_validate(spec)
        gates = {name: evalgate.EvalGateSpec() for name in named_gates(spec.get("rollout"))}
        made = planning.build_plan(parsed, gates, {}, first=False)
    except (pydantic.ValidationError, planning.PlanError):
        return ()
    return tuple(
        Step(
            name=step.name,
            weight=rollout_spec.weight_text(step.weight),
            mirror=rollout_spec.weight_text(step.mirror) if step.mirror else "",
            hold=durations.text(step.hold) if step.hold else "",
            gates=step.gates,
            approval=step.approval is not None,
        )
        for step in made.steps
    )


def named_gates(rollout: Any) -> set[str]:
    """Names of the EvalGates that `spec.rollout` names, of whatever strategy."""
    if isinstance(rollout, list):
        return {name for member in rollout for name in named_gates(member)}
    if not isinstance(rollout, Mapping):
        return set()
    here = {_text(each, "name") for key in ("gates", "analysis") for each in _objects(rollout, key)}
    return here.union(*(named_gates(member) for member in rollout.values()))


def _step(given: Object) -> Step:
    gates = given.get("gates")
    return Step(
        name=_text(given, "name"),
        weight=_text(given, "weight") or "0",
        mirror="" if _text(given, "mirror") == "0" else _text(given, "mirror"),
        hold="" if _text(given, "hold") == "0s" else _text(given, "hold"),
        gates=tuple(map(str, gates)) if isinstance(gates, list) else (),
        approval=bool(given.get("approval")),
    )


def _objects(parent: Object, key: str) -> Iterable[Object]:
    members = parent.get(key)
    return [each for each in members if isinstance(each, Mapping)] if isinstance(members, list) else []


def _fill(kind: type[T], given: Object) -> T:
    """A dataclass from members of the same names, camel-cased; what is missing or of another type reads as empty."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        key = camel(field.name)
        if str(field.type) == "str":
            values[field.name] = _text(given, key)
        elif str(field.type) == "int":
            values[field.name] = _number(given, key)
        elif str(field.type) == "bool":
            values[field.name] = given.get(key) is True
    return kind(**values)


def camel(name: str) -> str:
    """`step_entered_at` -> `stepEnteredAt`."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _text(given: Object, key: str) -> str:
    value = given.get(key)
    return "" if value is None else str(value)


def _number(given: Object, key: str, otherwise: int = 0) -> int:
    value = given.get(key)
    return value if isinstance(value, int) else otherwise
