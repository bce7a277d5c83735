"""WarmingUp: the revision's pods load and no traffic reaches it, at the start or after its pods were lost."""

from __future__ import annotations

from sluice.api import rollout_status
from sluice.rollout import case as case_
from sluice.rollout import checks, health, model, progress, settle


def not_warm(case: case_.Case) -> model.Decision | None:
    """Not every pod is ready."""
    if case.rollout.phase is not rollout_status.Phase.WARMING_UP or case.is_warm:
        return None
    reason, message = checks.waiting_for_pods(case)
    return settle.hold(case, reason, message, warning=case.health.effect is health.CauseClass.ENVIRONMENT)


def warm(case: case_.Case) -> model.Decision | None:
    """Every pod is ready: the first step, or the one where the pods were lost."""
    if case.rollout.phase is not rollout_status.Phase.WARMING_UP:
        return None
    known = case.inputs.plan is not None and case.inputs.plan.index(case.rollout.step) is not None
    if known:
        return progress.go(case, case.step)
    return progress.go(case, case.steps[0] if case.steps else None)
