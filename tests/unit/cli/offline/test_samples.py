"""The number of requests that advice names is one after which a good revision mostly has its Pass."""

from __future__ import annotations

import dataclasses
import random

import pytest

from sluice.api import evalgate, rollout_status
from sluice.cli.offline import samples
from sluice.gates import evidence, plans, sequential
from sluice.rollout import plan

RUNS = 60
WEIGHT = 0.2
PER_BLOCK = 10
BAD = 0.005


@pytest.mark.parametrize("require", ["NoHarm", "Proof"])
def test_a_good_revision_mostly_passes_with_as_many_requests(require: str) -> None:
    """Told to be 80 %; here at least 60 % of 60 seeded runs, and with a third of the requests fewer."""
    given = {"name": "errors", "signal": {"type": "ErrorRate"}, "regression": {"points": "1%"}, "require": require}
    (metric,) = evalgate.EvalGateSpec.model_validate({"metrics": [given]}).metrics
    live = plan.LiveMetric("slo", metric, shadow=False)
    step = plan.StepPlan("some", round(10_000 * WEIGHT), 600.0, ("slo",))
    needed = samples.requests_needed(live, (samples.Exposure(step, WEIGHT, 1 - WEIGHT),), samples.Load(1.0, BAD))
    frozen = samples.frozen_plan(live)
    passed = sum(passes(frozen, needed, seed) for seed in range(RUNS))
    early = sum(passes(frozen, needed // 3, seed) for seed in range(RUNS))
    assert passed >= 0.6 * RUNS
    assert early < passed


def passes(frozen: plans.MetricPlan, requests: int, seed: int) -> bool:
    """Whether one run with so many requests of the new revision ends as a Pass."""
    chance = random.Random(seed)
    known = sequential.Stable(BAD * 10_000, (1 - BAD) * 10_000)
    start = evidence.MetricEvidence.start(frozen)
    state = dataclasses.replace(start, proof=dataclasses.replace(start.proof, stable=known))
    beside = round(PER_BLOCK * (1 - WEIGHT) / WEIGHT)
    for _ in range(requests // PER_BLOCK):
        bad = sum(chance.random() < BAD for _ in range(PER_BLOCK))
        stable = sum(chance.random() < BAD for _ in range(beside))
        state = state.observe(sequential.Block(bad, PER_BLOCK, stable, beside))
    return state.verdict()[0] is rollout_status.Verdict.PASS
