"""Why pods are not ready, by a closed table: whose fault it is decides what a rollout does.

The table is `TABLE`, in order of precedence for one pod; over all pods of a revision the worst finding counts. A pod that is
being deleted or disrupted is evidence of nothing. What init containers say is in `preparing`, the scheduler's words are in
`placement`, those of registries and engines in `logs`, and what a person can do in `fixes`.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from sluice.rollout import findings, health, logs, placement, pods, preparing, times

CRASH_LOOP_EXITS: Final = 3
OOM_EXITS: Final = 2
_OOM: Final = "OOMKilled"
_NODE_RESTARTED: Final = ("ContainerStatusUnknown", "Unknown")
"""Ends that the kubelet did not see: the node or the runtime went away, not the engine."""
_NEVER_RAN: Final = ("StartError", "ContainerCannotRun")
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

Finding = findings.Finding
Moment = findings.Moment


def health_of(
    deployment: Mapping[str, Any],
    pod_objects: Iterable[Mapping[str, Any]],
    *,
    startup_timeout: float,
    now: float,
    words: Mapping[str, str] = types.MappingProxyType({}),
) -> health.Health:
    """The health of a revision from its Deployment and its pods, as JSON objects.

    Args:
        deployment: the revision's Deployment.
        pod_objects: every pod with the revision's labels.
        startup_timeout: seconds that an engine may run without being ready.
        now: epoch seconds.
        words: by the uid of a pod what its engine's log says beyond the termination message.
    """
    desired = int(deployment.get("spec", {}).get("replicas", 1))
    parsed = sorted((pods.parse_pod(obj, words) for obj in pod_objects), key=lambda pod: pod.name)
    staying = [pod for pod in parsed if not pod.deleting]
    live = [pod for pod in staying if not pod.over]
    ready = sum(pod.is_ready for pod in live)
    moment = Moment(now, startup_timeout)
    found = [(pod, finding) for pod in live if (finding := find(pod, moment)) is not None]
    unready = [finding for pod, finding in found if not pod.is_ready]
    absent = _absent(deployment, [pod for pod in staying if pod.over]) if len(live) < desired else []
    every = [*(finding for _, finding in found), *absent]
    if ready >= desired:
        every = [finding for finding in every if finding.effect is health.CauseClass.REVISION]
        unready = absent = []
    worst, worst_unready = findings.worst(every), findings.worst([*unready, *absent])
    return health.Health(
        desired,
        ready,
        cause=worst.cause if worst is not None else None,
        effect=worst.effect if worst is not None else health.CauseClass.NONE,
        message=worst.message if worst is not None else "",
        recheck_after=_next_look(every, moment),
        trouble=_trouble(worst_unready, moment) if worst_unready is not None else None,
    )


def _next_look(found: Iterable[Finding], moment: Moment) -> float | None:
    """Seconds until the first time limit that may change what is found."""
    limits = (limit for finding in found for limit in (finding.recheck_after, _lasts_in(finding, moment)))
    return min((limit for limit in limits if limit is not None and limit > 0), default=None)


def find(pod: pods.Pod, moment: Moment) -> Finding | None:
    """Why this pod is not ready or not to be trusted; None when it is fine."""
    found = (check(pod, moment) for check in TABLE)
    return next((finding for finding in found if finding is not None), None)


def disrupted(pod: pods.Pod, _: Moment) -> Finding | None:
    """Somebody takes the pod away: whatever it does now says nothing."""
    if pod.disrupted is None:
        return None
    return findings.of(pod, health.Cause.LEAVING, f"is being taken away ({pod.disrupted.reason}).")


def not_scheduled(pod: pods.Pod, _: Moment) -> Finding | None:
    """No node took it yet."""
    if pod.scheduled is not None and not pod.scheduled.true:
        words = placement.explain(pod.scheduled.message, pod.wishes)
        return findings.of(pod, placement.cause(pod.scheduled.message), words)
    if pod.on_node:
        return None
    if pod.wishes.claims:  # the scheduler does not even begin while one is missing
        return findings.of(pod, health.Cause.RESOURCE_CLAIM_PENDING, placement.awaited(pod))
    return findings.of(pod, health.Cause.STARTING, "waits for the scheduler.")


def image_missing(pod: pods.Pod, moment: Moment) -> Finding | None:
    """The image is not there, or the image volume that holds the model."""
    if pod.engine is None or pod.engine.waiting not in logs.PULL_REASONS:
        return None
    message = pod.engine.waiting_message or pod.engine.waiting
    cause = logs.pull_cause(pod.engine.waiting, message, model_images=pod.wishes.images)
    return findings.patiently(pod, moment, cause, f"cannot start: {message}.")


def creating(pod: pods.Pod, _: Moment) -> Finding | None:
    """The container does not exist yet."""
    if pod.engine is not None and (pod.engine.waiting is None or pod.engine.ends):
        return None
    if pod.engine is None or pod.engine.waiting in logs.CREATING_REASONS:
        if pod.sandbox is not None and not pod.sandbox.true:
            return findings.of(pod, health.Cause.MOUNTING, "waits for its volumes and its network.")
        return findings.of(pod, health.Cause.PULLING, "waits for its image.")
    config = pod.engine.waiting == "CreateContainerConfigError"
    cause = health.Cause.CONFIG_MISSING if config else health.Cause.CONTAINER_NOT_CREATED
    return findings.of(pod, cause, f"cannot start: {pod.engine.waiting}: {pod.engine.waiting_message}.")


def never_ran(pod: pods.Pod, _: Moment) -> Finding | None:
    """The runtime could not start the engine: the node's fault, unless the image has no such command."""
    end = pod.engine.failure if pod.engine is not None and not pod.engine.ready else None
    if end is None or end.reason not in _NEVER_RAN or logs.has_no_command(end.message):
        return None
    return findings.of(pod, health.Cause.CONTAINER_NOT_CREATED, f"cannot start: {end.reason}: {end.message.strip()}.")


