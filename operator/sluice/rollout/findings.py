"""What one check says of one pod, and the message that users read of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Final

from sluice.rollout import fixes, health, pods

_PATIENT: Final = (health.Cause.IMAGE_NOT_FOUND, health.Cause.MODEL_NOT_FOUND)
"""They may still be uploaded: the environment's until the startup timeout."""
_RANK: Final = {health.CauseClass.REVISION: 0, health.CauseClass.ENVIRONMENT: 1, health.CauseClass.NONE: 2}


@dataclasses.dataclass(frozen=True)
class Finding:
    """What one pod says."""

    cause: health.Cause
    message: str
    effect: health.CauseClass
    recheck_after: float | None = None
    since: float | None = None
    """Since when the pod is not ready, or is missing."""


@dataclasses.dataclass(frozen=True)
class Moment:
    """What the time limits are held against; seconds."""

    now: float
    startup_timeout: float


def of(pod: pods.Pod, cause: health.Cause, words: str, last_lines: str = "", *, recheck_after: float | None = None) -> Finding:
    """A finding of the cause's own class. `words` follow the pod's name."""
    return _finding(pod, cause, health.class_of(cause), words, last_lines, recheck_after=recheck_after)


def patiently(pod: pods.Pod, moment: Moment, cause: health.Cause, words: str, last_lines: str = "") -> Finding:
    """A finding that counts as the environment's during the startup timeout, if it is of that kind."""
    since = pod.scheduled.since if pod.scheduled is not None else None
    if cause not in _PATIENT or since is None:
        return of(pod, cause, words, last_lines)
    left = moment.startup_timeout - (moment.now - since)
    if left <= 0:
        return of(pod, cause, words, last_lines)
    return _finding(pod, cause, health.CauseClass.ENVIRONMENT, words, last_lines, patient=True, recheck_after=left)


def without_pod(cause: health.Cause, message: str, *, since: float | None = None) -> Finding:
    """A finding about a pod that does not exist."""
    effect = health.class_of(cause)
    return Finding(cause, _sentence(message, fixes.advice(cause, effect)), effect, since=since)


def worst(found: Iterable[Finding]) -> Finding | None:
    """The one that decides: the revision's fault before the environment's; of equals the first."""
    return min(found, key=lambda finding: _RANK[finding.effect], default=None)


def _finding(
    pod: pods.Pod,
    cause: health.Cause,
    effect: health.CauseClass,
    words: str,
    last_lines: str,
    *,
    patient: bool = False,
    recheck_after: float | None = None,
) -> Finding:
    said = f"Pod {pod.name}{'' if words.startswith(':') else ' '}{words}"
    message = _sentence(said, fixes.advice(cause, effect, patient=patient))
    if last_lines:
        message += f" Last lines:\n{last_lines}"
    return Finding(cause, message, effect, recheck_after, pod.unready_since)


def _sentence(said: str, advice: str) -> str:
    said = said.strip()
    end = "" if said.endswith((".", "!", "?")) else "."
    return f"{said.removesuffix('..') + '.' if said.endswith('..') else said + end} {advice}".strip()
