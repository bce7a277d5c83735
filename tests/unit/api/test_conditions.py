"""Conditions keep their transition times, and a merge never invents or keeps what was not asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sluice.api import conditions

THEN, NOW = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def merged(old: conditions.Condition, new: conditions.Condition) -> conditions.Condition:
    """One condition merged over another that was set THEN."""
    before = conditions.merge((), (old,), generation=1, now=THEN)
    return conditions.merge(before, (new,), generation=2, now=NOW)[0]


def test_time_moves_with_the_status_only() -> None:
    """A new reason or message is no transition."""
    assert merged(conditions.make("Ready", True, "A"), conditions.make("Ready", True, "B", "b")).last_transition_time == THEN
    assert merged(conditions.make("Ready", True, "A"), conditions.make("Ready", False, "A")).last_transition_time == NOW


def test_generation_is_the_one_that_was_judged() -> None:
    """Even when nothing else changed."""
    assert merged(conditions.make("Ready", True, "A"), conditions.make("Ready", True, "A")).observed_generation == 2


def test_types_that_are_not_asked_for_are_gone() -> None:
    """Stalled and Reconciling exist only while True."""
    before = conditions.merge((), (conditions.make("Stalled", True, "A"),), generation=1, now=THEN)
    assert conditions.merge(before, (), generation=2, now=NOW) == ()


@given(st.lists(st.sampled_from([True, False, None]), max_size=6))
def test_merging_twice_changes_nothing(statuses: list[bool | None]) -> None:
    """A reconcile with nothing new writes nothing new."""
    new = [conditions.make(f"Type{index}", status, "Reason") for index, status in enumerate(statuses)]
    once = conditions.merge((), new, generation=3, now=THEN)
    assert conditions.merge(once, new, generation=3, now=NOW) == once
    assert [condition.type for condition in once] == [condition.type for condition in new]


def test_find_and_is_true() -> None:
    """Unknown is not True, and neither is what is absent."""
    held = [conditions.make("Ready", None, "A"), conditions.make("Available", True, "A")]
    assert conditions.find(held, "Ready") == held[0]
    assert conditions.find(held, "Stalled") is None
    assert conditions.is_true(held, "Available")
    assert not conditions.is_true(held, "Ready")
    assert not conditions.is_true(held, "Stalled")
