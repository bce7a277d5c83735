"""The verdict on an offline eval, recomputed by the operator from the counts.

The score decides: Pass when at least `threshold.min` of the items were right (a request error is a failed item). The
Wilson interval is shown, but does not decide. It was weighed: a rule that asks for the whole interval above the minimum
would call 96 right of 100 at a minimum of 0.95 Inconclusive, and unlike live traffic an offline eval gets no more items
by waiting: it would hold until the step's deadline and then roll a revision back that does what its owner asked for.
Every eval tool that people know compares the score. So a score whose interval straddles the minimum is decided all the
same, and the status says how many items could have told it apart.
"""

from __future__ import annotations

import enum
import fractions
import math
from typing import Final

from sluice.api import evalgate, rollout_status
from sluice.evals import result as results

CONFIDENCE_Z: Final = 1.959964
"""95 % two-sided."""
MOST_ITEMS: Final = 1_000_000


class Reason(enum.StrEnum):
    """Why an eval says what it says, beside the members of `result.Failure`."""

    SCORE_REACHED = "ScoreReached"
    """Pass: the score is at least the minimum."""
    SCORE_TOO_LOW = "ScoreTooLow"
    """Fail: the score is below the minimum."""
    TOO_MANY_ERRORS = "TooManyErrors"
    """Error: more requests than `maxErrorRate` got no answer."""
    NO_ITEMS = "NoItems"
    """Error: nothing was asked. No data never passes."""
    RUNNING = "Running"
    """The Job is under way."""


def wilson(passed: int, n: int, z: float = CONFIDENCE_Z) -> tuple[float, float]:
    """Wilson score interval of a share; n >= 1."""
    share = passed / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def judge(spec: evalgate.Eval, outcome: results.Outcome | None) -> tuple[rollout_status.Verdict, str]:
    """Verdict and reason; an outcome of None is a run under way. Shares are compared exactly, as decimals are written."""
    verdicts = rollout_status.Verdict
    match outcome:
        case None:
            return verdicts.RUNNING, Reason.RUNNING
        case results.EvalFailure(reason=reason):
            return verdicts.ERROR, reason
        case results.EvalResult(n=0):
            return verdicts.ERROR, Reason.NO_ITEMS
    if outcome.errors > fractions.Fraction(spec.max_error_rate) * outcome.n:
        return verdicts.ERROR, Reason.TOO_MANY_ERRORS
    if outcome.passed >= fractions.Fraction(spec.threshold.min) * outcome.n:
        return verdicts.PASS, Reason.SCORE_REACHED
    return verdicts.FAIL, Reason.SCORE_TOO_LOW


def status(gate: str, spec: evalgate.Eval, outcome: results.Outcome | None) -> rollout_status.GateStatus:
    """What to tell people of an eval of a gate; an outcome of None is a run under way."""
    verdict, reason = judge(spec, outcome)
    common = {"name": gate, "metric": spec.name, "verdict": verdict, "reason": str(reason)}
    limit = f"at least {spec.threshold.min}"
    if not isinstance(outcome, results.EvalResult) or not outcome.n:
        message = outcome.message[:1024] if isinstance(outcome, results.EvalFailure) else None
        return rollout_status.GateStatus(**common, message=message, limit=limit)
    low, high = wilson(outcome.passed, outcome.n)
    return rollout_status.GateStatus(
        **common,
        message=_message(spec, outcome),
        n=outcome.n,
        estimate=_share(outcome.passed / outcome.n),
        interval=f"{_share(low)} to {_share(high)}",
        limit=limit,
        needs=_needs(spec, outcome) if verdict is not rollout_status.Verdict.ERROR else None,
    )


def items_to_tell(score: float, minimum: float, z: float = CONFIDENCE_Z) -> int | None:
    """Items after which the same score's interval would leave the minimum out; None when more would not help.

    The minimum lies on the Wilson interval's end when (score - minimum)^2 n = z^2 minimum (1 - minimum).
    """
    if abs(score - minimum) < 1e-9 or not 0 < minimum < 1:
        return None
    items = math.floor(z * z * minimum * (1 - minimum) / (score - minimum) ** 2) + 1
    return items if items <= MOST_ITEMS else None


def _needs(spec: evalgate.Eval, outcome: results.EvalResult) -> str | None:
    """How many items would tell the score from the minimum, when these do not."""
    minimum, (low, high) = float(spec.threshold.min), wilson(outcome.passed, outcome.n)
    items = items_to_tell(outcome.passed / outcome.n, minimum)
    if not low < minimum < high or items is None:
        return None
    return f"{items} items would tell this score from {spec.threshold.min} with 95 % confidence; decided by the score"


def _message(spec: evalgate.Eval, outcome: results.EvalResult) -> str:
    text = f"{outcome.passed} of {outcome.n} answers were right"
    if outcome.errors:
        text += f"; {outcome.errors} requests got no answer and count as wrong"
    if outcome.errors > fractions.Fraction(spec.max_error_rate) * outcome.n:
        text += f", more than maxErrorRate {spec.max_error_rate} allows: no verdict"
    return text


def _share(value: float) -> str:
    """Three digits, without needless zeros: 0.97, 0.915, 1."""
    return f"{round(value, 3):g}"
