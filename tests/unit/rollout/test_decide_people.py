"""What people do to a rollout: approve, pause, end a step early, abort, retry; and what they are told."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sluice.api import commands, rollout_status
from sluice.rollout import model, persisted, plan
from sluice.rollout import traffic as rollout_traffic
from sluice.workloads import revision
from tests.unit.rollout import deciding, scenario

Phase = deciding.Phase
Verb = commands.Verb
NOW = deciding.NOW


def order(verb: Verb, target: str = "new") -> commands.Command:
    """What alice orders."""
    return commands.Command(verb, target, "0193f3a2-7c1e-7b3a-9d52-0a1b2c3d4e5f", "alice")


def at_approval(*, rolls_back: bool = True, paused: bool = False, **state: Any) -> model.Input:
    """The last step, whose gates have passed, asks for an approval within an hour."""
    whole = scenario.make_plan(approval=plan.ApprovalPlan(3600.0, rolls_back))
    held = deciding.rollout(step="half", weight=5000, step_entered_at=NOW - 20, **state)
    return deciding.facts(held, plan=whole, paused=paused)


def test_a_step_that_passed_awaits_its_approval() -> None:
    """It says since when, tells people once, and looks again when the time is over."""
    first = deciding.act(at_approval())
    again = deciding.act(at_approval(awaiting_since=NOW - 600, phase=Phase.AWAITING_APPROVAL))

    assert first.state is not None
    assert (first.state.phase, first.state.weight, first.state.awaiting_since) == (Phase.AWAITING_APPROVAL, 5000, NOW)
    assert [event.reason for event in first.events] == ["ApprovalNeeded"]
    assert first.wake_after == 3600
    assert again.state is not None
    assert (again.state.awaiting_since, again.events, again.wake_after) == (NOW - 600, (), 3000)


@pytest.mark.parametrize(
    ("rolls_back", "paused", "phase"),
    [(True, False, Phase.ROLLING_BACK), (False, False, Phase.AWAITING_APPROVAL), (True, True, Phase.PAUSED)],
)
def test_an_approval_that_never_comes_follows_the_plan(rolls_back: bool, paused: bool, phase: Phase) -> None:
    """Rollback takes the revision back; Hold waits on; while it is paused no time limit ends."""
    late = deciding.act(at_approval(rolls_back=rolls_back, paused=paused, awaiting_since=NOW - 3600))

    assert late.state is not None
    assert late.state.phase is phase
    assert (late.state.reason == "ApprovalTimedOut") == (phase is Phase.ROLLING_BACK)


def test_an_approval_is_by_name_and_moves_on() -> None:
    """The status and an event say who; then the revision is promoted."""
    approved = deciding.act(dataclasses.replace(at_approval(awaiting_since=NOW - 60), order=order(Verb.APPROVE)))

    assert approved.state is not None
    assert approved.state.approved_by == "alice"
    assert [(event.reason, "alice approved step half" in event.message) for event in approved.events] == [("Approved", True)]
    assert approved.answer == model.Answer(True, "alice approved step half of revision new.")
    after = deciding.act(deciding.facts(approved.state, plan=scenario.make_plan(approval=plan.ApprovalPlan(3600.0, True))))
    assert after.state is not None
    assert after.state.phase is Phase.PROMOTING


@pytest.mark.parametrize(
    ("verb", "target", "why"),
    [
        (Verb.APPROVE, "new", "needs no approval"),
        (Verb.APPROVE, "other", "revision new is in rollout now"),
        (Verb.RESUME, "new", "not paused"),
        (Verb.RETRY, "old", "revision new is in rollout now"),
        (Verb.ABORT, "old", "revision new is in rollout now"),
    ],
)
def test_an_order_that_does_not_fit_is_refused(verb: Verb, target: str, why: str) -> None:
    """Nothing changes, and the person is told why."""
    state = deciding.rollout()
    refused, plain = deciding.act(deciding.facts(state, order=order(verb, target))), deciding.act(deciding.facts(state))

    assert refused.answer is not None
    assert not refused.answer.accepted
    assert why in refused.answer.message
    assert refused.state == plain.state


def test_a_pause_stops_increases_only() -> None:
    """A step that is over stays, at its weight; a failure still takes the revision back at once."""
    over = deciding.rollout(step_entered_at=NOW - 20)
    paused = deciding.act(deciding.facts(over, paused=True))
    failed = deciding.act(deciding.facts(over, paused=True, verdicts=deciding.said(scenario.METRIC, deciding.Verdict.FAIL)))

    assert paused.state is not None
    assert (paused.state.phase, paused.state.weight, paused.state.reason) == (Phase.PAUSED, 2500, "Paused")
    assert failed.state is not None
    assert (failed.state.phase, failed.traffic.weight, failed.order) == (Phase.ROLLING_BACK, 0, model.Order.PROXIES_FIRST)


def test_a_pause_by_command_lasts_until_it_is_resumed() -> None:
    """And the step's time limits count from there."""
    over = deciding.rollout(step_entered_at=NOW - 20)
    paused = deciding.act(deciding.facts(over, order=order(Verb.PAUSE)))
    assert paused.state is not None
    assert (paused.state.phase, paused.state.paused_by) == (Phase.PAUSED, "alice")

    resumed = deciding.act(deciding.facts(paused.state, order=order(Verb.RESUME)), NOW + 1000)
    assert resumed.state is not None
    assert (resumed.state.phase, resumed.state.paused_by, resumed.state.resumed_at) == (Phase.PROGRESSING, None, NOW + 1000)


