"""No rollout is under way: whether one starts, and what it waits for before it does."""

from __future__ import annotations

from sluice.api import rollout_status
from sluice.rollout import capacity, labels, model, persisted, reasons, settle, staying, traffic
from sluice.rollout import case as case_
from sluice.workloads import revision


def nothing_wanted(case: case_.Case) -> model.Decision | None:
    """What serves is what the spec asks for, or the spec asks for nothing that can be made."""
    wanted = case.inputs.find(case.inputs.wanted)
    return settle.decision(case, None) if wanted is None or wanted.hash == case.serving else None


def rejected_before(case: case_.Case) -> model.Decision | None:
    """A revision that failed is not tried again until somebody orders it."""
    wanted = case.inputs.find(case.inputs.wanted)
    if wanted is None or wanted.outcome is not revision.OutcomeLabel.REJECTED:
        return None
    serves = f"Revision {case.serving} goes on serving." if case.serving is not None else "Nothing serves."
    again = "until spec.template changes, or kubectl sluice retry orders it"
    message = f"Revision {wanted.hash} failed and is not tried again {again}. {serves}"
    return _wait(case, reasons.Reason.REVISION_REJECTED, message, warning=True)


def may_only_protect(case: case_.Case) -> model.Decision | None:
    """Nothing is begun while it cannot be persisted."""
    if not case.inputs.protect_only:
        return None
    return _wait(case, reasons.Reason.PROTECT_ONLY, "The API server does not answer: no rollout starts meanwhile.")


def paused(case: case_.Case) -> model.Decision | None:
    """A person stopped increases, and a rollout is one."""
    if not case.inputs.paused:
        return None
    return _wait(case, reasons.Reason.PAUSED, "spec.paused is true: no rollout starts until it is false.")


def others_leaving(case: case_.Case) -> model.Decision | None:
    """The pods of an earlier revision are gone before the next warms, so that a rollout costs one extra set of pods at most."""
    stay = {case.serving, case.inputs.wanted}
    leaving = [known.hash for known in case.inputs.revisions if known.has_pods and known.hash not in stay]
    if not leaving:
        return None
    counts = [known.in_flight for known in staying.draining(case, case.inputs.left_at)]
    answering = f" They answer {sum(filter(None, counts))} more requests." if any(counts) else ""
    message = f"Pods of revision {', '.join(sorted(leaving))} are still leaving.{answering}"
    return _wait(case, reasons.Reason.PODS_LEAVING, message)


def plan_missing(case: case_.Case) -> model.Decision | None:
    """A rollout needs a plan."""
    if case.inputs.plan is not None:
        return None
    return _wait(case, reasons.Reason.PLAN_UNAVAILABLE, "The rollout's plan cannot be made from the spec.", warning=True)


def not_labelled(case: case_.Case) -> model.Decision | None:
    """A revision becomes the candidate, durably, before its rollout starts."""
    wanted = case.inputs.find(case.inputs.wanted)
    if wanted is None or wanted.outcome is revision.OutcomeLabel.CANDIDATE:
        return None
    waiting = model.Notice(reasons.Reason.LABELS_PENDING, f"Revision {wanted.hash} becomes the candidate.")
    return settle.decision(case, None, settle.Extras(labels=(labels.candidate(case, wanted),), waiting=waiting, wake_after=1.0))


def begin(case: case_.Case) -> model.Decision:
    """A rollout of the wanted revision starts at its first step, whatever was before."""
    assert case.inputs.wanted is not None
    first = case.steps[0].weight + case.steps[0].mirror if case.steps else traffic.FULL_WEIGHT
    state = persisted.State(
        revision=case.inputs.wanted,
        phase=rollout_status.Phase.WARMING_UP,
        started_at=case.now,
        replicas=_size(case, first),
        reason=reasons.Reason.PODS_STARTING,
        message=f"Pods of revision {case.inputs.wanted} start.",
    )
    event = model.Notice(reasons.EventReason.ROLLOUT_STARTED, f"The rollout of revision {state.revision} starts.")
    waiting = model.Notice(reasons.Reason.PODS_STARTING, state.message or "")
    return settle.decision(case, state, settle.Extras(store_plan=True, events=(event,), waiting=waiting))


def _wait(case: case_.Case, reason: reasons.Reason, message: str, *, warning: bool = False) -> model.Decision:
    return settle.decision(case, None, settle.Extras(waiting=model.Notice(reason, message, warning)))


def _size(case: case_.Case, share: int) -> int:
    """Pods to begin with: what the first step needs, or what is loaded already by a rollout whose status was lost."""
    load, wanted = case.inputs.load, case.inputs.find(case.inputs.wanted)
    if load is None:
        return 0
    loaded = wanted.health.desired if wanted is not None and wanted.health is not None else 0
    return max(case.needed(share), min(loaded, capacity.base(case.rules, load)))
