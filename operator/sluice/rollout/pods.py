"""The few facts of a Kubernetes Pod that tell why it is not ready, read from its JSON.

What they mean is in `causes`. Anything may be missing in a young pod; what is missing reads as None.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sluice.rollout import times
from sluice.workloads import pod_template, prefetch

_ITEM: Final = "--item="
"""Of the prefetch container's arguments: `--item=<name>=<source>`."""
_ELSEWHERE: Final = "See root cause above"


@dataclasses.dataclass(frozen=True)
class End:
    """One end of a container."""

    reason: str
    exit_code: int
    message: str
    """Its termination message: what it wrote there, or the last lines of its log."""
    started_at: float | None
    """None when it never ran: the runtime could not start it."""
    finished_at: float | None


@dataclasses.dataclass(frozen=True)
class Container:
    """State of one container."""

    name: str = pod_template.CONTAINER
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

    @property
    def failure(self) -> End | None:
        """How it failed last; None when it never did, or came to a good end since."""
        latest = next(iter(self.ends), None)
        return latest if latest is not None and latest.exit_code else None

    @property
    def done(self) -> bool:
        """Whether it came to a good end, as an init container has to."""
        return self.end is not None and self.end.exit_code == 0


@dataclasses.dataclass(frozen=True)
class Condition:
    """One condition of a pod."""

    true: bool
    reason: str = ""
    message: str = ""
    since: float | None = None


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What a pod asks the cluster for."""

    amounts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Quantity by resource, of the engine container."""
    claims: tuple[str, ...] = ()
    """ResourceClaims and templates of some (DRA), each as `ResourceClaim name`."""
    images: frozenset[str] = frozenset()
    """References of its image volumes."""
    downloads: tuple[str, ...] = ()
    """Sources that the prefetch container downloads."""


@dataclasses.dataclass(frozen=True)
class Pod:
    """One pod."""

    name: str
    created: float | None = None
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    deleting: bool = False
    on_node: bool = False
    """Whether a node was chosen."""
    scheduled: Condition | None = None
    sandbox: Condition | None = None
    """Whether its volumes are mounted and it has a network; older kubelets do not say."""
    ready: Condition | None = None
    disrupted: Condition | None = None
    first: Container | None = None
    """The init container that everything waits for; None when there is none, or all are done."""
    engine: Container | None = None
    """None before the kubelet has reported it."""
    wishes: Wishes = Wishes()

    @property
    def is_ready(self) -> bool:
        """Whether it is an endpoint."""
        return self.ready is not None and self.ready.true

    @property
    def over(self) -> bool:
        """Whether it has ended for good; a new pod takes its place."""
        return self.phase in ("Failed", "Succeeded")

    @property
    def unready_since(self) -> float | None:
        """When it stopped being ready, or began not to be."""
        for condition in (self.ready, self.scheduled):
            if condition is not None and not condition.true and condition.since is not None:
                return condition.since
        return self.created


def parse_pod(obj: Mapping[str, Any], words: Mapping[str, str] = types.MappingProxyType({})) -> Pod:
    """The facts of a Pod object. `words`: by the uid of a pod what its engine's log says beyond the termination message."""
    metadata, spec, status = obj.get("metadata", {}), obj.get("spec", {}), obj.get("status", {})
    conditions = {condition["type"]: _condition(condition) for condition in status.get("conditions") or ()}
    disrupted, scheduled = conditions.get("DisruptionTarget"), conditions.get("PodScheduled")
    return Pod(
        name=metadata.get("name", ""),
        created=times.parse_time(metadata.get("creationTimestamp")),
        phase=status.get("phase", "Pending"),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        deleting="deletionTimestamp" in metadata,
        on_node=bool(spec.get("nodeName")) or (scheduled is not None and scheduled.true),
        scheduled=scheduled,
        sandbox=conditions.get("PodReadyToStartContainers"),
        ready=conditions.get("Ready"),
        disrupted=disrupted if disrupted is not None and disrupted.true else None,
        first=_first(spec.get("initContainers") or (), status.get("initContainerStatuses") or ()),
        engine=_find(pod_template.CONTAINER, status.get("containerStatuses") or (), words.get(metadata.get("uid", ""), "")),
        wishes=_wishes(spec),
    )


def _condition(obj: Mapping[str, Any]) -> Condition:
    return Condition(
        true=obj.get("status") == "True",
        reason=obj.get("reason", ""),
        message=obj.get("message", ""),
        since=times.parse_time(obj.get("lastTransitionTime")),
    )


def _first(specs: Iterable[Mapping[str, Any]], statuses: Iterable[Mapping[str, Any]]) -> Container | None:
    """The first init container that is not done. One that restarts always is a sidecar: done once it has started."""
    sidecars = {spec["name"] for spec in specs if spec.get("restartPolicy") == "Always"}
    for status in statuses:
        container = _container(status)
        if not (bool(status.get("started")) if container.name in sidecars else container.done):
            return container
    return None


def _find(name: str, statuses: Iterable[Mapping[str, Any]], words: str) -> Container | None:
    return next((_container(status, words) for status in statuses if status.get("name") == name), None)


def _container(status: Mapping[str, Any], words: str = "") -> Container:
    state = status.get("state") or {}
    waiting, running = state.get("waiting"), state.get("running")
    return Container(
        name=status.get("name", ""),
        ready=bool(status.get("ready")),
        restarts=int(status.get("restartCount", 0)),
        running_since=times.parse_time(running.get("startedAt")) if running is not None else None,
        waiting=waiting.get("reason", "") if waiting is not None else None,
        waiting_message=waiting.get("message", "") if waiting is not None else "",
        end=_end(state.get("terminated"), words),
        last_end=_end((status.get("lastState") or {}).get("terminated"), words),
    )


def _end(obj: Mapping[str, Any] | None, words: str) -> End | None:
    if obj is None:
        return None
    message = obj.get("message", "")
    return End(
        reason=obj.get("reason", ""),
        exit_code=int(obj.get("exitCode", 0)),
        message=f"{words}\n{_last_line(message)}" if words and points_elsewhere(message) else message,
        started_at=times.parse_time(obj.get("startedAt")) or None,  # one that never ran began in 1970
        finished_at=times.parse_time(obj.get("finishedAt")),
    )


def points_elsewhere(message: str) -> bool:
    """Whether a termination message only says that the reason is further up in the log, as vLLM's do for its processes."""
    return _ELSEWHERE in message


def _last_line(message: str) -> str:
    return message.strip().splitlines()[-1]


def _wishes(spec: Mapping[str, Any]) -> Wishes:
    resources = next(
        (each.get("resources") or {} for each in spec.get("containers") or () if each.get("name") == pod_template.CONTAINER), {}
    )
    arguments = (each.get("args") or () for each in spec.get("initContainers") or () if each.get("name") == prefetch.CONTAINER)
    return Wishes(
        amounts={**(resources.get("limits") or {}), **(resources.get("requests") or {})},
        claims=tuple(_claim(each) for each in spec.get("resourceClaims") or ()),
        images=frozenset(
            volume["image"].get("reference", "") for volume in spec.get("volumes") or () if volume.get("image") is not None
        ),
        downloads=tuple(
            argument[len(_ITEM) :].partition("=")[2]
            for listed in arguments
            for argument in listed
            if argument.startswith(_ITEM)
        ),
    )


def _claim(obj: Mapping[str, Any]) -> str:
    if obj.get("resourceClaimTemplateName"):
        return f"ResourceClaimTemplate {obj['resourceClaimTemplateName']}"
    return f"ResourceClaim {obj.get('resourceClaimName', '')}"
