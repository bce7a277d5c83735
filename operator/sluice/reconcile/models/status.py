"""The status of a ModelDeployment as a pure projection of what was observed and decided.

kstatus rules: `Ready` and `Available` are always there; `Reconciling` and `Stalled` only while True.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator
from typing import Final

from sluice.api import commands, conditions, history, modeldeployment, rollout_status
from sluice.reconcile.models import autoscaling
from sluice.rollout import health, planning
from sluice.rollout import model as rollout_model  # a field is named rollout
from sluice.workloads import revision

Type = conditions.ConditionType
_PEOPLE: Final = (rollout_status.Phase.AWAITING_APPROVAL, rollout_status.Phase.PAUSED)
"""Phases in which a person has to do something, whatever else is going on."""


class Reason(enum.StrEnum):
    """Reasons of this kind's conditions that do not come from a cause, a gate or a problem."""

    SERVING = "Serving"
    """The revision the spec asks for serves with all its pods."""
    SCALED_TO_ZERO = "ScaledToZero"
    """spec.replicas is 0: nothing serves, as was asked for."""
    NOTHING_SERVES = "NothingServes"
    """No pod of a stable revision is ready."""
    PODS_NOT_READY = "PodsNotReady"
    """Fewer pods of the stable revision are ready than the spec asks for."""
    ROLLING_OUT = "RollingOut"
    """A new revision is on its way."""
    REVISION_REJECTED = "RevisionRejected"
    """The revision that the spec asks for failed and is not tried again."""
    SPLIT = "Split"
    """Weights reach users through the gateways."""
    NO_TRAFFIC_SPLIT = "NoTrafficSplit"
    """No gateway routes to this model, so a rollout has no weights."""
    GATES_PASS = "GatesPass"
    """Nothing that was measured speaks against the revision in rollout."""
    GATE_FAILED = "GateFailed"
    """A gate has proven harm."""
    MEASURING = "Measuring"
    """There is not enough evidence yet."""
    LOADED = "Loaded"
    """All pods of the wanted revision have loaded their model."""
    LOADING = "Loading"
    """Pods of the wanted revision load their model."""
    RESOLVED = "Resolved"
    """All references resolve."""
    GATEWAY_NOT_FOUND = "GatewayNotFound"
    """A Gateway that gatewayRefs names does not exist."""
    NOT_ALLOWED_BY_GATEWAY = "NotAllowedByGateway"
    """A Gateway's allowedModels keeps this namespace out."""
    INVALID_ROLLOUT = "InvalidRollout"
    """The rollout's plan cannot be made: a gate or a data set does not exist, or a weight falls."""
    INVALID_SCHEDULE = "InvalidSchedule"
    """A schedule of spec.autoscaling has a cron expression that never fits or an unknown time zone."""
    SOURCE_UNSUPPORTED = "SourceUnsupported"
    """The cluster cannot mount a source of spec.template.model: oci:// needs Kubernetes 1.35. What runs is left alone."""
    INVALID_TEMPLATE = "InvalidTemplate"
    """spec.template asks for what its version of the engine or its GPUs have not. What runs is left alone."""
    POLICY_DENIED = "PolicyDenied"
    """A rule of the platform forbids the revision that the spec asks for, or requires a gate that is missing."""
    POLICY_UNAVAILABLE = "PolicyUnavailable"
    """The platform's configuration cannot be used, so no new revision is rolled out. What runs is left alone."""
    FILE_NOT_FOUND = "FileNotFound"
    """A ConfigMap, or its key, that spec.template.model takes a file from does not exist. What runs is left alone."""
    FILE_NOT_TEXT = "FileNotText"
    """The key that spec.template.model takes a file from is binary. What runs is left alone."""
    FILES_TOO_LARGE = "FilesTooLarge"
    """The files of spec.template.model are more than one ConfigMap holds. What runs is left alone."""
    FILES_UNREADABLE = "FilesUnreadable"
    """A ConfigMap that spec.template.model takes a file from may not be read. It is tried again."""
    FILES_LOST = "FilesLost"
    """The ConfigMap with a running revision's files was deleted, and its contents are to be had nowhere: no new pod starts."""
    API_FAULT = "APIFault"
    """The API server, or a webhook that it asks, has failed our writes for a while. They are tried again."""
    CANNOT_APPLY = "CannotApply"
    """The API server refuses one of our objects, or its name is taken by somebody else's. It is tried again."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """A user's mistake: what is wrong and the fix. Not retried until something changes."""

    reason: Reason
    message: str


