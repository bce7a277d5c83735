"""After the promotion the former revision stays warm: going back costs a weight change."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sluice.api import commands
from sluice.rollout import model, reasons
from sluice.rollout import traffic as rollout_traffic
from sluice.workloads import revision
from tests.unit.rollout import deciding, scenario

Label = revision.OutcomeLabel
Phase = deciding.Phase
NOW = deciding.NOW
OLD = dataclasses.replace(deciding.OLD, outcome=Label.PREVIOUS)
NEW = dataclasses.replace(deciding.NEW, outcome=Label.STABLE)
BOTH = rollout_traffic.Traffic("old", "new", 10_000, 7)


def baking(*, new: model.Revision = NEW, plan: dict[str, Any] | None = None, **changes: Any) -> model.Input:
    """`new` was promoted 5 s ago and bakes for 60 s."""
    state = deciding.rollout(Phase.BAKING, weight=10_000, previous="old", step="half", step_entered_at=NOW - 5)
    state = dataclasses.replace(state, **{name: changes.pop(name) for name in list(changes) if hasattr(state, name)})
    whole = scenario.make_plan(bake=60.0, **plan or {})
    return deciding.facts(state, plan=whole, **{"revisions": (OLD, new), **changes})


def test_a_promoted_revision_bakes_with_the_same_traffic() -> None:
    """The Service moves, the proxies keep the former one for what the new one fails."""
    promoting = deciding.rollout(Phase.PROMOTING, weight=10_000, previous="old")
    inputs = deciding.facts(promoting, plan=scenario.make_plan(bake=60.0), revisions=(OLD, NEW))

    begun = deciding.act(inputs)

    assert begun.state is not None
    assert (begun.state.phase, begun.ended, begun.stable, begun.traffic) == (Phase.BAKING, None, "new", BOTH)
    assert begun.keep == {"old", "new"}


def test_the_rollout_ends_with_the_bake() -> None:
    """Only then the former revision may go, and not before every proxy knows."""
    waits, over = deciding.act(baking()), deciding.act(baking(acknowledged=7), NOW + 55)

    assert waits.state is not None
    assert (waits.state.reason, waits.wake_after) == (reasons.Reason.BAKING, 55)
    assert over.ended is not None
    assert (over.state, over.ended.outcome.value, over.traffic) == (None, "Promoted", rollout_traffic.Traffic("new", epoch=8))
    assert over.keep == {"old", "new"}


@pytest.mark.parametrize(
    ("facts", "reason", "label"),
    [
        ({"verdicts": deciding.said(scenario.METRIC, deciding.Verdict.FAIL)}, "GateFailed", Label.REJECTED),
        ({"new": dataclasses.replace(NEW, health=deciding.CRASHED)}, "CrashLoop", Label.REJECTED),
        ({"order": commands.Command(commands.Verb.ABORT, "new", "1", "alice")}, "Aborted", Label.REJECTED),
        ({"wanted": "old"}, "Withdrawn", Label.SUPERSEDED),
    ],
)
def test_going_back_is_a_weight_change(facts: dict[str, Any], reason: str, label: Label) -> None:
    """The proxies first, then the labels: the new one's, so that a crash in between leaves the former one stable."""
    back = deciding.act(baking(**facts))

    assert back.state is not None
    assert (back.state.phase, back.state.reason, back.order) == (Phase.ROLLING_BACK, reason, model.Order.PROXIES_FIRST)
    assert (back.traffic, back.stable) == (rollout_traffic.Traffic("old", epoch=8), "old")
    assert deciding.plain(back) == (model.LabelWrite("new", label), model.LabelWrite("old", Label.STABLE))


def test_another_revision_waits_for_the_end_of_the_bake() -> None:
    """Its pods do not start before, and the message says what it waits for."""
    third = model.Revision("third", 3, Label.CANDIDATE)
    waits = deciding.act(baking(wanted="third", revisions=(OLD, NEW, third)))

    assert waits.state is not None
    assert waits.state.phase is Phase.BAKING
    assert waits.keep == {"old", "new"}
    assert "third, which the spec now asks for" in (waits.state.message or "")


def test_lost_pods_move_the_traffic_back_until_they_are_there_again() -> None:
    """Nobody's fault rejects nothing, and the bake begins anew."""
    gone = dataclasses.replace(NEW, health=dataclasses.replace(deciding.NO_ROOM, ready=0))
    lost = deciding.act(baking(new=gone))
    assert lost.state is not None
    assert (lost.state.phase, lost.traffic, lost.stable) == (Phase.BAKING, rollout_traffic.Traffic("old", epoch=8), "old")
    assert (lost.order, lost.labels) == (model.Order.PROXIES_FIRST, ())

    back = deciding.act(baking(weight=0, step_entered_at=None))
    assert back.state is not None
    assert (back.state.weight, back.order) == (10_000, model.Order.STATUS_FIRST)


def test_a_bake_ends_early_on_order() -> None:
    """`promote` makes it final."""
    ended = deciding.act(baking(order=commands.Command(commands.Verb.PROMOTE, "new", "1", "alice")))
    assert ended.state is not None

    over = deciding.act(deciding.facts(ended.state, plan=scenario.make_plan(bake=60.0), revisions=(OLD, NEW)))
    assert over.ended is not None


def test_a_revision_within_the_rollback_window_has_no_steps() -> None:
    """Warm pods, then all traffic."""
    direct = dataclasses.replace(scenario.make_plan(bake=60.0, direct=True), steps=())
    warm = deciding.act(deciding.facts(deciding.rollout(Phase.WARMING_UP), plan=direct, verdicts=()))

    assert warm.state is not None
    assert (warm.state.phase, warm.traffic.weight) == (Phase.PROMOTING, 10_000)
