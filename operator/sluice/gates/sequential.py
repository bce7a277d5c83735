"""Anytime-valid tests on blocks of requests: `Harm` proves that the canary is too bad, `Proof` that it is good enough.

Method: safe tests for 2x2 tables in blocks (Turner, Ly and Grünwald, "Generic E-variables for exact sequential k-sample
tests that allow for optional stopping"; Turner and Grünwald, "Exact anytime-valid confidence intervals for contingency
tables and beyond"). Before each block, usually a second, a guess of both rates is made from earlier blocks only. The
block's factor is likelihood(guess) / likelihood(nearest null point). A product of such factors, begun at 1, is an
e-process: under the null it ever reaches 1/alpha with probability at most alpha, however often anyone looks (Ville).

`Harm` is a weighted sum of such products, one restarted every `PERIOD` blocks, so that an hour of health cannot hide a
failure that begins now. Its parts are thinned to `COMPONENTS` by merging: the wealth of two neighbours in age goes to the
guess of the richer one, which is a change of strategy and keeps the sum an e-process. `Proof` is one product.

A gap is a block that arrived whole because the operator was away: a guess cannot adapt inside it, so half of each part's
wealth bets on a fixed mixture of guesses from the harm point up to almost certain failure. The mixture is fixed before
the block is seen, so it is an e-value too.

What stays out: which requests count (`attempts`), verdicts and texts (`evidence`). State is immutable and finite, so
that it survives JSON.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sluice.gates import likelihood

COMPONENTS: Final = 16
PERIOD: Final = 5
"""Blocks between two restarts."""
PRIOR: Final = 0.5
PRIOR_MEAN: Final = 2.0
"""A restart's first guess is Beta with strength PRIOR and a mean of PRIOR_MEAN harm points."""
STABLE_BAD: Final = 0.18
STABLE_GOOD: Final = 3.6
"""Prior of stable's rate, in requests: its mean, 4.8 %, is forgotten within some dozens of requests."""
HIGHEST_GUESS: Final = 0.9995
HIGHEST_HARM: Final = 0.99
MOST_WEALTH: Final = 1e200
GAP_GUESSES: Final = 12
PROOF_PRIOR: Final = 5.0
"""Strength of a proof's first guess, in requests times the margin."""


@dataclasses.dataclass(frozen=True, slots=True)
class Margin:
    """The canary's rate of bad requests may exceed stable's, over the same seconds, by `value` (0 < value <= 0.5)."""

    value: float


@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    """The canary's rate of bad requests may be `value` (0 < value < 1)."""

    value: float


@dataclasses.dataclass(frozen=True, slots=True)
class Slower:
    """The canary may be slower than stable by the ratio `value`: its rate of slow requests may be stable's, no more.

    The sides call other requests slow (`tails`), so the rates that guesses begin from come with each block.
    """

    value: float


Bound = Margin | Limit | Slower


class Points(NamedTuple):
    """Rates of slow requests that a `Slower` guess begins from, known before the block."""

    stable: float
    """Stable's."""
    harm: float
    """That of a canary which is slower by twice the ratio."""
    good: float
    """That of a canary as fast as stable, by the proof's bound."""


class Block(NamedTuple):
    """Bad and counted requests of both sides over the same span of time."""

    canary_bad: int
    canary_total: int
    stable_bad: float
    stable_total: float
    """Stable's counts are whole, unless retries were taken out of them."""

    def plus(self, other: Block) -> Block:
        """Both spans as one."""
        return Block(
            self.canary_bad + other.canary_bad,
            self.canary_total + other.canary_total,
            self.stable_bad + other.stable_bad,
            self.stable_total + other.stable_total,
        )

    def without_retries(self) -> Block:
        """Without the requests that stable took over from a failing canary.

        A canary's bad attempt is retried on stable, so stable's sample grows with the canary's failures, and a comparison
        as if its size were independent of them raises more false alarms than alpha allows (simulated at the margin, equal
        weights, 5 % failing: 6.7 % for 5 %). Stable's counts are therefore scaled to the size without one retry for each
        bad attempt, which keeps the guarantee: E[ratio^f] <= E[ratio]^f for a share f of the exponents.

        At least half is left. A canary that breaks after its headers is not retried, and must not hide by failing more
        often than stable is asked; within a margin no canary fails that often unless stable does too.
        """
        left = max(self.stable_total - self.canary_bad, self.stable_total / 2)
        if left == self.stable_total:
            return self
        return self._replace(stable_bad=self.stable_bad * left / self.stable_total, stable_total=left)


EMPTY: Final = Block(0, 0, 0, 0)


class Stable(NamedTuple):
    """What is known of stable's rate: prior plus counts."""

    bad: float = STABLE_BAD
    good: float = STABLE_GOOD

    @property
    def rate(self) -> float:
        """The guess of stable's rate."""
        return self.bad / (self.bad + self.good)

    def plus(self, block: Block) -> Stable:
        """With a block's counts."""
        return Stable(self.bad + block.stable_bad, self.good + block.stable_total - block.stable_bad)


UNKNOWN: Final = Stable()


