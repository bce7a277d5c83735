"""How evidence reads: numbers with their units, and how much is still needed. Rates in, short English out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from sluice.api import live_metric
from sluice.gates import grid, likelihood, plans, readings, sequential, tails

POWER_Z: Final = 0.8416
"""80 % quantile of the normal distribution."""
MOST_NEEDED: Final = 10_000_000
USUAL_STABLE_PER_CANARY: Final = 9.0


def number(share: float) -> str:
    """A share in percent with two significant digits: 0.00417 -> "0.42", 0.973 -> "97"."""
    value = share * 100
    if abs(value) >= 10:
        return f"{value:.0f}"
    return f"{round(value, 1 if abs(value) >= 1 else 2):g}"


def signed(share: float) -> str:
    """The same for a difference: "+0.42", "-3", "0"."""
    text = number(share)
    return f"+{text}" if share > 0 and text != "0" else text.replace("-0", "0") if text == "-0" else text


def estimate(frozen: plans.MetricPlan, value: float | None, known: tails.Reference) -> str | None:
    """Such as "+0.42 points" against stable, "0.42%", or "p95 below 880ms, stable 800ms" for a ratio."""
    if value is None:
        return None
    if isinstance(frozen.bound, sequential.Slower):
        new, old = (_quantile(bins, frozen) for bins in (known.canary, known.stable))
        return f"p{frozen.percentile} below {new}, stable {old}"
    if frozen.threshold is not None:
        return f"{number(value)}% not below {_short(frozen, frozen.threshold)}"
    return f"{signed(value)} points" if frozen.is_relative else f"{number(value)}%"


def _quantile(bins: Mapping[float, float], frozen: plans.MetricPlan) -> str:
    bound = readings.quantile_bound(bins, 1 - frozen.share)
    return _short(frozen, bound) if bound is not None else "?"


def interval(frozen: plans.MetricPlan, low: float | None, high: float | None) -> str:
    """Such as "-0.5 to +1 points", "up to 2%", "at least +3 points", or "not yet bounded"."""
    text, unit = (signed, " points") if frozen.is_relative else (number, "%")
    match low, high:
        case None, None:
            return "not yet bounded"
        case None, float():
            return f"up to {text(high)}{unit}"
        case float(), None:
            return f"at least {text(low)}{unit}"
        case float(), float():
            return f"{text(low)} to {text(high)}{unit}"
    raise AssertionError("ends are floats or None")


def limit(frozen: plans.MetricPlan) -> str:
    """Such as "at most 1 point above stable", "at most 1%", "p95 below 800ms" or "p95 at most 10% above stable"."""
    value = number(frozen.bound.value)
    if isinstance(frozen.bound, sequential.Slower):
        return f"p{frozen.percentile} at most {value}% above stable"
    if frozen.threshold is not None:
        return f"p{frozen.percentile} below {_bound(frozen, frozen.threshold)}"
    unit = "point" if value == "1" else "points"
    return f"at most {value} {unit} above stable" if frozen.is_relative else f"at most {value}%"


def needs(requests: int, rate: float | None) -> str:
    """Such as "410 more requests; about 9 min at this rate"."""
    text = f"{requests} more requests" if requests < MOST_NEEDED else f"more than {MOST_NEEDED} more requests"
    if not rate or rate <= 0:
        return text
    return f"{text}; about {span(requests / rate)} at this rate"


def span(seconds: float) -> str:
    """A rough length of time: "40 s", "9 min", "3 h", "12 days"."""
    for size, unit, most in ((1, "s", 100), (60, "min", 100), (3600, "h", 72)):
        if seconds < size * most:
            return f"{max(1, math.ceil(seconds / size))} {unit}"
    return f"{math.ceil(seconds / 86400)} days"


def message(frozen: plans.MetricPlan, reason: str, seen: sequential.Block, nearest: tuple[float, ...] = ()) -> str:
    """One sentence on what was seen and what it means."""
    facts = f"{seen.canary_bad} of {seen.canary_total} requests were {_bad(frozen)}"
    if frozen.is_relative:
        facts += f", against {seen.stable_bad:.0f} of {seen.stable_total:.0f} at the stable revision meanwhile"
    chance = f"{number(frozen.alpha)}%"
    return {
        "HarmProven": f"{facts}: the limit, {limit(frozen)}, is exceeded (chance of error {chance})",
        "HarmRuledOut": f"{facts}: twice the limit is ruled out",
        "NonInferior": f"{facts}: the limit is proven to be kept",
        "NeedsMoreRequests": f"{facts}: not enough for a verdict",
        "NoData": f"The revision answered no {_counted(frozen)} yet",
        "NoStableTraffic": "The stable revision answered no request in the same seconds: nothing to compare with",
        "NoBaselineInBake": "While the revision bakes, the former one has no traffic to compare with",
        "NoBaseline": "The first revision has nothing to be compared with",
        "LearningBaseline": f"The stable revision answered too few requests to know its p{frozen.percentile}",
        "SourceUnavailable": f"Cannot read {_source(frozen)}: nothing is promoted until they can be read again",
        "LimitBetweenBounds": f"Cannot judge by the limit, {limit(frozen)}: the engines count by other bounds; "
        f"use {' or '.join(_bound(frozen, bound) for bound in nearest)}",
    }[reason]


def _source(frozen: plans.MetricPlan) -> str:
    return "the engines' metrics" if frozen.signal in live_metric.ENGINE else "the gateway's counters"


def _short(frozen: plans.MetricPlan, value: float) -> str:
    """As in an estimate, which has little room."""
    if frozen.signal not in live_metric.SIZES:
        return grid.text(value)
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:g}"


def _bound(frozen: plans.MetricPlan, value: float) -> str:
    return f"{value:.0f} tokens" if frozen.signal in live_metric.SIZES else grid.text(value)


def _bad(frozen: plans.MetricPlan) -> str:
    if isinstance(frozen.bound, sequential.Slower):
        return f"above stable's p{frozen.percentile} and {number(frozen.bound.value)}%"
    if frozen.threshold is not None:
        return f"not below {_bound(frozen, frozen.threshold)}"
    return "truncated" if frozen.signal == "TruncationRate" else "bad"


def _counted(frozen: plans.MetricPlan) -> str:
    copied = "copied " if frozen.shadow else ""
    return {"TTFT": f"{copied}request for a stream", "E2ELatency": f"{copied}request whole"}.get(
        frozen.signal, f"{copied}request that counts"
    )


def log_odds_needed(alpha: float) -> float:
    """Log evidence at which a test at level alpha rejects."""
    return -math.log(alpha)


def proof_need(proof: sequential.Proof, alpha: float, seen: sequential.Block, points: sequential.Points | None = None) -> int:
    """Further canary requests until a good revision is proven good with 80 % probability, 0 when it is proven.

    Good means as stable for a margin or a ratio, as seen (at most half the bound) for a limit. With J and V the mean and
    variance of the log factor a canary request, n solves nJ - z sqrt(nV) = B, where B is the evidence that is missing.
    """
    missing = log_odds_needed(alpha) - proof.log_evidence
    if missing <= 0:
        return 0
    terms = _proof_terms(proof, seen, points)
    mean = sum(w * (p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))) for w, p, q in terms)
    variance = sum(w * p * (1 - p) * math.log(p * (1 - q) / (q * (1 - p))) ** 2 for w, p, q in terms)
    if mean <= 0:
        return MOST_NEEDED
    spread = POWER_Z * math.sqrt(variance)
    root = (spread + math.sqrt(spread**2 + 4 * mean * missing)) / (2 * mean)
    return min(math.ceil(root**2), MOST_NEEDED)


def _proof_terms(
    proof: sequential.Proof, seen: sequential.Block, points: sequential.Points | None
) -> list[tuple[float, float, float]]:
    """(requests a canary request, true rate, nearest null rate) of each side."""
    if isinstance(proof.bound, sequential.Limit):
        return [(1.0, proof.guess(), proof.bound.value)]
    share = seen.stable_total / seen.canary_total if seen.canary_total and seen.stable_total else USUAL_STABLE_PER_CANARY
    if isinstance(proof.bound, sequential.Slower):
        if points is None or points.good >= points.stable:
            return []
        null = likelihood.project(points.good, points.stable, 1.0, share, 0.0)
        return [(1.0, points.good, null), (share, points.stable, null)]
    rate = min(max(proof.stable.rate, 1e-6), 1 - proof.bound.value - 1e-6)
    null = likelihood.project(rate, rate, 1.0, share, proof.bound.value)
    return [(1.0, rate, null + proof.bound.value), (share, rate, null)]
