"""What a person orders outside Git: one annotation on the ModelDeployment, written with the person's own rights.

    sluice.dev/command: "<verb>/<revision>/<uuid>"
    sluice.dev/command-by: "<user name>"

The verb asks for something, the revision is the one it is meant for (so that an order that comes too late hits nothing
else), and the UUID tells one order from the next. Admission policies see to who may write which verb and that
`command-by` is the requester. The operator acknowledges it in `status.lastHandledCommand`, accepted or refused.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Mapping
from typing import Annotated, Final

import pydantic

from sluice.api import base

TEXT_MAX: Final = 256
BY_MAX: Final = 256
MESSAGE_MAX: Final = 1024
ANNOTATION: Final = "sluice.dev/command"
BY_ANNOTATION: Final = "sluice.dev/command-by"
_VERB: Final = r"[a-z]+(?:-[a-z]+)*"
_REVISION: Final = r"[a-z0-9]{1,63}"
_ID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_TEXT: Final = re.compile(f"(?P<verb>{_VERB})/(?P<revision>{_REVISION})/(?P<id>{_ID})")


class Verb(enum.StrEnum):
    """What can be ordered."""

    PROMOTE = "promote"
    """Ends the hold of the current step; its gates are still needed."""
    SKIP_STEP = "skip-step"
    """Leaves the current step, its hold, approval and gates; what the analysis asks for is still needed."""
    APPROVE = "approve"
    """Approves the step that waits for it."""
    PAUSE = "pause"
    """Stops increases; protection goes on."""
    RESUME = "resume"
    """Ends a pause that was ordered by `pause`."""
    ABORT = "abort"
    """Takes the revision back."""
    RETRY = "retry"
    """Tries a rejected revision again."""
    UNDO = "undo"
    """Goes back to the revision that is named, until the template changes."""
    RERENDER = "rerender"
    """Renders the template of the revision anew, with this version of Sluice, and rolls that out."""


class Permission(enum.StrEnum):
    """Virtual verbs on `modeldeployments`, for the cluster's authorizer."""

    PROMOTE = "promote"
    """May move a rollout on, or start one."""
    APPROVE = "approve"
    """May approve a step."""
    ABORT = "abort"
    """May stop a rollout, for now or for good."""


PERMISSION_OF: Final[Mapping[Verb, Permission]] = {
    Verb.PROMOTE: Permission.PROMOTE,
    Verb.SKIP_STEP: Permission.PROMOTE,
    Verb.RESUME: Permission.PROMOTE,
    Verb.RETRY: Permission.PROMOTE,
    Verb.UNDO: Permission.PROMOTE,
    Verb.RERENDER: Permission.PROMOTE,
    Verb.APPROVE: Permission.APPROVE,
    Verb.PAUSE: Permission.ABORT,
    Verb.ABORT: Permission.ABORT,
}


@dataclasses.dataclass(frozen=True)
class Command:
    """One order."""

    verb: Verb
    revision: str
    """Hash of the revision that it is meant for; for `undo`, the one to go back to."""
    id: str
    by: str
    """Who ordered it; empty where the annotation is missing."""

    @property
    def text(self) -> str:
        """The annotation."""
        return f"{self.verb.value}/{self.revision}/{self.id}"


class CommandError(ValueError):
    """The annotation is no command; the message says what it has to look like."""


def parse(annotations: Mapping[str, str]) -> Command | None:
    """The command among an object's annotations; None when there is none.

    Raises:
        CommandError: it is not of the form `<verb>/<revision>/<uuid>`, or the verb is unknown.
    """
    text = annotations.get(ANNOTATION)
    if not text:
        return None
    found = _TEXT.fullmatch(text)
    known = ", ".join(verb.value for verb in Verb)
    if found is None:
        raise CommandError(
            f"Cannot follow annotation {ANNOTATION}: {text[:200]!r} is not of the form <verb>/<revision>/<uuid>. "
            "Use kubectl sluice, which writes it"
        )
    try:
        verb = Verb(found["verb"])
    except ValueError:
        raise CommandError(f"Cannot follow annotation {ANNOTATION}: verb {found['verb']!r} is none of {known}") from None
    return Command(verb, found["revision"], found["id"], annotations.get(BY_ANNOTATION, ""))


def pattern(verbs: str) -> str:
    """Regular expression of the annotation for other engines (RE2); `verbs` are alternatives such as `promote|abort`."""
    return f"^(?:{verbs})/{_REVISION}/{_ID}$"


class HandledCommand(base.ApiModel):
    """`status.lastHandledCommand`: what became of an order."""

    command: Annotated[str, pydantic.Field(max_length=TEXT_MAX, description="The annotation as it was read.")]
    by: Annotated[str, pydantic.Field(max_length=BY_MAX, description="Who ordered it.")] = ""
    at: Annotated[str, pydantic.Field(json_schema_extra={"format": "date-time"}, description="When it was handled.")] = ""
    accepted: Annotated[bool, pydantic.Field(description="Whether it was followed.")] = False
    message: Annotated[str, pydantic.Field(max_length=MESSAGE_MAX, description="What it did, or why it was refused.")] = ""
