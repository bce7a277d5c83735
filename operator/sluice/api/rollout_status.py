"""`status.rollout` and `status.lastRollout` of a ModelDeployment: where a rollout is, and what its gates say."""

from __future__ import annotations

import enum
from typing import Annotated

import pydantic

from sluice.api import base


class Phase(enum.StrEnum):
    """Where a rollout is."""

    IDLE = "Idle"
    """No rollout: the stable revision is what the spec asks for, or the spec's revision is not tried again."""
    WARMING_UP = "WarmingUp"
    """Pods of the new revision load; no traffic reaches it."""
    PROGRESSING = "Progressing"
    """Steps set the weight, hold and wait for their gates."""
    AWAITING_APPROVAL = "AwaitingApproval"
    """The step's gates have passed, and a person has to approve."""
    PAUSED = "Paused"
    """A person stopped increases: the step stays, and so does its protection."""
    PROMOTING = "Promoting"
    """The new revision has all traffic and is being made the stable one."""
    BAKING = "Baking"
    """The new revision is the stable one, and the one before stays warm."""
    ROLLING_BACK = "RollingBack"
    """The weight is 0 at the proxies; pods of the new revision drain."""


class Release(enum.StrEnum):
    """What of a step a person has ended early."""

    HOLD = "Hold"
    """Its hold; gates and approval are still needed."""
    STEP = "Step"
    """All of it; what the analysis asks for is still needed for promotion."""


class Outcome(enum.StrEnum):
    """How a rollout ended."""

    PROMOTED = "Promoted"
    """The revision became the stable one."""
    ROLLED_BACK = "RolledBack"
    """It failed after it had traffic."""
    REJECTED = "Rejected"
    """It failed before it had any traffic."""
    SUPERSEDED = "Superseded"
    """The spec asked for another revision meanwhile."""


class Verdict(enum.StrEnum):
    """What a gate says. No data is never a Pass."""

    PASS = "Pass"
    """What the gate asks for is shown."""
    FAIL = "Fail"
    """Harm is proven."""
    INCONCLUSIVE = "Inconclusive"
    """Not enough evidence yet, or nothing to compare with."""
    ERROR = "Error"
    """The measurement itself failed."""
    RUNNING = "Running"
    """An eval is under way."""


class GateStatus(base.ApiModel):
    """What one metric or eval of a gate says of the revision in rollout."""

    name: Annotated[str, pydantic.Field(max_length=63, description="The EvalGate, or `default`.")]
    metric: Annotated[str, pydantic.Field(max_length=80, description="The metric or eval inside the gate.")]
    verdict: Annotated[Verdict, pydantic.Field(description="What it says.")]
    reason: Annotated[str | None, pydantic.Field(max_length=64, description="Why, for machines.")] = None
    message: Annotated[str | None, pydantic.Field(max_length=1024, description="Why, for people.")] = None
    n: Annotated[int, pydantic.Field(ge=0, description="Requests or items of the new revision that were judged.")] = 0
    estimate: Annotated[str | None, pydantic.Field(max_length=32, description="Best estimate of the measured value.")] = None
    interval: Annotated[str | None, pydantic.Field(max_length=64, description="Range the value is sure to lie in.")] = None
    limit: Annotated[str | None, pydantic.Field(max_length=64, description="What the value is held against.")] = None
    needs: Annotated[str | None, pydantic.Field(max_length=128, description="What is still needed for a verdict.")] = None


class StepStatus(base.ApiModel):
    """One step of the plan that the rollout follows, which the spec may no longer have."""

    name: Annotated[str, pydantic.Field(max_length=63, description="Name of the step.")]
    weight: Annotated[str, pydantic.Field(max_length=8, description="Percent of traffic for the revision.")] = "0"
    mirror: Annotated[
        str | None, pydantic.Field(max_length=8, description="Percent of the requests that the revision gets a copy of.")
    ] = None
    hold: Annotated[str, pydantic.Field(max_length=32, description="How long it lasts at least.")] = "0s"
    gates: Annotated[
        tuple[Annotated[str, pydantic.Field(max_length=63)], ...],
        pydantic.Field(
            max_length=16, description="EvalGates that must pass.", json_schema_extra={"x-kubernetes-list-type": "atomic"}
        ),
    ] = ()
    approval: Annotated[bool, pydantic.Field(description="Whether a person has to approve.")] = False


