"""The verdict on an eval, recomputed from the counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.api import evalgate, rollout_status
from sluice.evals import result as results
from sluice.evals import verdict

V = rollout_status.Verdict
SHA = "ab" * 32


def spec(minimum: str = "0.9", max_error_rate: str = "0.05") -> evalgate.Eval:
    return evalgate.Eval(
        name="golden",
        runner=evalgate.Runner(type="Builtin"),
        dataset=evalgate.Dataset(type="ConfigMap"),
        scorer=evalgate.Scorer(type="ExactMatch"),
        threshold=evalgate.Threshold(min=minimum),
        max_error_rate=max_error_rate,
    )


def counts(passed: int, failed: int, errors: int = 0) -> results.EvalResult:
    return results.EvalResult(passed + failed + errors, passed, failed, errors, SHA)


@pytest.mark.parametrize(
    ("minimum", "outcome", "expected", "reason"),
    [
        ("0.9", counts(100, 0), (V.PASS, "ScoreReached"), "all right"),
        ("0.9", counts(70, 30), (V.FAIL, "ScoreTooLow"), "far below"),
        ("0.95", counts(96, 4), (V.PASS, "ScoreReached"), "the score decides, though the interval straddles"),
        ("0.9", counts(90, 10), (V.PASS, "ScoreReached"), "a tie passes: at least the minimum"),
        ("0.9", counts(89, 11), (V.FAIL, "ScoreTooLow"), "one less does not"),
        ("0.7", counts(7, 3), (V.PASS, "ScoreReached"), "decimals compare exactly: 0.7 * 10 is above 7 in floats"),
        ("1", counts(100, 0), (V.PASS, "ScoreReached"), "all right is enough for 1"),
        ("0", counts(0, 5), (V.PASS, "ScoreReached"), "0 asks for nothing"),
        ("0.95", counts(95, 0, 5), (V.PASS, "ScoreReached"), "errors at their limit are failed items"),
        ("0.96", counts(95, 0, 5), (V.FAIL, "ScoreTooLow"), "and pull the score down"),
        ("0.9", counts(94, 0, 6), (V.ERROR, "TooManyErrors"), "beyond it there is no verdict, though 0.94 would pass"),
        ("0.9", counts(0, 0), (V.ERROR, "NoItems"), "no data never passes"),
        ("0", counts(0, 0), (V.ERROR, "NoItems"), "not even where nothing is asked for"),
        ("0.9", None, (V.RUNNING, "Running"), "under way"),
        ("0.9", results.EvalFailure(results.Failure.TIMED_OUT, "late"), (V.ERROR, "TimedOut"), "a failed run is no verdict"),
    ],
)
def test_the_counts_decide(
    minimum: str, outcome: results.Outcome | None, expected: tuple[rollout_status.Verdict, str], reason: str
) -> None:
    """Each closed case once, and each fits the API."""
    status = verdict.status("quality", spec(minimum), outcome)
    assert (status.verdict, status.reason) == expected, reason
    assert rollout_status.GateStatus.model_validate(status.to_wire()) == status


def test_a_status_reads_well() -> None:
    """Score, Wilson interval, limit, and the items that would have told the score from the minimum."""
    wire = verdict.status("quality", spec("0.95"), counts(96, 3, 1)).to_wire()
    assert wire == {
        "name": "quality",
        "metric": "golden",
        "verdict": "Pass",
        "reason": "ScoreReached",
        "message": "96 of 100 answers were right; 1 requests got no answer and count as wrong",
        "n": 100,
        "estimate": "0.96",
        "interval": "0.902 to 0.984",
        "limit": "at least 0.95",
        "needs": "1825 items would tell this score from 0.95 with 95 % confidence; decided by the score",
    }


def test_a_clear_score_needs_nothing() -> None:
    """No hint where the interval leaves the minimum out."""
    assert verdict.status("quality", spec("0.9"), counts(70, 30)).needs is None


@given(st.integers(1, 500), st.data())
def test_a_wilson_interval_holds_its_score(n: int, data: st.DataObject) -> None:
    """It lies inside 0..1 and around the share."""
    passed = data.draw(st.integers(0, n))
    low, high = verdict.wilson(passed, n)
    assert 0 <= low <= passed / n + 1e-12
    assert passed / n - 1e-12 <= high <= 1


def test_a_wilson_interval_agrees_with_the_literature() -> None:
    """Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662, 0 of 20 gives 0 to 0.1611."""
    assert verdict.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert verdict.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


@given(st.integers(1, 199), st.sampled_from(["0.5", "0.9", "0.95", "0.99"]))
def test_the_items_that_are_asked_for_would_do(passed: int, minimum: str) -> None:
    """At that many items the same score's interval leaves the minimum out, a few per cent fewer do not."""
    score = passed / 200
    items = verdict.items_to_tell(score, float(minimum))
    if items is None:
        assert abs(score - float(minimum)) < 1e-9
        return
    low, high = verdict.wilson(score * items, items)  # type: ignore[arg-type] # a fractional count, for exactness
    assert not low < float(minimum) < high
    if items > 40:
        low, high = verdict.wilson(score * items * 0.97, items * 0.97)  # type: ignore[arg-type]
        assert low < float(minimum) < high
