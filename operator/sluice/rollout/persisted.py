"""What of a rollout under way persists between two decisions: `State`, which maps one to one to `status.rollout`."""

from __future__ import annotations

import dataclasses
from typing import Final

from sluice.api import rollout_spec, rollout_status
from sluice.rollout import reasons, times, traffic

_MESSAGE_MAX: Final = 2048
_IN_STEP: Final = frozenset(
    {rollout_status.Phase.PROGRESSING, rollout_status.Phase.AWAITING_APPROVAL, rollout_status.Phase.PAUSED}
)


@dataclasses.dataclass(frozen=True)
class State:
    """A rollout under way."""

    revision: str
    phase: rollout_status.Phase
    """Never Idle: no rollout is no state."""
    started_at: float
    """Epoch seconds, in milliseconds' precision as all times here."""
    step: str | None = None
    weight: int = 0
    epoch: int = 0
    step_entered_at: float | None = None
    """When every connected proxy had acknowledged the step's weight."""
    had_traffic: bool = False
    gates: tuple[rollout_status.GateStatus, ...] = ()
    reason: str | None = None
    message: str | None = None
    mirror: int = 0
    """Basis points of the requests that are copied to it."""
    replicas: int = 0
    """Pods that the revision is to have; it only rises."""
    previous: str | None = None
    """The revision that served before, from promotion on: it gets the traffic back if need be."""
    awaiting_since: float | None = None
    """Since when the step awaits an approval."""
    approved_by: str | None = None
    """Who approved the step."""
    paused_by: str | None = None
    """Who ordered a pause that lasts."""
    resumed_at: float | None = None
    """When the step went on after a pause: its time limits count from there."""
    released: rollout_status.Release | None = None
    released_by: str | None = None
    """Who ended the step, or its hold, early."""

    @property
    def in_step(self) -> bool:
        """Whether it is in one of its steps."""
        return self.phase in _IN_STEP

    @property
    def has_traffic(self) -> bool:
        """Whether the revision gets requests, if only copies."""
        return self.weight > 0 or self.mirror > 0

    def with_orders_of(self, written: State | None) -> State:
        """The same with what people ordered, and how large it is, as it was written: protection never changes that.

        Who protects may have a late cache, and what it sends must not undo what others wrote in between.
        """
        if written is None or written.revision != self.revision:
            return self
        ordered = dataclasses.replace(self, replicas=max(self.replicas, written.replicas), paused_by=written.paused_by)
        if written.step != self.step:
            return ordered
        return dataclasses.replace(
            ordered,
            awaiting_since=written.awaiting_since,
            approved_by=written.approved_by,
            resumed_at=written.resumed_at,
            released=written.released,
            released_by=written.released_by,
        )

    @property
    def outcome(self) -> rollout_status.Outcome:
        """How the rollout ends when it is taken back now."""
        if self.reason in reasons.NOT_A_FAILURE:
            return rollout_status.Outcome.SUPERSEDED
        return rollout_status.Outcome.ROLLED_BACK if self.had_traffic else rollout_status.Outcome.REJECTED


def from_status(status: rollout_status.RolloutStatus | None) -> State | None:
    """The state that a status carries. Total: a member that someone spoiled reads as its default."""
    if status is None or status.phase is rollout_status.Phase.IDLE:
        return None
    return State(
        revision=status.revision,
        phase=status.phase,
        started_at=times.parse_time(status.started_at) or 0.0,
        step=status.step,
        weight=_basis_points(status.weight),
        mirror=_basis_points(status.mirror),
        replicas=status.replicas,
        previous=status.previous,
        awaiting_since=times.parse_time(status.awaiting_since),
        approved_by=status.approved_by,
        paused_by=status.paused_by,
        resumed_at=times.parse_time(status.resumed_at),
        released=status.released,
        released_by=status.released_by,
        epoch=status.epoch,
        step_entered_at=times.parse_time(status.step_entered_at),
        had_traffic=status.had_traffic,
        gates=status.gates,
        reason=status.reason,
        message=status.message,
    )


def _time(moment: float | None) -> str | None:
    return None if moment is None else times.time_text(moment)


def _basis_points(text: str | None) -> int:
    try:
        return min(max(rollout_spec.weight_basis_points(text or 0), 0), traffic.FULL_WEIGHT)
    except ValueError:
        return 0


def to_status(state: State | None) -> rollout_status.RolloutStatus | None:
    """The inverse of `from_status`."""
    if state is None:
        return None
    return rollout_status.RolloutStatus(
        revision=state.revision,
        phase=state.phase,
        step=state.step,
        weight=rollout_spec.weight_text(state.weight),
        mirror=rollout_spec.weight_text(state.mirror) if state.mirror else None,
        epoch=state.epoch,
        started_at=times.time_text(state.started_at),
        step_entered_at=_time(state.step_entered_at),
        replicas=state.replicas,
        previous=state.previous,
        awaiting_since=_time(state.awaiting_since),
        approved_by=state.approved_by,
        paused_by=state.paused_by,
        resumed_at=_time(state.resumed_at),
        released=state.released,
        released_by=state.released_by,
        had_traffic=state.had_traffic,
        gates=state.gates,
        reason=state.reason,
        message=None if state.message is None else state.message[:_MESSAGE_MAX],
    )
