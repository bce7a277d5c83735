"""Signals by name."""

import typing

import pytest

from sluice.api import evalgate
from sluice.gates import attempts, plans, readings, registry, sequential, tails


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
    with pytest.raises(registry.UnknownSignalError, match="known are E2ELatency, ErrorRate"):
        registry.signal("Vibes")


def metric(signal: str, **fields: object) -> plans.MetricPlan:
    wire = {"name": "m", "signal": {"type": signal}, **fields}
    shadow = bool(wire.pop("shadow", False))
    return plans.build_plans([plans.Live("g", "m", evalgate.Metric.model_validate(wire), shadow)], 0.01)[0]


SIDES = registry.Sides("t/chat-2", "t/chat-1")
ERRORS = {"limit": {"ratio": "0.01"}}


def attempt(revision: str, code: int = 200, flags: str = "-", route: str = "chat") -> attempts.AttemptKey:
    return attempts.AttemptKey(revision, route, code, flags, stream=False, placeholder=False)


def blocks(plan: plans.MetricPlan, delta: readings.Delta, sides: registry.Sides = SIDES) -> sequential.Block:
    found = registry.judge(plan, tails.NOTHING, delta, sides.of(plan))
    assert found is not None
    assert found.harm == found.proof
    return found.harm


def test_a_block_has_both_sides() -> None:
    """Counters become a block; without a stable revision its side is empty."""
    delta = readings.Delta({attempt("t/chat-1"): 9, attempt("t/chat-2", 503, "UF"): 2})
    plan = metric("ErrorRate", **ERRORS)
    assert blocks(plan, delta) == sequential.Block(2, 2, 0, 9)
    assert blocks(plan, delta, registry.Sides("t/chat-2", None)) == sequential.Block(2, 2, 0, 0)


def test_copied_requests_are_held_against_ordinary_ones_of_stable() -> None:
    """A shadow is read from its own cluster, without those that a circuit breaker of ours dropped; other evidence has none."""
    delta = readings.Delta(
        {
            attempt("t/chat-1"): 90,
            attempt("t/chat-2/shadow", route=""): 7,
            attempt("t/chat-2/shadow", 500, route=""): 2,
            attempt("t/chat-2/shadow", 0, "UO", route=""): 5,
            attempt("t/chat-2"): 4,
        }
    )
    assert blocks(metric("ErrorRate", **ERRORS, shadow=True), delta) == sequential.Block(2, 9, 0, 90)
    assert blocks(metric("ErrorRate", **ERRORS), delta) == sequential.Block(0, 4, 0, 90)


def test_a_latency_is_slow_from_the_limit_on() -> None:
    """The bin below 800 ms is within a limit of 800 ms, the next one is not; testers' requests are no evidence."""
    key = readings.HistogramKey(readings.Measure.TTFT, "t/chat-2", "chat")
    delta = readings.Delta(
        {},
        {
            key: {770: 5, 800: 3, 880: 2, float("inf"): 1},
            readings.HistogramKey(readings.Measure.TTFT, "t/chat-2", "other"): {880: 1},
            readings.HistogramKey(readings.Measure.TTFT, "t/chat-2", "chat/override"): {880: 100},
            readings.HistogramKey(readings.Measure.DURATION, "t/chat-2", "chat"): {880: 100},
            readings.HistogramKey(readings.Measure.TTFT, "t/chat-1", "chat"): {20: 50, 900: 4},
        },
    )
    assert blocks(metric("TTFT", limit={"latency": "800ms"}), delta) == sequential.Block(4, 12, 4, 54)


def test_nothing_is_said_of_a_ratio_before_stable_is_known() -> None:
    """Without q there is nothing to compare by."""
    delta = readings.Delta({}, {readings.HistogramKey(readings.Measure.TTFT, "t/chat-2", "chat"): {800: 3}})
    assert registry.judge(metric("TTFT", regression={"ratio": "10%"}), tails.NOTHING, delta, SIDES) is None


def counted(measure: readings.Measure, canary: dict[float, int], stable: dict[float, int]) -> readings.Delta:
    """What engines of both sides counted."""
    sides = {SIDES.canary: canary, str(SIDES.stable): stable}
    return readings.Delta({}, {readings.HistogramKey(measure, revision, ""): bins for revision, bins in sides.items()})


def test_truncated_answers_are_a_share_of_those_that_ended() -> None:
    """As the engine counts them; it cannot tell copies, so a shadow is read from the revision itself."""
    delta = counted(readings.Measure.TRUNCATED, {readings.NOT_BAD: 9, float("inf"): 3}, {readings.NOT_BAD: 40})
    for shadow in (False, True):
        assert blocks(metric("TruncationRate", **ERRORS, shadow=shadow), delta) == sequential.Block(3, 12, 0, 40)


@pytest.mark.parametrize(
    ("signal", "limit", "measure", "expected"),
    [
        ("ITL", {"latency": "50ms"}, readings.Measure.ITL, 2),
        ("QueueTime", {"latency": "50ms"}, readings.Measure.QUEUE, 2),
        ("OutputTokens", {"tokens": 50}, readings.Measure.TOKENS, 2),
    ],
)
def test_an_engines_limit_is_one_of_its_own_bounds(
    signal: str, limit: dict[str, object], measure: readings.Measure, expected: int
) -> None:
    """On a bound it judges; between two it says nothing and names them."""
    plan = metric(signal, limit=limit)
    delta = counted(measure, {25: 4, 50: 3, 75: 2}, {})
    found = registry.judge(plan, tails.NOTHING, delta, SIDES, {measure: (25, 50, 75)})
    assert found is not None
    assert (found.harm.canary_bad, found.harm.canary_total) == (expected, 9)
    assert registry.misplaced(plan, {measure: (25, 50, 75)}) == ()
    assert registry.judge(plan, tails.NOTHING, delta, SIDES, {measure: (25, 40, 75)}) is None
    assert registry.misplaced(plan, {measure: (25, 40, 75)}) == (40, 75)
    assert registry.judge(plan, tails.NOTHING, delta, SIDES) is None
    assert registry.misplaced(plan, {}) == (), "nothing is known yet"
