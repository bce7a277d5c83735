"""What was decided, as the status shows it: a pure projection of facts and decision.

The words are in `status`; writing is in `reconcile`.
"""

from __future__ import annotations

import dataclasses

from sluice.api import conditions
from sluice.reconcile.models import autoscaling, gather, resolved, status, store
from sluice.rollout import model as rollout
from sluice.rollout import plan as rollout_plan
from sluice.workloads import pod_template


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
    resolved: resolved.Outcome | None = None
    """None before pods were looked at."""

    @property
    def plan(self) -> rollout_plan.Plan | None:
        """The plan that the decision was made by."""
        return self.inputs.plan


def refused(observed: gather.Observed, decided: Decided, state: rollout.State | None, cause: str) -> Decided:
    """The decision as far as it came when the API server refused an object: what was taken away, but no step onwards.

    `state` is the one that the decision went on from.
    """
    decision = decided.decision
    if decision.order is rollout.Order.STATUS_FIRST:
        traffic = dataclasses.replace(decision.traffic, epoch=observed.model.status.epoch)
        decision = dataclasses.replace(decision, state=state, traffic=traffic)
    problem = status.Problem(status.Reason.CANNOT_APPLY, f"{cause}. It is tried again until it is accepted")
    return dataclasses.replace(
        decided, decision=dataclasses.replace(decision, ended=None), problems=(*decided.problems, problem)
    )


def build_view(observed: gather.Observed, decided: Decided, now: float) -> status.View:
    """Everything that the status speaks of."""
    model, decision, inputs = observed.model, decided.decision, decided.inputs
    stable = inputs.find(decision.stable)
    wanted = inputs.find(observed.wanted_hash)
    ended = decision.ended
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
        rollout=rollout.to_status(decision.state),
        last_rollout=model.status.last_rollout if ended is None else store.last_rollout(ended, now),
        epoch=max(model.status.epoch, decision.traffic.epoch),
        split=inputs.split is rollout.Split.CONNECTED,
        waiting=decision.waiting,
        notes=decision.notes,
        problems=decided.problems,
        autoscaling=decided.autoscaling,
        resolved=resolved.to_status(decided.resolved),
        pods_differ=resolved.to_condition(decided.resolved),
    )
