"""`ModelDeployment`: one model that is served, its revisions and how a new one is rolled out.

What makes a revision, `spec.template`, is in `template`; how the model is scaled is in `autoscaling`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import pydantic

from sluice.api import autoscaling as autoscaling_  # a field is named autoscaling
from sluice.api import base, network
from sluice.api import conditions as cond  # a field is named conditions
from sluice.api import history as history_  # a field is named history
from sluice.api import template as template_  # a field is named template

KIND: Final = "ModelDeployment"
PLURAL: Final = "modeldeployments"


class GatewayRef(base.ApiModel):
    """A Gateway that may send traffic here."""

    name: Annotated[str, pydantic.Field(min_length=1, max_length=50, description="The Gateway's name.")]
    namespace: Annotated[base.DnsLabel | None, pydantic.Field(description="Its namespace. Default: this object's own.")] = None


class GateRef(base.ApiModel):
    """Names an EvalGate of the same namespace."""

    name: Annotated[str, pydantic.Field(min_length=1, max_length=50, description="The EvalGate's name.")]


WEIGHT_PATTERN: Final = r"^(100(\.0{1,2})?|[0-9]{1,2}(\.[0-9]{1,2})?)$"

Weight = Annotated[
    int | str,
    pydantic.Field(
        description='Percent of traffic for the new revision, 0 to 100: an integer, or a string such as "0.5".',
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "minimum": 0,
            "maximum": 100,
            "pattern": WEIGHT_PATTERN,
        },
    ),
]


class Step(base.ApiModel):
    """One step of a canary: set the weight, hold it, pass the gates."""

    name: Annotated[base.DnsLabel, pydantic.Field(description="Name of the step; unique among the steps.")]
    weight: Weight
    hold: Annotated[
        base.Duration | None,
        pydantic.Field(
            description="How long the step lasts at least. Default: 0s.",
            json_schema_extra=base.duration_between("hold", "0s", "720h"),
        ),
    ] = None
    gates: Annotated[
        tuple[GateRef, ...] | None,
        pydantic.Field(
            max_length=8,
            description="EvalGates that must pass before the next step. Evals run when the step is entered.",
            json_schema_extra=base.map_list("name"),
        ),
    ] = None


class Canary(base.ApiModel):
    """Traffic moves to the new revision in steps."""

    steps: Annotated[
        tuple[Step, ...] | None,
        pydantic.Field(
            min_length=1,
            max_length=16,
            description="Steps in order. Default: 5, 25 and 50 percent for 10 minutes each.",
            json_schema_extra=base.map_list("name"),
        ),
    ] = None
    step_deadline: Annotated[
        base.Duration,
        pydantic.Field(
            description="After its hold, how long a step waits for its gates before it is rolled back.",
            json_schema_extra=base.duration_between("stepDeadline", "1s", "720h"),
        ),
    ] = "2h"


class Strategy(base.ApiModel):
    """How traffic moves to a new revision."""

    type: Annotated[Literal["Canary"], pydantic.Field(description="Which strategy; the member of the same name configures it.")]
    canary: Annotated[Canary | None, pydantic.Field(description="Settings of the Canary strategy.")] = None


class Evidence(base.ApiModel):
    """How sure a verdict must be."""

    false_rollback: Annotated[
        base.Percent,
        pydantic.Field(
            description="Chance that a healthy revision is rolled back, over the whole rollout and all its metrics.",
            json_schema_extra=base.validations(
                base.cel(
                    f"!{base.matches(base.PERCENT_PATTERN)} || "
                    "(double(self.replace('%', '')) > 0.0 && double(self.replace('%', '')) <= 20.0)",
                    'falseRollback must be above "0%" and at most "20%", such as "1%"',
                )
            ),
        ),
    ] = "1%"


class Rollout(base.ApiModel):
    """How a new revision is judged and promoted."""

    strategy: Annotated[Strategy | None, pydantic.Field(description="Default: Canary with its default steps.")] = None
    analysis: Annotated[
        tuple[GateRef, ...] | None,
        pydantic.Field(
            max_length=8,
            description=(
                "EvalGates whose metrics are watched during the whole rollout. Unset: the built-in `default` "
                "(error rate at most one point above the stable revision). An empty list: none."
            ),
            json_schema_extra=base.map_list("name"),
        ),
    ] = None
    evidence: Annotated[Evidence, pydantic.Field(description="How sure a verdict must be.")] = Evidence()


class ModelDeploymentSpec(base.ApiModel):
    """What is served, where its traffic comes from and how it changes."""

    template: Annotated[template_.Template, pydantic.Field(description="Everything that makes a revision.")]
    replicas: Annotated[
        int | None,
        pydantic.Field(
            ge=0,
            le=1000,
            description="Pods of the stable revision. Unset: one at first, then as many as there are. Excludes autoscaling.",
        ),
    ] = None
    autoscaling: Annotated[
        autoscaling_.Autoscaling | None, pydantic.Field(description="Pods follow the load. Excludes replicas.")
    ] = None
    startup_timeout: Annotated[
        base.Duration,
        pydantic.Field(
            description="How long a pod may take to become ready while its engine container runs.",
            json_schema_extra=base.duration_between("startupTimeout", "10s", "24h"),
        ),
    ] = "20m"
    drain_timeout: Annotated[
        base.Duration,
        pydantic.Field(
            description="How long a pod that leaves may go on with requests in flight.",
            json_schema_extra=base.duration_between("drainTimeout", "1s", "24h"),
        ),
    ] = "300s"
    disruption: Annotated[
        network.Disruption | None, pydantic.Field(description="How many pods may be taken away at a time.")
    ] = None
    network_policy: Annotated[
        network.NetworkPolicy | None,
        pydantic.Field(description="Who may reach the engines, and what they may reach, beyond what Sluice needs."),
    ] = None
    gateway_refs: Annotated[
        tuple[GatewayRef, ...],
        pydantic.Field(
            max_length=8, description="Gateways that route to this model by its served name; each must allow this namespace."
        ),
    ] = ()
    rollout: Annotated[Rollout, pydantic.Field(description="How a new revision is judged and promoted.")] = Rollout()
    revision_history_limit: Annotated[
        int,
        pydantic.Field(
            ge=0,
            le=history_.LIMIT_MAX,
            description="Revisions that are kept beside those in use. A rejected one that is forgotten may be tried again.",
        ),
    ] = 10

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel(
                "!has(self.replicas) || !has(self.autoscaling)",
                # `kubectl scale` shows this too.
                "replicas excludes autoscaling: while spec.autoscaling is set, the load decides between its minReplicas and "
                "maxReplicas. Change those, or remove spec.autoscaling to scale by hand; remove spec.replicas to autoscale",
                field_path=".replicas",
            )
        )
    )


class Phase(enum.StrEnum):
    """Where a rollout is."""

    IDLE = "Idle"
    """No rollout: the stable revision is what the spec asks for, or the spec's revision is not tried again."""
    WARMING_UP = "WarmingUp"
    """Pods of the new revision load; no traffic reaches it."""
    PROGRESSING = "Progressing"
    """Steps set the weight, hold and wait for their gates."""
    PROMOTING = "Promoting"
    """The new revision has all traffic and is being made the stable one."""
    ROLLING_BACK = "RollingBack"
    """The weight is 0 at the proxies; pods of the new revision drain."""