class RolloutStatus(base.ApiModel):
    """The rollout that is under way."""

    revision: Annotated[str, pydantic.Field(max_length=63, description="Hash of the revision in rollout.")]
    phase: Annotated[Phase, pydantic.Field(description="Where the rollout is.")]
    step: Annotated[str | None, pydantic.Field(max_length=63, description="The current step.")] = None
    weight: Annotated[str, pydantic.Field(max_length=8, description="Percent of traffic for the revision.")] = "0"
    mirror: Annotated[
        str | None, pydantic.Field(max_length=8, description="Percent of the requests that the revision gets a copy of.")
    ] = None
    epoch: Annotated[int, pydantic.Field(ge=0, description="Rises with every change of traffic.")] = 0
    started_at: Annotated[
        str, pydantic.Field(json_schema_extra={"format": "date-time"}, description="Start of the rollout.")
    ] = ""
    step_entered_at: Annotated[
        str | None,
        pydantic.Field(
            json_schema_extra={"format": "date-time"},
            description="When every connected proxy had acknowledged the step's weight.",
        ),
    ] = None
    replicas: Annotated[
        int, pydantic.Field(ge=0, description="Pods that the revision is to have now; it only rises during a rollout.")
    ] = 0
    peak_gpus: Annotated[
        int | None, pydantic.Field(ge=0, description="GPUs that the rollout needs at its height, of both revisions together.")
    ] = None
    previous: Annotated[
        str | None, pydantic.Field(max_length=63, description="Hash of the revision that served before, from promotion on.")
    ] = None
    awaiting_since: Annotated[
        str | None, pydantic.Field(json_schema_extra={"format": "date-time"}, description="Since when it awaits an approval.")
    ] = None
    approved_by: Annotated[str | None, pydantic.Field(max_length=256, description="Who approved the current step.")] = None
    paused_by: Annotated[
        str | None, pydantic.Field(max_length=256, description="Who paused the rollout by a command, until it is resumed.")
    ] = None
    resumed_at: Annotated[
        str | None,
        pydantic.Field(json_schema_extra={"format": "date-time"}, description="When the current step went on after a pause."),
    ] = None
    released: Annotated[Release | None, pydantic.Field(description="What of the current step a person has ended early.")] = None
    released_by: Annotated[str | None, pydantic.Field(max_length=256, description="Who did.")] = None
    steps: Annotated[
        tuple[StepStatus, ...],
        pydantic.Field(
            max_length=20,
            description="The steps of the plan, frozen when the rollout started.",
            json_schema_extra=base.map_list("name"),
        ),
    ] = ()
    had_traffic: Annotated[bool, pydantic.Field(description="Whether the revision ever had weight.")] = False
    gates: Annotated[
        tuple[GateStatus, ...],
        pydantic.Field(max_length=64, description="What each gate says.", json_schema_extra=base.map_list("name", "metric")),
    ] = ()
    reason: Annotated[str | None, pydantic.Field(max_length=64, description="Why the rollout waits or fails.")] = None
    message: Annotated[str | None, pydantic.Field(max_length=2048, description="The same for people.")] = None


class Undone(base.ApiModel):
    """What a person went back to, while the spec still asks for the revision that was undone."""

    revision: Annotated[str, pydantic.Field(max_length=63, description="Hash of the revision that was undone.")]
    held: Annotated[str, pydantic.Field(max_length=63, description="Hash of the revision that is held in its place.")]
    by: Annotated[str, pydantic.Field(max_length=256, description="Who ordered it.")] = ""


class LastRollout(base.ApiModel):
    """How the latest rollout ended."""

    revision: Annotated[str, pydantic.Field(max_length=63, description="Hash of the revision.")]
    outcome: Annotated[Outcome, pydantic.Field(description="How it ended.")]
    reason: Annotated[str, pydantic.Field(max_length=64, description="Why, for machines.")]
    message: Annotated[str, pydantic.Field(max_length=2048, description="Why, for people.")] = ""
    started_at: Annotated[str, pydantic.Field(json_schema_extra={"format": "date-time"}, description="Start.")] = ""
    finished_at: Annotated[str, pydantic.Field(json_schema_extra={"format": "date-time"}, description="End.")] = ""
    gates: Annotated[
        tuple[GateStatus, ...],
        pydantic.Field(
            max_length=64, description="What each gate said last.", json_schema_extra=base.map_list("name", "metric")
        ),
    ] = ()
