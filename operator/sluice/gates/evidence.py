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
- while pods of the revision have just been warmed up, `warming=True` leaves its latencies out, its errors never;
- attempts on pods that are being deleted, and seconds whose counters were reset, are left out by the caller.

The guarantee speaks of requests that fail independently; one client that sends most of the traffic is not covered.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any, Final

from sluice.api import rollout_status
from sluice.gates import intervals, plans, readings, registry, sequential, tails, texts

VERSION: Final = 2
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
    NO_BASELINE_IN_BAKE = "NoBaselineInBake"
    """Inconclusive: the former revision has no traffic to compare with while the new one bakes. Does not block."""
    NO_BASELINE = "NoBaseline"
    """Inconclusive: the first revision has nothing to be compared with. Does not block."""
    LEARNING = "LearningBaseline"
    """Inconclusive: the stable revision has not answered enough requests to know its percentile."""
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    """Error: the gateway's counters, or the engines', cannot be read."""
    LIMIT_BETWEEN_BOUNDS = "LimitBetweenBounds"
    """Error: the engines count by other bounds than the limit's; the message names the nearest."""


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
    interval: intervals.Interval | None
    """None for a ratio: its estimate says which bounds both sides are below."""
    reference: tails.Reference = tails.NOTHING
    """Of a relative limit on a latency: what both sides did before."""
    seen: sequential.Block = sequential.EMPTY
    """What was judged so far."""
    excess: float = 0.0
    """Mantel-Haenszel sums of the rate difference: unlike pooled rates, drift and changing weights don't bias it."""
    overlap: float = 0.0
    waiting: sequential.Block = sequential.EMPTY
    """Canary requests that still wait for a stable request in about the same seconds."""
    waiting_proof: int = 0
    """Those of them that are bad in the proof's sense, which for a ratio is another one."""
    waited: int = 0
    misplaced: tuple[float, ...] = ()
    """The engines' bounds nearest to a limit that is none of them; empty as long as all is well."""
    failed: bool = False
    passed: bool = False

    @classmethod
    def start(cls, frozen: plans.MetricPlan) -> MetricEvidence:
        """No evidence yet."""
        return cls(
            plan=frozen,
            harm=sequential.Harm(frozen.bound),
            proof=sequential.Proof(proof_bound(frozen)),
            interval=interval_of(frozen),
        )

    def take(
        self,
        delta: readings.Delta,
        sides: registry.Sides,
        *,
        seconds: float,
        gap: bool = False,
        settling: bool = False,
        warming: bool = False,
        counted_by: registry.Bounds = registry.NO_BOUNDS,
    ) -> MetricEvidence:
        """With what was counted over the last `seconds`.

        `warming`: pods of the revision were warmed up a moment ago. `counted_by`: the engines' bounds, as far as known.
        """
        own = sides.of(self.plan)
        found = registry.judge(self.plan, self.reference, delta, own, counted_by)
        reference = registry.learn(self.plan, self.reference, delta, own, seconds, counted_by)
        after = self
        if found is not None and not (warming and self.plan.percentile is not None):
            after = self.observe(found.harm, proof=found.proof, points=found.points, gap=gap, settling=settling)
        misplaced = registry.misplaced(self.plan, counted_by)
        if reference is self.reference and misplaced == self.misplaced:
            return after
        return dataclasses.replace(after, reference=reference, misplaced=misplaced)

    def observe(
        self,
        block: sequential.Block,
        *,
        proof: sequential.Block | None = None,
        points: sequential.Points | None = None,
        gap: bool = False,
        settling: bool = False,
    ) -> MetricEvidence:
        """With one more block.

        `proof`: the same requests as the proof sees them, where that differs. `points`: where guesses begin, for a ratio.
        `gap`: the block covers a longer time in which nobody looked. `settling`: the weight rose a moment ago.
        """
        if settling and self.plan.is_relative:
            return dataclasses.replace(self, waiting=sequential.EMPTY, waiting_proof=0, waited=0)
        whole, waited = self.waiting.plus(block), self.waited + 1
        near = self.waiting_proof + (proof or block).canary_bad
        if whole.canary_total and not sequential.is_comparable(self.plan.bound, self._fair(whole)):
            keep = (whole, near, waited) if waited < LONGEST_WAIT else (sequential.EMPTY, 0, 0)
            return dataclasses.replace(self, waiting=keep[0], waiting_proof=keep[1], waited=keep[2])
        return self._judge(whole, near, points, gap=gap or waited > 2)

    def _fair(self, block: sequential.Block) -> sequential.Block:
        return block.without_retries() if self.plan.is_retried else block

    def _judge(self, block: sequential.Block, near: int, points: sequential.Points | None, *, gap: bool) -> MetricEvidence:
        fair = self._fair(block)
        harm = self.harm.observe(fair, gap=gap, points=points)
        proof = self.proof.observe(fair._replace(canary_bad=near), points=points)
        failed = self.failed or harm.evidence >= 1 / self.plan.alpha
        both = block.canary_total + block.stable_total
        overlap = block.canary_total * block.stable_total / both if both else 0.0
        crossed = block.canary_bad * block.stable_total - block.stable_bad * block.canary_total
        return dataclasses.replace(
            self,
            harm=harm,
            proof=proof,
            interval=self.interval.observe(fair) if self.interval is not None else None,
            seen=self.seen.plus(block),
            excess=self.excess + (crossed / both if both else 0.0),
            overlap=self.overlap + overlap,
            waiting=sequential.EMPTY,
            waiting_proof=0,
            waited=0,
            failed=failed,
            passed=self.passed or (not failed and proof.log_evidence >= texts.log_odds_needed(proof_alpha(self.plan))),
        )

    @property
    def counted(self) -> int:
        """Requests of the canary that were judged, or wait for one of stable."""
        return self.seen.canary_total + self.waiting.canary_total

    @property
    def estimate(self) -> float | None:
        """The canary's rate, or its difference from stable's over the same seconds; None without data."""
        if self.plan.is_relative:
            return self.excess / self.overlap if self.overlap else None
        return self.seen.canary_bad / self.seen.canary_total if self.seen.canary_total else None

    def ends(self) -> tuple[float | None, float | None]:
        """Ends of the interval; after a Fail the low end is at least the bound, which that test has rejected."""
        if self.interval is None:
            return None, None
        low, high = self.interval.ends()
        bound = self.plan.bound.value
        return (max(bound, bound if low is None else low) if self.failed else low), high

    def status(
        self, *, source_available: bool = True, has_baseline: bool = True, baking: bool = False, rate: float | None = None
    ) -> rollout_status.GateStatus:
        """What to tell people. `rate`: canary requests a second just now, for how long it may still take."""
        verdict, reason = self.verdict(source_available=source_available, has_baseline=has_baseline, baking=baking)
        open_ended = reason in {Reason.NEEDS_MORE_REQUESTS, Reason.NO_DATA, Reason.NO_STABLE_TRAFFIC}
        judged = self.seen.canary_total > 0 and self.interval is not None
        low, high = self.ends()
        return rollout_status.GateStatus(
            name=self.plan.gate,
            metric=self.plan.metric,
            verdict=verdict,
            reason=reason,
            message=self._message(reason),
            n=self.seen.canary_total,
            estimate=texts.estimate(self.plan, self.estimate, self.reference),
            interval=texts.interval(self.plan, low, high) if judged else None,
            limit=texts.limit(self.plan),
            needs=self._needs(reason, rate) if open_ended or reason is Reason.LEARNING else None,
        )

    def verdict(
        self, *, source_available: bool = True, has_baseline: bool = True, baking: bool = False
    ) -> tuple[rollout_status.Verdict, Reason]:
        """The closed rules, first match wins: a proven harm stands whatever else happens; no measurement never passes."""
        verdicts = rollout_status.Verdict
        if self.failed:
            return verdicts.FAIL, Reason.HARM_PROVEN
        if self.plan.is_relative and baking:
            return verdicts.INCONCLUSIVE, Reason.NO_BASELINE_IN_BAKE
        if self.plan.is_relative and not has_baseline:
            return verdicts.INCONCLUSIVE, Reason.NO_BASELINE
        if not source_available:
            return verdicts.ERROR, Reason.SOURCE_UNAVAILABLE
        if self.misplaced:
            return verdicts.ERROR, Reason.LIMIT_BETWEEN_BOUNDS
        if self.passed:
            return verdicts.PASS, (Reason.NON_INFERIOR if self.plan.require is plans.Require.PROOF else Reason.HARM_RULED_OUT)
        if self.seen.canary_total:
            return verdicts.INCONCLUSIVE, Reason.NEEDS_MORE_REQUESTS
        if self._is_learning:
            return verdicts.INCONCLUSIVE, Reason.LEARNING
        return verdicts.INCONCLUSIVE, Reason.NO_STABLE_TRAFFIC if self.waiting.canary_total else Reason.NO_DATA

    @property
    def _is_learning(self) -> bool:
        return isinstance(self.plan.bound, sequential.Slower) and self.reference.bounds is None

    def requests_needed(self) -> int:
        """Canary requests after which a revision as good as stable (or as it looks) has passed with 80 % probability."""
        return texts.proof_need(self.proof, proof_alpha(self.plan), self.seen, self.reference.points)

    def _needs(self, reason: Reason, rate: float | None) -> str | None:
        if reason is Reason.LEARNING:
            return f"{max(tails.COLD_START - self.reference.seen, 1)} more requests of the stable revision"
        return texts.needs(self.requests_needed(), rate) if not self._is_learning else None

    def _message(self, reason: Reason) -> str:
        return texts.message(self.plan, reason.value, self.seen, self.misplaced)

    def to_json(self) -> dict[str, Any]:
        """JSON-compatible state, finite numbers only; about 2 KB."""
        return {
            "version": VERSION,
            "bound": fingerprint(self.plan),
            "harm": self.harm.to_json(),
            "proof": self.proof.to_json(),
            "interval": self.interval.to_json() if self.interval is not None else None,
            "reference": self.reference.to_json(),
            "seen": list(self.seen),
            "excess": self.excess,
            "overlap": self.overlap,
            "waiting": list(self.waiting),
            "waitingProof": self.waiting_proof,
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
                interval=_interval_from_json(frozen, data["interval"]),
                reference=tails.reference_from_json(data["reference"]),
                seen=sequential.block_from_json(data["seen"]),
                excess=sequential.finite(data["excess"]),
                overlap=sequential.finite(data["overlap"]),
                waiting=sequential.block_from_json(data["waiting"]),
                waiting_proof=int(data["waitingProof"]),
                waited=int(data["waited"]),
                failed=bool(data["failed"]),
                passed=bool(data["passed"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise EvidenceError(f"Cannot resume evidence of {frozen.gate}/{frozen.metric}: {error}") from error


def interval_of(frozen: plans.MetricPlan) -> intervals.Interval | None:
    """The empty interval of a metric, if its bound has one."""
    if isinstance(frozen.bound, sequential.Slower):
        return None
    return intervals.Interval.start(frozen.bound, frozen.alpha)


def _interval_from_json(frozen: plans.MetricPlan, data: Any) -> intervals.Interval | None:
    if isinstance(frozen.bound, sequential.Slower):
        return None
    return intervals.Interval.from_json(frozen.bound, frozen.alpha, data)


def fingerprint(frozen: plans.MetricPlan) -> list[Any]:
    """What evidence depends on: signal, kind and value of the bound, what is slow, what is required, alpha."""
    kind = type(frozen.bound).__name__
    return [frozen.signal, kind, frozen.bound.value, frozen.percentile, frozen.threshold, frozen.require.value, frozen.alpha]


def proof_bound(frozen: plans.MetricPlan) -> sequential.Bound:
    """What a Pass rules out: the bound itself, or twice the bound for NoHarm."""
    return frozen.bound if frozen.require is plans.Require.PROOF else sequential.twice(frozen.bound)


def proof_alpha(frozen: plans.MetricPlan) -> float:
    """Chance of a Pass at `proof_bound`."""
    return PROOF_ALPHA if frozen.require is plans.Require.PROOF else PASS_ALPHA
