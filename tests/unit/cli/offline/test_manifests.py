"""Reading files as Kubernetes does. Text is given to the parser; files are read on level crd."""

from __future__ import annotations

import pytest

from sluice.cli import exits
from sluice.cli.offline import manifests


def parse(text: str) -> list[manifests.Manifest]:
    """The documents of a text."""
    return list(manifests.parse("file.yaml", text))


def test_documents_and_lists_are_opened() -> None:
    """Empty documents are none."""
    text = "kind: A\n---\n---\nkind: List\nitems: [{kind: B}, {kind: C}]\n"
    assert [each.kind for each in parse(text)] == ["A", "B", "C"]


def test_times_are_texts_and_json_is_yaml() -> None:
    """As Kubernetes has it."""
    assert parse("kind: 2026-11-21")[0].kind == "2026-11-21"
    assert parse('{"kind": "A", "metadata": {"name": "a", "namespace": "b"}}')[0].namespace == "b"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "as YAML"),
        ("a: 1\na: 2", "key 'a' is there twice"),
        ("- a", "a document is list"),
        ("!!python/object:os.system {}", "could not determine a constructor"),
    ],
)
def test_what_is_no_object_cannot_be_read(text: str, said: str) -> None:
    """A key that stands twice would silently win."""
    with pytest.raises(exits.Failure, match=said) as raised:
        parse(text)
    assert raised.value.code is exits.Exit.USAGE


def test_broken_metadata_is_shown_not_raised() -> None:
    """The finding is about it; its title must not fail."""
    (odd,) = parse("kind: ModelDeployment\napiVersion: sluice.dev/v1alpha1\nmetadata: [1]")
    assert (odd.name, odd.namespace) == ("", "")
