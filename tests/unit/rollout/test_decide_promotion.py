"""How a revision becomes the stable one: weight, label, end, and what a crash between them leaves."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sluice.api import rollout_status
from sluice.rollout import model
from sluice.rollout import traffic as rollout_traffic
from sluice.workloads import revision
from tests.unit.rollout import deciding, scenario

Label = revision.OutcomeLabel
Verdict = rollout_status.Verdict
Phase = rollout_status.Phase
Outcome = rollout_status.Outcome


def test_promotion_goes_from_weight_to_label_to_end() -> None:
    """All traffic as the canary, then the labels with the new Stable first, then the end; its pods are kept all along."""
    ready = deciding.act(deciding.facts(deciding.rollout(step="half", weight=5000)), deciding.NOW + 60)
    assert ready.state is not None
    lagging = deciding.act(deciding.facts(ready.state, acknowledged=7))
    labels = deciding.act(deciding.facts(ready.state, acknowledged=8))
    assert labels.state is not None
    moved = (dataclasses.replace(deciding.OLD, outcome=Label.PREVIOUS), dataclasses.replace(deciding.NEW, outcome=Label.STABLE))
    done = deciding.act(deciding.facts(labels.state, revisions=moved, acknowledged=8))

    assert (ready.state.phase, ready.traffic) == (Phase.PROMOTING, rollout_traffic.Traffic("old", "new", 10_000, 8))
    assert lagging.labels == ()
    assert deciding.plain(labels) == (model.LabelWrite("new", Label.STABLE), model.LabelWrite("old", Label.PREVIOUS))
    assert labels.traffic == ready.traffic
    assert done.ended is not None
    assert (done.state, done.ended.outcome) == (None, Outcome.PROMOTED)
    assert labels.labels[0].result is not None, "why it serves is written with the label"
    assert (labels.labels[0].result.outcome, labels.labels[0].result.message) == (Outcome.PROMOTED, done.ended.message)
    assert labels.labels[1].result is None, "how the old one's own rollout ended stays as it is"
    assert (done.traffic, done.stable) == (rollout_traffic.Traffic("new", epoch=9), "new")
    assert done.order is model.Order.STATUS_FIRST
    assert done.keep == {"old", "new"}, "a proxy may still retry on the old one"
    assert deciding.act(deciding.facts(None, revisions=moved, last_epoch=9, acknowledged=9)).keep == {"new"}


def test_a_crash_between_the_two_labels_is_repaired() -> None:
    """Two are Stable: the newer one serves, and the other becomes Previous."""
    both = (deciding.OLD, dataclasses.replace(deciding.NEW, outcome=Label.STABLE))

    decision = deciding.act(deciding.facts(deciding.rollout(Phase.PROMOTING, weight=10_000), revisions=both))

    assert decision.ended is not None
    assert (decision.ended.outcome, decision.stable) == (Outcome.PROMOTED, "new")
    assert deciding.plain(decision) == (model.LabelWrite("old", Label.PREVIOUS),)


def test_a_restart_after_the_first_promotions_label_sends_under_a_new_epoch() -> None:
    """Nothing served under the persisted epoch, and now something does: the same epoch would be two truths."""
    inputs = deciding.facts(
        deciding.rollout(Phase.PROMOTING, weight=0), revisions=(dataclasses.replace(deciding.NEW, outcome=Label.STABLE),)
    )

    assert deciding.act(inputs).traffic == rollout_traffic.Traffic("new", epoch=8)


@pytest.mark.parametrize(
    ("change", "why"), [({"source_ok": False}, "MeasurementFailed"), ({"new": deciding.sick(deciding.LOADING)}, "PodsStarting")]
)
def test_promotion_is_not_made_final_while_something_is_wrong(change: dict[str, Any], why: str) -> None:
    """It has all traffic and no label yet: a failure can still take it back."""
    decision = deciding.act(deciding.facts(deciding.rollout(Phase.PROMOTING, weight=10_000), **change))

    assert decision.waiting is not None
    assert (decision.labels, decision.waiting.reason) == ((), why)


def test_a_stable_revision_whose_object_is_gone_is_replaced_by_the_previous_one() -> None:
    """Somebody deleted it by hand: what served before serves again."""
    decision = deciding.act(
        deciding.facts(None, revisions=(dataclasses.replace(deciding.OLD, outcome=Label.PREVIOUS),), wanted="old")
    )

    assert decision.stable == "old"
    assert deciding.plain(decision) == (model.LabelWrite("old", Label.STABLE),)


def test_without_a_gateway_the_service_moves_once_the_evals_pass() -> None:
    """No weight is ever claimed, and a note says so."""
    state = deciding.rollout(step="evals", weight=0, had_traffic=False)

    decision = deciding.act(deciding.facts(state, split=model.Split.NONE, verdicts=deciding.PASSED[:1], acknowledged=-1))

    assert decision.state is not None
    assert (decision.state.phase, decision.traffic.weight) == (Phase.PROMOTING, 0)
    assert [note.type for note in decision.notes] == [model.NoteType.NO_TRAFFIC_SPLIT]


def test_the_first_revision_is_promoted_by_the_gates_before_traffic() -> None:
    """Nothing serves: no weights, no holds, no live metrics, but its evals count."""
    first = scenario.make_plan(first=True)
    alone: dict[str, Any] = {"plan": first, "revisions": (deciding.NEW,), "acknowledged": -1}
    answered = (
        deciding.gate(scenario.EVAL, Verdict.PASS),
        deciding.gate(scenario.ANALYSIS, Verdict.INCONCLUSIVE, reason="NoBaseline"),
    )
    entered = deciding.act(deciding.facts(deciding.rollout(Phase.WARMING_UP), verdicts=(), **alone))
    assert entered.state is not None
    passed = deciding.act(deciding.facts(entered.state, verdicts=answered, **alone))
    assert passed.state is not None
    labels = deciding.act(deciding.facts(passed.state, verdicts=answered, **alone))

    assert entered.evals == (scenario.EVAL,)
    assert (passed.state.phase, passed.traffic) == (Phase.PROMOTING, rollout_traffic.Traffic(None, epoch=7))
    assert deciding.plain(labels) == (model.LabelWrite("new", Label.STABLE),)


def test_a_first_revision_that_fails_leaves_nothing_serving() -> None:
    """Rejected, its pods go, and the message says that nothing serves."""
    rejected = dataclasses.replace(deciding.NEW, outcome=Label.REJECTED)

    decision = deciding.act(deciding.facts(None, revisions=(rejected,), verdicts=()))

    assert decision.waiting is not None
    assert (decision.stable, decision.keep) == (None, frozenset())
    assert "Nothing serves" in decision.waiting.message
