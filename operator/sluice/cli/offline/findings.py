"""What `validate` finds, and how bad each finding is."""

from __future__ import annotations

import dataclasses
import enum


class Level(enum.StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """The API server would refuse it, or the operator could not follow it."""
    WARNING = "warning"
    """It works only if something is there that was not given, or not as it reads."""
    ADVICE = "advice"
    """It works, and may be slow or unsure."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One finding."""

    level: Level
    title: str
    """The object, with its file."""
    field: str
    message: str


UNSEEN = (
    "rules of admission webhooks and policies, quotas and your rights",
    "rules of the platform (ConfigMap sluice-config)",
    "names that other objects of the cluster hold, such as served names at a Gateway",
    "whether models, images, Secrets, claims and nodes that fit exist",
    "what the API server thinks of the cost of rules",
)
"""What cannot be seen without a cluster."""