def plan_problem(error: planning.PlanError) -> Problem:
    """Why a rollout has no plan."""
    denied = isinstance(error, planning.RequiredGateError)
    return Problem(Reason.POLICY_DENIED if denied else Reason.INVALID_ROLLOUT, str(error))


@dataclasses.dataclass(frozen=True)
class View:
    """What the status speaks of."""

    model: modeldeployment.ModelDeployment
    served_name: str
    wanted: revision.Revision | None
    stable: revision.Revision | None
    replicas: int
    """Pods of the stable revision."""
    ready_replicas: int
    selector: str | None
    wanted_ready: bool
    """Whether all pods of the wanted revision are ready."""
    rollout: rollout_status.RolloutStatus | None
    last_rollout: rollout_status.LastRollout | None
    epoch: int
    split: bool
    waiting: rollout_model.Notice | None = None
    """What a revision that is wanted, but not in rollout yet, waits for."""
    notes: tuple[rollout_model.Note, ...] = ()
    problems: tuple[Problem, ...] = ()
    autoscaling: conditions.Condition | None = None
    """AutoscalingReady, where there is autoscaling. `Ready` does not depend on it: the size stays as it is meanwhile."""
    trouble: health.Trouble | None = None
    """What keeps pods of the stable revision from being ready."""
    rollout_trouble: health.Trouble | None = None
    """The same of the revision in rollout."""
    fault: str | None = None
    """What the API server has failed to do for a while."""
    url: str | None = None
    history: tuple[history.HistoryEntry, ...] = ()
    resolved: tuple[modeldeployment.ResolvedRevision, ...] = ()
    pods_differ: conditions.Condition | None = None
    """PodsDiffer, while there are such pods."""
    undone: rollout_status.Undone | None = None
    answer: commands.HandledCommand | None = None
    """What became of the latest command."""


def build_status(view: View, *, now: str) -> modeldeployment.ModelDeploymentStatus:
    """The status to write. `now` is an RFC 3339 time."""
    generation = view.model.metadata.generation
    return modeldeployment.ModelDeploymentStatus(
        observed_generation=generation,
        conditions=conditions.merge(view.model.status.conditions, _conditions(view), generation=generation, now=now),
        model=view.served_name,
        replicas=view.replicas,
        ready_replicas=view.ready_replicas,
        pods_ready=f"{view.ready_replicas}/{view.replicas}",
        url=view.url,
        selector=view.selector,
        stable_revision=view.stable.hash if view.stable else None,
        epoch=view.epoch,
        rollout=view.rollout,
        last_rollout=view.last_rollout,
        undone=view.undone,
        last_handled_command=view.answer,
        history=view.history,
        resolved=view.resolved,
    )


def _conditions(view: View) -> Iterator[conditions.Condition]:
    ready = _ready(view)
    yield ready
    yield _available(view)
    stalled = _stalled(view)
    if stalled is not None:
        yield stalled
    elif ready.status != "True":
        yield conditions.make(Type.RECONCILING, True, ready.reason, ready.message)
    yield _resolved(view)
    yield _traffic_split(view)
    yield _model_loaded(view)
    if view.rollout is not None:
        yield _canary_healthy(view.rollout)
    if view.autoscaling is not None:
        yield view.autoscaling
    if view.pods_differ is not None:
        yield view.pods_differ
    for note in view.notes:
        if note.type is not rollout_model.NoteType.NO_TRAFFIC_SPLIT:  # said by TrafficSplit
            yield conditions.make(note.type.value, True, note.type.value, note.message)


