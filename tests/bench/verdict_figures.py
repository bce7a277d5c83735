"""From what each rule did on each trace to the figures that are published: rates with their intervals, tables, a picture."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sluice.evals import verdict
from tests.bench import chart

FALSE_ROLLBACK_GOAL: Final = 0.01
TWICE_GOAL: Final = 0.2
NEEDS_GOAL: Final = 0.8
POWER_GOAL: Final = 0.95
DELAY_GOAL: Final = 30.0
TWICE: Final = ("errors+1", "p95+20%")
"""Effects that are twice our gate's margins."""


@dataclasses.dataclass(frozen=True)
class Share:
    """So many of so many."""

    hits: int
    of: int

    @property
    def rate(self) -> float:
        """As a share."""
        return self.hits / self.of

    @property
    def interval(self) -> list[float]:
        """Where the true rate is with 95 % (Wilson)."""
        return [round(end, 4) for end in verdict.wilson(self.hits, self.of)]


@dataclasses.dataclass(frozen=True)
class Case:
    """One rule on the traces of one effect at one rate of requests."""

    rule: str
    effect: str | None
    rps: float
    stops: Sequence[float | None]
    """For each run: seconds from the first step to the rollback; None where there was none."""
    passed: Share | None = None
    """Of an identical canary: Pass by the shown number of requests. Of another: Pass, ever. The worst metric counts."""
    by_no_data: int = 0
    """Rollbacks that needed a reading without data."""

    @property
    def stopped(self) -> Share:
        """Rollbacks."""
        return Share(sum(stop is not None for stop in self.stops), len(self.stops))

    @property
    def median_delay(self) -> float | None:
        """The median over all runs; None if less than half were rolled back."""
        found = statistics.median_high([math.inf if stop is None else stop for stop in self.stops])
        return None if math.isinf(found) else found

    def to_json(self) -> dict[str, Any]:
        """The case's figures; null where one does not apply."""
        is_identical = self.effect is None
        name = "false_rollback" if is_identical else "power"
        figures: dict[str, Any] = dict.fromkeys(("false_rollback", "power", "median_delay_s", "pass"))
        figures |= {name: round(self.stopped.rate, 4), f"{name}_95": self.stopped.interval}
        if not is_identical:
            figures["median_delay_s"] = self.median_delay
        if self.passed is not None:
            figures |= {"pass": round(self.passed.rate, 4), "pass_95": self.passed.interval}
        if self.by_no_data:
            figures["rollbacks_by_no_data"] = self.by_no_data
        return {"rule": self.rule, "effect": self.effect, "rps": self.rps, "runs": len(self.stops), **figures}


def worst(shares: Iterable[Share], *, highest: bool) -> Share:
    """The share with the highest or lowest rate."""
    return (max if highest else min)(shares, key=lambda share: share.rate)


def goals(cases: Sequence[Case], rule: str) -> list[dict[str, Any]]:
    """Our goals and what was measured, worst cases first where several count."""
    own = [case for case in cases if case.rule == rule]
    identical = [case for case in own if case.effect is None]
    false = Share(sum(case.stopped.hits for case in identical), sum(case.stopped.of for case in identical))
    needs = worst((case.passed for case in identical if case.passed is not None), highest=False)
    twice = worst((case.passed for case in own if case.effect in TWICE and case.passed is not None), highest=True)
    found = next(case for case in own if case.effect == "errors+5" and case.rps == 10)
    delay = found.median_delay
    return [
        _goal("false rollbacks of identical canaries, all rates", false, false.rate <= FALSE_ROLLBACK_GOAL, "<= 1 %"),
        _goal("power at +5 points of errors, 10 rps, 10 min", found.stopped, found.stopped.rate >= POWER_GOAL, ">= 95 %"),
        {
            "goal": "median delay of the same",
            "wanted": "<= 30 s",
            "measured": delay,
            "met": delay is not None and delay <= DELAY_GOAL,
        },
        _goal("Pass at twice the margin, worst case", twice, twice.rate <= TWICE_GOAL, "<= 20 %"),
        _goal("identical passes by the shown number, worst case", needs, needs.rate >= NEEDS_GOAL, ">= 80 %"),
    ]


def _goal(name: str, share: Share, met: bool, wanted: str) -> dict[str, Any]:
    return {"goal": name, "wanted": wanted, "measured": round(share.rate, 4), "interval_95": share.interval, "met": met}


def table(cases: Sequence[Case], effects: Sequence[str | None]) -> str:
    """For people: a table for each rate of requests, in Markdown."""
    parts = []
    for rps in sorted({case.rps for case in cases}):
        rows = [["rule", "identical", *(effect for effect in effects if effect)], ["---"] * (len(effects) + 1)]
        for rule in dict.fromkeys(case.rule for case in cases):
            found = {case.effect: case for case in cases if case.rule == rule and case.rps == rps}
            rows.append([rule, *(_cell(found[effect]) for effect in effects)])
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        parts.append(f"{rps:g} requests a second:\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _cell(case: Case) -> str:
    low, high = (f"{100 * end:.0f}" for end in case.stopped.interval)
    text = f"{100 * case.stopped.rate:.0f} % ({low} to {high})"
    return text if case.effect is None or case.median_delay is None else f"{text}, {case.median_delay:.0f} s"


def picture(cases: Sequence[Case], rules: Sequence[str], effects: Sequence[str], rps: float, seconds: float) -> str:
    """How many of the runs each rule had rolled back by when; the false rollbacks of the same setting stand beside it."""
    panels = []
    for effect in effects:
        lines = []
        for rule in rules:
            own = {case.effect: case for case in cases if case.rule == rule and case.rps == rps}
            lines.append(chart.Line(_short(rule, own[None]), _risen(own[effect].stops)))
        panels.append(chart.Panel(f"{effect}: % of runs", lines))
    return chart.svg(f"Rolled back at {rps:g} requests a second (false: of identical canaries)", panels, seconds=seconds)


def _short(rule: str, identical: Case) -> str:
    tool, setting = (*rule.split(maxsplit=1), "")[:2]
    name = f"{tool} {setting.split(',')[0]}" if setting[:1].isdigit() else tool  # an interval tells two settings apart
    return f"{name} (false {100 * identical.stopped.rate:.0f} %)"


def _risen(stops: Sequence[float | None]) -> list[tuple[float, float]]:
    """Percent of the runs by time."""
    times = sorted(stop for stop in stops if stop is not None)
    return [(0.0, 0.0), *((at, 100 * (number + 1) / len(stops)) for number, at in enumerate(times))]
