"""What stands around a revision's pods, for a decision: NetworkPolicies and the disruption budget. Pure.

Policies stay until the last pod of a revision is gone: one that drains is as open as any.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from sluice.api import modeldeployment
from sluice.workloads import network_policy, owners, pdb, revision

Object = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """Who may reach a ModelDeployment's engines, apart from whom its spec lists."""

    gateways: tuple[tuple[str, str], ...]
    """(namespace, name) of the Gateways that it refers to and that allow it."""
    operator_namespace: str
    openshift: bool = False


def build_policies(
    model: modeldeployment.ModelDeployment, known: revision.Revision, neighbours: Neighbours
) -> tuple[Object, Object]:
    """The NetworkPolicies of one revision: in and out."""
    common: Mapping[str, Any] = {
        "namespace": model.metadata.namespace,
        "name": model.metadata.name,
        "revision_hash": known.hash,
        "given": model.spec.network_policy,
        "owner": owners.owner_reference(modeldeployment.KIND, model.metadata),
    }
    return (
        network_policy.build_ingress(gateways=neighbours.gateways, operator_namespace=neighbours.operator_namespace, **common),
        network_policy.build_egress(
            downloads=network_policy.needs_downloads(known.template), openshift=neighbours.openshift, **common
        ),
    )


def build_budget(model: modeldeployment.ModelDeployment, known: revision.Revision) -> Object:
    """The disruption budget of one revision."""
    disruption = model.spec.disruption
    return pdb.build_pdb(
        namespace=model.metadata.namespace,
        name=model.metadata.name,
        revision_hash=known.hash,
        max_unavailable=disruption.max_unavailable if disruption is not None else None,
        owner=owners.owner_reference(modeldeployment.KIND, model.metadata),
    )


def policy_names(name: str, hashes: Iterable[str]) -> tuple[str, ...]:
    """Names of both policies of these revisions."""
    return tuple(
        policy(name, revision_hash)
        for revision_hash in hashes
        for policy in (network_policy.ingress_name, network_policy.egress_name)
    )