def test_no_rollout_starts_while_the_spec_is_paused() -> None:
    """Its pods are an increase too."""
    assert deciding.act(deciding.facts(paused=True)).waiting == model.Notice(
        "Paused", "spec.paused is true: no rollout starts until it is false."
    )


@pytest.mark.parametrize(("verb", "moves"), [(Verb.PROMOTE, False), (Verb.SKIP_STEP, True)])
def test_a_step_can_be_ended_early(verb: Verb, moves: bool) -> None:
    """`promote` ends the hold and leaves the gates; `skip-step` leaves the whole step."""
    undecided = deciding.said(scenario.METRIC, deciding.Verdict.INCONCLUSIVE)
    ended = deciding.act(deciding.facts(deciding.rollout(), order=order(verb), verdicts=undecided))
    assert ended.state is not None
    assert ended.state.released_by == "alice"

    after = deciding.act(deciding.facts(ended.state, verdicts=undecided), NOW + 1)
    assert after.state is not None
    assert (after.state.step == "half") == moves
    assert after.state.released == (None if moves else rollout_status.Release.HOLD)


def test_skipping_the_last_step_leaves_what_the_analysis_asks_for() -> None:
    """Nobody promotes past the live metrics."""
    state = deciding.rollout(step="half", weight=5000, released=rollout_status.Release.STEP)
    undecided = deciding.said(scenario.ANALYSIS, deciding.Verdict.INCONCLUSIVE)

    waits = deciding.act(deciding.facts(state, verdicts=undecided))

    assert waits.state is not None
    assert (waits.state.phase, waits.state.reason) == (Phase.PROGRESSING, "GatesPending")


def test_an_abort_takes_the_revision_back_at_once() -> None:
    """The proxies first; the revision is not tried again by itself."""
    aborted = deciding.act(deciding.facts(deciding.rollout(), order=order(Verb.ABORT)))

    assert aborted.state is not None
    assert (aborted.state.phase, aborted.state.reason) == (Phase.ROLLING_BACK, "Aborted")
    assert (aborted.traffic.weight, aborted.order) == (0, model.Order.PROXIES_FIRST)
    assert deciding.plain(aborted) == (model.LabelWrite("new", revision.OutcomeLabel.REJECTED),)
    assert aborted.answer is not None
    assert aborted.answer.accepted


def test_a_rejected_revision_is_retried_on_order() -> None:
    """It becomes a candidate, whose rollout then starts as any other."""
    rejected = model.Revision("new", 2, revision.OutcomeLabel.REJECTED)
    again = deciding.act(deciding.facts(new=rejected, order=order(Verb.RETRY)))

    assert deciding.plain(again) == (model.LabelWrite("new", revision.OutcomeLabel.CANDIDATE),)
    assert again.answer == model.Answer(True, "alice has revision new tried again.")


