"""What becomes of a person's order when nothing that decided has followed it: why it is refused.

Following orders is in `orders`. An order is answered by the next decision that can be written, whatever that decides.
"""

from __future__ import annotations

from sluice.api import commands, rollout_status
from sluice.rollout import case as case_
from sluice.rollout import model, persisted


def of(case: case_.Case, followed: str | None, state: persisted.State | None) -> model.Answer | None:
    """The answer to the pending order; None when there is none, or none that could be written.

    Args:
        case: the moment.
        followed: what was done about it, if anything.
        state: the next one.
    """
    order = case.inputs.order
    if order is None or case.inputs.protect_only:
        return None
    if followed is not None:
        return model.Answer(True, followed)
    return _done_already(case, order, state) or model.Answer(False, _refusal(case, order))


def _done_already(case: case_.Case, order: commands.Command, state: persisted.State | None) -> model.Answer | None:
    """An order whose effect is there: by a process that died before it could say so, or by somebody else."""
    aborting = state is not None and state.phase is rollout_status.Phase.ROLLING_BACK and state.revision == order.revision
    if order.verb is commands.Verb.ABORT and aborting:
        return model.Answer(True, f"Revision {order.revision} is being taken back.")
    in_rollout = state is not None and state.revision == order.revision
    wanted = case.inputs.find(order.revision)
    tried = in_rollout or (wanted is not None and wanted.is_candidate)
    if order.verb is commands.Verb.RETRY and tried:
        return model.Answer(True, f"Revision {order.revision} is being rolled out.")
    return None


def _refusal(case: case_.Case, order: commands.Command) -> str:
    verb = order.verb.value
    if order.verb is commands.Verb.UNDO:
        return f"Cannot {verb} to revision {order.revision}: {_not_undone(case, order)}"
    if case.state is None and order.verb is commands.Verb.RERENDER:
        return f"Cannot {verb} revision {order.revision}: {_not_rerendered(case, order)}"
    if case.state is None:
        if order.verb is commands.Verb.RETRY:
            return f"Cannot {verb} revision {order.revision}: {_not_retried(case, order)}"
        return f"Cannot {verb} revision {order.revision}: no rollout is under way."
    state = case.state
    if order.revision != state.revision:
        return f"Cannot {verb} revision {order.revision}: revision {state.revision} is in rollout now. Order it for that one."
    return f"Cannot {verb} revision {order.revision}: {_not_now(case, order, state)}"


def _not_retried(case: case_.Case, order: commands.Command) -> str:
    if order.revision != case.inputs.wanted:
        return f"the spec asks for revision {case.inputs.wanted}. Change spec.template to roll out another one."
    return "it was not rejected."


def _not_rerendered(case: case_.Case, order: commands.Command) -> str:
    if order.revision != case.serving or order.revision != case.inputs.wanted:
        return f"revision {case.serving} serves, and the spec asks for {case.inputs.wanted}."
    return "this version of Sluice renders it as it is."


def _not_undone(case: case_.Case, order: commands.Command) -> str:
    known = case.inputs.find(order.revision)
    if known is None:
        return "it is not kept any more, or never was. kubectl sluice history lists what there is."
    if order.revision == case.inputs.wanted:
        return "it is what is asked for already."
    return "it never served. Change spec.template to roll it out."


def _not_now(case: case_.Case, order: commands.Command, state: persisted.State) -> str:
    where = f"the rollout is {state.phase.value}" + (f" in step {state.step}" if state.step else "")
    match order.verb:
        case commands.Verb.APPROVE if state.in_step and case.step is not None and case.step.approval is None:
            return f"step {state.step} needs no approval."
        case commands.Verb.APPROVE if state.approved_by is not None:
            return f"step {state.step} was approved by {state.approved_by or 'somebody'}."
        case commands.Verb.RESUME if case.inputs.paused:
            return "spec.paused is true, and only the spec can end that."
        case commands.Verb.RESUME:
            return f"it is not paused by a command; {where}."
        case commands.Verb.PAUSE if state.paused_by is not None:
            return f"{state.paused_by or 'somebody'} has paused it."
        case _:
            return f"{where}."
