"""`ModelDeployment`: one model that is served, its revisions and how a new one is rolled out.

What makes a revision, `spec.template`, is in `template`; how the model is scaled is in `autoscaling`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import pydantic

from sluice.api import autoscaling as autoscaling_  # a field is named autoscaling
from sluice.api import base, commands, network, rollout_spec, rollout_status
from sluice.api import conditions as cond  # a field is named conditions
from sluice.api import history as history_  # a field is named history
from sluice.api import template as template_  # a field is named template

KIND: Final = "ModelDeployment"
PLURAL: Final = "modeldeployments"


class GatewayRef(base.ApiModel):
    """A Gateway that may send traffic here."""

    name: Annotated[str, pydantic.Field(min_length=1, max_length=50, description="The Gateway's name.")]
    namespace: Annotated[base.DnsLabel | None, pydantic.Field(description="Its namespace. Default: this object's own.")] = None


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
    rollout: Annotated[rollout_spec.Rollout, pydantic.Field(description="How a new revision is judged and promoted.")] = (
        rollout_spec.Rollout()
    )
    paused: Annotated[
        bool,
        pydantic.Field(
            description=("Stops increases: no rollout starts, no weight rises, nothing is promoted. Protection goes on.")
        ),
    ] = False
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
    rollout: Annotated[rollout_status.RolloutStatus | None, pydantic.Field(description="The rollout under way.")] = None
    last_rollout: Annotated[rollout_status.LastRollout | None, pydantic.Field(description="How the latest rollout ended.")] = (
        None
    )
    undone: Annotated[
        rollout_status.Undone | None,
        pydantic.Field(description="What a person has undone, until the template changes."),
    ] = None
    last_handled_command: Annotated[
        commands.HandledCommand | None, pydantic.Field(description="What became of the latest command.")
    ] = None
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