def test_nothing_is_answered_that_cannot_be_written() -> None:
    """Without an API server an order waits."""
    assert deciding.act(deciding.facts(deciding.rollout(), order=order(Verb.ABORT), protect_only=True)).answer is None


def test_pods_of_a_failed_revision_stay_for_a_look_when_asked_for() -> None:
    """Without traffic, and until the spec asks for another revision."""
    rejected = model.Revision("new", 2, revision.OutcomeLabel.REJECTED, deciding.READY, has_pods=True)

    assert deciding.act(deciding.facts(new=rejected, keep_failed=True)).keep == {"old", "new"}
    assert deciding.act(deciding.facts(new=rejected)).keep == {"old"}
    assert deciding.act(deciding.facts(new=rejected, wanted="old", keep_failed=True)).keep == {"old"}


FORMER = model.Revision("former", 0, revision.OutcomeLabel.PREVIOUS)
UNDONE = rollout_status.Undone(revision="new", held="former", by="alice")


@pytest.mark.parametrize("state", [None, deciding.rollout()])
def test_a_person_goes_back_to_a_revision_that_served(state: persisted.State | None) -> None:
    """Whatever is under way stays as it is in this decision; the next one has another revision to bring about."""
    inputs = deciding.facts(state, revisions=(deciding.OLD, deciding.NEW, FORMER), order=order(Verb.UNDO, "former"))
    undone = deciding.act(inputs)

    assert undone.undone == UNDONE
    assert undone.answer is not None
    assert undone.answer.accepted
    assert (undone.state and undone.state.weight) == (state and state.weight)


@pytest.mark.parametrize(
    ("target", "known", "why"),
    [
        ("gone", (), "not kept any more"),
        ("new", (), "asked for already"),
        ("bad", (model.Revision("bad", 0, revision.OutcomeLabel.REJECTED),), "never served"),
    ],
)
def test_a_person_goes_back_only_to_what_served(target: str, known: tuple[model.Revision, ...], why: str) -> None:
    """A revision that failed is retried, not gone back to."""
    refused = deciding.act(deciding.facts(revisions=(deciding.OLD, deciding.NEW, *known), order=order(Verb.UNDO, target)))

    assert refused.undone is None
    assert refused.answer is not None
    assert not refused.answer.accepted
    assert why in refused.answer.message


def test_what_is_undone_in_its_rollout_is_rejected() -> None:
    """Its label keeps it from coming back, also when the status is lost."""
    inputs = deciding.facts(deciding.rollout(), wanted="former", undone=UNDONE, revisions=(deciding.OLD, deciding.NEW, FORMER))
    back = deciding.act(inputs)

    assert back.state is not None
    assert (back.state.reason, back.traffic.weight, back.undone) == ("Undone", 0, UNDONE)
    assert deciding.plain(back) == (model.LabelWrite("new", revision.OutcomeLabel.REJECTED),)


def test_what_served_and_is_undone_is_rejected_when_its_place_is_taken() -> None:
    """Until then it serves."""
    served = dataclasses.replace(deciding.OLD, hash="new")
    held = dataclasses.replace(deciding.NEW, hash="former", number=3)
    state = deciding.rollout(Phase.PROMOTING, revision="former", weight=10_000)
    taken = deciding.act(deciding.facts(state, wanted="former", undone=UNDONE, revisions=(served, held)))

    assert deciding.plain(taken) == (
        model.LabelWrite("former", revision.OutcomeLabel.STABLE),
        model.LabelWrite("new", revision.OutcomeLabel.REJECTED),
    )


def test_protection_with_a_late_cache_undoes_no_order() -> None:
    """What was sent meanwhile is newer as traffic; a pause, an approval and a size are as they were written."""
    written = deciding.rollout(epoch=7, paused_by="alice", approved_by="bob", replicas=2)
    sent = model.Sent(
        deciding.rollout(Phase.WARMING_UP, step="some", epoch=8, replicas=1), rollout_traffic.Traffic("old", epoch=8)
    )

    found = model.newest_state(written, sent, 7)

    assert found is not None
    assert (found.phase, found.weight, found.epoch) == (Phase.WARMING_UP, 0, 8)
    assert (found.paused_by, found.approved_by, found.replicas) == ("alice", "bob", 2)
