"""Gives an order: writes the annotation as the person who orders, waits for what becomes of it, and says so."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sys
import uuid
from typing import Final

from sluice.api import commands
from sluice.cli import exits, printing, session, targets, texts, view
from sluice.kube import errors

_ATTEMPTS: Final = 8
"""Of a write that others' writes overtake: a status changes every second in the thick of a rollout."""


@dataclasses.dataclass(frozen=True)
class Order:
    """What is asked for, and how the answer is shown."""

    name: str
    verb: commands.Verb
    revision: str | None = None
    """As the person named it; None lets the state say."""
    wait: float | None = None
    """Seconds to wait for the answer; None: not at all."""
    form: printing.Format = printing.Format.TEXT


@dataclasses.dataclass(frozen=True)
class Answer:
    """What became of an order."""

    name: str
    namespace: str
    verb: str
    revision: str
    command: str
    by: str
    handled: bool = False
    accepted: bool | None = None
    message: str = ""


def give(target: session.Target, order: Order) -> Answer:
    """Gives the order, prints what became of it, and returns that. Raises Failure when it was not followed."""
    answer = session.run(target, lambda opened: place(opened, order))
    show(answer, order)
    return answer


async def place(opened: session.Session, order: Order) -> Answer:
    """Writes the order and waits for the operator, if that is wanted."""
    obj, given = await _write(opened, order)
    if order.wait is None:
        return given
    try:
        async with asyncio.timeout(order.wait):
            return await _await(opened, obj, given)
    except TimeoutError:
        return given


async def _write(opened: session.Session, order: Order) -> tuple[session.Object, Answer]:
    """The annotation, for the revision that is meant at the moment of the write."""
    unique, by = str(uuid.uuid4()), await opened.user()
    obj = await opened.read(order.name)
    revision = targets.choose(view.read(obj), order.verb, order.revision)
    command = commands.Command(order.verb, revision, unique, by)
    answer = Answer(order.name, opened.namespace, order.verb.value, revision, command.text, by)
    for attempt in range(_ATTEMPTS):
        _mention_pending(view.read(obj))
        try:
            annotations = {commands.ANNOTATION: command.text, commands.BY_ANNOTATION: by}
            return await opened.annotate(obj, annotations), answer
        except errors.Conflict:
            if attempt == _ATTEMPTS - 1:
                raise
        obj = await opened.read(order.name)
        found = view.read(obj)
        if found.command == command.text:  # the write whose answer was lost
            return obj, answer
        meant = targets.choose(found, order.verb, order.revision)
        if meant != revision:
            raise exits.Failure(
                exits.Exit.REFUSED,
                f"Cannot {order.verb.value} revision {revision} of {found.title}: meanwhile it would be revision {meant}. "
                "Look again, and order again",
            )
    raise AssertionError("the last attempt returns or raises")


def _mention_pending(model: view.Model) -> None:
    if model.pending:
        printing.say(f"Note: this replaces an order that was not handled yet: {model.command} by {model.command_by}")


async def _await(opened: session.Session, obj: session.Object, given: Answer) -> Answer:
    """The operator's answer."""
    async with contextlib.aclosing(opened.follow(obj)) as versions:
        async for version in versions:
            model = view.read(version)
            handled = model.handled
            if handled is not None and handled.command == given.command:
                return dataclasses.replace(given, handled=True, accepted=handled.accepted, message=handled.message)
            if model.command != given.command:
                by = f" by {model.command_by}" if model.command_by else ""
                message = f"it was replaced before it was handled: {model.command or 'taken back'}{by}"
                return dataclasses.replace(given, accepted=False, message=message)
    raise AssertionError("an object is followed for ever")


def show(answer: Answer, order: Order) -> None:
    """Prints the answer. Raises Failure when the order was not followed, so that the exit code says so."""
    if order.form is not printing.Format.TEXT:
        printing.document(printing.wire(answer), order.form)
    judge(answer, order)
    if order.form is printing.Format.TEXT:
        said = f": {answer.message}" if answer.message else ""
        state = "done" if answer.handled else "ordered, not waited for"
        sys.stdout.write(texts.clean(f"{_title(answer)}: {answer.verb} of revision {answer.revision} {state}{said}") + "\n")


def judge(answer: Answer, order: Order) -> None:
    """Raises Failure when the order was refused, or not handled in time."""
    if answer.accepted is False:
        cause = answer.message or "the operator refused"
        if not cause.startswith("Cannot "):  # the operator's answers are whole sentences
            cause = f"Cannot {answer.verb} revision {answer.revision}: {cause}"
        raise exits.Failure(exits.Exit.REFUSED, f"{_title(answer)}: {cause}")
    if answer.accepted is None and order.wait is not None:
        raise exits.Failure(
            exits.Exit.TIMED_OUT,
            f"Cannot tell what became of {answer.verb} of revision {answer.revision} of {_title(answer)}: the operator has "
            f"not handled it within {texts.span(order.wait)}. The order stands, and is followed when the operator comes to it. "
            "See whether it runs: `kubectl get deployment -n sluice-system`",
        )


def _title(answer: Answer) -> str:
    return f"ModelDeployment {answer.namespace}/{answer.name}"
