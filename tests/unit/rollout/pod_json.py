"""Pods of a revision as Kubernetes 1.36 writes them."""

from __future__ import annotations

import datetime
from typing import Any

START = 1_782_900_000.0
"""When every pod here was created; a multiple of a second."""
Json = dict[str, Any]


def stamp(after: float) -> str:
    """Kubernetes' time text, so many seconds after the start."""
    return datetime.datetime.fromtimestamp(START + after, tz=datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(type_: str, status: str, *, reason: str = "", message: str = "", at: float = 0) -> Json:
    """One pod condition."""
    extra = {key: value for key, value in (("reason", reason), ("message", message)) if value}
    return {
        "type": type_,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": stamp(at),
        "observedGeneration": 1,
        **extra,
    }


def pod(
    *,
    name: str = "chat-1a2b3c4d-7c9f8-x2x4z",
    phase: str = "Pending",
    ready: Json | None = None,
    scheduled: Json | None = None,
    engine: Json | None = None,
    init: Json | None = None,
    extra: tuple[Json, ...] = (),
    spec: Json | None = None,
    **status: str,
) -> Json:
    """A pod of one revision; scheduled and not ready unless said otherwise. `init` is its only init container."""
    sidecar = {
        "name": "istio-proxy",
        "ready": True,
        "restartCount": 9,
        "state": {"running": {"startedAt": stamp(1)}},
        "lastState": {},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "team",
            "creationTimestamp": stamp(0),
            "labels": {"sluice.dev/revision": "1a2b3c4d"},
        },
        "spec": spec or {},
        "status": {
            "phase": phase,
            "conditions": [
                condition("PodReadyToStartContainers", "True"),
                condition("Initialized", "True"),
                ready or condition("Ready", "False", reason="ContainersNotReady"),
                scheduled or condition("PodScheduled", "True"),
                *extra,
            ],
            **({"containerStatuses": [sidecar, engine]} if engine is not None else {}),
            **({"initContainerStatuses": [init]} if init is not None else {}),
            "startTime": stamp(0),
            "qosClass": "Burstable",
            **status,
        },
    }


def container(state: Json, *, last: Json | None = None, restarts: int = 0, ready: bool = False) -> Json:
    """The engine's container status."""
    return {
        "name": "engine",
        "image": "vllm/vllm-openai:v0.33.0",
        "imageID": "",
        "ready": ready,
        "started": ready,
        "restartCount": restarts,
        "state": state,
        "lastState": {} if last is None else {"terminated": last},
    }


def prefetch(state: Json, *, last: Json | None = None, restarts: int = 0, name: str = "prefetch") -> Json:
    """An init container's status, by default that of the download."""
    return {**container(state, last=last, restarts=restarts), "name": name}


def downloading(**init: Any) -> Json:
    """A pod whose download is at work, or was."""
    return pod(engine=waiting("PodInitializing"), init=prefetch(**init))


def download_ended(code: int, message: str, **last: Any) -> Json:
    """A pod whose download ended so and waits to be tried again."""
    state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}}
    return downloading(state=state, last=ended(code, message=message, **last), restarts=2)


def waiting(reason: str, message: str = "", **rest: Any) -> Json:
    """An engine that waits."""
    return container({"waiting": {"reason": reason, **({"message": message} if message else {})}}, **rest)


def running(since: float, **rest: Any) -> Json:
    """An engine that runs since so many seconds after the start."""
    return container({"running": {"startedAt": stamp(since)}}, **rest)


def ended(code: int = 1, *, reason: str = "Error", message: str = "", start: float = 10, end: float = 40) -> Json:
    """A terminated container state."""
    said = {"message": message} if message else {}
    return {
        "exitCode": code,
        "reason": reason,
        "startedAt": stamp(start),
        "finishedAt": stamp(end),
        "containerID": "containerd://6f0c",
        **said,
    }


def back_off(message: str, *, restarts: int, code: int = 1, reason: str = "Error", **times: float) -> Json:
    """An engine in CrashLoopBackOff whose last run ended so."""
    last = ended(code, reason=reason, message=message, **times)
    said = "back-off 20s restarting failed container=engine pod=chat-1a2b3c4d-7c9f8-x2x4z_team(0c1d)"
    return waiting("CrashLoopBackOff", said, last=last, restarts=restarts)


def start_error(message: str, restarts: int) -> Json:
    """An engine that the runtime could not start."""
    last = ended(128, reason="StartError", message=message) | {"startedAt": "1970-01-01T00:00:00Z"}
    return pod(phase="Running", engine=waiting("CrashLoopBackOff", last=last, restarts=restarts))


def ready_pod(name: str = "chat-1a2b3c4d-7c9f8-ready", **rest: Any) -> Json:
    """A pod that serves."""
    engine = rest.pop("engine", None) or running(20, ready=True)
    return pod(name=name, phase="Running", ready=condition("Ready", "True", at=60), engine=engine, **rest)


def pulling(message: str, reason: str = "ImagePullBackOff") -> Json:
    """A pod whose image does not come."""
    return pod(engine=waiting(reason, message))


def unschedulable(message: str, spec: Json | None = None) -> Json:
    """A pod that no node takes."""
    return pod(scheduled=condition("PodScheduled", "False", reason="Unschedulable", message=message), spec=spec)


def unseen(spec: Json | None = None) -> Json:
    """A pod that the scheduler has not looked at."""
    made = pod(spec=spec)
    made["status"] = {"phase": "Pending", "qosClass": "Burstable"}
    return made


def failed(reason: str, message: str, disruption: str | None = None) -> Json:
    """A pod that is over."""
    extra = (condition("DisruptionTarget", "True", reason=disruption, message=message),) if disruption else ()
    return pod(phase="Failed", extra=extra, reason=reason, message=message)
