"""What people order while a rollout is under way, and how it is followed. Who may order what is the API server's to say.

Each check follows one kind of order and finds nothing where the order does not fit the moment; `answers` then says why.
An order never overrides protection: the checks that take traffic away come first.
"""

from __future__ import annotations

import dataclasses

from sluice.api import commands, rollout_status
from sluice.rollout import case as case_
from sluice.rollout import labels, model, persisted, reasons, rollback, settle
from sluice.workloads import revision

Verb = commands.Verb


def abort(case: case_.Case) -> model.Decision | None:
    """The revision is taken back."""
    order = _order(case, Verb.ABORT)
    if order is None:
        return None
    message = f"{_who(order)} aborted the rollout."
    return rollback.begin(case, reasons.Reason.ABORTED, message, followed=message)


def pause(case: case_.Case) -> model.Decision | None:
    """Increases stop."""
    order = _order(case, Verb.PAUSE)
    if order is None or case.rollout.paused_by is not None or not _may_be_paused(case.rollout):
        return None
    message = f"{_who(order)} paused the rollout."
    state = dataclasses.replace(case.rollout, paused_by=order.by)
    return _followed(case, state, reasons.EventReason.PAUSED, message)


def resume(case: case_.Case) -> model.Decision | None:
    """A pause that was ordered ends. One of the spec is the spec's."""
    order = _order(case, Verb.RESUME)
    if order is None or case.rollout.paused_by is None:
        return None
    message = f"{_who(order)} resumed the rollout."
    if case.inputs.paused:
        message += " It stays paused as long as spec.paused is true."
    return _followed(case, dataclasses.replace(case.rollout, paused_by=None), reasons.EventReason.RESUMED, message)


def approve(case: case_.Case) -> model.Decision | None:
    """The current step is approved, if need be before its gates have passed."""
    order = _order(case, Verb.APPROVE)
    if order is None or not case.rollout.in_step or case.step is None or case.step.approval is None:
        return None
    if case.rollout.approved_by is not None:
        return None
    message = f"{_who(order)} approved step {case.step.name} of revision {case.rollout.revision}."
    state = dataclasses.replace(case.rollout, approved_by=order.by)
    return _followed(case, state, reasons.EventReason.APPROVED, message)


def release(case: case_.Case) -> model.Decision | None:
    """The hold of the current step ends, or the step as a whole."""
    promote, skip = _order(case, Verb.PROMOTE), _order(case, Verb.SKIP_STEP)
    order = promote or skip
    if order is not None and case.rollout.phase is rollout_status.Phase.BAKING:
        state = dataclasses.replace(case.rollout, released=rollout_status.Release.HOLD, released_by=order.by)
        return _followed(case, state, reasons.EventReason.STEP_RELEASED, f"{_who(order)} ended the bake early.")
    if order is None or not case.rollout.in_step or case.step is None:
        return None
    released = rollout_status.Release.HOLD if promote is not None else rollout_status.Release.STEP
    what = f"the hold of step {case.step.name}" if promote is not None else f"step {case.step.name}"
    state = dataclasses.replace(case.rollout, released=released, released_by=order.by)
    return _followed(case, state, reasons.EventReason.STEP_RELEASED, f"{_who(order)} ended {what} early.")


def retry(case: case_.Case) -> model.Decision | None:
    """No rollout is under way: a rejected revision becomes a candidate again."""
    order = case.inputs.order
    wanted = case.inputs.find(case.inputs.wanted)
    if order is None or order.verb is not Verb.RETRY or wanted is None or case.inputs.protect_only:
        return None
    if order.revision != wanted.hash or not wanted.is_rejected:
        return None
    message = f"{_who(order)} has revision {wanted.hash} tried again."
    return settle.decision(
        case,
        None,
        settle.Extras(
            labels=(labels.candidate(case, wanted),),
            events=(model.Notice(reasons.EventReason.RETRIED, message),),
            waiting=model.Notice(reasons.Reason.LABELS_PENDING, message),
            wake_after=1.0,
            followed=message,
        ),
    )


def rerender(case: case_.Case) -> model.Decision | None:
    """What serves is rendered anew by this version of Sluice; that is a new revision, and is rolled out as any other."""
    order = case.inputs.order
    if order is None or order.verb is not Verb.RERENDER or case.inputs.protect_only or not case.inputs.can_rerender:
        return None
    if not order.revision == case.inputs.wanted == case.serving:
        return None
    message = f"{_who(order)} has revision {order.revision} rendered anew."
    event = model.Notice(reasons.EventReason.RERENDERED, message)
    extras = settle.Extras(events=(event,), waiting=event, wake_after=0.0, followed=message, rerender=True)
    return settle.decision(case, None, extras)


def undo(case: case_.Case) -> model.Decision | None:
    """The named revision, which served before, takes the place of the one that the spec asks for."""
    order = case.inputs.order
    if order is None or order.verb is not Verb.UNDO or case.inputs.protect_only:
        return None
    target, instead = case.inputs.find(order.revision), case.inputs.wanted
    if target is None or instead is None or instead == target.hash or not _served(target):
        return None
    message = f"{_who(order)} goes back to revision {target.hash} from revision {instead}."
    extras = settle.Extras(
        events=(model.Notice(reasons.EventReason.UNDONE, message),),
        waiting=model.Notice(reasons.EventReason.UNDONE, message),
        wake_after=0.0,
        followed=message,
        undone=rollout_status.Undone(revision=instead, held=target.hash, by=order.by),
    )
    return settle.decision(case, case.state, extras)


def _served(known: model.Revision) -> bool:
    return known.outcome in (revision.OutcomeLabel.STABLE, revision.OutcomeLabel.PREVIOUS)


def _order(case: case_.Case, verb: Verb) -> commands.Command | None:
    order = case.inputs.order
    if order is None or order.verb is not verb or order.revision != case.rollout.revision or case.inputs.protect_only:
        return None
    return order


def _may_be_paused(state: persisted.State) -> bool:
    return state.in_step or state.phase is rollout_status.Phase.WARMING_UP


def _who(order: commands.Command) -> str:
    return order.by or "Somebody"


def _followed(case: case_.Case, state: persisted.State, reason: reasons.EventReason, message: str) -> model.Decision:
    state = dataclasses.replace(state, message=message)
    waiting = model.Notice(state.reason or reason, message)
    extras = settle.Extras(events=(model.Notice(reason, message),), waiting=waiting, wake_after=0.0, followed=message)
    return settle.decision(case, state, extras)
