"""Where evidence comes from: copied requests and engines, each kept apart from the rest and over restarts."""

from __future__ import annotations

import math
from typing import Any

from sluice.api import evalgate, rollout_status
from sluice.gates import evidence as gates_evidence
from sluice.gates import readings
from sluice.reconcile import evidence
from sluice.reconcile.models import store
from sluice.rollout import plan
from sluice.sources import engines, envoy
from tests.unit.reconcile import parts

START = 1_000_000.0
V = rollout_status.Verdict
POD = engines.Target("u1", "ml/chat-new", "10.0.0.2", 8000)


def planned(*metrics: dict[str, Any], steps: tuple[plan.StepPlan, ...]) -> plan.Plan:
    gate = evalgate.EvalGateSpec.model_validate({"metrics": metrics})
    return plan.Plan(steps, 3600.0, (), {"slo": gate}, {}, 0.02, first=False)


ERRORS = {"name": "errors", "signal": {"type": "ErrorRate"}, "regression": {"points": "1%"}}
QUEUE = {"name": "queue", "signal": {"type": "QueueTime"}, "limit": {"latency": "300ms"}}
MIRROR = plan.StepPlan("shadow", 0, 0.0, ("slo",), mirror=1000)
HALF = plan.StepPlan("half", 5000, 0.0, ("slo",))


def opened(frozen: plan.Plan, persisted: str | None = None) -> evidence.Family:
    return evidence.Book().open(parts.KEY, revision="new", stable="old", plan=frozen, persisted=persisted)


def proxy(at: float, *, stable: int, shadow: int, bad: int = 0) -> dict[str, envoy.Reading | None]:
    """One proxy that mirrors: copies have a cluster of their own and no route."""
    tags = 'code="{code}",flags="-",stream="",placeholder=""'
    series = {
        f'revision="ml/chat-old",route="chat",{tags.format(code=200)}': stable,
        f'revision="ml/chat-new/shadow",route="",{tags.format(code=200)}': shadow - bad,
        f'revision="ml/chat-new/shadow",route="",{tags.format(code=500)}': bad,
    }
    return {"proxy": envoy.Reading(START + at, 600 + int(at), series)}


def statuses(family: evidence.Family) -> dict[str, rollout_status.GateStatus]:
    return {status.metric: status for status in family.statuses(has_baseline=True)}


def test_alpha_is_shared_with_the_evidence_of_copies() -> None:
    """One metric in a step that mirrors and in one with weight: two families, half of the chance each."""
    family = opened(planned(ERRORS, steps=(MIRROR, HALF)))
    assert {name: metric.plan.alpha for name, metric in family.metrics.items()} == {
        ("slo", "errors"): 0.01,
        ("slo", "errors/shadow"): 0.01,
    }


def test_copies_that_fail_are_found_before_any_weight() -> None:
    """Against stable's ordinary requests, and in the family of the mirror step alone."""
    family = opened(planned(ERRORS, steps=(MIRROR, HALF)))
    for at in range(1, 12):
        family.observe(proxy(at, stable=90 * at, shadow=10 * at, bad=5 * at), seconds=1, settling=False)
    found = statuses(family)
    assert (found["errors/shadow"].verdict, found["errors"].n) == (V.FAIL, 0)


def test_the_time_that_is_still_needed_is_that_of_the_metrics_own_requests() -> None:
    """Ten copies a second while stable answers ninety; the metric without requests has no pace yet."""
    family = opened(planned(ERRORS, steps=(MIRROR, HALF)))
    for at in range(1, 60):
        family.observe(proxy(at, stable=90 * at, shadow=10 * at), seconds=1, settling=False)
    assert 9 < family.rates["slo", "errors/shadow"] <= 10
    assert family.rates["slo", "errors"] == 0
    assert "at this rate" not in (statuses(family)["errors"].needs or "")


def engine(at: float, *, quick: int, slow: int, bounds: tuple[float, ...] = (300, 500)) -> engines.Reading:
    """A pod that runs for ten minutes."""
    histograms = {'queue_bucket{revision="ml/chat-new",route=""': {300.0: quick, math.inf: slow}}
    return engines.Reading(envoy.Reading(START + at, 600 + int(at), {}, histograms), {readings.Measure.QUEUE: bounds})


def look(family: evidence.Family, at: float, pod: engines.Reading | None) -> None:
    family.observe(proxy(at, stable=0, shadow=0), seconds=1, settling=False, pods={POD: pod})


def test_what_engines_measure_goes_on_after_a_restart() -> None:
    """Requests that waited while the operator was away arrive as one block, and are counted once."""
    frozen = planned(QUEUE, steps=(HALF,))
    family = opened(frozen)
    assert family.needs_engines
    for at in range(1, 4):
        look(family, at, engine(at, quick=50 * at, slow=0))
    assert statuses(family)["queue"].n == 100, "the first reading is what it is compared with"
    after = opened(frozen, store.dumps(family.to_json()))
    look(after, 60, engine(60, quick=150, slow=90))
    assert (statuses(after)["queue"].n, statuses(after)["queue"].verdict) == (190, V.FAIL)


def test_engines_that_do_not_answer_are_an_error_of_their_metrics_alone() -> None:
    """Five seconds of silence; the gateway's evidence goes on."""
    family = opened(planned(QUEUE, ERRORS, steps=(HALF,)))
    for at in range(6):
        look(family, at, None)
    found = statuses(family)
    assert (found["queue"].verdict, found["errors"].verdict) == (V.ERROR, V.INCONCLUSIVE)
    assert "engines' metrics" in (found["queue"].message or "")
    assert family.source_ok
    look(family, 7, engine(7, quick=1, slow=0))
    assert statuses(family)["queue"].verdict is V.INCONCLUSIVE


def test_before_there_are_pods_nothing_is_wrong() -> None:
    """While the revision waits for a node there is no data, and no error."""
    family = opened(planned(QUEUE, steps=(HALF,)))
    for at in range(9):
        family.observe(proxy(at, stable=0, shadow=0), seconds=1, settling=False, pods={})
    assert statuses(family)["queue"].reason == gates_evidence.Reason.NO_DATA


def test_a_limit_between_the_engines_bounds_is_named_with_the_nearest() -> None:
    """Nothing is judged by it, and nothing passes."""
    family = opened(planned(QUEUE, steps=(HALF,)))
    for at in range(1, 4):
        look(family, at, engine(at, quick=500 * at, slow=0, bounds=(250, 500)))
    status = statuses(family)["queue"]
    assert (status.verdict, status.reason) == (V.ERROR, "LimitBetweenBounds")
    assert "use 250ms or 500ms" in (status.message or "")
