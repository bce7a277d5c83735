"""What was decided, as the status shows it: a pure projection of facts and decision.

The words are in `status`; writing is in `reconcile`.
"""

from __future__ import annotations

import dataclasses

from sluice.api import conditions, durations, rollout_spec, rollout_status
from sluice.reconcile.models import autoscaling, gather, history, orders, resolved, status, store
from sluice.rollout import capacity, persisted
from sluice.rollout import model as rollout
from sluice.rollout import plan as rollout_plan
from sluice.workloads import pod_template, revision


@dataclasses.dataclass(frozen=True)
class Decided:
    """What was gathered for one decision, and the decision."""

    inputs: rollout.Input
    decision: rollout.Decision
    problems: tuple[status.Problem, ...]
    scaling: autoscaling.Scaling
    autoscaling: conditions.Condition | None = None
    """AutoscalingReady, where there is autoscaling."""
    again: float | None = None
    """Seconds after which the problems may be gone although nothing that is watched changes."""
    fault: str | None = None
    """What the API server has failed to do for a while."""
    resolved: resolved.Outcome | None = None
    """None before pods were looked at."""

    @property
    def plan(self) -> rollout_plan.Plan | None:
        """The plan that the decision was made by."""
        return self.inputs.plan


def refused(observed: gather.Observed, decided: Decided, state: persisted.State | None, cause: str) -> Decided:
    """The decision as far as it came when the API server refused an object: what was taken away, but no step onwards.

    `state` is the one that the decision went on from.
    """
    problem = status.Problem(status.Reason.CANNOT_APPLY, f"{cause}. It is tried again until it is accepted")
    return dataclasses.replace(_halted(observed, decided, state), problems=(*decided.problems, problem))


def faulted(observed: gather.Observed, decided: Decided, state: persisted.State | None, cause: str) -> Decided:
    """The same when the API server has failed for a while, which nobody's spec is to blame for."""
    return dataclasses.replace(_halted(observed, decided, state), fault=f"{cause}. It is tried again")


def recheck_after(decided: Decided) -> float | None:
    """Seconds after which what is said of the stable revision's pods may change although no pod does."""
    stable = decided.inputs.find(decided.decision.stable)
    health = stable.health if stable is not None else None
    return max(0.0, health.recheck_after) if health is not None and health.recheck_after is not None else None


def _halted(observed: gather.Observed, decided: Decided, state: persisted.State | None) -> Decided:
    decision = decided.decision
    if decision.order is rollout.Order.STATUS_FIRST:
        traffic = dataclasses.replace(decision.traffic, epoch=observed.model.status.epoch)
        decision = dataclasses.replace(decision, state=state, traffic=traffic)
    return dataclasses.replace(decided, decision=dataclasses.replace(decision, ended=None))


def build_view(observed: gather.Observed, decided: Decided, now: float) -> status.View:
    """Everything that the status speaks of."""
    model, decision, inputs = observed.model, decided.decision, decided.inputs
    stable = inputs.find(decision.stable)
    wanted = inputs.find(observed.wanted_hash)
    in_rollout = inputs.find(decision.state.revision) if decision.state is not None else None
    stored = tuple(known for known in observed.revisions if observed.is_stored or known is not observed.wanted)
    selector = (
        ",".join(f"{key}={value}" for key, value in pod_template.revision_labels(model.metadata.name, stable.hash).items())
        if stable is not None
        else None
    )
    return status.View(
        model=model,
        served_name=pod_template.served_name(model.metadata.name, model.spec.template),
        wanted=observed.wanted,
        stable=observed.find(decision.stable),
        replicas=stable.health.desired if stable is not None and stable.health is not None else 0,
        ready_replicas=stable.ready if stable is not None else 0,
        selector=selector,
        wanted_ready=wanted is not None and wanted.health is not None and wanted.health.warm,
        rollout=_rollout(observed, decided),
        last_rollout=_last_rollout(observed, decision, now),
        epoch=max(model.status.epoch, decision.traffic.epoch),
        split=inputs.split is rollout.Split.CONNECTED,
        waiting=decision.waiting,
        notes=decision.notes,
        problems=decided.problems,
        autoscaling=decided.autoscaling,
        trouble=stable.health.trouble if stable is not None and stable.health is not None else None,
        rollout_trouble=in_rollout.health.trouble if in_rollout is not None and in_rollout.health is not None else None,
        fault=decided.fault,
        url=observed.url or None,
        history=history.entries(stored, limit=model.spec.revision_history_limit),
        resolved=resolved.to_status(decided.resolved),
        pods_differ=resolved.to_condition(decided.resolved),
        undone=decision.undone,
        answer=orders.answer(model, inputs.order, decision.answer, now),
    )


def _rollout(observed: gather.Observed, decided: Decided) -> rollout_status.RolloutStatus | None:
    """The rollout's state, with the plan that it follows and what it costs."""
    said, plan, load = persisted.to_status(decided.decision.state), decided.plan, decided.inputs.load
    if said is None or plan is None:
        return said
    sides = (observed.find(said.revision), observed.find(said.previous or decided.decision.stable))
    gpus = {known.hash: _gpus(known) for known in sides if known is not None}
    peak = capacity.peak_gpus(plan.capacity, load, gpus.values()) if load is not None and any(gpus.values()) else None
    return said.model_copy(update={"steps": tuple(_step(step) for step in plan.steps), "peak_gpus": peak})


def _gpus(known: revision.Revision) -> int:
    """GPUs of one pod."""
    return int(((known.template.get("resources") or {}).get("gpu") or {}).get("count", 0))


def _step(step: rollout_plan.StepPlan) -> rollout_status.StepStatus:
    return rollout_status.StepStatus(
        name=step.name,
        weight=rollout_spec.weight_text(step.weight),
        mirror=rollout_spec.weight_text(step.mirror) if step.mirror else None,
        hold=durations.text(step.hold),
        gates=step.gates,
        approval=step.approval is not None,
    )


def _last_rollout(observed: gather.Observed, decision: rollout.Decision, now: float) -> rollout_status.LastRollout | None:
    """How the latest rollout ended; where the status was lost, as far as the revisions remember it."""
    if decision.ended is not None:
        return store.last_rollout(decision.ended, now)
    known = observed.model.status.last_rollout
    return known if known is not None or decision.state is not None else history.last_rollout(observed.revisions)
