"""Status conditions: types, reasons and the kstatus rules, in one place.

`Ready` is always present. `Reconciling` and `Stalled` exist only while True and never together. A condition's
`lastTransitionTime` moves only when its status does.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Annotated, Literal

import pydantic

from sluice.api import base


class ConditionType(enum.StrEnum):
    """Types used by more than one kind; a kind's own types are in its module's docs."""

    READY = "Ready"
    """The object's spec is fully in effect."""
    AVAILABLE = "Available"
    """Something serves, whatever the latest change came to."""
    RECONCILING = "Reconciling"
    """Work towards the spec is under way. Present only while True."""
    STALLED = "Stalled"
    """Nothing more happens until a person changes something. Present only while True."""
    ACCEPTED = "Accepted"
    """The spec is meaningful to the controller."""
    RESOLVED_REFS = "ResolvedRefs"
    """Everything the spec refers to exists and may be used."""
    PROGRAMMED = "Programmed"
    """Every connected proxy has acknowledged this object's configuration."""
    ENFORCED = "Enforced"
    """At least one proxy runs this policy's limits."""
    CANARY_HEALTHY = "CanaryHealthy"
    """The revision in rollout passes what was measured so far. Present only during a rollout."""
    TRAFFIC_SPLIT = "TrafficSplit"
    """Weights reach users through a Gateway. False with reason NoTrafficSplit where there is none."""
    AUTOSCALING_READY = "AutoscalingReady"
    """The HorizontalPodAutoscalers do their work. Present only with spec.autoscaling."""
    MODEL_LOADED = "ModelLoaded"
    """The pods of the revision that is wanted have their model loaded."""
    PODS_DIFFER = "PodsDiffer"
    """A pod got another model or image than the first one of its revision, and is replaced. Present only while True."""


class Condition(base.ApiModel):
    """One `metav1.Condition`."""

    type: Annotated[str, pydantic.Field(max_length=316, description="Type of the condition, in CamelCase.")]
    status: Annotated[Literal["True", "False", "Unknown"], pydantic.Field(description="Status of the condition.")]
    observed_generation: Annotated[
        int | None, pydantic.Field(ge=0, description="The metadata.generation this condition was computed for.")
    ] = None
    last_transition_time: Annotated[
        str,
        pydantic.Field(
            description="When the status last changed.",
            json_schema_extra={"format": "date-time"},
        ),
    ] = ""
    reason: Annotated[
        str,
        pydantic.Field(
            min_length=1,
            max_length=1024,
            pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
            description="Machine-readable cause, in CamelCase.",
        ),
    ]
    message: Annotated[str, pydantic.Field(max_length=32768, description="The cause for people, and what to do.")] = ""


def make(type_: str, status: bool | None, reason: str, message: str = "") -> Condition:
    """A condition without a time; `merge` gives it one. `None` stands for Unknown."""
    return Condition(type=type_, status={True: "True", False: "False", None: "Unknown"}[status], reason=reason, message=message)


def find(conditions: Iterable[Condition], type_: str) -> Condition | None:
    """The condition of that type, if there is one."""
    return next((c for c in conditions if c.type == type_), None)


def is_true(conditions: Iterable[Condition], type_: str) -> bool:
    """Whether the condition exists and is True."""
    found = find(conditions, type_)
    return found is not None and found.status == "True"


def merge(old: Iterable[Condition], new: Iterable[Condition], *, generation: int, now: str) -> tuple[Condition, ...]:
    """What `new` looks like on the object: transition times are kept from `old` where the status did not change.

    Types absent from `new` are gone. Order is that of `new`. `now` is an RFC 3339 time.
    """
    before = {c.type: c for c in old}
    merged = []
    for condition in new:
        last = before.get(condition.type)
        since = last.last_transition_time if last is not None and last.status == condition.status else ""
        merged.append(condition.model_copy(update={"observed_generation": generation, "last_transition_time": since or now}))
    return tuple(merged)
