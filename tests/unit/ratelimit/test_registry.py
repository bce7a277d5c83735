"""The table of algorithms."""

from __future__ import annotations

import typing

from sluice.api import ratelimitpolicy
from sluice.ratelimit import registry


def test_every_algorithm_of_the_api_is_there_and_no_other() -> None:
    """A member added to only one of the two cannot merge."""
    annotation = ratelimitpolicy.LimitSpec.model_fields["algorithm"].annotation
    assert set(typing.get_args(annotation)) == set(registry.ALGORITHMS)
