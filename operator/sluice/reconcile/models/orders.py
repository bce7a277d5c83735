"""The command annotation of a ModelDeployment: which order still waits for an answer, and the answer for the status. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sluice.api import commands, modeldeployment, rollout_status
from sluice.rollout import model as rollout
from sluice.rollout import times
from sluice.workloads import revision

PROTECTS: Final = frozenset({commands.Verb.PAUSE, commands.Verb.ABORT})


def pending(model: modeldeployment.ModelDeployment) -> commands.Command | None:
    """The order that was not answered yet and can be read.

    An object that was restored without its status brings an order back that may be long done: only those that protect are
    followed again then.
    """
    try:
        order = commands.parse(model.metadata.annotations)
    except commands.CommandError:
        return None
    if order is None or _answered(model, order.text):
        return None
    return order if not _was_lost(model) or order.verb in PROTECTS else None


def answer(
    model: modeldeployment.ModelDeployment, order: commands.Command | None, given: rollout.Answer | None, now: float
) -> commands.HandledCommand | None:
    """`status.lastHandledCommand`: the given answer to `order`, or why the annotation is not followed, or what was there."""
    at = times.time_text(now)
    if order is not None and given is not None:
        return _handled(order.text, order.by, at, given)
    text = model.metadata.annotations.get(commands.ANNOTATION, "")
    if not text or _answered(model, text[: commands.TEXT_MAX]) or order is not None:
        return model.status.last_handled_command
    by = model.metadata.annotations.get(commands.BY_ANNOTATION, "")
    try:
        commands.parse(model.metadata.annotations)
    except commands.CommandError as error:
        return _handled(text, by, at, rollout.Answer(False, str(error)))
    lost = "Cannot follow it: it was there before the object's status, so it may be an old one. Order it again."
    return _handled(text, by, at, rollout.Answer(False, lost))


def _handled(text: str, by: str, at: str, given: rollout.Answer) -> commands.HandledCommand:
    return commands.HandledCommand(
        command=text[: commands.TEXT_MAX],
        by=by[: commands.BY_MAX],
        at=at,
        accepted=given.accepted,
        message=given.message[: commands.MESSAGE_MAX],
    )


def _answered(model: modeldeployment.ModelDeployment, text: str) -> bool:
    last = model.status.last_handled_command
    return last is not None and last.command == text


def _was_lost(model: modeldeployment.ModelDeployment) -> bool:
    return model.status.observed_generation < 0


def undone(
    model: modeldeployment.ModelDeployment, wanted: revision.Revision | None, revisions: Iterable[revision.Revision]
) -> rollout_status.Undone | None:
    """What a person has undone, until the spec asks for another revision, or its label keeps it from coming back."""
    said = model.status.undone
    if said is None or wanted is None or wanted.hash != said.revision:
        return None
    serving = rollout.stable_revision(revisions)
    is_done = wanted.outcome is revision.OutcomeLabel.REJECTED and serving is not None and serving.hash == said.held
    return None if is_done else said
