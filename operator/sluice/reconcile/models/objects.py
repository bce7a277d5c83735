"""The objects of a ModelDeployment for a decision: pure, each as it should be applied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sluice.api import modeldeployment, naming
from sluice.reconcile.models import autoscaling, guards
from sluice.rollout import model as rollout
from sluice.workloads import deployment, hpa, owners, revision, service

Object = dict[str, Any]


def owner_of(model: modeldeployment.ModelDeployment) -> dict[str, Any]:
    """The owner reference of everything that belongs to the ModelDeployment."""
    return owners.owner_reference(modeldeployment.KIND, model.metadata)


def build_revision_objects(
    model: modeldeployment.ModelDeployment,
    revisions: Iterable[revision.Revision],
    decision: rollout.Decision,
    scaling: autoscaling.Scaling,
    neighbours: guards.Neighbours,
) -> list[Object]:
    """Deployment, Service, HPA and guards of each revision that keeps its pods, and the Service of the stable one."""
    namespace, name, owner = model.metadata.namespace, model.metadata.name, owner_of(model)
    kept = (known for known in revisions if known.hash in decision.keep)
    objects = [obj for known in kept for obj in _of_revision(model, known, scaling, neighbours)]
    if decision.stable is not None:
        objects.append(service.build_stable_service(namespace=namespace, name=name, stable_hash=decision.stable, owner=owner))
    return objects


def _of_revision(
    model: modeldeployment.ModelDeployment,
    known: revision.Revision,
    scaling: autoscaling.Scaling,
    neighbours: guards.Neighbours,
) -> Iterator[Object]:
    namespace, name, owner = model.metadata.namespace, model.metadata.name, owner_of(model)
    size = scaling.size(known.hash)
    yield from guards.build_policies(model, known, neighbours)  # before the pods that they are about
    yield service.build_revision_service(namespace=namespace, name=name, revision_hash=known.hash, owner=owner)
    yield deployment.build_deployment(
        namespace=namespace,
        name=name,
        revision_hash=known.hash,
        template=known.pod_template,
        replicas=size,
        owner=owner,
    )
    if size != 0:
        yield guards.build_budget(model, known)
    if model.spec.autoscaling is not None:
        yield hpa.build_hpa(
            model.spec.autoscaling,
            namespace=namespace,
            name=name,
            revision_hash=known.hash,
            floor=scaling.fewest(known.hash),
            owner=owner,
        )


def kept_names(name: str, decision: rollout.Decision) -> tuple[str, ...]:
    """Names of the Deployments and Services that stay."""
    stable = (name,) if decision.stable is not None else ()
    return (*stable, *(naming.revision_name(name, revision_hash) for revision_hash in decision.keep))


def budget_names(name: str, decision: rollout.Decision, scaling: autoscaling.Scaling) -> tuple[str, ...]:
    """Names of the disruption budgets that stay: of revisions that have pods."""
    return tuple(naming.revision_name(name, known) for known in decision.keep if scaling.size(known) != 0)


def model_labels(name: str) -> dict[str, str]:
    """Labels of every object of a ModelDeployment."""
    return {naming.LABEL_MANAGED_BY: naming.MANAGED_BY, naming.LABEL_MODEL_DEPLOYMENT: name}


def evidence_labels(name: str) -> dict[str, str]:
    """Labels of the ConfigMaps with evidence of a ModelDeployment's rollouts."""
    return {**model_labels(name), naming.LABEL_COMPONENT: "evidence"}


def build_evidence_config_map(model: modeldeployment.ModelDeployment, revision_hash: str, data: dict[str, str]) -> Object:
    """The ConfigMap with the frozen plan and the evidence of one revision's rollout."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": naming.evidence_name(model.metadata.name, revision_hash),
            "namespace": model.metadata.namespace,
            "labels": {**evidence_labels(model.metadata.name), naming.LABEL_REVISION: revision_hash},
            "ownerReferences": [owner_of(model)],
        },
        "data": data,
    }
