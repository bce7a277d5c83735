"""Label selectors mean what they mean to Kubernetes."""

from __future__ import annotations

import pytest

from sluice.metricsapi import selectors

LABELS = {"app": "chat", "sluice.dev/revision": "abc", "empty": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("app=chat", True),
        ("app==chat", True),
        ("app=other", False),
        ("app = chat , sluice.dev/revision=abc", True),
        ("app=chat,sluice.dev/revision=xyz", False),
        ("app!=other", True),
        ("app!=chat", False),
        ("tier!=front", True),
        ("app in (chat,other)", True),
        ("app in (other, another)", False),
        ("app notin (other)", True),
        ("app notin (chat)", False),
        ("tier notin (front)", True),
        ("app", True),
        ("tier", False),
        ("!tier", True),
        ("!app", False),
        ("empty=", True),
        ("app in (a,b),sluice.dev/revision=abc", False),
        ("sluice.dev/revision=abc,app in (chat,b),!tier", True),
    ],
)
def test_a_selector_matches_as_in_kubernetes(text: str, expected: bool) -> None:
    """All requirements must hold; a label that is absent differs from every value."""
    assert selectors.matches(selectors.parse(text), LABELS) is expected


@pytest.mark.parametrize("text", ["app=chat,", "=chat", "app>1", "app in chat", "app in (ch at)", "a b", "app=ch@t", "in (a)"])
def test_other_texts_are_refused(text: str) -> None:
    """A selector that is misread would answer for the wrong pods."""
    with pytest.raises(selectors.SelectorError, match="Cannot read label selector"):
        selectors.parse(text)
