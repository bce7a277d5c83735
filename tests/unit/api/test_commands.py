"""Orders are read from one annotation, and nothing else passes for one."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.api import commands

ID = "0193f3a2-7c1e-7b3a-9d52-0a1b2c3d4e5f"


@given(st.sampled_from(commands.Verb), st.from_regex(r"[a-z0-9]{8}", fullmatch=True), st.uuids(), st.text(max_size=20))
def test_an_order_survives_its_annotation(verb: commands.Verb, revision: str, identity: uuid.UUID, by: str) -> None:
    """What the plugin writes is what the operator reads."""
    order = commands.Command(verb, revision, str(identity), by)

    assert commands.parse({commands.ANNOTATION: order.text, commands.BY_ANNOTATION: by}) == order


@pytest.mark.parametrize("annotations", [{}, {commands.ANNOTATION: ""}, {"other": "promote/abc/x"}])
def test_no_annotation_is_no_order(annotations: dict[str, str]) -> None:
    """Nothing was ordered."""
    assert commands.parse(annotations) is None


@pytest.mark.parametrize(
    "text",
    [
        "promote",
        "promote/abc",
        f"promote//{ID}",
        f"Promote/abc/{ID}",
        f"explode/abc/{ID}",
        f"promote/abc/{ID}/more",
        "a/b/c",
        f" promote/abc/{ID}",
    ],
)
def test_what_is_not_an_order_is_refused(text: str) -> None:
    """The message names the annotation."""
    with pytest.raises(commands.CommandError, match=commands.ANNOTATION):
        commands.parse({commands.ANNOTATION: text})


def test_every_verb_needs_a_permission() -> None:
    """A verb that is forgotten would be open to everybody."""
    assert set(commands.PERMISSION_OF) == set(commands.Verb)
