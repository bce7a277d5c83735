"""Times, ages and hostile text."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.cli import texts


@given(st.text())
def test_clean_text_is_one_visible_line(text: str) -> None:
    """Whatever the cluster says, a terminal obeys none of it."""
    assert not {unicodedata.category(character) for character in texts.clean(text)} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(st.text())
def test_line_feeds_stay_where_lines_are_wanted(text: str) -> None:
    """And nothing else invisible does."""
    kept = texts.clean(text, lines=True)
    assert kept.count("\n") == text.count("\n")
    assert not {unicodedata.category(character) for character in kept.replace("\n", "")} & {"Cc", "Cf", "Zl", "Zp"}


@given(st.text(alphabet=st.characters(categories=("L", "N", "P", "S", "Zs"))))
def test_visible_text_stays_as_it_is(text: str) -> None:
    """Of every script."""
    assert texts.clean(text) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (42.9, "42s"),
        (60, "1m"),
        (450, "7m30s"),
        (600, "10m"),
        (659, "10m"),
        (3600, "1h"),
        (11100, "3h5m"),
        (86400, "1d"),
        (187200, "2d4h"),
        (1e7, "115d"),
    ],
)
def test_spans_read_as_kubectl_writes_ages(seconds: float, text: str) -> None:
    """Two units at most."""
    assert texts.span(seconds) == text


def test_a_time_that_is_none_has_no_age() -> None:
    """It is shown as a dash, and a time without a zone is UTC."""
    assert texts.age("", 0) == texts.age("yesterday", 0) == "-"
    assert texts.moment("1970-01-01T00:01:00") == texts.moment("1970-01-01T00:01:00Z") == 60
