"""The page that users open when pods are not ready has every cause, in its class."""

from __future__ import annotations

import pathlib
import re

import pytest

from sluice.rollout import health

PAGE = pathlib.Path(__file__).resolve().parents[3] / "docs" / "troubleshooting.md"
ROW = re.compile(r"^\| `(\w+)` \| (Environment, then Revision|Environment|Revision|None) \|", re.MULTILINE)
PATIENT = {health.Cause.IMAGE_NOT_FOUND, health.Cause.MODEL_NOT_FOUND}


@pytest.mark.parametrize("cause", health.Cause)
def test_every_cause_is_on_the_page_in_its_class(cause: health.Cause) -> None:
    """What the code decides is what people read."""
    said = dict(ROW.findall(PAGE.read_text()))

    assert said[cause] == ("Environment, then Revision" if cause in PATIENT else health.class_of(cause))


def test_the_page_has_no_other_causes() -> None:
    """One that is gone from the code is gone from the page."""
    assert {name for name, _ in ROW.findall(PAGE.read_text())} == set(health.Cause)
