"""Whether live metrics get requests enough for a Pass while the steps hold: advice for whoever chooses weights and holds. Pure.

An estimate: it supposes a revision as good as the one that serves, requests that come evenly, and a Pass with 80 % probability.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Final

from sluice.api import modeldeployment
from sluice.cli.offline import findings, given, together
from sluice.gates import evidence, plans, sequential, texts
from sluice.rollout import plan, planning, traffic

Level = findings.Level

DEFAULT_BAD: Final = 0.005
"""Share of requests that go wrong at the revision that serves, unless somebody knows better."""
_ALPHA: Final = 0.01
"""Chance of a false alarm: a Pass does not depend on it."""
_KNOWN: Final = 10_000.0
"""Requests that the stable revision's rate is taken to be known from."""


@dataclasses.dataclass(frozen=True)
class Load:
    """What is supposed of the traffic."""

    rate: float
    """Requests a second, of both revisions together."""
    bad: float = DEFAULT_BAD


@dataclasses.dataclass(frozen=True)
class Exposure:
    """What a metric gets from one step."""

    step: plan.StepPlan
    canary: float
    """Requests a second of the new revision, or copies."""
    stable: float


def advise(item: given.Item[modeldeployment.ModelDeployment], content: given.Given, load: Load) -> Iterator[findings.Finding]:
    """One finding for each live metric. Nothing where the plan cannot be made: `together` says why."""
    spec = item.parsed.spec
    try:
        made = planning.build_plan(spec, together.gate_specs(item, content), {}, first=False)
    except planning.PlanError:
        return
    if not spec.gateway_refs:
        return
    for live in made.live_metrics():
        seen, field = tuple(exposures(made, live, load)), f"EvalGate {live.pair[0]}, metric {live.pair[1]}"
        try:
            level, message = _judge(made, live, seen, load) if seen else (Level.ADVICE, "")
        except ValueError:
            level, message = (
                Level.ADVICE,
                "how many requests it takes cannot be told beforehand: status and watch say it during the rollout",
            )
        if message:
            yield findings.Finding(level, item.title, field, message)


def exposures(made: plan.Plan, live: plan.LiveMetric, load: Load) -> Iterator[Exposure]:
    """The steps that count for a metric, up to the one that it must have passed in."""
    naming = [index for index, step in enumerate(made.steps) if live.gate in step.gates and (step.mirror > 0) == live.shadow]
    last = len(made.steps) - 1 if live.gate in made.analysis and not live.shadow else naming[0] if naming else -1
    for step in made.steps[: last + 1]:
        share = (step.mirror if live.shadow else step.weight) / traffic.FULL_WEIGHT
        if share:
            yield Exposure(step, load.rate * share, load.rate * (1 - step.weight / traffic.FULL_WEIGHT))


def requests_needed(live: plan.LiveMetric, seen: tuple[Exposure, ...], load: Load) -> int:
    """Requests of the new revision until a Pass."""
    frozen = frozen_plan(live)
    known = sequential.Stable(load.bad * _KNOWN, (1 - load.bad) * _KNOWN)
    proof = dataclasses.replace(sequential.Proof(evidence.proof_bound(frozen)), stable=known)
    canary = sum(each.canary * max(each.step.hold, 1.0) for each in seen)
    stable = sum(each.stable * max(each.step.hold, 1.0) for each in seen)
    share = sequential.Block(0, 1_000_000, 0, round(1_000_000 * stable / canary))
    return texts.proof_need(proof, evidence.proof_alpha(frozen), share)


def frozen_plan(live: plan.LiveMetric) -> plans.MetricPlan:
    """What the metric is held against.

    Raises:
        ValueError: it is not judged by counting requests, or by how much slower they are.
    """
    bound, require = plans.bound_of(live.metric), plans.Require(live.metric.require)
    if not isinstance(bound, sequential.Margin | sequential.Limit):
        raise ValueError("how many requests it takes depends on how latencies spread")
    return plans.MetricPlan(live.gate, live.metric.name, live.metric.signal.type, bound, require, _ALPHA)


def _judge(made: plan.Plan, live: plan.LiveMetric, seen: tuple[Exposure, ...], load: Load) -> tuple[Level, str]:
    needed = requests_needed(live, seen, load)
    counts = list(itertools.accumulate(each.canary * each.step.hold for each in seen))
    wants = f"needs about {needed} requests of a good revision for a Pass"
    for each, count in zip(seen, counts, strict=True):
        if count >= needed:
            return Level.ADVICE, f"{wants}, and gets them in step {each.step.name!r} at {load.rate:g} requests/s"
    last, got = seen[-1], round(counts[-1])
    longer = (needed - counts[-1]) / last.canary
    message = (
        f"{wants}, and gets {got} while the steps hold at {load.rate:g} requests/s: step {last.step.name!r} lasts about "
        f"{texts.span(longer)} longer. Raise weight or hold of the steps, or the limit"
    )
    if longer <= made.step_deadline:
        return Level.ADVICE, message
    return Level.WARNING, f"{message}; stepDeadline is over after {texts.span(made.step_deadline)}"
