"""What is in flight: asked for, kept for a while, and unknown as soon as it is not known everywhere."""

from __future__ import annotations

from sluice.reconcile import inflight
from tests.unit.reconcile import parts

CLUSTER = "ml/chat-old"


def test_the_first_question_has_no_answer_and_makes_it_read() -> None:
    """Nothing is read that nobody asks for."""
    table = inflight.InFlight()
    assert table.wanted(0) == {}
    assert table.load(parts.KEY, "old", 0) is None
    assert table.wanted(1) == {parts.KEY: {CLUSTER}}
    table.put({CLUSTER: inflight.Load(7, 4)})
    assert table.load(parts.KEY, "old", 2) == inflight.Load(7, 4)


def test_interest_ends() -> None:
    """What was not asked for during half a minute is read no more."""
    table = inflight.InFlight()
    table.load(parts.KEY, "old", 0)
    assert table.wanted(inflight.INTEREST - 1) == {parts.KEY: {CLUSTER}}
    assert table.wanted(inflight.INTEREST) == {}


def test_a_look_takes_the_place_of_the_former_one() -> None:
    """An old number is worse than none."""
    table = inflight.InFlight()
    table.put({CLUSTER: inflight.Load(7, 4)})
    table.put({CLUSTER: None})
    assert table.load(parts.KEY, "old", 0) is None


def test_who_became_empty_is_told_once() -> None:
    """A drain that waits is woken; what was empty or unknown before is no news."""
    table = inflight.InFlight()
    looks = [inflight.Load(2, 1), None, inflight.Load(2, 2), inflight.Load(0, 0), inflight.Load(0, 0)]
    assert [bool(table.put({CLUSTER: load})) for load in looks] == [False, False, False, True, False]
