"""The gates and the plan that rollout tests share."""

from __future__ import annotations

import dataclasses
from typing import Any

from sluice.api import evalgate
from sluice.rollout import plan

EVAL_GATE, LIVE_GATE, DEFAULT_GATE = "golden", "slo", evalgate.BUILTIN_DEFAULT_NAME
EVAL, METRIC = (EVAL_GATE, "answers"), (LIVE_GATE, "failures")
ANALYSIS = (DEFAULT_GATE, "errors")
GATES = {
    EVAL_GATE: evalgate.EvalGateSpec(
        evals=(
            evalgate.Eval(
                name="answers",
                runner=evalgate.Runner(type="Builtin"),
                dataset=evalgate.Dataset(type="ConfigMap"),
                scorer=evalgate.Scorer(type="ExactMatch"),
                threshold=evalgate.Threshold(min="0.9"),
            ),
        )
    ),
    LIVE_GATE: evalgate.EvalGateSpec(
        metrics=(
            evalgate.Metric(
                name="failures", signal=evalgate.Signal(type="ErrorRate"), regression=evalgate.Regression(points="2%")
            ),
        )
    ),
    DEFAULT_GATE: evalgate.BUILTIN_DEFAULT,
}


def make_plan(*, first: bool = False, approval: plan.ApprovalPlan | None = None, **changes: Any) -> plan.Plan:
    """Evals before traffic, then 5, 25 and 50 percent; the second weight needs a live gate, the last perhaps an approval."""
    steps = (
        plan.StepPlan("evals", 0, 0.0, (EVAL_GATE,)),
        plan.StepPlan("few", 500, 10.0),
        plan.StepPlan("some", 2500, 10.0, (LIVE_GATE,)),
        plan.StepPlan("half", 5000, 10.0, approval=approval),
    )
    whole = plan.Plan(
        steps=steps,
        step_deadline=1e9,
        analysis=(DEFAULT_GATE,),
        gates=GATES,
        digests={"golden/answers": "d" * 64},
        false_rollback=0.01,
        first=first,
    )
    return dataclasses.replace(whole, **changes)
