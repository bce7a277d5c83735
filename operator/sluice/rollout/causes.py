"""Why pods are not ready, by a closed table: whose fault it is decides what a rollout does.

The table is `TABLE`, in order of precedence for one pod; over all pods of a revision the worst finding counts. A pod that is
being deleted or disrupted is evidence of nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from sluice.rollout import health, logs, pods

CRASH_LOOP_EXITS: Final = 3
OOM_EXITS: Final = 2
_OOM: Final = "OOMKilled"
_NODE_RESTARTED: Final = ("ContainerStatusUnknown", "Unknown")
"""Ends that the kubelet did not see: the node or the runtime went away, not the engine."""
_PULL_REASONS: Final = (
    "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "RegistryUnavailable",
    "SignatureValidationFailed",
)  # fmt: skip
_CREATING_REASONS: Final = ("", "ContainerCreating", "PodInitializing")
_PATIENT: Final = (health.Cause.IMAGE_NOT_FOUND, health.Cause.MODEL_NOT_FOUND)
"""They may still be uploaded: the environment's until the startup timeout."""
_TERMINATED_PODS: Final[Mapping[str, health.Cause]] = {
    "Evicted": health.Cause.EVICTED,
    "EvictionByEvictionAPI": health.Cause.EVICTED,
    "TerminationByKubelet": health.Cause.EVICTED,
    "Preempting": health.Cause.PREEMPTED,
    "PreemptionByScheduler": health.Cause.PREEMPTED,
    "NodeLost": health.Cause.NODE_LOST,
    "DeletionByTaintManager": health.Cause.NODE_LOST,
    "DeletionByPodGC": health.Cause.NODE_LOST,
    "Terminated": health.Cause.NODE_LOST,  # a node that shuts down
    "NodeShutdown": health.Cause.NODE_LOST,
    "UnexpectedAdmissionError": health.Cause.NODE_REFUSED,
    "NodeAffinity": health.Cause.NODE_REFUSED,
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """What one pod says."""

    cause: health.Cause
    message: str
    effect: health.CauseClass
    recheck_after: float | None = None


@dataclasses.dataclass(frozen=True)
class Moment:
    """What the time limits are held against; seconds."""

    now: float
    startup_timeout: float


def health_of(
    deployment: Mapping[str, Any], pod_objects: Iterable[Mapping[str, Any]], *, startup_timeout: float, now: float
) -> health.Health:
    """The health of a revision from its Deployment and its pods, as JSON objects.

    Args:
        deployment: the revision's Deployment.
        pod_objects: every pod with the revision's labels.
        startup_timeout: seconds that an engine may run without being ready.
        now: epoch seconds.
    """
    desired = int(deployment.get("spec", {}).get("replicas", 1))
    parsed = sorted((pods.parse_pod(obj) for obj in pod_objects), key=lambda pod: pod.name)
    staying = [pod for pod in parsed if not pod.deleting]
    live = [pod for pod in staying if not pod.over]
    ready = sum(pod.is_ready for pod in live)
    moment = Moment(now, startup_timeout)
    findings = [finding for pod in live if (finding := find(pod, moment)) is not None]
    if len(live) < desired:
        findings += _absent(deployment, [pod for pod in staying if pod.over])
    if ready >= desired:
        findings = [finding for finding in findings if finding.effect is health.CauseClass.REVISION]
    worst = min(findings, key=lambda finding: _RANK[finding.effect], default=None)
    recheck = min((finding.recheck_after for finding in findings if finding.recheck_after is not None), default=None)
    if worst is None:
        return health.Health(desired, ready)
    return health.Health(desired, ready, worst.cause, worst.effect, worst.message, recheck)


_RANK: Final = {health.CauseClass.REVISION: 0, health.CauseClass.ENVIRONMENT: 1, health.CauseClass.NONE: 2}


def find(pod: pods.Pod, moment: Moment) -> Finding | None:
    """Why this pod is not ready or not to be trusted; None when it is fine."""
    found = (check(pod, moment) for check in TABLE)
    return next((finding for finding in found if finding is not None), None)


def disrupted(pod: pods.Pod, _: Moment) -> Finding | None:
    """Somebody takes the pod away: whatever it does now says nothing."""
    if pod.disrupted is None:
        return None
    return _finding(health.Cause.LEAVING, f"Pod {pod.name} is being taken away ({pod.disrupted.reason}).")


def not_scheduled(pod: pods.Pod, _: Moment) -> Finding | None:
    """No node took it yet."""
    if pod.scheduled is None or pod.scheduled.true:
        return None
    volumes = "persistentvolumeclaim" in pod.scheduled.message.lower()
    cause = health.Cause.VOLUME_PENDING if volumes else health.Cause.UNSCHEDULABLE
    return _finding(cause, f"Pod {pod.name} is not scheduled: {pod.scheduled.message}")


def image_missing(pod: pods.Pod, moment: Moment) -> Finding | None:
    """The image is not there."""
    if pod.engine is None or pod.engine.waiting not in _PULL_REASONS:
        return None
    cause = logs.pull_cause(pod.engine.waiting, pod.engine.waiting_message)
    return _patiently(pod, moment, cause, f"Pod {pod.name}: {pod.engine.waiting_message or pod.engine.waiting}")


def creating(pod: pods.Pod, _: Moment) -> Finding | None:
    """The container does not exist yet."""
    if pod.engine is not None and (pod.engine.waiting is None or pod.engine.ends):
        return None
    if pod.engine is None or pod.engine.waiting in _CREATING_REASONS:
        return _finding(health.Cause.PULLING, f"Pod {pod.name} pulls its image or mounts its volumes.")
    config = pod.engine.waiting == "CreateContainerConfigError"
    cause = health.Cause.CONFIG_MISSING if config else health.Cause.CONTAINER_NOT_CREATED
    return _finding(cause, f"Pod {pod.name}: {pod.engine.waiting}: {pod.engine.waiting_message}")


def out_of_memory(pod: pods.Pod, _: Moment) -> Finding | None:
    """Killed twice for its memory."""
    if pod.engine is None or pod.engine.exits < OOM_EXITS or not all(end.reason == _OOM for end in pod.engine.ends):
        return None
    message = f"Pod {pod.name}: the engine was killed {pod.engine.exits} times for using more memory than its limit."
    return _finding(health.Cause.OOM_KILLED, message) if pod.engine.ends else None


def told_why(pod: pods.Pod, moment: Moment) -> Finding | None:
    """The engine ended and its last lines tell why. Comes before counting ends: an outage of the hub ends it often, too."""
    if pod.engine is None or pod.engine.ready or not pod.engine.ends:
        return None
    cause = logs.end_cause(pod.engine.ends[0])
    return _patiently(pod, moment, cause, _ended(pod, pod.engine)) if cause is not None else None


def crash_loop(pod: pods.Pod, _: Moment) -> Finding | None:
    """It ended again and again."""
    if pod.engine is None or pod.engine.exits < CRASH_LOOP_EXITS or not pod.engine.ends:
        return None
    if pod.engine.ends[0].reason in _NODE_RESTARTED:
        return None
    return _finding(health.Cause.CRASH_LOOP, _ended(pod, pod.engine))


def node_lost(pod: pods.Pod, _: Moment) -> Finding | None:
    """The node controller took its readiness away, not the kubelet: the container's own readiness stands."""
    if pod.is_ready or pod.engine is None or not pod.engine.ready or pod.ready is None:
        return None
    if pod.ready.reason == "ReadinessGatesNotReady":
        return None
    return _finding(health.Cause.NODE_LOST, f"Pod {pod.name} was ready, but its node does not answer.")


def starting(pod: pods.Pod, moment: Moment) -> Finding | None:
    """It runs and is not ready, which the startup timeout bounds: only time that the engine runs counts."""
    if pod.is_ready or pod.engine is None:
        return None
    spent = _time_unready(pod, pod.engine, moment.now)
    if spent >= moment.startup_timeout:
        message = f"Pod {pod.name}: the engine ran for {spent:.0f} s and was not ready; spec.startupTimeout allows "
        return _finding(health.Cause.STARTUP_TIMEOUT, f"{message}{moment.startup_timeout:.0f} s.")
    left = moment.startup_timeout - spent if pod.engine.running_since is not None else None
    message = _ended(pod, pod.engine) if pod.engine.ends else f"Pod {pod.name} loads its model."
    return Finding(health.Cause.STARTING, message, health.CauseClass.NONE, left)


TABLE: Final[tuple[Callable[[pods.Pod, Moment], Finding | None], ...]] = (
    disrupted,
    not_scheduled,
    image_missing,
    creating,
    node_lost,
    out_of_memory,
    told_why,
    crash_loop,
    starting,
)


def _absent(deployment: Mapping[str, Any], over: list[pods.Pod]) -> list[Finding]:
    """Why there are fewer pods than wanted."""
    for condition in deployment.get("status", {}).get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            message = condition.get("message", "")
            return [_finding(health.Cause.QUOTA_EXCEEDED if "quota" in message else health.Cause.PODS_REFUSED, message)]
    for pod in over:
        reasons = (pod.disrupted.reason if pod.disrupted is not None else "", pod.reason)
        fallback = health.Cause.NODE_REFUSED if pod.reason.startswith("OutOf") else health.Cause.EVICTED
        cause = next((_TERMINATED_PODS[reason] for reason in reasons if reason in _TERMINATED_PODS), fallback)
        return [_finding(cause, f"Pod {pod.name} has ended: {pod.reason}: {pod.message}")]
    return [_finding(health.Cause.STARTING, "Pods are being created.")]


def _finding(cause: health.Cause, message: str) -> Finding:
    return Finding(cause, message, health.class_of(cause))


def _patiently(pod: pods.Pod, moment: Moment, cause: health.Cause, message: str) -> Finding:
    """A finding that counts as the environment's during the startup timeout, if it is of that kind."""
    if cause not in _PATIENT:
        return _finding(cause, message)
    since = pod.scheduled.since if pod.scheduled is not None else None
    left = moment.startup_timeout - (moment.now - since) if since is not None else None
    if left is not None and left <= 0:
        return _finding(cause, message)
    return Finding(cause, message, health.CauseClass.ENVIRONMENT, left)


def _time_unready(pod: pods.Pod, engine: pods.Engine, now: float) -> float:
    """Seconds that the engine ran since the pod was last ready, over the runs that Kubernetes remembers."""
    unready_since = pod.ready.since if pod.ready is not None and pod.ready.since is not None else 0.0
    runs = [(end.started_at, end.finished_at) for end in engine.ends] + [(engine.running_since, now)]
    return sum(max(0.0, end - max(start, unready_since)) for start, end in runs if start is not None and end is not None)


def _ended(pod: pods.Pod, engine: pods.Engine) -> str:
    latest = engine.ends[0]
    times = "once" if engine.exits == 1 else f"{engine.exits} times"
    text = f"Pod {pod.name}: the engine ended {times}, last with exit code {latest.exit_code} ({latest.reason})."
    lines = logs.last_lines(latest.message)
    return f"{text} Last lines:\n{lines}" if lines else text