def out_of_memory(pod: pods.Pod, _: Moment) -> Finding | None:
    """Killed twice for its memory."""
    if pod.engine is None or pod.engine.exits < OOM_EXITS or not all(end.reason == _OOM for end in pod.engine.ends):
        return None
    words = f": the engine was killed {pod.engine.exits} times for using more memory than its limit."
    return findings.of(pod, health.Cause.OOM_KILLED, words) if pod.engine.ends else None


def told_why(pod: pods.Pod, moment: Moment) -> Finding | None:
    """The engine ended and its last lines tell why. Comes before counting ends: an outage of the hub ends it often, too."""
    if pod.engine is None or pod.engine.ready or not pod.engine.ends:
        return None
    cause = logs.end_cause(pod.engine.ends[0])
    return findings.patiently(pod, moment, cause, *_ended(pod.engine)) if cause is not None else None


def crash_loop(pod: pods.Pod, _: Moment) -> Finding | None:
    """It ended again and again."""
    if pod.engine is None or pod.engine.exits < CRASH_LOOP_EXITS or not pod.engine.ends:
        return None
    latest = pod.engine.ends[0]
    if latest.reason in _NODE_RESTARTED:
        return None
    cause = health.Cause.ENGINE_HUNG if logs.hung(latest) is not None else health.Cause.CRASH_LOOP
    return findings.of(pod, cause, *_ended(pod.engine))


def node_lost(pod: pods.Pod, _: Moment) -> Finding | None:
    """The node controller took its readiness away, not the kubelet: the container's own readiness stands."""
    if pod.is_ready or pod.engine is None or not pod.engine.ready or pod.ready is None:
        return None
    if pod.ready.reason == "ReadinessGatesNotReady":
        return None
    return findings.of(pod, health.Cause.NODE_LOST, "was ready, but its node does not answer.")


