"""Reconciles RateLimitPolicies and EvalGates: they own nothing, so all there is to do is an honest status."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator

from sluice.api import conditions, evalgate, modeldeployment, naming, ratelimitpolicy
from sluice.engine import clock as clock_
from sluice.kube import client as kube_client
from sluice.kube import resources
from sluice.reconcile import lookup as lookup_
from sluice.reconcile import programmer
from sluice.rollout import times
from sluice.xds import server

Type = conditions.ConditionType


class Reason(enum.StrEnum):
    """Reasons of RateLimitPolicies and EvalGates, beside those of routing."""

    ACCEPTED = "Accepted"
    """The spec is meaningful."""
    GATEWAY_NOT_FOUND = "GatewayNotFound"
    """A Gateway that targetRefs names does not exist."""
    NO_PROXIES = "NoProxies"
    """No proxy runs the limits yet."""
    ENFORCED = "Enforced"
    """Proxies run the limits."""


@dataclasses.dataclass
class PolicyReconciler:
    """Reconciles RateLimitPolicies."""

    client: kube_client.Client
    lookup: lookup_.Lookup
    programmer: programmer.Programmer
    ads: server.AdsServer
    clock: clock_.Clock

    async def reconcile(self, key: naming.ObjectKey) -> None:
        """Writes the status when it changed."""
        policy = self.lookup.policy(key.namespace, key.name)
        if policy is None or policy.metadata.deletion_timestamp:
            return
        enforced, found = 0, []
        for reference in policy.spec.target_refs:
            owner = self.lookup.gateway(key.namespace, reference.name)
            if owner is None:
                found.append(_no_gateway(key, reference.name))
                continue
            programmed = self.programmer.program(owner)
            enforced += self.ads.state((key.namespace, reference.name)).in_sync
            found += [
                said.conditions
                for said in programmed.translation.policies
                if (said.namespace, said.name) == (key.namespace, key.name)
            ]
        new = ratelimitpolicy.RateLimitPolicyStatus(
            observed_generation=policy.metadata.generation,
            conditions=conditions.merge(
                policy.status.conditions,
                _policy_conditions(found, enforced),
                generation=policy.metadata.generation,
                now=_now(self.clock),
            ),
            enforced_by=enforced,
        )
        if new != policy.status:
            await self.client.apply_status(
                resources.RATE_LIMIT_POLICIES,
                key.namespace,
                key.name,
                new.to_wire(),
                resource_version=policy.metadata.resource_version,
            )


def _no_gateway(key: naming.ObjectKey, name: str) -> tuple[conditions.Condition, ...]:
    message = f"Cannot resolve spec.targetRefs: there is no Gateway {key.namespace}/{name}. Create it, or correct the reference"
    return (
        conditions.make(Type.ACCEPTED, True, Reason.ACCEPTED, "The spec is accepted"),
        conditions.make(Type.RESOLVED_REFS, False, Reason.GATEWAY_NOT_FOUND, message),
    )


def _policy_conditions(found: list[tuple[conditions.Condition, ...]], enforced: int) -> Iterator[conditions.Condition]:
    """The worst that any target says, and what follows from it."""
    merged = {type_: _worst(found, type_) for type_ in (Type.ACCEPTED, Type.RESOLVED_REFS)}
    broken = next((condition for condition in merged.values() if condition.status != "True"), None)
    if broken is not None:
        yield conditions.make(Type.READY, False, broken.reason, broken.message)
        yield conditions.make(Type.STALLED, True, broken.reason, broken.message)
    elif not enforced:
        message = "No proxy runs these limits yet"
        yield conditions.make(Type.READY, False, Reason.NO_PROXIES, message)
        yield conditions.make(Type.RECONCILING, True, Reason.NO_PROXIES, message)
    else:
        yield conditions.make(Type.READY, True, Reason.ENFORCED, f"{enforced} proxies run these limits")
    yield from merged.values()
    yield conditions.make(
        Type.ENFORCED,
        bool(enforced),
        Reason.ENFORCED if enforced else Reason.NO_PROXIES,
        f"{enforced} proxies run these limits",
    )


def _worst(found: list[tuple[conditions.Condition, ...]], type_: str) -> conditions.Condition:
    said = [condition for target in found if (condition := conditions.find(target, type_)) is not None]
    return next(
        (condition for condition in said if condition.status != "True"),
        said[0] if said else conditions.make(type_, True, str(type_), ""),
    )


@dataclasses.dataclass
class GateReconciler:
    """Reconciles EvalGates."""

    client: kube_client.Client
    lookup: lookup_.Lookup
    clock: clock_.Clock

    async def reconcile(self, key: naming.ObjectKey) -> None:
        """Writes the status when it changed."""
        gate = self.lookup.gate(key.namespace, key.name)
        if gate is None or gate.metadata.deletion_timestamp:
            return
        users = sum(key.name in gate_names(model) for model in self.lookup.models(key.namespace))
        accepted = conditions.make(Type.ACCEPTED, True, Reason.ACCEPTED, "The spec is accepted")
        ready = conditions.make(Type.READY, True, Reason.ACCEPTED, f"{users} ModelDeployments refer to this gate")
        new = evalgate.EvalGateStatus(
            observed_generation=gate.metadata.generation,
            conditions=conditions.merge(
                gate.status.conditions, (ready, accepted), generation=gate.metadata.generation, now=_now(self.clock)
            ),
            users=users,
        )
        if new != gate.status:
            await self.client.apply_status(
                resources.EVAL_GATES,
                key.namespace,
                key.name,
                new.to_wire(),
                resource_version=gate.metadata.resource_version,
            )


def gate_names(model: modeldeployment.ModelDeployment) -> set[str]:
    """Names of the EvalGates that a ModelDeployment refers to."""
    plan = model.spec.rollout
    steps = (plan.strategy.canary.steps or ()) if plan.strategy and plan.strategy.canary else ()
    named = {reference.name for step in steps for reference in step.gates or ()}
    analysis = (evalgate.BUILTIN_DEFAULT_NAME,) if plan.analysis is None else (ref.name for ref in plan.analysis)
    return named | set(analysis)


def _now(clock: clock_.Clock) -> str:
    return times.time_text(clock.now())[:-5] + "Z"