def _ready(view: View) -> conditions.Condition:
    stalled = _stalled(view)
    if stalled is not None:
        return conditions.make(Type.READY, False, stalled.reason, stalled.message)
    if view.fault is not None:
        return conditions.make(Type.READY, False, Reason.API_FAULT, view.fault)
    if view.rollout is not None:
        reason = view.rollout.phase if view.rollout.phase in _PEOPLE else view.rollout.reason or Reason.ROLLING_OUT
        return conditions.make(Type.READY, False, reason, _progress(view.rollout))
    if view.stable is None or view.wanted is None or view.wanted.hash != view.stable.hash:
        reason = view.waiting.reason if view.waiting is not None else Reason.ROLLING_OUT
        message = view.waiting.message if view.waiting is not None else "A revision is about to be rolled out"
        return conditions.make(Type.READY, False, reason, message)
    if _is_off(view):
        message = f"No pods are wanted: revision {view.stable.hash} serves once spec.replicas is above 0"
        return conditions.make(Type.READY, True, Reason.SCALED_TO_ZERO, message)
    if _lacks_pods(view):
        return conditions.make(Type.READY, False, _reason(view.trouble, Reason.PODS_NOT_READY), _serves(view, view.stable))
    return conditions.make(Type.READY, True, Reason.SERVING, _serves(view, view.stable))


def _is_off(view: View) -> bool:
    return view.model.spec.replicas == 0


def _lacks_pods(view: View) -> bool:
    """Whether fewer pods of the stable revision are ready than have to be."""
    return view.ready_replicas < max(1, autoscaling.fewest_ready(view.model.spec, view.replicas)) and not _is_off(view)


def _serves(view: View, stable: revision.Revision) -> str:
    size = max(view.replicas, autoscaling.fewest_ready(view.model.spec, view.replicas))
    said = f"Revision {stable.hash} serves with {view.ready_replicas} of {size} pods"
    return f"{said}. {view.trouble.message}" if view.trouble is not None else said


def _reason(trouble: health.Trouble | None, otherwise: Reason) -> str:
    """The cause of trouble that is somebody's."""
    if trouble is None or trouble.effect is health.CauseClass.NONE:
        return otherwise
    return trouble.cause


def _progress(rollout: rollout_status.RolloutStatus) -> str:
    step = f", step {rollout.step} at {rollout.weight} %" if rollout.step else ""
    text = f"Revision {rollout.revision} is {rollout.phase.value}{step}"
    return f"{text}: {rollout.message}" if rollout.message else text


def _available(view: View) -> conditions.Condition:
    if view.stable is None:
        going = f": {_progress(view.rollout)}" if view.rollout is not None else ""
        return conditions.make(Type.AVAILABLE, False, Reason.NOTHING_SERVES, f"No revision was promoted yet{going}")
    if view.ready_replicas > 0:
        return conditions.make(Type.AVAILABLE, True, Reason.SERVING, f"Revision {view.stable.hash} serves")
    if _is_off(view):
        return conditions.make(Type.AVAILABLE, False, Reason.SCALED_TO_ZERO, "spec.replicas is 0: raise it to serve")
    said = f"No pod of revision {view.stable.hash} is ready"
    message = f"{said}. {view.trouble.message}" if view.trouble is not None else said
    return conditions.make(Type.AVAILABLE, False, _reason(view.trouble, Reason.NOTHING_SERVES), message)


def _stalled(view: View) -> conditions.Condition | None:
    if view.problems:
        first = view.problems[0]
        return conditions.make(Type.STALLED, True, first.reason, "; ".join(problem.message for problem in view.problems))
    if view.rollout is None and view.wanted is not None and view.wanted.outcome is revision.OutcomeLabel.REJECTED:
        return conditions.make(Type.STALLED, True, Reason.REVISION_REJECTED, _rejection(view, view.wanted))
    return _lasting(view)


