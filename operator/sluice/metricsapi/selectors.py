"""Label selectors as Kubernetes writes them into URLs: `a=b,c!=d,e in (f,g),h notin (i),j,!k`.

HPAs send the selector of the workload that they scale. Only the grammar and the match are here.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Callable, Mapping
from typing import Final


class SelectorError(ValueError):
    """The text is no label selector."""


class Operator(enum.StrEnum):
    """How a requirement compares."""

    IN = "in"
    """The label is there with one of the values."""
    NOT_IN = "notin"
    """The label is absent, or has none of the values."""
    EXISTS = "exists"
    """The label is there."""
    ABSENT = "absent"
    """The label is not there."""


@dataclasses.dataclass(frozen=True)
class Requirement:
    """One part of a selector; all must hold."""

    label: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels fulfil it."""
        match self.operator:
            case Operator.IN:
                return labels.get(self.label) in self.values
            case Operator.NOT_IN:
                return labels.get(self.label) not in self.values
            case Operator.EXISTS:
                return self.label in labels
            case Operator.ABSENT:
                return self.label not in labels


Selector = tuple[Requirement, ...]

_LABEL: Final = r"([A-Za-z0-9](?:[-A-Za-z0-9_./]*[A-Za-z0-9])?)"
_VALUE: Final = r"([A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?|)"
_COMMA_OUTSIDE_BRACKETS: Final = re.compile(r",(?![^(]*\))")
_FORMS: Final[tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Requirement]], ...]] = (
    (re.compile(rf"{_LABEL}\s*==?\s*{_VALUE}"), lambda m: Requirement(m[1], Operator.IN, frozenset({m[2]}))),
    (re.compile(rf"{_LABEL}\s*!=\s*{_VALUE}"), lambda m: Requirement(m[1], Operator.NOT_IN, frozenset({m[2]}))),
    (re.compile(rf"{_LABEL}\s+in\s*\(([^()]*)\)"), lambda m: Requirement(m[1], Operator.IN, _values(m[2]))),
    (re.compile(rf"{_LABEL}\s+notin\s*\(([^()]*)\)"), lambda m: Requirement(m[1], Operator.NOT_IN, _values(m[2]))),
    (re.compile(_LABEL), lambda m: Requirement(m[1], Operator.EXISTS)),
    (re.compile(rf"!\s*{_LABEL}"), lambda m: Requirement(m[1], Operator.ABSENT)),
)


def parse(text: str) -> Selector:
    """The selector; empty text selects everything.

    Raises:
        SelectorError: a part is in no known form; the message quotes it.
    """
    if not text.strip():
        return ()
    return tuple(_requirement(part.strip()) for part in _COMMA_OUTSIDE_BRACKETS.split(text))


def matches(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Whether an object with these labels is selected."""
    return all(requirement.matches(labels) for requirement in selector)


def _requirement(text: str) -> Requirement:
    for form, build in _FORMS:
        if found := form.fullmatch(text):
            return build(found)
    raise SelectorError(f"Cannot read label selector: {text!r} is no requirement; use a form such as app=chat or tier in (a,b)")


def _values(text: str) -> frozenset[str]:
    found = [value.strip() for value in text.split(",")]
    for value in found:
        if not re.fullmatch(_VALUE, value):
            raise SelectorError(f"Cannot read label selector: {value!r} is no label value")
    return frozenset(found)
