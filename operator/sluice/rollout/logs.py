"""What image pulls and ending engines say, told apart by their words.

The words are of containerd, registries, the Hugging Face hub and vLLM. Where they could mean two things, the class that
waits is taken, so that nobody's outage rejects a revision.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from sluice.rollout import health, pods

PULL_REASONS: Final = (
    "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "RegistryUnavailable",
    "SignatureValidationFailed",
)  # fmt: skip
"""Why a container waits when its image, or an image volume of it, is not there."""
CREATING_REASONS: Final = ("", "ContainerCreating", "PodInitializing")
"""Why a container waits while nothing is wrong."""
KILLED: Final = (137, 143)
"""Exit codes of SIGKILL and SIGTERM."""

_NAMES: Final = re.compile(r'"[^"]*"|\S*/\S*')
"""References and URLs, quoted or not: an image may be called anything."""
_INVALID_IMAGE: Final = re.compile(r"couldn't parse image|invalid reference format", re.IGNORECASE)
_PULL_DENIED: Final = re.compile(
    r"unauthorized|authentication required|access denied|access to the resource is denied|insufficient_scope"
    r"|authorization failed|403 forbidden|no basic auth credentials",
    re.IGNORECASE,
)
_PULL_TRANSIENT: Final = re.compile(r"toomanyrequests|too many requests", re.IGNORECASE)
_IMAGE_UNKNOWN: Final = re.compile(
    r"not found|manifest unknown|name unknown|no such manifest|repository does not exist", re.IGNORECASE
)

_NO_COMMAND: Final = re.compile(r'exec: "[^"]*": .*(no such file or directory|not found|permission denied)')
_HUNG: Final = "Liveness probe failed:"
"""What the liveness probe writes first into the engine's termination message; see workloads/engine_files/liveness.py."""
_MODEL_DENIED: Final = re.compile(
    r"GatedRepoError|Cannot access gated repo|40[13] Client Error|Invalid user token|Invalid username or password"
)
_DOWNLOAD_FAILED: Final = re.compile(
    r"LocalEntryNotFoundError|couldn't connect to '?https?://|Max retries exceeded with url"
    r"|Temporary failure in name resolution|Name or service not known"
    r"|requests\.exceptions\.\w*(Timeout|ConnectionError)|httpx\.\w*(Timeout|ConnectError)"
    r"|429 Client Error|50\d Server Error"
)
_OFFLINE: Final = re.compile(r"outgoing traffic has been disabled|offline mode is enabled|OfflineModeIsEnabled", re.IGNORECASE)
"""An engine that may not ask the hub: what it looks for was not downloaded, and never will be."""
_MODEL_UNKNOWN: Final = re.compile(
    r"RepositoryNotFoundError|RevisionNotFoundError|EntryNotFoundError|404 Client Error"
    r"|Invalid repository ID or local directory specified|HFValidationError|is not a valid model identifier"
)
_USAGE_EXIT: Final = 2
"""What argparse ends with."""
_USAGE: Final = re.compile(r"error: |^usage:", re.MULTILINE)
_INVALID_CONFIG: Final = re.compile(r"validation errors? for (?!Device)\w*(Config|Args)\b")
"""pydantic's words; DeviceConfig is left out, for a node without a device is not the revision's fault."""
_REFUSED_ARGUMENT: Final = re.compile(r"VLLMValidationError: .*\(parameter=|KeyError: 'invalid (tool call|reasoning) parser")
"""vLLM's own words, where pydantic does not look."""
_CHILD_ERROR: Final = re.compile(r"\((?!APIServer)\w+[^)]*\) ERROR [^\]]*\] ?(.*)")
_EXCEPTION: Final = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt)\b")
_LAST_LINES: Final = 12
_LAST_CHARACTERS: Final = 1200


_OF_THE_MODEL: Final[Mapping[health.Cause, health.Cause]] = {
    health.Cause.INVALID_IMAGE: health.Cause.INVALID_ARGUMENTS,
    health.Cause.PULL_FAILED: health.Cause.DOWNLOAD_FAILED,
    health.Cause.IMAGE_ACCESS_DENIED: health.Cause.MODEL_ACCESS_DENIED,
    health.Cause.IMAGE_NOT_FOUND: health.Cause.MODEL_NOT_FOUND,
}
"""The same of an image volume, which holds a model."""


def pull_cause(reason: str, message: str, *, model_images: Collection[str] = ()) -> health.Cause:
    """Why an image is not there, from the container's waiting reason and message.

    `model_images` are references of image volumes: the kubelet reports them as it does the container's own image.
    """
    cause = _pull_cause(reason, message)
    of_model = any(f'"{image}"' in message for image in model_images)
    return _OF_THE_MODEL[cause] if of_model else cause


def _pull_cause(reason: str, message: str) -> health.Cause:
    words = _NAMES.sub('""', message)
    if reason == "InvalidImageName" or _INVALID_IMAGE.search(words):
        return health.Cause.INVALID_IMAGE
    if _PULL_TRANSIENT.search(words):
        return health.Cause.PULL_FAILED
    if _PULL_DENIED.search(words):
        return health.Cause.IMAGE_ACCESS_DENIED
    if reason == "ErrImageNeverPull" or _IMAGE_UNKNOWN.search(words):
        return health.Cause.IMAGE_NOT_FOUND
    return health.Cause.PULL_FAILED


def end_cause(end: pods.End) -> health.Cause | None:
    """Why the engine ended, where its last lines tell; None where they don't."""
    if _MODEL_DENIED.search(end.message):
        return health.Cause.MODEL_ACCESS_DENIED
    if _OFFLINE.search(end.message):
        return health.Cause.MODEL_NOT_FOUND
    if _DOWNLOAD_FAILED.search(end.message):
        return health.Cause.DOWNLOAD_FAILED
    if _MODEL_UNKNOWN.search(end.message):
        return health.Cause.MODEL_NOT_FOUND
    if end.exit_code == _USAGE_EXIT and _USAGE.search(end.message):
        return health.Cause.INVALID_ARGUMENTS
    if end.exit_code and (_INVALID_CONFIG.search(end.message) or _REFUSED_ARGUMENT.search(end.message)):
        return health.Cause.INVALID_ARGUMENTS
    return None


def root_cause(log: str) -> str:
    """What vLLM's processes said before they failed, from the end of an engine's log; empty when nothing is found.

    The API process ends with a traceback of its own that says "See root cause above"; above are the lines of its children,
    each after a prefix such as `(EngineCore pid=20) ERROR 11-21 14:37:00 [core.py:1510]`.
    """
    said = [match.group(1) for line in log.splitlines() if (match := _CHILD_ERROR.match(line)) is not None]
    starts = [number for number, line in enumerate(said) if _EXCEPTION.match(line)]
    return last_lines("\n".join(said[starts[-1] :])) if starts else ""


def hung(end: pods.End) -> str | None:
    """What the liveness probe said when it ended the engine; None when it was not the probe."""
    if end.exit_code not in KILLED or not end.message.startswith(_HUNG):
        return None
    return end.message[len(_HUNG) :].strip().rstrip(".")


def has_no_command(message: str) -> bool:
    """Whether the runtime could not start a container because the image has no such command."""
    return _NO_COMMAND.search(message) is not None


def last_lines(text: str) -> str:
    """The end of a log, short enough for a status."""
    lines = [line for line in text.strip().splitlines() if line.strip()][-_LAST_LINES:]
    return "\n".join(lines)[-_LAST_CHARACTERS:]
