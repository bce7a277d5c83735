"""`RateLimitPolicy`: how much each client may ask of a Gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import pydantic

from sluice.api import base
from sluice.api import conditions as cond  # a field is named conditions

KIND: Final = "RateLimitPolicy"
PLURAL: Final = "ratelimitpolicies"


class TargetRef(base.ApiModel):
    """What the policy applies to."""

    group: Annotated[Literal["sluice.dev"], pydantic.Field(description="Group of the target.")]
    kind: Annotated[Literal["Gateway"], pydantic.Field(description="Kind of the target.")]
    name: Annotated[str, pydantic.Field(min_length=1, max_length=50, description="Name of a Gateway of the same namespace.")]


class LimitMatch(base.ApiModel):
    """Which requests a limit is for. What is unset matches all."""

    models: Annotated[
        tuple[base.ModelName, ...], pydantic.Field(max_length=16, description="Values of the request's `model`.")
    ] = ()
    clients: Annotated[
        tuple[Annotated[str, pydantic.Field(min_length=1, max_length=253)], ...],
        pydantic.Field(max_length=64, description="Names of clients."),
    ] = ()


class KeyPart(base.ApiModel):
    """One part of the key that separates buckets."""

    type: Annotated[Literal["Client", "Model"], pydantic.Field(description="Client: the caller. Model: the request's `model`.")]


class LimitSpec(base.ApiModel):
    """One limit."""

    name: Annotated[base.DnsLabel, pydantic.Field(description="Name of the limit; unique in the policy.")]
    match: Annotated[LimitMatch, pydantic.Field(description="Which requests it is for.")] = LimitMatch()
    key: Annotated[
        tuple[KeyPart, ...],
        pydantic.Field(
            max_length=2,
            description="Each value of the key has its own bucket. Empty: one shared bucket.",
            json_schema_extra=base.map_list("type"),
        ),
    ] = ()
    unit: Annotated[Literal["Requests"], pydantic.Field(description="What is counted.")]
    amount: Annotated[int, pydantic.Field(ge=1, le=1_000_000_000, description="How much is allowed per `per`.")]
    per: Annotated[
        base.Duration,
        pydantic.Field(
            description="The time in which `amount` is refilled.",
            json_schema_extra=base.duration_between("per", "1s", "24h"),
        ),
    ]
    algorithm: Annotated[Literal["TokenBucket"], pydantic.Field(description="How the amount is refilled.")] = "TokenBucket"
    burst: Annotated[int | None, pydantic.Field(ge=1, le=1_000_000_000, description="Most at once. Default: amount.")] = None
    scope: Annotated[
        Literal["PerReplica"],
        pydantic.Field(description="PerReplica: each proxy pod counts on its own, inside Envoy."),
    ]


class RateLimitPolicySpec(base.ApiModel):
    """Limits and what they apply to."""

    target_refs: Annotated[
        tuple[TargetRef, ...],
        pydantic.Field(
            min_length=1,
            max_length=8,
            description="Gateways of the same namespace.",
            json_schema_extra=base.map_list("kind", "name"),
        ),
    ]
    limits: Annotated[
        tuple[LimitSpec, ...],
        pydantic.Field(
            min_length=1,
            max_length=16,
            description="Limits; all that match must admit a request.",
            json_schema_extra=base.map_list("name"),
        ),
    ]


class RateLimitPolicyStatus(base.ApiModel):
    """Whether the limits are in force."""

    observed_generation: Annotated[int, pydantic.Field(description="The generation this status speaks of.")] = -1
    conditions: Annotated[
        tuple[cond.Condition, ...],
        pydantic.Field(max_length=16, description="State for people and tools.", json_schema_extra=base.map_list("type")),
    ] = ()
    enforced_by: Annotated[int, pydantic.Field(ge=0, description="Proxies that run these limits.")] = 0


class RateLimitPolicy(base.ApiModel):
    """How much each client may ask."""

    metadata: base.NamedObject
    spec: RateLimitPolicySpec
    status: RateLimitPolicyStatus = RateLimitPolicyStatus()


def parse(obj: Mapping[str, Any]) -> RateLimitPolicy:
    """The typed form of an object that the API server admitted."""
    return RateLimitPolicy.model_validate(obj)