class Part(NamedTuple):
    """One restarted product: its wealth, its own counts (prior included) and the block it was born at."""

    wealth: float
    bad: float
    good: float
    born: int


def is_comparable(bound: Bound, block: Block) -> bool:
    """Whether the block says anything: a margin needs requests on both sides."""
    return block.canary_total > 0 and (isinstance(bound, Limit) or block.stable_total > 0)


def log_factor(bound: Bound, block: Block, guess: float, stable: float) -> float:
    """Log e-value of the block for the guess (canary, stable) against the boundary of the null."""
    match bound:
        case Limit(value):
            return likelihood.log_one(block.canary_bad, block.canary_total, guess, value)
        case Margin(value):
            return likelihood.log_two(block, guess, stable, value)
        case Slower():
            return likelihood.log_two(block, guess, stable, 0.0)


def harm_log_factor(bound: Bound, block: Block, guess: float, stable: float) -> float:
    """The same for a guess of harm. One inside the null bets nothing: when stable fails nearly always, none is outside."""
    return log_factor(bound, block, guess, stable) if guess > null_point(bound, stable) else 0.0


def twice(bound: Bound) -> Bound:
    """Twice the limit, margin or ratio. A limit above one third goes half of the way to certainty instead."""
    value = 2 * bound.value
    return dataclasses.replace(bound, value=min(value, (1 + bound.value) / 2) if isinstance(bound, Limit) else value)


def harm_point(bound: Bound, stable: float, points: Points | None = None) -> float:
    """The rate that must be caught: twice the limit, stable's plus twice the margin, or that of twice the ratio."""
    match bound:
        case Limit():
            point = twice(bound).value
        case Margin(value):
            point = stable + 2 * value
        case Slower():
            assert points is not None, "no block is judged without"
            point = max(points.harm, stable + max(0.0005, 0.1 * stable))  # a guess inside the null would be none
    return min(point, HIGHEST_HARM)


def null_point(bound: Bound, stable: float) -> float:
    """The highest acceptable rate while stable's is as guessed."""
    match bound:
        case Limit(value):
            return value
        case Margin(value):
            return stable + value
        case Slower():
            return stable


def gap_guesses(harm: float) -> tuple[float, ...]:
    """Guesses from the harm point to HIGHEST_HARM, evenly spaced in log odds."""
    low, high = (math.log(p / (1 - p)) for p in (harm, HIGHEST_HARM))
    odds = (low + (high - low) * i / (GAP_GUESSES - 1) for i in range(GAP_GUESSES))
    return tuple(1 / (1 + math.exp(-x)) for x in odds)


def gap_log_factor(bound: Bound, block: Block, guesses: tuple[float, ...], stable: float) -> float:
    """Log e-value of a block for the even mixture of the guesses, and of stable as guessed or without a failure."""
    rates = (stable,) if isinstance(bound, Limit) else (stable, stable / 10, stable / 100)
    return likelihood.log_mean_exp([harm_log_factor(bound, block, guess, rate) for guess in guesses for rate in rates])


def restart_weight(k: int) -> float:
    """Share of the k-th restart (k >= 1); all shares sum to 1. Costs ln k + 2 ln ln k nats."""
    return 1 / ((k + 1) * math.log(k + 1) ** 2 * 2.10975)


def bet(bound: Bound, parts: tuple[Part, ...], block: Block, points: tuple[float, float], *, gap: bool) -> tuple[Part, ...]:
    """The parts after the block; `points` are harm point and stable's rate. While healthy, equal guesses share a factor."""
    harm, stable = points
    fixed = gap_log_factor(bound, block, gap_guesses(harm), stable) if gap else None
    factors: dict[float, float] = {}
    after = []
    for part in parts:
        guess = min(max(part.bad / (part.bad + part.good), harm), HIGHEST_GUESS)
        if guess not in factors:
            log = harm_log_factor(bound, block, guess, stable)
            log = log if fixed is None else likelihood.log_mean_exp((log, fixed))
            factors[guess] = math.exp(min(log, likelihood.MOST_LOG_FACTOR))
        after.append(
            Part(
                min(part.wealth * factors[guess], MOST_WEALTH),
                part.bad + block.canary_bad,
                part.good + block.canary_total - block.canary_bad,
                part.born,
            )
        )
    return tuple(after)


