"""Datasets: what is read, and what is refused with line and field."""

import hashlib
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.evals import dataset


def line(**fields: object) -> str:
    return json.dumps({"id": "a", "prompt": "Capital of France?", "reference": "Paris", **fields})


def test_prompts_and_messages_become_items() -> None:
    """A prompt is one user message; ids may be integers; empty lines and a byte order mark are harmless."""
    turns = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "2+2?"}]
    text = "\ufeff" + line() + "\n\n" + json.dumps({"id": 7, "messages": turns, "reference": "4"}) + "\r\n"
    assert dataset.parse(text.encode()) == (
        dataset.Item("a", (dataset.Message("user", "Capital of France?"),), "Paris"),
        dataset.Item("7", (dataset.Message("system", "Be short."), dataset.Message("user", "2+2?")), "4"),
    )


def test_a_line_separator_inside_a_string_ends_no_line() -> None:
    """U+2028 is legal inside JSON strings."""
    text = json.dumps({"id": "a", "prompt": "x\u2028y", "reference": "z"}, ensure_ascii=False)
    assert dataset.parse(text.encode())[0].messages[0].content == "x\u2028y"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no items"),
        ("\n\n", "has no items"),
        (line() + "\n{", "line 2: it is not JSON"),
        ("[1]", "line 1: it must be a JSON object"),
        (line(id=""), "line 1, field id"),
        (line(id=True), "line 1, field id"),
        (line(prompt=3), "line 1, field prompt"),
        (line(messages=[]), "line 1, field prompt: exactly one of prompt and messages"),
        ('{"id": "a", "reference": "b"}', "line 1, field prompt: exactly one of prompt and messages"),
        ('{"id": "a", "messages": [], "reference": "b"}', "line 1, field messages"),
        ('{"id": "a", "messages": ["hi"], "reference": "b"}', r"line 1, field messages\[0\]"),
        ('{"id": "a", "messages": [{"role": "bot", "content": "x"}], "reference": "b"}', r"field messages\[0\].role: 'bot'"),
        ('{"id": "a", "messages": [{"role": "user"}], "reference": "b"}', r"field messages\[0\].content"),
        (line(reference=None), "line 1, field reference"),
        (line() + "\n" + line(id="b") + "\n" + line(), "line 3, field id: 'a' occurs twice"),
    ],
)
def test_a_broken_line_is_refused(text: str, message: str) -> None:
    """The message names line and field."""
    with pytest.raises(dataset.DatasetError, match=message):
        dataset.parse(text.encode())


def test_other_encodings_are_refused() -> None:
    """A file that is not UTF-8 says so."""
    with pytest.raises(dataset.DatasetError, match="not UTF-8 at byte 0"):
        dataset.parse(b"\xff\xfe")


def test_the_digest_is_that_of_the_bytes() -> None:
    """What a rollout freezes is what sha256sum prints."""
    assert dataset.digest(b"abc") == hashlib.sha256(b"abc").hexdigest()


@given(st.integers(1, 300), st.one_of(st.none(), st.integers(1, 400)))
def test_a_sample_is_even_and_stable(count: int, size: int | None) -> None:
    """Gaps between sampled items differ by at most one, order is kept, nothing is taken twice."""
    items = [dataset.Item(str(i), (), "x") for i in range(count)]
    taken = [int(item.id) for item in dataset.sample(items, size)]
    assert len(taken) == min(count, size or count)
    assert taken == sorted(set(taken))
    gaps = {b - a for a, b in itertools.pairwise(taken)}
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert taken == [int(item.id) for item in dataset.sample(items, size)]
