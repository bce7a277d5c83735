"""Checks that protect users in every phase before promotion: each is named after what it finds.

They need no API server and no metrics source: only what is known already, so nothing can block a rollback.
"""

from __future__ import annotations

import dataclasses

from sluice.api import rollout_status
from sluice.rollout import case as case_
from sluice.rollout import health, model, reasons, rollback, settle
from sluice.workloads import revision


def marked_as_failed(case: case_.Case) -> model.Decision | None:
    """The revision's label already says how it ended: a process died between that and the status."""
    match case.canary and case.canary.outcome:
        case revision.OutcomeLabel.REJECTED:
            return rollback.begin(case, *_marked(case, reasons.Reason.MARKED_REJECTED, "The revision is marked as rejected."))
        case revision.OutcomeLabel.SUPERSEDED:
            return rollback.begin(case, *_marked(case, reasons.Reason.SUPERSEDED, "The revision is marked as superseded."))
        case _:
            return None


def _marked(case: case_.Case, reason: str, message: str) -> tuple[str, str]:
    """Why it was marked, as it was written with the label; else what is given."""
    result = case.canary.result if case.canary is not None else None
    return (reason, message) if result is None else (result.reason, result.message)


def withdrawn(case: case_.Case) -> model.Decision | None:
    """The spec went back to what serves, or served before while that still bakes."""
    if case.inputs.wanted is None or case.inputs.wanted != case.baseline:
        return None
    if case.is_undone(case.rollout.revision):
        return rollback.begin(case, reasons.Reason.UNDONE, case.undone_text)
    return rollback.begin(case, reasons.Reason.WITHDRAWN, f"The spec went back to revision {case.baseline}.")


def superseded(case: case_.Case) -> model.Decision | None:
    """The spec asks for a third revision. While this one bakes, that one waits."""
    if case.rollout.phase is rollout_status.Phase.BAKING or case.inputs.wanted in (None, case.rollout.revision):
        return None
    if case.is_undone(case.rollout.revision):
        return rollback.begin(case, reasons.Reason.UNDONE, case.undone_text)
    return rollback.begin(case, reasons.Reason.SUPERSEDED, f"The spec now asks for revision {case.inputs.wanted}.")


def gate_failed(case: case_.Case) -> model.Decision | None:
    """A gate proved harm: also one of a later step, for evidence is never reset and would fail that step anyway."""
    known = case.inputs.plan.gates if case.inputs.plan is not None else None
    named = (gate for gate in case.inputs.verdicts if known is None or gate.name in known)
    failed = next((gate for gate in named if gate.verdict is rollout_status.Verdict.FAIL), None)
    if failed is None:
        return None
    return rollback.begin(case, reasons.Reason.GATE_FAILED, f"Gate {describe(failed)}")


def pods_failed(case: case_.Case) -> model.Decision | None:
    """The revision cannot run, by its own fault."""
    if case.health.cause is None or case.health.effect is not health.CauseClass.REVISION:
        return None
    return rollback.begin(case, case.health.cause.value, case.health.message)


def pods_lost(case: case_.Case) -> model.Decision | None:
    """Pods went away by nobody's fault: traffic leaves, and the revision warms up again where it was."""
    if case.rollout.phase is rollout_status.Phase.BAKING:
        return None
    if case.rollout.phase is rollout_status.Phase.WARMING_UP and not case.rollout.weight:
        return None
    if case.inputs.load is not None and case.health.ready >= case.needed(case.share) > 0:
        return None  # what is missing is for a greater share
    # Of two half-broken sides, the one that answers keeps its traffic.
    stable_answers = case.base is not None and case.base.ready > 0
    environment = case.health.cause is not None and case.health.effect is health.CauseClass.ENVIRONMENT
    if case.health.ready and not (environment and (stable_answers or not case.rollout.weight)):
        return None
    reason, message = waiting_for_pods(case)
    state = dataclasses.replace(
        case.rollout,
        phase=rollout_status.Phase.WARMING_UP,
        weight=0,
        mirror=0,
        previous=None,
        step_entered_at=None,
        reason=reason,
        message=message,
    )
    notice = model.Notice(reason, message, warning=environment)
    return settle.decision(case, state, settle.Extras(events=(notice,), waiting=notice))


def waiting_for_pods(case: case_.Case) -> tuple[str, str]:
    """Reason and message for pods that are not all ready."""
    counts = f"{case.health.ready} of {case.health.desired} pods of revision {case.rollout.revision} are ready."
    if not case.health.desired:
        return reasons.Reason.SCALED_TO_ZERO, "No replicas are wanted, so the revision cannot be judged: raise spec.replicas."
    message = f"{counts} {case.health.message}".strip()
    if case.health.cause is None or case.health.effect is health.CauseClass.NONE:
        return reasons.Reason.PODS_STARTING, message
    return case.health.cause.value, message


def measurement_failed(case: case_.Case) -> str | None:
    """What cannot be measured, as a message; None when everything that was measured could be."""
    judged = case.watched() if case.rollout.has_traffic else case.watched_evals()  # without traffic no metric can have data
    broken = next((gate for gate in judged if gate.verdict is rollout_status.Verdict.ERROR), None)
    if broken is not None:
        return f"Gate {describe(broken)}"
    if not case.inputs.source_ok and case.splits and case.inputs.plan is not None and case.inputs.plan.live_metrics():
        return "The counters of the gateway cannot be read, so no weight is raised until they can."
    return None


def plan_missing(case: case_.Case) -> model.Decision | None:
    """Without its plan a rollout may only be taken back."""
    if case.inputs.plan is not None:
        return None
    return settle.hold(case, reasons.Reason.PLAN_UNAVAILABLE, "The plan of the rollout cannot be read.", warning=True)


def protect_only(case: case_.Case) -> model.Decision | None:
    """Nothing is given while it cannot be persisted."""
    if not case.inputs.protect_only:
        return None
    return settle.hold(case, reasons.Reason.PROTECT_ONLY, "The API server does not answer: nothing is raised meanwhile.")


def describe(gate: rollout_status.GateStatus) -> str:
    """One gate's verdict as a sentence with its figures."""
    said = {
        rollout_status.Verdict.FAIL: "failed",
        rollout_status.Verdict.ERROR: "cannot be measured",
        rollout_status.Verdict.INCONCLUSIVE: "is inconclusive",
        rollout_status.Verdict.RUNNING: "is running",
        rollout_status.Verdict.PASS: "passed",
    }[gate.verdict]
    figures = [f"{label} {value}" for label, value in (("estimate", gate.estimate), ("limit", gate.limit)) if value]
    detail = "; ".join([*([gate.message] if gate.message else []), *figures, f"n {gate.n}"])
    return f"{gate.name}/{gate.metric} {said}: {detail}."
