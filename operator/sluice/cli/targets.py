"""Which revision an order is meant for. Pure.

An order names its revision, so that one that comes too late hits nothing else. What plainly cannot be ordered is refused here,
with what could be done instead; everything else is the operator's to accept or refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sluice.api import commands
from sluice.cli import exits, texts, view

_FAILED: Final = ("Rejected", "RolledBack")
_DOING: Final[Mapping[commands.Verb, str]] = {
    commands.Verb.PROMOTE: "promote",
    commands.Verb.SKIP_STEP: "skip the step of",
    commands.Verb.APPROVE: "approve",
    commands.Verb.PAUSE: "pause",
    commands.Verb.RESUME: "resume",
    commands.Verb.ABORT: "abort",
    commands.Verb.RETRY: "retry",
    commands.Verb.UNDO: "undo",
    commands.Verb.RERENDER: "render anew",
}


def choose(model: view.Model, verb: commands.Verb, named: str | None = None) -> str:
    """Hash of the revision to name. `named` is a hash, its beginning, or a number of the history.

    Raises:
        exits.Failure: there is none that the order could be meant for.
    """
    match verb:
        case commands.Verb.RETRY:
            return find(model, named) if named else _rejected(model)
        case commands.Verb.UNDO:
            return find(model, named) if named else _previous(model)
        case commands.Verb.RERENDER:
            if not model.stable:
                raise _failure(model, verb, "no revision serves", "change spec.template to start a rollout")
            return model.stable
    if model.rollout is None:
        raise _failure(model, verb, "no rollout is under way", _instead(model))
    return model.rollout.revision


def find(model: view.Model, named: str) -> str:
    """The revision of the history with this hash, beginning of a hash, or number."""
    numbered = [each.revision for each in model.history if str(each.number) == named]
    same = [each.revision for each in model.history if each.revision == named]
    found = same or [each.revision for each in model.history if each.revision.startswith(named)] or numbered
    if len(found) == 1:
        return found[0]
    listed = ", ".join(texts.clean(each.revision) for each in model.history) or "none"
    cause = "it begins more than one" if found else "the history has none of that name"
    raise exits.Failure(
        exits.Exit.NOT_FOUND,
        f"Cannot find revision {texts.clean(named)!r} of {model.title}: {cause}. There are: {listed}",
    )


def _rejected(model: view.Model) -> str:
    last = model.last_rollout
    if model.rollout is None and last is not None and last.outcome in _FAILED:
        return last.revision
    found = [each for each in model.history if each.outcome == "Rejected"]
    if model.rollout is None and found:
        return max(found, key=lambda each: each.number).revision
    cause = "a rollout is under way" if model.rollout is not None else "no revision is rejected"
    raise _failure(model, commands.Verb.RETRY, cause, "`kubectl sluice history` lists what became of revisions")


def _previous(model: view.Model) -> str:
    if model.rollout is not None:
        fix = "`kubectl sluice abort` takes it back; name a revision by --to to go to that one"
        raise _failure(model, commands.Verb.UNDO, f"revision {model.rollout.revision} is being rolled out", fix)
    found = [each for each in model.history if each.outcome == "Previous"]
    if not found:
        raise _failure(model, commands.Verb.UNDO, "no revision served before", "name one of the history by --to")
    # The one that was promoted last before what serves now: numbers rise again when a revision comes back.
    return max(found, key=lambda each: each.number).revision


def _instead(model: view.Model) -> str:
    last = model.last_rollout
    if last is not None and last.outcome in _FAILED:
        return (
            f"The last one, of revision {last.revision}, ended as {last.outcome}: `kubectl sluice retry` tries it again, "
            "or change spec.template"
        )
    return "change spec.template to start one"


def _failure(model: view.Model, verb: commands.Verb, cause: str, fix: str) -> exits.Failure:
    message = f"Cannot {_DOING[verb]} {model.title}: {cause}. {fix[:1].upper()}{fix[1:]}"
    return exits.Failure(exits.Exit.REFUSED, message)
