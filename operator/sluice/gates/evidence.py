"""The evidence on one metric of one rollout, and what it comes to: a verdict that people can follow.

One family of evidence a metric a rollout: it begins with the first block and is never reset by a step. State is immutable;
`to_json` and `from_json` carry it over a restart of the operator, after which the counters' whole gap is one block
(`gap=True`). What stays out: reading counters, the clock, and what a rollout does with a verdict.

How blocks are to be fed:

- one block for about a second, of both sides over the same span, from the moment the candidate's pods warm up: blocks with
  requests of stable alone teach its usual rate before the comparison begins;
- after each weight rise, blocks that end before `settled_at` are fed with `settling=True`: bad answers come sooner than
  good ones, so for about four median latencies the canary looks worse than it is, and relative evidence leaves these
  blocks out, errors included. Absolute limits use them. With latencies far below a second that is one block at most;
- attempts on pods that are being deleted, and seconds whose counters were reset, are left out by the caller.

The guarantee speaks of requests that fail independently; one client that sends most of the traffic is not covered.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any, Final

from sluice.api import rollout_status
from sluice.gates import intervals, plans, sequential, texts

VERSION: Final = 1
PASS_ALPHA: Final = 0.2
"""Chance that a revision at twice its bound passes NoHarm. Not split: all metrics must pass."""
PROOF_ALPHA: Final = 0.05
"""Chance that a revision at its bound passes Proof."""
SETTLING_LATENCIES: Final = 4.0
LONGEST_WAIT: Final = 10
"""Observations after which canary requests that met no stable request are dropped: sides must share their seconds."""


class Reason(enum.StrEnum):
    """Why a metric says what it says."""

    HARM_PROVEN = "HarmProven"
    """Fail: the bound is exceeded."""
    HARM_RULED_OUT = "HarmRuledOut"
    """Pass of NoHarm."""
    NON_INFERIOR = "NonInferior"
    """Pass of Proof."""
    NEEDS_MORE_REQUESTS = "NeedsMoreRequests"
    """Inconclusive: so far neither harm nor its absence is proven."""
    NO_DATA = "NoData"
    """Inconclusive: the revision answered no request that counts."""
    NO_STABLE_TRAFFIC = "NoStableTraffic"
    """Inconclusive: there is nothing to compare with in the same seconds."""
    NO_BASELINE = "NoBaseline"
    """Inconclusive: the first revision has nothing to be compared with. Does not block."""
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    """Error: the gateway's counters cannot be read."""


class EvidenceError(ValueError):
    """Persisted evidence cannot be used; the message says why."""


def settled_at(raised_at: float, median_latency: float) -> float:
    """When blocks count for relative evidence again after a weight rise; times and latency in seconds."""
    return raised_at + SETTLING_LATENCIES * median_latency