class Outcome(enum.StrEnum):
    """How a rollout ended."""

    PROMOTED = "Promoted"
    """The revision became the stable one."""
    ROLLED_BACK = "RolledBack"
    """It failed after it had traffic."""
    REJECTED = "Rejected"
    """It failed before it had any traffic."""
    SUPERSEDED = "Superseded"
    """The spec asked for another revision meanwhile."""


class Verdict(enum.StrEnum):
    """What a gate says. No data is never a Pass."""

    PASS = "Pass"
    """What the gate asks for is shown."""
    FAIL = "Fail"
    """Harm is proven."""
    INCONCLUSIVE = "Inconclusive"
    """Not enough evidence yet, or nothing to compare with."""
    ERROR = "Error"
    """The measurement itself failed."""
    RUNNING = "Running"
    """An eval is under way."""


class GateStatus(base.ApiModel):
    """What one metric or eval of a gate says of the revision in rollout."""

    name: Annotated[str, pydantic.Field(max_length=63, description="The EvalGate, or `default`.")]
    metric: Annotated[str, pydantic.Field(max_length=63, description="The metric or eval inside the gate.")]
    verdict: Annotated[Verdict, pydantic.Field(description="What it says.")]
    reason: Annotated[str | None, pydantic.Field(max_length=64, description="Why, for machines.")] = None
    message: Annotated[str | None, pydantic.Field(max_length=1024, description="Why, for people.")] = None
    n: Annotated[int, pydantic.Field(ge=0, description="Requests or items of the new revision that were judged.")] = 0
    estimate: Annotated[str | None, pydantic.Field(max_length=32, description="Best estimate of the measured value.")] = None
    interval: Annotated[str | None, pydantic.Field(max_length=64, description="Range the value is sure to lie in.")] = None
    limit: Annotated[str | None, pydantic.Field(max_length=64, description="What the value is held against.")] = None
    needs: Annotated[str | None, pydantic.Field(max_length=128, description="What is still needed for a verdict.")] = None


