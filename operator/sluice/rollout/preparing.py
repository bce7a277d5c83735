"""Checks of what runs before the engine: the download of the model, and init containers that others put into the pod."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sluice.rollout import findings, health, logs, pods
from sluice.workloads import prefetch

RETRY_SHOWS_SECONDS: Final = 60.0
"""A download that is tried again shows its last failure so long; after that it is under way."""
_BY_CODE: Final[Mapping[int, health.Cause]] = {
    prefetch.ExitCode.BAD_INPUT: health.Cause.INVALID_ARGUMENTS,
    prefetch.ExitCode.DENIED: health.Cause.MODEL_ACCESS_DENIED,
    prefetch.ExitCode.NOT_FOUND: health.Cause.MODEL_NOT_FOUND,
    prefetch.ExitCode.TRANSIENT: health.Cause.DOWNLOAD_FAILED,
    prefetch.ExitCode.NO_SPACE: health.Cause.STORAGE_FULL,
    prefetch.ExitCode.CHECKSUM: health.Cause.CHECKSUM_MISMATCH,
    prefetch.ExitCode.CHANGED: health.Cause.MODEL_CHANGED,
    prefetch.ExitCode.CACHE: health.Cause.CACHE_UNUSABLE,
}
"""Any other end, such as being killed, is one that may not come again."""


def image_missing(pod: pods.Pod, _: findings.Moment) -> findings.Finding | None:
    """The image of an init container is not there: the operator's own, or somebody else's, so never the revision's fault."""
    first = pod.first
    if first is None or first.waiting not in logs.PULL_REASONS:
        return None
    said = first.waiting_message or first.waiting
    return findings.of(pod, health.Cause.PULL_FAILED, f"cannot start its init container {first.name}: {said}.")


def download_failed(pod: pods.Pod, moment: findings.Moment) -> findings.Finding | None:
    """The model could not be downloaded; the container's own sentence names the URL and what it answered."""
    first = pod.first
    if first is None or first.name != prefetch.CONTAINER or first.failure is None:
        return None
    if first.running_since is not None and moment.now - first.running_since >= RETRY_SHOWS_SECONDS:
        return None
    cause = _BY_CODE.get(first.failure.exit_code, health.Cause.DOWNLOAD_FAILED)
    said = logs.last_lines(first.failure.message) or f"exit code {first.failure.exit_code} ({first.failure.reason})"
    return findings.patiently(pod, moment, cause, f": {said}")


def failed(pod: pods.Pod, _: findings.Moment) -> findings.Finding | None:
    """An init container that is not ours failed, or cannot be created."""
    first = pod.first
    if first is None:
        return None
    if first.name != prefetch.CONTAINER and first.failure is not None and first.running_since is None:
        words = f": its init container {first.name} ended with exit code {first.failure.exit_code} ({first.failure.reason})."
        return findings.of(pod, health.Cause.CONTAINER_NOT_CREATED, words, logs.last_lines(first.failure.message))
    if first.waiting is None or first.failure is not None or first.waiting in logs.CREATING_REASONS:
        return None
    config = first.waiting == "CreateContainerConfigError"
    cause = health.Cause.CONFIG_MISSING if config else health.Cause.CONTAINER_NOT_CREATED
    return findings.of(pod, cause, f"cannot start its init container {first.name}: {first.waiting_message or first.waiting}.")


def under_way(pod: pods.Pod, _: findings.Moment) -> findings.Finding | None:
    """It runs, which may take as long as it takes."""
    first = pod.first
    if first is None or first.running_since is None:
        return None
    if first.name != prefetch.CONTAINER:
        return findings.of(pod, health.Cause.STARTING, f"runs its init container {first.name}.")
    what = ", ".join(pod.wishes.downloads) or "its model"
    return findings.of(pod, health.Cause.DOWNLOADING, f"downloads {what}.")