def starting(pod: pods.Pod, moment: Moment) -> Finding | None:
    """It runs and is not ready, which the startup timeout bounds: only time that the engine runs counts."""
    if pod.is_ready or pod.engine is None:
        return None
    spent = _time_unready(pod, pod.engine, moment.now)
    if spent >= moment.startup_timeout:
        allowed = f"spec.startupTimeout allows {moment.startup_timeout:.0f} s."
        words = f": the engine ran for {spent:.0f} s and was not ready; {allowed}"
        return findings.of(pod, health.Cause.STARTUP_TIMEOUT, words, _ended(pod.engine)[1] if pod.engine.ends else "")
    left = moment.startup_timeout - spent if pod.engine.running_since is not None else None
    words, lines = _ended(pod.engine) if pod.engine.ends else ("loads its model.", "")
    return findings.of(pod, health.Cause.STARTING, words, lines, recheck_after=left)


TABLE: Final[tuple[Callable[[pods.Pod, Moment], Finding | None], ...]] = (
    disrupted,
    not_scheduled,
    preparing.image_missing,
    preparing.download_failed,
    preparing.failed,
    preparing.under_way,
    image_missing,
    creating,
    node_lost,
    never_ran,
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
            cause = health.Cause.QUOTA_EXCEEDED if "exceeded quota" in message else health.Cause.PODS_REFUSED
            return [findings.without_pod(cause, message, since=times.parse_time(condition.get("lastTransitionTime")))]
    for pod in over:
        reasons = (pod.disrupted.reason if pod.disrupted is not None else "", pod.reason)
        fallback = health.Cause.NODE_REFUSED if pod.reason.startswith("OutOf") else health.Cause.EVICTED
        cause = next((_TERMINATED_PODS[reason] for reason in reasons if reason in _TERMINATED_PODS), fallback)
        return [findings.of(pod, cause, f"has ended: {pod.reason}: {pod.message}")]
    return [findings.without_pod(health.Cause.STARTING, "Pods are being created.")]


def _trouble(finding: Finding, moment: Moment) -> health.Trouble:
    left = _lasts_in(finding, moment)
    return health.Trouble(finding.cause, finding.effect, finding.message, lasting=left is not None and left <= 0)


def _lasts_in(finding: Finding, moment: Moment) -> float | None:
    """Seconds until a person should look at what the environment does; 0 or less when that time is over."""
    is_fault = finding.effect is health.CauseClass.ENVIRONMENT and finding.cause not in health.PROGRESS
    return finding.since + moment.startup_timeout - moment.now if is_fault and finding.since is not None else None


def _time_unready(pod: pods.Pod, engine: pods.Container, now: float) -> float:
    """Seconds that the engine ran since the pod was last ready, over the runs that Kubernetes remembers."""
    unready_since = pod.ready.since if pod.ready is not None and pod.ready.since is not None else 0.0
    runs = [(end.started_at, end.finished_at) for end in engine.ends] + [(engine.running_since, now)]
    return sum(max(0.0, end - max(start, unready_since)) for start, end in runs if start is not None and end is not None)


def _ended(engine: pods.Container) -> tuple[str, str]:
    """That the engine ended and what it counts as, and its last lines."""
    latest = engine.ends[0]
    times = "once" if engine.exits == 1 else f"{engine.exits} times"
    hung = logs.hung(latest)
    if hung is not None:
        counts = f"That counts as an end like any other: {CRASH_LOOP_EXITS} of them reject a revision in rollout."
        return f": the engine ended {times}, last because its liveness probe failed: {hung}. {counts}", ""
    words = f": the engine ended {times}, last with exit code {latest.exit_code} ({latest.reason})."
    if latest.exit_code in logs.KILLED and latest.reason != _OOM:
        words += " It was killed from outside: by a probe that failed, or by its node."
    return words, logs.last_lines(latest.message)