@dataclasses.dataclass(frozen=True, slots=True)
class MetricEvidence:
    """Everything known of one metric. `observe` gives the next state; once `failed`, it stays so."""

    plan: plans.MetricPlan
    harm: sequential.Harm
    proof: sequential.Proof
    interval: intervals.Interval
    seen: sequential.Block = sequential.EMPTY
    """What was judged so far."""
    excess: float = 0.0
    """Mantel-Haenszel sums of the rate difference: unlike pooled rates, drift and changing weights don't bias it."""
    overlap: float = 0.0
    waiting: sequential.Block = sequential.EMPTY
    """Canary requests that still wait for a stable request in about the same seconds."""
    waited: int = 0
    failed: bool = False
    passed: bool = False

    @classmethod
    def start(cls, frozen: plans.MetricPlan) -> MetricEvidence:
        """No evidence yet."""
        return cls(
            plan=frozen,
            harm=sequential.Harm(frozen.bound),
            proof=sequential.Proof(proof_bound(frozen)),
            interval=intervals.Interval.start(frozen.bound, frozen.alpha),
        )

    def observe(self, block: sequential.Block, *, gap: bool = False, settling: bool = False) -> MetricEvidence:
        """With one more block.

        `gap`: it covers a longer time in which nobody looked. `settling`: the weight rose a moment ago.
        """
        if settling and self.plan.is_relative:
            return dataclasses.replace(self, waiting=sequential.EMPTY, waited=0)
        whole, waited = self.waiting.plus(block), self.waited + 1
        if whole.canary_total and not sequential.is_comparable(self.plan.bound, whole.without_retries()):
            keep = waited < LONGEST_WAIT
            return dataclasses.replace(self, waiting=whole if keep else sequential.EMPTY, waited=waited if keep else 0)
        return self._judge(whole, gap=gap or waited > 2)

    def _judge(self, block: sequential.Block, *, gap: bool) -> MetricEvidence:
        fair = block.without_retries()
        harm, proof = self.harm.observe(fair, gap=gap), self.proof.observe(fair)
        failed = self.failed or harm.evidence >= 1 / self.plan.alpha
        both = block.canary_total + block.stable_total
        overlap = block.canary_total * block.stable_total / both if both else 0.0
        crossed = block.canary_bad * block.stable_total - block.stable_bad * block.canary_total
        return dataclasses.replace(
            self,
            harm=harm,
            proof=proof,
            interval=self.interval.observe(fair),
            seen=self.seen.plus(block),
            excess=self.excess + (crossed / both if both else 0.0),
            overlap=self.overlap + overlap,
            waiting=sequential.EMPTY,
            waited=0,
            failed=failed,
            passed=self.passed or (not failed and proof.log_evidence >= texts.log_odds_needed(proof_alpha(self.plan))),
        )

    @property
    def estimate(self) -> float | None:
        """The canary's rate, or its difference from stable's over the same seconds; None without data."""
        if self.plan.is_relative:
            return self.excess / self.overlap if self.overlap else None
        return self.seen.canary_bad / self.seen.canary_total if self.seen.canary_total else None

    def ends(self) -> tuple[float | None, float | None]:
        """Ends of the interval; after a Fail the low end is at least the bound, which that test has rejected."""
        low, high = self.interval.ends()
        bound = self.plan.bound.value
        return (max(bound, bound if low is None else low) if self.failed else low), high

    def status(
        self, *, source_available: bool = True, has_baseline: bool = True, rate: float | None = None
    ) -> rollout_status.GateStatus:
        """What to tell people. `rate`: canary requests a second just now, for how long it may still take."""
        verdict, reason = self.verdict(source_available=source_available, has_baseline=has_baseline)
        open_ended = reason in {Reason.NEEDS_MORE_REQUESTS, Reason.NO_DATA, Reason.NO_STABLE_TRAFFIC}
        low, high = self.ends()
        return rollout_status.GateStatus(
            name=self.plan.gate,
            metric=self.plan.metric,
            verdict=verdict,
            reason=reason,
            message=self._message(reason),
            n=self.seen.canary_total,
            estimate=texts.estimate(self.plan, self.estimate),
            interval=texts.interval(self.plan, low, high) if self.seen.canary_total else None,
            limit=texts.limit(self.plan),
            needs=texts.needs(self.requests_needed(), rate) if open_ended else None,
        )

    def verdict(self, *, source_available: bool = True, has_baseline: bool = True) -> tuple[rollout_status.Verdict, Reason]:
        """The closed rules, first match wins: a proven harm stands whatever else happens; no measurement never passes."""
        verdicts = rollout_status.Verdict
        if self.failed:
            return verdicts.FAIL, Reason.HARM_PROVEN
        if self.plan.is_relative and not has_baseline:
            return verdicts.INCONCLUSIVE, Reason.NO_BASELINE
        if not source_available:
            return verdicts.ERROR, Reason.SOURCE_UNAVAILABLE
        if self.passed:
            return verdicts.PASS, (Reason.NON_INFERIOR if self.plan.require is plans.Require.PROOF else Reason.HARM_RULED_OUT)
        if self.seen.canary_total:
            return verdicts.INCONCLUSIVE, Reason.NEEDS_MORE_REQUESTS
        return verdicts.INCONCLUSIVE, Reason.NO_STABLE_TRAFFIC if self.waiting.canary_total else Reason.NO_DATA

    def requests_needed(self) -> int:
        """Canary requests after which a revision as good as stable (or as it looks) has passed with 80 % probability."""
        return texts.proof_need(self.proof, proof_alpha(self.plan), self.seen)

    def _message(self, reason: Reason) -> str:
        return texts.message(self.plan, reason.value, self.seen)

    def to_json(self) -> dict[str, Any]:
        """JSON-compatible state, finite numbers only; about 2 KB."""
        return {
            "version": VERSION,
            "bound": fingerprint(self.plan),
            "harm": self.harm.to_json(),
            "proof": self.proof.to_json(),
            "interval": self.interval.to_json(),
            "seen": list(self.seen),
            "excess": self.excess,
            "overlap": self.overlap,
            "waiting": list(self.waiting),
            "waited": self.waited,
            "failed": self.failed,
            "passed": self.passed,
        }

    @classmethod
    def from_json(cls, frozen: plans.MetricPlan, data: Mapping[str, Any]) -> MetricEvidence:
        """The state that `to_json` wrote for the same plan.

        Raises:
            EvidenceError: the data is damaged, or belongs to another version or plan.
        """
        try:
            if data["version"] != VERSION or data["bound"] != fingerprint(frozen):
                raise ValueError("it was gathered by another version or for another plan")
            return cls(
                plan=frozen,
                harm=sequential.Harm.from_json(frozen.bound, data["harm"]),
                proof=sequential.Proof.from_json(proof_bound(frozen), data["proof"]),
                interval=intervals.Interval.from_json(frozen.bound, frozen.alpha, data["interval"]),
                seen=sequential.block_from_json(data["seen"]),
                excess=sequential.finite(data["excess"]),
                overlap=sequential.finite(data["overlap"]),
                waiting=sequential.block_from_json(data["waiting"]),
                waited=int(data["waited"]),
                failed=bool(data["failed"]),
                passed=bool(data["passed"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise EvidenceError(f"Cannot resume evidence of {frozen.gate}/{frozen.metric}: {error}") from error


def fingerprint(frozen: plans.MetricPlan) -> list[Any]:
    """What evidence depends on: kind and value of the bound, what is required, alpha."""
    kind = "margin" if frozen.is_relative else "limit"
    return [kind, frozen.bound.value, frozen.require.value, frozen.alpha]


def proof_bound(frozen: plans.MetricPlan) -> sequential.Bound:
    """What a Pass rules out: the bound itself, or twice the bound for NoHarm."""
    factor = 1.0 if frozen.require is plans.Require.PROOF else 2.0
    return dataclasses.replace(frozen.bound, value=factor * frozen.bound.value)


def proof_alpha(frozen: plans.MetricPlan) -> float:
    """Chance of a Pass at `proof_bound`."""
    return PROOF_ALPHA if frozen.require is plans.Require.PROOF else PASS_ALPHA
