"""Signals by name."""

import typing

import pytest

from sluice.api import evalgate
from sluice.gates import attempts, plans, registry, sequential


def test_the_registry_and_the_api_name_the_same_signals() -> None:
    """A signal that the API admits is one that can be judged, and the reverse."""
    assert set(registry.SIGNALS) == set(typing.get_args(evalgate.Signal.model_fields["type"].annotation))


def test_the_plan_and_the_api_name_the_same_requirements() -> None:
    """`require` has one meaning for each value of the API."""
    assert {member.value for member in plans.Require} == set(
        typing.get_args(evalgate.Metric.model_fields["require"].annotation)
    )


def test_an_unknown_signal_is_an_error() -> None:
    """Never another signal in its place."""
    with pytest.raises(registry.UnknownSignalError, match="known are ErrorRate"):
        registry.signal("Vibes")


def test_a_block_has_both_sides() -> None:
    """Counters become a block; without a stable revision its side is empty."""
    key = attempts.AttemptKey("t/chat-1", "chat", 200, "-", False, False)
    bad = attempts.AttemptKey("t/chat-2", "chat", 503, "UF", False, False)
    delta = {key: 9, bad: 2}
    assert registry.block("ErrorRate", delta, "t/chat-2", "t/chat-1") == sequential.Block(2, 2, 0, 9)
    assert registry.block("ErrorRate", delta, "t/chat-2", None) == sequential.Block(2, 2, 0, 0)
