"""How a rollout ended, as an annotation: what is written is read again, and what someone spoiled is nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.workloads import outcome

TEXTS = st.text(max_size=40)


@given(st.builds(outcome.Result, st.text(min_size=1), st.text(min_size=1), TEXTS, TEXTS, TEXTS))
def test_what_is_written_is_read_again(result: outcome.Result) -> None:
    """Whatever the words are."""
    assert outcome.from_annotations(outcome.to_annotations(result)) == result


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '{"outcome": "Promoted"}', '{"reason": "X"}'])
def test_what_someone_spoiled_is_nothing(text: str) -> None:
    """The operator goes on with what the label says."""
    assert outcome.from_annotations({outcome.ANNOTATION: text}) is None


def test_nothing_is_written_before_the_end() -> None:
    """A revision in rollout has no such annotation, and neither has one of an older operator."""
    assert outcome.to_annotations(None) == {}
    assert outcome.from_annotations(None) is None


@given(st.text(), st.integers(8, 50))
def test_long_texts_keep_both_ends(text: str, most: int) -> None:
    """The beginning says which pod, the end has the engine's last lines."""
    short = outcome.shorten(text, most)
    assert len(short) <= most
    assert short == text or (text[: most // 2] + " … " + text[3 + most // 2 - most :]) == short
