"""How a revision's latest rollout ended, as an annotation of its ControllerRevision.

It is written together with the outcome label, so that a lost status can be computed again word for word.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Final

ANNOTATION: Final = "sluice.dev/rollout"
MESSAGE_MAX: Final = 1024


@dataclasses.dataclass(frozen=True)
class Result:
    """How a rollout ended. Times are RFC 3339, or empty when they are not known."""

    outcome: str
    """Promoted, RolledBack, Rejected or Superseded."""
    reason: str
    message: str = ""
    started_at: str = ""
    finished_at: str = ""


def to_annotations(result: Result | None) -> dict[str, str]:
    """The annotation; none for a revision whose rollout has not ended."""
    if result is None:
        return {}
    said = dataclasses.asdict(dataclasses.replace(result, message=shorten(result.message, MESSAGE_MAX)))
    return {ANNOTATION: json.dumps({name: value for name, value in said.items() if value}, sort_keys=True)}


def from_annotations(annotations: Mapping[str, str] | None) -> Result | None:
    """The inverse of `to_annotations`. Total: what someone spoiled reads as none."""
    try:
        said = json.loads((annotations or {})[ANNOTATION])
        texts = {field.name: str(said.get(field.name, "")) for field in dataclasses.fields(Result)}
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return Result(**texts) if texts["outcome"] and texts["reason"] else None


def shorten(text: str, most: int) -> str:
    """The text, cut to so many characters: the end is what counts, for there are an engine's last lines."""
    if len(text) <= most:
        return text
    head = most // 2
    return f"{text[:head]} … {text[len(text) - (most - head - 3) :]}"
