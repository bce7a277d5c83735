"""Values that are read now and then: closed verdicts, and a source that lies or is silent never passes."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.api import live_metric, rollout_status
from sluice.gates import plans, thresholds

V = rollout_status.Verdict


def plan(limit: dict[str, str] | None = None, **readings: Any) -> thresholds.ThresholdPlan:
    wire = {
        "name": "cache",
        "signal": {"type": "KVCacheUsage"},
        "limit": {"value": limit or {"max": "0.9"}},
        **({"readings": readings} if readings else {}),
    }
    (made,) = thresholds.build_plans((plans.Live("slo", "cache", live_metric.Metric.model_validate(wire)),))
    return made


def after(*readings: float | str, of: thresholds.ThresholdPlan | None = None) -> thresholds.Threshold:
    state = thresholds.Threshold(of or plan())
    for reading in readings:
        state = state.missed(reading) if isinstance(reading, str) else state.read(reading)
    return state


GOOD, BAD = 0.5, 0.95


@pytest.mark.parametrize(
    ("state", "expected", "reason"),
    [
        (after(), (V.INCONCLUSIVE, "NoData"), "nothing was read"),
        (after(GOOD, GOOD), (V.INCONCLUSIVE, "NeedsMoreReadings"), "two of five"),
        (after(*[GOOD] * 5), (V.PASS, "LimitKept"), "five of five"),
        (after(GOOD, BAD, GOOD, BAD, GOOD), (V.PASS, "LimitKept"), "two of five are allowed by the default"),
        (after(BAD, BAD, BAD), (V.FAIL, "LimitExceeded"), "three are enough, however many follow"),
        (after(BAD, BAD, BAD, *[GOOD] * 9), (V.FAIL, "LimitExceeded"), "a Fail stays"),
        (after(BAD, BAD, *[GOOD] * 4, BAD), (V.PASS, "LimitKept"), "only the last five count"),
        (after(*[GOOD] * 9, "down"), (V.ERROR, "SourceUnavailable"), "a pass is withheld while it is down"),
        (after(*[GOOD] * 9, "down", GOOD), (V.INCONCLUSIVE, "NeedsMoreReadings"), "and must be earned again"),
        (after(BAD, BAD, "down", BAD), (V.FAIL, "LimitExceeded"), "a gap hides no failure"),
        (after(*["down"] * 99), (V.ERROR, "SourceUnavailable"), "silence fails nothing"),
        (after(math.nan), (V.ERROR, "SourceUnavailable"), "nor does what is no number"),
        (after(0.1, of=plan({"min": "0.2"}, failures=1, of=1)), (V.FAIL, "LimitExceeded"), "below the lowest"),
        (after(0.5, of=plan({"min": "0.2", "max": "0.5"}, failures=1, of=1)), (V.PASS, "LimitKept"), "ends are within"),
    ],
)  # fmt: skip
def test_the_verdict_follows_the_readings(state: thresholds.Threshold, expected: tuple[V, str], reason: str) -> None:
    """Each closed case once."""
    assert state.verdict() == expected, reason
    status = state.status()
    assert (status.verdict, status.reason) == expected
    assert rollout_status.GateStatus.model_validate(status.to_wire()) == status


def test_people_are_told_that_nothing_is_guaranteed() -> None:
    """And what is still to be read; a source's failure is named."""
    status = after(GOOD, BAD, of=plan({"min": "0.1", "max": "0.9"})).status()
    assert "no statistical guarantee" in (status.message or "")
    assert (status.limit, status.estimate, status.needs) == ("0.1 to 0.9", "0.95", "3 more readings; about 30 s")
    assert "it answered 503" in (after("it answered 503").status().message or "")


readings = st.lists(st.one_of(st.floats(), st.just("down")), max_size=40)


@given(readings, st.integers(1, 6).flatmap(lambda of: st.tuples(st.integers(1, of), st.just(of))))
def test_a_pass_had_its_readings_in_one_go(stream: list[float | str], rule: tuple[int, int]) -> None:
    """The last `of` attempts all gave numbers, and fewer than `failures` of them were beyond."""
    failures, of = rule
    state = after(*stream, of=plan(failures=failures, of=of))
    if state.verdict()[0] is V.PASS:
        last = stream[-of:]
        assert len(last) == of
        assert all(isinstance(value, float) and math.isfinite(value) for value in last)
        assert sum(value > 0.9 for value in last if isinstance(value, float)) < failures
    if not any(isinstance(value, float) and value > 0.9 for value in stream):
        assert state.verdict()[0] is not V.FAIL


def test_a_restart_keeps_a_fail_and_nothing_that_could_pass() -> None:
    """Nobody knows what was between the readings; a failure was."""
    for state, expected in ((after(BAD, BAD, BAD), V.FAIL), (after(*[GOOD] * 9), V.INCONCLUSIVE)):
        resumed = thresholds.resume(plan(), json.loads(json.dumps(state.to_json())))
        assert (resumed.verdict()[0], resumed.taken) == (expected, state.taken)


@pytest.mark.parametrize("data", [None, [], {}, {"limit": []}, {**after(BAD, BAD, BAD).to_json(), "failed": 1},
                                  {**after().to_json(), "taken": "x"}, {**after().to_json(), "taken": -1}])  # fmt: skip
def test_damaged_state_starts_anew(data: Any) -> None:
    """Late is better than wrong."""
    assert thresholds.resume(plan(), data) == thresholds.Threshold(plan())


def test_a_limit_of_another_plan_is_not_resumed() -> None:
    """A Fail counts for the limit it was found by."""
    failed = after(BAD, BAD, BAD).to_json()
    assert thresholds.resume(plan({"max": "0.99"}), failed).verdict()[0] is V.INCONCLUSIVE
