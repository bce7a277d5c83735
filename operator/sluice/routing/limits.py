"""RateLimitPolicies of a Gateway as limits of its routes, and what is wrong with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Final

from sluice.api import conditions, durations, ratelimitpolicy
from sluice.routing import ir, reasons

Type = conditions.ConditionType

MAX_KEYS: Final = 10_000
"""Buckets of one limit that a proxy keeps. One more takes the place of the one that was idle longest."""


@dataclasses.dataclass(frozen=True)
class PolicyStatus:
    """What became of one RateLimitPolicy at this Gateway."""

    namespace: str
    name: str
    conditions: tuple[conditions.Condition, ...]
    """Accepted and ResolvedRefs, without times."""


@dataclasses.dataclass(frozen=True)
class Known:
    """Names that a limit can match at this Gateway."""

    models: frozenset[str]
    clients: frozenset[str]


def limit_name(policy: ratelimitpolicy.RateLimitPolicy, spec: ratelimitpolicy.LimitSpec) -> str:
    """Name of a limit, unique at its Gateway: all its policies are of one namespace."""
    return f"{policy.metadata.name}/{spec.name}"


def build_limit(policy: ratelimitpolicy.RateLimitPolicy, spec: ratelimitpolicy.LimitSpec) -> ir.Limit:
    """One limit of a policy."""
    keys = {part.type for part in spec.key}
    return ir.Limit(
        name=limit_name(policy, spec),
        clients=tuple(sorted(set(spec.match.clients))),
        per_client="Client" in keys,
        per_model="Model" in keys,
        algorithm=spec.algorithm,
        amount=spec.amount,
        per_ms=round(durations.seconds(spec.per) * 1000),
        burst=spec.burst or spec.amount,
    )


def apply_limits(
    routes: Iterable[ir.Route], policies: Iterable[ratelimitpolicy.RateLimitPolicy]
) -> tuple[tuple[ir.Route, ...], tuple[ir.Limit, ...]]:
    """The routes with the names of their limits, and the limits; both in a defined order."""
    specs = [(limit_name(p, s), p, s) for p in policies for s in p.spec.limits]
    specs.sort(key=lambda entry: entry[0])
    limited = tuple(
        dataclasses.replace(
            route,
            limits=tuple(name for name, _, spec in specs if not spec.match.models or route.model in spec.match.models),
        )
        for route in routes
    )
    return limited, tuple(build_limit(policy, spec) for _, policy, spec in specs)


def translate_policy(policy: ratelimitpolicy.RateLimitPolicy, known: Known) -> PolicyStatus:
    """The policy's state at a Gateway that knows these models and clients."""
    crowded = [message for spec in policy.spec.limits if (message := _too_many_keys(spec, known))]
    idle = [message for spec in policy.spec.limits for message in _matches_nothing(spec, known)]
    accepted = (
        conditions.make(Type.ACCEPTED, False, reasons.Reason.TOO_MANY_KEYS, "; ".join(crowded))
        if crowded
        else conditions.make(Type.ACCEPTED, True, reasons.Reason.ACCEPTED, "The limits are in effect")
    )
    resolved = (
        conditions.make(Type.RESOLVED_REFS, False, reasons.Reason.MATCHES_NOTHING, "; ".join(idle))
        if idle
        else conditions.make(Type.RESOLVED_REFS, True, reasons.Reason.RESOLVED, "All models and clients exist")
    )
    return PolicyStatus(policy.metadata.namespace, policy.metadata.name, (accepted, resolved))


def _matches_nothing(spec: ratelimitpolicy.LimitSpec, known: Known) -> Iterator[str]:
    for field, named, there in (("models", spec.match.models, known.models), ("clients", spec.match.clients, known.clients)):
        unknown = sorted(set(named) - there)
        if unknown:
            have = ", ".join(sorted(there)[:8]) or "none"
            yield (
                f"Limit {spec.name}: match.{field} names {', '.join(unknown)}, which the Gateway does not know "
                f"(it knows: {have}): correct or remove it"
            )


def _too_many_keys(spec: ratelimitpolicy.LimitSpec, known: Known) -> str:
    keys = {part.type for part in spec.key}
    clients = len(spec.match.clients or known.clients) + 1 if "Client" in keys else 1
    models = len(spec.match.models or known.models) if "Model" in keys else 1
    if clients * models <= MAX_KEYS:
        return ""
    return (
        f"Limit {spec.name} has {clients * models} buckets and a proxy keeps {MAX_KEYS}: beyond them the one idle longest "
        "is forgotten and starts full. Narrow match.clients or match.models, or leave a part of key out"
    )