class RolloutStatus(base.ApiModel):
    """The rollout that is under way."""

    revision: Annotated[str, pydantic.Field(max_length=63, description="Hash of the revision in rollout.")]
    phase: Annotated[Phase, pydantic.Field(description="Where the rollout is.")]
    step: Annotated[str | None, pydantic.Field(max_length=63, description="The current step.")] = None
    weight: Annotated[str, pydantic.Field(max_length=8, description="Percent of traffic for the revision.")] = "0"
    epoch: Annotated[int, pydantic.Field(ge=0, description="Rises with every change of traffic.")] = 0
    started_at: Annotated[
        str, pydantic.Field(json_schema_extra={"format": "date-time"}, description="Start of the rollout.")
    ] = ""
    step_entered_at: Annotated[
        str | None,
        pydantic.Field(
            json_schema_extra={"format": "date-time"},
            description="When every connected proxy had acknowledged the step's weight.",
        ),
    ] = None
    had_traffic: Annotated[bool, pydantic.Field(description="Whether the revision ever had weight.")] = False
    gates: Annotated[
        tuple[GateStatus, ...],
        pydantic.Field(max_length=64, description="What each gate says.", json_schema_extra=base.map_list("name", "metric")),
    ] = ()
    reason: Annotated[str | None, pydantic.Field(max_length=64, description="Why the rollout waits or fails.")] = None
    message: Annotated[str | None, pydantic.Field(max_length=2048, description="The same for people.")] = None


class LastRollout(base.ApiModel):
    """How the latest rollout ended."""

    revision: Annotated[str, pydantic.Field(max_length=63, description="Hash of the revision.")]
    outcome: Annotated[Outcome, pydantic.Field(description="How it ended.")]
    reason: Annotated[str, pydantic.Field(max_length=64, description="Why, for machines.")]
    message: Annotated[str, pydantic.Field(max_length=2048, description="Why, for people.")] = ""
    started_at: Annotated[str, pydantic.Field(json_schema_extra={"format": "date-time"}, description="Start.")] = ""
    finished_at: Annotated[str, pydantic.Field(json_schema_extra={"format": "date-time"}, description="End.")] = ""
    gates: Annotated[
        tuple[GateStatus, ...],
        pydantic.Field(
            max_length=64, description="What each gate said last.", json_schema_extra=base.map_list("name", "metric")
        ),
    ] = ()


class ResolvedAdapter(base.ApiModel):
    """What an adapter's source came to."""

    name: Annotated[str, pydantic.Field(max_length=63, description="Name of the adapter.")]
    version: Annotated[str, pydantic.Field(max_length=128, description="Commit, or digest of the listing.")]


