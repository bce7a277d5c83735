"""How good verdicts are, by simulation: false rollbacks, power and delay of our rule and of other tools', on the same traces.

What is rolled out: an identical canary by 5, 25 and 50 % for ten minutes each, and one with an effect for ten minutes at 25 %.
`rps` is what the canary gets at 25 %, where stable gets three times as many. Seeds are fixed, so a run can be repeated. What
traffic is thought to be like is in `verdict_traces`, our gate in `verdict_engine`, the others' rules in `verdict_peers`.
"""

from __future__ import annotations

import math
import pathlib
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from tests.bench import verdict_engine as engine
from tests.bench import verdict_figures as figures
from tests.bench import verdict_peers as peers
from tests.bench import verdict_prometheus as prometheus
from tests.bench import verdict_traces as traces

RUNS: Final = 60
"""Of each case: all is done in 10 minutes on one core."""
SEED: Final = 20_260
RATES: Final = (1.0, 10.0, 100.0)
RULE: Final = "sluice +0.5 points, +10 % p95, falseRollback 1 %"
IDENTICAL: Final = traces.Effect()
EFFECTS: Final = (
    IDENTICAL,
    *(traces.Effect(f"errors+{points}", errors=points / 100) for points in (1, 2, 5)),
    *(traces.Effect(f"p95+{percent}%", slower=percent / 100) for percent in (10, 20, 25, 50)),
)
WEIGHT: Final = traces.ONE_STEP[0].weight
WEIGHED: Final = ("errors+5", "p95+50%")
"""Effects that are looked for at each weight as well: the less stable traffic there is, the less is known of it."""
LONGEST_NEED: Final = 4000
"""Requests after which a shown number counts as not kept."""
RESULTS: Final = pathlib.Path("build/bench")
_PICTURED: Final = ("errors+5", "errors+2", "p95+50%")
_RPS: Final = 10.0
"""Of the picture, and of `WEIGHED`."""


async def run(directory: pathlib.Path, *, runs: int = RUNS) -> Mapping[str, Any]:
    """The benchmark; `runs` of each case."""
    started = time.perf_counter()
    cases, needs = [], []
    for rps in RATES:
        for effect in EFFECTS:
            made, needed = measure(effect, rps, runs)
            cases += made
            needs += needed
            print(f"{time.perf_counter() - started:5.0f} s  {rps:g} rps, {effect.name or 'identical'}", file=sys.stderr)
    RESULTS.mkdir(parents=True, exist_ok=True)
    names = [effect.name for effect in EFFECTS]
    text, drawing = RESULTS / "verdict_quality.md", RESULTS / "verdict_quality.svg"
    text.write_text(figures.table(cases, names))
    shown = (RULE, *(rule.name for rule in (peers.RULES[0], peers.RULES[2], peers.RULES[-1])))
    drawing.write_text(figures.picture(cases, shown, _PICTURED, _RPS, 600))
    goals = figures.goals(cases, RULE)
    weighed = [each for effect in EFFECTS if effect.name in WEIGHED for each in by_weight(effect, runs)]
    return {
        **{f"{goal['goal']} ({goal['wanted']})": goal["measured"] for goal in goals},
        "runs": runs,
        "seconds": round(time.perf_counter() - started),
        "cpu_seconds": round(time.process_time()),
        "table": str(text),
        "chart": str(drawing),
        "goals": goals,
        "cases": [case.to_json() for case in cases],
        "needs": needs,
        "by_weight": weighed,
    }


def measure(effect: traces.Effect, rps: float, runs: int) -> tuple[list[figures.Case], list[dict[str, Any]]]:
    """All rules on the traces of one effect; of an identical canary also how well shown numbers are kept."""
    steps = traces.ROLLOUT if effect.name is None else traces.ONE_STEP
    own: list[engine.Judged] = []
    others: dict[str, list[peers.Stop | None]] = {rule.name: [] for rule in peers.RULES}
    for number in range(runs):
        random = _random(effect, rps, number, 0)
        trace = traces.generate(random, steps, rps / WEIGHT, effect)
        own.append(engine.judge(trace))
        phase = random.uniform(0, prometheus.SCRAPE)
        seen = peers.Seen(prometheus.View(trace.canary, phase), prometheus.View(trace.stable, phase), steps)
        for rule in peers.RULES:
            others[rule.name].append(rule.judge(seen))
    passed, needs = _passes(effect, rps, runs, own)
    cases = [figures.Case(RULE, effect.name, rps, [judged.failed for judged in own], passed)]
    for name, stops in others.items():
        times = [stop.at if stop is not None else None for stop in stops]
        lacking = sum(stop is not None and stop.by_no_data for stop in stops)
        cases.append(figures.Case(name, effect.name, rps, times, by_no_data=lacking))
    return cases, needs


def _passes(
    effect: traces.Effect, rps: float, runs: int, judged: Sequence[engine.Judged]
) -> tuple[figures.Share, list[dict[str, Any]]]:
    """How often Pass was said by the shown number (identical), or at all: of what the effect is in, the worst metric."""
    if effect.name is None:
        return kept_needs(rps, runs)
    touched = ("errors",) if effect.errors else ("ttft", "e2e")
    shares = [figures.Share(sum(metric in each.passed for each in judged), runs) for metric in touched]
    return figures.worst(shares, highest=True), []


def kept_needs(rps: float, runs: int) -> tuple[figures.Share, list[dict[str, Any]]]:
    """Identical canaries at 25 % until every metric has said Pass, or has got as many requests as it had asked for."""
    steps = (traces.Step(WEIGHT, math.ceil(LONGEST_NEED / rps)),)
    judged = [
        engine.judge(traces.generate(_random(IDENTICAL, rps, number, 1), steps, rps / WEIGHT, IDENTICAL), until_passed=True)
        for number in range(runs)
    ]
    shares, needs = {}, []
    for metric in engine.METRICS:
        for at in engine.SHOWN_AT:
            share = figures.Share(sum(each.kept_needs(metric, at) is True for each in judged), runs)
            shares[metric, at] = share
            shown = [each.shown[metric, at] for each in judged if (metric, at) in each.shown]
            needs.append(
                {
                    "rps": rps,
                    "metric": metric,
                    "shown_after": at,
                    "kept": round(share.rate, 4),
                    "kept_95": share.interval,
                    "median_shown": statistics.median(shown) if shown else None,
                }
            )
    return figures.worst((share for (_, at), share in shares.items() if at == engine.SHOWN_AT[0]), highest=False), needs


def by_weight(effect: traces.Effect, runs: int) -> list[dict[str, Any]]:
    """Our rule at the weights of the rollout, while the canary gets the same number of requests."""
    found = []
    for purpose, step in enumerate(traces.ROLLOUT, 2):
        made = (
            traces.generate(_random(effect, _RPS, number, purpose), (step,), _RPS / step.weight, effect)
            for number in range(runs)
        )
        case = figures.Case(RULE, effect.name, _RPS, [engine.judge(trace).failed for trace in made])
        found.append({"weight": step.weight, **case.to_json()})
    return found


def _random(effect: traces.Effect, rps: float, number: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng((SEED, EFFECTS.index(effect), round(rps), number, purpose))
