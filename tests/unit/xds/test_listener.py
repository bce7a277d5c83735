"""What a client may send of our headers."""

from __future__ import annotations

import re

import hypothesis
import pytest
from hypothesis import strategies as st

from sluice.api import traffic_spec
from sluice.xds import listener
from sluice.xds.filters import api_keys, model

PATTERN = re.compile(listener.all_but("x-sluice-", traffic_spec.REVISION_HEADER))
OWN = "x-sluice-"


@pytest.mark.parametrize("name", [api_keys.CLIENT_HEADER, model.MODEL_HEADER, model.STREAM_HEADER, OWN, "x-sluice-re"])
def test_our_headers_are_taken_away(name: str) -> None:
    """A client could else choose the model, the stream tag or its own name."""
    assert PATTERN.fullmatch(name)


def test_the_one_that_testers_send_is_kept() -> None:
    """It only ever counts for clients that the rollout names."""
    assert not PATTERN.fullmatch(traffic_spec.REVISION_HEADER)


@hypothesis.given(st.text("revision-x", max_size=12))
def test_all_names_with_the_prefix_but_one_match(rest: str) -> None:
    """No other name gets through, and no name without the prefix is taken."""
    assert bool(PATTERN.fullmatch(OWN + rest)) == (OWN + rest != traffic_spec.REVISION_HEADER)
    assert not PATTERN.fullmatch(rest) or rest.startswith(OWN)
