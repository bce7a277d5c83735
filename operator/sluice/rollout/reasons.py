"""Why a rollout is where it is, in the words that machines read: reasons of its status and of its events."""

from __future__ import annotations

import enum
from typing import Final


class Reason(enum.StrEnum):
    """Why a rollout ended, fails or waits, beside the causes of `health.Cause`."""

    ALL_GATES_PASSED = "AllGatesPassed"
    """Ended: every gate that the plan requires passed."""
    GATE_FAILED = "GateFailed"
    """Failed: a gate proved harm, or an eval was below its threshold."""
    STEP_DEADLINE_EXCEEDED = "StepDeadlineExceeded"
    """Failed: a gate was still inconclusive at the step's deadline, and onInconclusive is Rollback."""
    APPROVAL_TIMED_OUT = "ApprovalTimedOut"
    """Failed: nobody approved the step in time."""
    ABORTED = "Aborted"
    """Failed: a person took the revision back."""
    MARKED_REJECTED = "MarkedRejected"
    """Failed: the revision carries the outcome label Rejected."""
    SUPERSEDED = "Superseded"
    """Ended: the spec asks for a third revision."""
    WITHDRAWN = "Withdrawn"
    """Ended: the spec went back to the stable revision."""

    PODS_STARTING = "PodsStarting"
    """Waits for the pods of the revision."""
    PODS_LEAVING = "PodsLeaving"
    """Waits until the pods of an earlier revision are gone."""
    SCALED_TO_ZERO = "ScaledToZero"
    """Waits: no replicas are wanted, so nothing can be judged."""
    PROXIES_PENDING = "ProxiesPending"
    """Waits until every connected proxy has acknowledged the weight."""
    HOLDING = "Holding"
    """The step lasts for its hold, or has waited for its gates for minutes."""
    BAKING = "Baking"
    """The revision is promoted, and the one before stays warm."""
    AWAITING_APPROVAL = "AwaitingApproval"
    """A person has to approve the step."""
    PAUSED = "Paused"
    """A person stopped increases."""
    GATES_PENDING = "GatesPending"
    """Waits for the verdicts of gates."""
    MEASUREMENT_FAILED = "MeasurementFailed"
    """Waits: a gate cannot be measured. No measurement is never a pass."""
    GATEWAY_UNAVAILABLE = "GatewayUnavailable"
    """Waits: gatewayRefs are given, but no Gateway accepts them."""
    PLAN_UNAVAILABLE = "PlanUnavailable"
    """Waits: the rollout's plan cannot be made or read."""
    PROTECT_ONLY = "ProtectOnly"
    """Waits: this process may only protect, because it cannot reach the API server."""
    LABELS_PENDING = "LabelsPending"
    """Waits until an outcome label is written."""
    REVISION_REJECTED = "RevisionRejected"
    """Idle: the revision that the spec asks for has failed, and is not tried again."""


class EventReason(enum.StrEnum):
    """What happened in a rollout, for events, beside its outcomes and the reasons of its failures."""

    ROLLOUT_STARTED = "RolloutStarted"
    """Pods of a new revision start."""
    WEIGHT_SET = "WeightSet"
    """A step gives the revision its weight."""
    STEP_ENTERED = "StepEntered"
    """Every proxy has the step's weight: its hold and its evidence count from here."""
    PAUSED = "Paused"
    """A person stopped increases."""
    RESUMED = "Resumed"
    """Increases go on."""
    APPROVAL_NEEDED = "ApprovalNeeded"
    """A step has passed its gates and awaits a person's approval."""
    APPROVED = "Approved"
    """A person approved the step."""
    STEP_RELEASED = "StepReleased"
    """A person ended the step, or its hold, early."""
    RETRIED = "Retried"
    """A person has a rejected revision tried again."""
    BAKING = "Baking"
    """The revision is the stable one, and the one before stays warm."""
    PROMOTING = "Promoting"
    """Everything required has passed, and the revision gets all traffic."""


NOT_A_FAILURE: Final = frozenset({Reason.SUPERSEDED, Reason.WITHDRAWN})
"""Reasons to take a revision back that say nothing about it."""
