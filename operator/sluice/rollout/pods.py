"""The few facts of a Kubernetes Pod that tell why it is not ready, read from its JSON.

What they mean is in `causes`. Anything may be missing in a young pod; what is missing reads as None.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from sluice.rollout import model
from sluice.workloads import pod_template


@dataclasses.dataclass(frozen=True)
class End:
    """One end of the engine container."""

    reason: str
    exit_code: int
    message: str
    """Its termination message: the last lines of its log."""
    started_at: float | None
    finished_at: float | None


@dataclasses.dataclass(frozen=True)
class Engine:
    """State of the engine container."""

    ready: bool = False
    restarts: int = 0
    running_since: float | None = None
    waiting: str | None = None
    """Reason, such as ImagePullBackOff."""
    waiting_message: str = ""
    end: End | None = None
    """Set while it is ended and not yet waiting to start again."""
    last_end: End | None = None

    @property
    def exits(self) -> int:
        """How often it has ended."""
        ended_now = self.end is not None or (self.running_since is None and self.last_end is not None)
        return self.restarts + 1 if ended_now else self.restarts

    @property
    def ends(self) -> tuple[End, ...]:
        """The ends that Kubernetes still remembers, the latest first."""
        return tuple(end for end in (self.end, self.last_end) if end is not None)


@dataclasses.dataclass(frozen=True)
class Condition:
    """One condition of a pod."""

    true: bool
    reason: str = ""
    message: str = ""
    since: float | None = None


@dataclasses.dataclass(frozen=True)
class Pod:
    """One pod."""

    name: str
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    deleting: bool = False
    scheduled: Condition | None = None
    ready: Condition | None = None
    disrupted: Condition | None = None
    engine: Engine | None = None
    """None before the kubelet has reported it."""

    @property
    def is_ready(self) -> bool:
        """Whether it is an endpoint."""
        return self.ready is not None and self.ready.true

    @property
    def over(self) -> bool:
        """Whether it has ended for good; a new pod takes its place."""
        return self.phase in ("Failed", "Succeeded")


def parse_pod(obj: Mapping[str, Any]) -> Pod:
    """The facts of a Pod object."""
    metadata, status = obj.get("metadata", {}), obj.get("status", {})
    conditions = {condition["type"]: _condition(condition) for condition in status.get("conditions") or ()}
    disrupted = conditions.get("DisruptionTarget")
    return Pod(
        name=metadata.get("name", ""),
        phase=status.get("phase", "Pending"),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        deleting="deletionTimestamp" in metadata,
        scheduled=conditions.get("PodScheduled"),
        ready=conditions.get("Ready"),
        disrupted=disrupted if disrupted is not None and disrupted.true else None,
        engine=_engine(status.get("containerStatuses") or ()),
    )


def _condition(obj: Mapping[str, Any]) -> Condition:
    return Condition(
        true=obj.get("status") == "True",
        reason=obj.get("reason", ""),
        message=obj.get("message", ""),
        since=model.parse_time(obj.get("lastTransitionTime")),
    )


def _engine(statuses: Iterable[Mapping[str, Any]]) -> Engine | None:
    status = next((status for status in statuses if status.get("name") == pod_template.CONTAINER), None)
    if status is None:
        return None
    state = status.get("state") or {}
    waiting, running = state.get("waiting"), state.get("running")
    return Engine(
        ready=bool(status.get("ready")),
        restarts=int(status.get("restartCount", 0)),
        running_since=model.parse_time(running.get("startedAt")) if running is not None else None,
        waiting=waiting.get("reason", "") if waiting is not None else None,
        waiting_message=waiting.get("message", "") if waiting is not None else "",
        end=_end(state.get("terminated")),
        last_end=_end((status.get("lastState") or {}).get("terminated")),
    )


def _end(obj: Mapping[str, Any] | None) -> End | None:
    if obj is None:
        return None
    return End(
        reason=obj.get("reason", ""),
        exit_code=int(obj.get("exitCode", 0)),
        message=obj.get("message", ""),
        started_at=model.parse_time(obj.get("startedAt")),
        finished_at=model.parse_time(obj.get("finishedAt")),
    )