def _lasting(view: View) -> conditions.Condition | None:
    """What the environment has kept from happening for longer than an engine may take to start."""
    if view.rollout is not None:
        trouble, message = view.rollout_trouble, _progress(view.rollout)
    elif view.stable is not None and _lacks_pods(view):
        trouble, message = view.trouble, _serves(view, view.stable)
    else:
        return None
    if trouble is None or not trouble.lasting:
        return None
    why = f"It has lasted for longer than spec.startupTimeout ({view.model.spec.startup_timeout}), so a person should look"
    return conditions.make(Type.STALLED, True, trouble.cause, f"{message.rstrip('.')}. {why}")


def _rejection(view: View, wanted: revision.Revision) -> str:
    last, kept = view.last_rollout, wanted.result
    why = f": {kept.reason}: {kept.message}" if kept is not None else ""
    if last is not None and last.revision == wanted.hash:
        why = f": {last.reason}: {last.message}"  # in full, which the revision does not keep
    serves = f"; revision {view.stable.hash} goes on serving" if view.stable else "; nothing serves"
    return f"Revision {wanted.hash} was rejected{why.rstrip('.')}{serves}. Change spec.template to try another revision"


def _resolved(view: View) -> conditions.Condition:
    problems = [problem for problem in view.problems if problem.reason is not Reason.INVALID_SCHEDULE]
    if problems:
        first = problems[0]
        return conditions.make(Type.RESOLVED_REFS, False, first.reason, first.message)
    return conditions.make(Type.RESOLVED_REFS, True, Reason.RESOLVED, "All references resolve")


def _traffic_split(view: View) -> conditions.Condition:
    if view.split:
        return conditions.make(
            Type.TRAFFIC_SPLIT, True, Reason.SPLIT, "Weights reach users through the gateways of gatewayRefs"
        )
    return conditions.make(
        Type.TRAFFIC_SPLIT,
        False,
        Reason.NO_TRAFFIC_SPLIT,
        "No gateway routes to this model: gates before any traffic run, then the Service moves at once. "
        "Add spec.gatewayRefs to split traffic",
    )


def _model_loaded(view: View) -> conditions.Condition:
    if view.wanted is None:
        return conditions.make(Type.MODEL_LOADED, None, Reason.LOADING, "There is no revision that the spec asks for")
    if view.wanted_ready:
        return conditions.make(Type.MODEL_LOADED, True, Reason.LOADED, f"All pods of revision {view.wanted.hash} are ready")
    return conditions.make(Type.MODEL_LOADED, False, Reason.LOADING, f"Not all pods of revision {view.wanted.hash} are ready")


def _canary_healthy(rollout: rollout_status.RolloutStatus) -> conditions.Condition:
    verdicts = {gate.verdict for gate in rollout.gates}
    if rollout_status.Verdict.FAIL in verdicts:
        failed = next(gate for gate in rollout.gates if gate.verdict is rollout_status.Verdict.FAIL)
        message = f"{failed.name}/{failed.metric}: {failed.message or failed.reason or 'harm is proven'}"
        return conditions.make(Type.CANARY_HEALTHY, False, Reason.GATE_FAILED, message)
    if verdicts and verdicts == {rollout_status.Verdict.PASS}:
        return conditions.make(Type.CANARY_HEALTHY, True, Reason.GATES_PASS, "Every gate passes so far")
    return conditions.make(Type.CANARY_HEALTHY, None, Reason.MEASURING, "There is not enough evidence yet")


def is_calm(old: modeldeployment.ModelDeploymentStatus, new: modeldeployment.ModelDeploymentStatus) -> bool:
    """Whether only numbers and texts changed: such a change may wait, any other is written at once."""
    return _essence(old) == _essence(new)


def _essence(said: modeldeployment.ModelDeploymentStatus) -> object:
    wire = said.to_wire()
    wire["conditions"] = [(c.type, c.status, c.reason, c.observed_generation) for c in said.conditions]
    if said.rollout is not None:
        wire["rollout"]["gates"] = [(gate.name, gate.metric, gate.verdict, gate.reason) for gate in said.rollout.gates]
        wire["rollout"].pop("message", None)
    return wire