@dataclasses.dataclass(frozen=True, slots=True)
class Harm:
    """Evidence against "the canary's rate is at most what the bound allows"."""

    bound: Bound
    parts: tuple[Part, ...] = ()
    stable: Stable = UNKNOWN
    rest: float = 1.0
    """Wealth that no restart has taken yet."""
    restarts: int = 0
    blocks: int = 0
    since: int = PERIOD
    """Blocks since the last restart."""

    @property
    def evidence(self) -> float:
        """The e-process; harm is proven at level alpha once this reaches 1/alpha."""
        return sum(part.wealth for part in self.parts) + max(self.rest, 0.0)

    def observe(self, block: Block, *, gap: bool = False, points: Points | None = None) -> Harm:
        """With one more block. `gap`: it covers a time in which nobody looked. `points`: needed for `Slower`."""
        if not is_comparable(self.bound, block):
            return dataclasses.replace(self, stable=self.stable.plus(block), blocks=self.blocks + 1)
        rate = points.stable if points is not None else self.stable.rate
        harm = harm_point(self.bound, rate, points)
        ready = self._restarted(harm) if self.since >= PERIOD else self
        return dataclasses.replace(
            ready,
            parts=bet(self.bound, ready.parts, block, (harm, rate), gap=gap),
            stable=self.stable.plus(block),
            blocks=self.blocks + 1,
            since=ready.since + 1,
        )

    def _restarted(self, harm: float) -> Harm:
        parts = list(self.parts)
        if len(parts) == COMPONENTS:
            merge_nearest(parts, self.blocks + 1)
        weight = restart_weight(self.restarts + 1)
        mean = min(PRIOR_MEAN * harm, max(0.5, harm))
        parts.append(Part(weight, PRIOR, PRIOR / mean - PRIOR, self.blocks + 1))
        return dataclasses.replace(self, parts=tuple(parts), rest=self.rest - weight, restarts=self.restarts + 1, since=0)

    def to_json(self) -> dict[str, Any]:
        """Finite numbers only; `from_json` gives back an equal state."""
        return {
            "parts": [list(part) for part in self.parts],
            "stable": list(self.stable),
            "rest": self.rest,
            "restarts": self.restarts,
            "blocks": self.blocks,
            "since": self.since,
        }

    @classmethod
    def from_json(cls, bound: Bound, data: Mapping[str, Any]) -> Harm:
        """The state that `to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        parts = tuple(Part(finite(w), finite(b), finite(g), int(born)) for w, b, g, born in data["parts"])
        bad, good = data["stable"]
        return cls(
            bound=bound,
            parts=parts,
            stable=Stable(finite(bad), finite(good)),
            rest=finite(data["rest"]),
            restarts=int(data["restarts"]),
            blocks=int(data["blocks"]),
            since=int(data["since"]),
        )


def merge_nearest(parts: list[Part], now: int) -> None:
    """Joins the two neighbours nearest in age, in place: ages stay about geometric, and no wealth is lost."""
    ages = [now - part.born + 1.0 for part in parts]
    i = min(range(len(ages) - 1), key=lambda k: ages[k] / ages[k + 1])
    older, newer = parts[i], parts[i + 1]
    richer = older if older.wealth >= newer.wealth else newer
    parts[i : i + 2] = [richer._replace(wealth=older.wealth + newer.wealth)]


@dataclasses.dataclass(frozen=True, slots=True)
class Proof:
    """Evidence against "the canary's rate is at least the bound": non-inferiority. One product, no restarts."""

    bound: Bound
    bad: int = 0
    total: int = 0
    stable: Stable = UNKNOWN
    log_evidence: float = 0.0

    def observe(self, block: Block, *, points: Points | None = None) -> Proof:
        """With one more block. `points`: needed for `Slower`."""
        log = self.log_evidence
        if is_comparable(self.bound, block):
            stable = points.stable if points is not None else self.stable.rate
            guess = self.guess(points)
            # With nothing between a good canary and the null there is nothing to bet on.
            log += log_factor(self.bound, block, guess, stable) if points is None or guess < stable else 0.0
        return dataclasses.replace(
            self,
            bad=self.bad + block.canary_bad,
            total=self.total + block.canary_total,
            stable=self.stable.plus(block),
            log_evidence=max(min(log, likelihood.MOST_LOG_FACTOR), -1e9),
        )

    def guess(self, points: Points | None = None) -> float:
        """The canary's rate if it is good: as stable's (or half the limit) at first, then as seen, never near the bound."""
        match self.bound:
            case Limit(room):
                start, most = room / 2, room / 2
            case Margin(room):
                start, most = self.stable.rate, self.stable.rate + room / 2
            case Slower():
                assert points is not None, "no block is judged without"
                room = max(points.stable - points.good, 1e-6)
                start, most = points.good, points.stable - room / 2
        strength = PROOF_PRIOR / room
        return max(min((strength * start + self.bad) / (strength + self.total), most), 1e-6)

    def to_json(self) -> dict[str, Any]:
        """Finite numbers only; `from_json` gives back an equal state."""
        return {"bad": self.bad, "total": self.total, "stable": list(self.stable), "log": self.log_evidence}

    @classmethod
    def from_json(cls, bound: Bound, data: Mapping[str, Any]) -> Proof:
        """The state that `to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        bad, good = data["stable"]
        return cls(
            bound=bound,
            bad=int(data["bad"]),
            total=int(data["total"]),
            stable=Stable(finite(bad), finite(good)),
            log_evidence=finite(data["log"]),
        )


def finite(value: Any) -> float:
    """The value as a finite float."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"Cannot use {number} as evidence: it is not finite")
    return number


def block_from_json(data: Sequence[Any]) -> Block:
    """The block that was written as a list. Raises TypeError or ValueError for anything else."""
    canary_bad, canary_total, stable_bad, stable_total = data
    return Block(int(canary_bad), int(canary_total), finite(stable_bad), finite(stable_total))
