"""How much stable takes over from a failing canary, and how rarely that changes."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from sluice.routing import inputs, ir, shield

LOADS = st.floats(0, 1e6)


def split(in_flight: int | None, *, share: float = 0.2, weight: int = 500) -> inputs.Split:
    """A split in which stable has so many requests in flight."""
    revisions = (inputs.Revision("prod/chat-1"), inputs.Revision("prod/chat-2"))
    return inputs.Split(*revisions, weight, shield=inputs.Shield(max_extra_load=share), stable_in_flight=in_flight)


@pytest.mark.parametrize(
    ("in_flight", "share", "weight", "retries", "reason"),
    [
        (200, 0.2, 500, 40, "a fifth of what stable has"),
        (201, 0.2, 500, 41, "rounded up"),
        (100, 0.07, 500, 8, "a product that is not whole in binary fractions only is not rounded up"),
        (100, 0.1, 500, 10, "the share is the user's"),
        (1000, 1.0, 500, 1000, "as much again"),
        (0, 0.2, 500, shield.FEWEST, "a thin stable takes over a handful"),
        (10, 0.2, 500, shield.FEWEST, "and so does one with little to do"),
        (None, 0.2, 500, 100, "not known: the assumed number"),
        (10, 0.2, ir.TOTAL_WEIGHT, 100, "without a share of its own, stable's load says nothing"),
    ],
)
def test_the_bound(in_flight: int | None, share: float, weight: int, retries: int, reason: str) -> None:
    """A share of stable's requests in flight, never less than a handful."""
    assert shield.build_retries(split(in_flight, share=share, weight=weight)) == retries, reason


@hypothesis.given(LOADS, st.none() | st.integers(1, 2_000_000))
def test_the_steadied_number_is_near_the_measured_one(measured: float, held: int | None) -> None:
    """Never below it, and never much above twice of it."""
    found = shield.steady(measured, held)
    assert measured <= found <= 2 * max(measured, shield.FEWEST)


@hypothesis.given(LOADS)
def test_what_was_just_found_is_kept(measured: float) -> None:
    """The same reading again changes nothing."""
    held = shield.steady(measured, None)
    assert shield.steady(measured, held) == held


@hypothesis.given(LOADS, st.lists(st.floats(0.8, 1.25), max_size=50))
def test_a_load_that_wavers_changes_it_a_few_times_at_most(load: float, wavering: list[float]) -> None:
    """A fifth up and down, for as long as one likes: it settles above the highest reading and stays."""
    held = shield.steady(load, None)
    changes = 0
    for factor in wavering:
        found = shield.steady(load * factor, held)
        changes += found != held
        held = found
    assert changes <= 2
