"""Every rule of every CRD has a file that breaks it, and every rejected file says which field it names and in which words.

Needs no API server: that the words are really said is shown by test_files.py.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
import yaml

from sluice.api import crdgen

HERE: Final = pathlib.Path(__file__).parent
REJECTED: Final = sorted((HERE / "rejected").glob("*.yaml"))
ACCEPTED: Final = sorted((HERE / "accepted").glob("*.yaml"))
EXPECT: Final = "# expect: "
FEWEST_FILES: Final = 60
FEWEST_LETTERS: Final = 8
"""Of an expectation: a shorter one is in many messages."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """One CEL rule; the same rule and message at several fields is one."""

    kind: str
    rule: str
    message: str
    expression: str = ""

    def says(self, words: str) -> bool:
        """Whether words are in the message, or run over into a literal of the expression that makes it."""
        literals = re.findall(r"'([^']*)'", self.expression)
        tails = [words[start:] for start in range(len(words) - FEWEST_LETTERS)]
        return words in self.message or any(tail in literal for literal in literals for tail in tails)


@dataclasses.dataclass(frozen=True)
class Case:
    """What a rejected file expects."""

    kind: str
    field: str
    words: tuple[str, ...]

    @classmethod
    def read(cls, path: pathlib.Path) -> Case:
        """The case of a file."""
        text = path.read_text()
        expected = [line.removeprefix(EXPECT) for line in text.splitlines() if line.startswith(EXPECT)]
        field, _, rest = expected[0].partition(":")
        words = (*([rest.strip()] if rest.strip() else []), *expected[1:])
        return cls(yaml.safe_load(text)["kind"], re.sub(r"\[[^\]]*\]", "[]", field), words)


def rules(kind: crdgen.Kind) -> Iterator[tuple[str, Rule]]:
    """Fields, with list indices and map keys left out, and their rules."""
    for field, entry in walk(crdgen.build_schema(kind), ""):
        yield field, Rule(kind.kind, entry["rule"], entry["message"], entry.get("messageExpression", ""))


def walk(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """All rules of a schema with the paths that the API server reports."""
    for entry in schema.get("x-kubernetes-validations", ()):
        yield (path + entry.get("fieldPath", "")).removeprefix("."), entry
    for name, child in schema.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}")
    for below in ("items", "additionalProperties"):
        if below in schema:
            yield from walk(schema[below], f"{path}[]")


CASES: Final = tuple(Case.read(path) for path in REJECTED)
PLACES: Final = tuple(place for kind in crdgen.KINDS for place in rules(kind))
RULES: Final = sorted({(rule.kind, rule.rule, rule.message): rule for _, rule in PLACES}.items())


def is_asserted(rule: Rule) -> bool:
    """Whether a file is refused at one of the rule's fields in words of its message, and of no other rule's there."""
    fields = {field for field, other in PLACES if other == rule}
    for case in CASES:
        if case.kind != rule.kind or case.field not in fields:
            continue
        here = [other for field, other in PLACES if field == case.field and other.kind == rule.kind]
        for words in case.words:
            if len(words) >= FEWEST_LETTERS and [other for other in here if other.says(words)] == [rule]:
                return True
    return False


@pytest.mark.parametrize("rule", [rule for _, rule in RULES], ids=lambda rule: f"{rule.kind}: {rule.message[:60]}")
def test_every_rule_is_asserted_by_a_rejected_file(rule: Rule) -> None:
    """A rule without a file may be wrong, or say nothing that helps, and nobody would know."""
    assert is_asserted(rule), f"no file in tests/crd/rejected shows: {rule.message}"


@pytest.mark.parametrize("path", REJECTED, ids=lambda path: path.stem)
def test_every_rejected_file_asserts_field_and_message(path: pathlib.Path) -> None:
    """A file that only asserts one of them is green for another reason than its name says."""
    case = Case.read(path)
    assert case.field.startswith(("spec", "metadata"))
    assert case.words


def test_there_are_files_enough() -> None:
    """Whoever reads the folder learns the API's rules from the names."""
    assert len(REJECTED) + len(ACCEPTED) >= FEWEST_FILES
    prefixes = tuple(f"{kind.kind.lower()}-" for kind in crdgen.KINDS)
    assert [path.name for path in (*REJECTED, *ACCEPTED) if not path.name.startswith(prefixes)] == []