class ResolvedRevision(base.ApiModel):
    """What names that can be moved came to for the first pod of a revision, and are kept to for all its pods."""

    revision: Annotated[str, pydantic.Field(max_length=63, description="Hash of the revision.")]
    model: Annotated[
        str | None,
        pydantic.Field(max_length=128, description="Commit of an hf:// model; digest of the listing of an s3:// or gs:// one."),
    ] = None
    adapters: Annotated[
        tuple[ResolvedAdapter, ...],
        pydantic.Field(max_length=16, description="The same of adapters.", json_schema_extra=base.map_list("name")),
    ] = ()
    image: Annotated[
        str | None, pydantic.Field(max_length=256, description="Digest of the engine's image, where a tag names it.")
    ] = None


class ModelDeploymentStatus(base.ApiModel):
    """A projection of durable facts: it may be lost and is computed again."""

    observed_generation: Annotated[int, pydantic.Field(description="The generation this status speaks of.")] = -1
    conditions: Annotated[
        tuple[cond.Condition, ...],
        pydantic.Field(max_length=16, description="State for people and tools.", json_schema_extra=base.map_list("type")),
    ] = ()
    model: Annotated[str | None, pydantic.Field(max_length=128, description="Served name of the model.")] = None
    replicas: Annotated[int, pydantic.Field(ge=0, description="Pods of the stable revision.")] = 0
    ready_replicas: Annotated[int, pydantic.Field(ge=0, description="Those that are ready.")] = 0
    pods_ready: Annotated[str, pydantic.Field(max_length=16, description="The same for people: ready/wanted.")] = ""
    url: Annotated[
        str | None,
        pydantic.Field(max_length=256, description="Where clients ask: the first Gateway, or the Service where there is none."),
    ] = None
    selector: Annotated[
        str | None, pydantic.Field(max_length=512, description="Label selector of the stable revision's pods, for /scale.")
    ] = None
    stable_revision: Annotated[str | None, pydantic.Field(max_length=63, description="Hash of the revision that serves.")] = (
        None
    )
    epoch: Annotated[int, pydantic.Field(ge=0, description="Highest traffic epoch ever written.")] = 0
    rollout: Annotated[RolloutStatus | None, pydantic.Field(description="The rollout under way.")] = None
    last_rollout: Annotated[LastRollout | None, pydantic.Field(description="How the latest rollout ended.")] = None
    history: Annotated[
        tuple[history_.HistoryEntry, ...],
        pydantic.Field(
            max_length=history_.ENTRIES_MAX,
            description="Revisions that are kept, the newest first: what became of each and why.",
            json_schema_extra=base.map_list("revision"),
        ),
    ] = ()
    resolved: Annotated[
        tuple[ResolvedRevision, ...],
        pydantic.Field(
            max_length=10,
            description="What each revision's first pod got, the newest revision first.",
            json_schema_extra=base.map_list("revision"),
        ),
    ] = ()


class ModelDeployment(base.ApiModel):
    """A model that is served, rolled out by evidence."""

    metadata: base.NamedObject
    spec: ModelDeploymentSpec
    status: ModelDeploymentStatus = ModelDeploymentStatus()


def parse(obj: Mapping[str, Any]) -> ModelDeployment:
    """The typed form of an object that the API server admitted.

    Raises:
        pydantic.ValidationError: the object predates the CRD in force; its message names the field.
    """
    return ModelDeployment.model_validate(obj)


def weight_basis_points(weight: int | str) -> int:
    """A step's weight in hundredths of a percent, 0 to 10000: 5 -> 500, "0.5" -> 50."""
    whole, _, fraction = str(weight).partition(".")
    return int(whole) * 100 + int(fraction.ljust(2, "0") or 0)


def weight_text(basis_points: int) -> str:
    """The inverse of `weight_basis_points`, without needless decimals: 50 -> "0.5"."""
    whole, rest = divmod(basis_points, 100)
    return str(whole) if not rest else f"{whole}.{rest:02d}".rstrip("0")
