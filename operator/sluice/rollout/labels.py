"""Outcome labels, the durable facts: which are to be written, and the repair of what a crash left half done.

A decision that depends on a label waits until the label is seen, so that a late cache cannot mislead it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sluice.api import rollout_status
from sluice.rollout import case as case_
from sluice.rollout import model, persisted, reasons, times
from sluice.workloads import outcome as outcome_
from sluice.workloads import revision


def needed(case: case_.Case, wanted: Iterable[model.LabelWrite]) -> tuple[model.LabelWrite, ...]:
    """The label writes that are not done yet, those of the decision first. None without an API server to take them."""
    if case.inputs.protect_only:
        return ()
    writes: dict[str, model.LabelWrite] = {}
    for write in (*wanted, *_repairs(case)):
        writes.setdefault(write.revision, write)
    return tuple(write for write in writes.values() if _differs(case, write))


def candidate(case: case_.Case, known: model.Revision) -> model.LabelWrite:
    """The write that makes a revision a candidate, and the newest one."""
    newest = max(each.number for each in case.inputs.revisions)
    older = known.number < newest or any(each.number == newest for each in case.inputs.revisions if each is not known)
    return model.LabelWrite(known.hash, revision.OutcomeLabel.CANDIDATE, newest + 1 if older else None)


def result(
    case: case_.Case, state: persisted.State, outcome: rollout_status.Outcome, reason: str, message: str
) -> outcome_.Result:
    """How a rollout ends now, to be written with the label."""
    started, finished = times.time_text(state.started_at), times.time_text(case.now)
    return outcome_.Result(outcome.value, str(reason), message, started, finished)


def _differs(case: case_.Case, write: model.LabelWrite) -> bool:
    known = case.inputs.find(write.revision)
    return known is not None and known.outcome != write.outcome


def _repairs(case: case_.Case) -> Iterator[model.LabelWrite]:
    """Exactly one revision is Stable, and only the one in rollout is a Candidate."""
    if case.serving is not None:
        yield model.LabelWrite(case.serving, revision.OutcomeLabel.STABLE)
    in_rollout = {case.inputs.wanted, case.state.revision if case.state is not None else None}
    for known in case.inputs.revisions:
        if known.outcome is revision.OutcomeLabel.STABLE and known.hash != case.serving:
            yield model.LabelWrite(known.hash, revision.OutcomeLabel.PREVIOUS)
        if known.outcome is revision.OutcomeLabel.CANDIDATE and known.hash not in in_rollout and case.inputs.wanted is not None:
            yield model.LabelWrite(known.hash, revision.OutcomeLabel.SUPERSEDED, result=_superseded(case))


def _superseded(case: case_.Case) -> outcome_.Result:
    message = f"The spec asked for revision {case.inputs.wanted} before this one was judged."
    finished = times.time_text(case.now)
    return outcome_.Result(
        rollout_status.Outcome.SUPERSEDED.value, reasons.Reason.SUPERSEDED.value, message, finished_at=finished
    )
