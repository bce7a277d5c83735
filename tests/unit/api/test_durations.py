"""Durations on the wire and in seconds say the same."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.api import base, durations


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("500ms", 0.5), ("1m1ms", 60.001), ("0s", 0), ("99999h", 359_996_400)]
)
def test_seconds_of(text: str, seconds: float) -> None:
    """Units add up; `ms` is not minutes followed by seconds."""
    assert durations.seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "10", "s", "1d", "1.5h", "-1s", "1s ", " 1s", "1s1"])
def test_other_texts_are_refused(text: str) -> None:
    """What the CRD's pattern refuses, this refuses too, naming the text."""
    assert re.fullmatch(base.DURATION_PATTERN, text) is None
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        durations.seconds(text)


@given(st.from_regex(base.DURATION_PATTERN, fullmatch=True))
def test_everything_the_api_server_admits_can_be_read(text: str) -> None:
    """No admitted object makes the operator fail."""
    assert durations.seconds(text) >= 0


@given(st.integers(min_value=0, max_value=359_999_999))
def test_text_is_the_inverse_of_seconds(length: int) -> None:
    """Whole seconds survive both ways."""
    assert durations.seconds(durations.text(length)) == length
