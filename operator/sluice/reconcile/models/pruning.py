"""Deletes what belongs to a ModelDeployment and is no longer wanted, each kind by its own rule."""

from __future__ import annotations

from collections.abc import Iterable

from sluice.api import naming
from sluice.kube import resources
from sluice.reconcile import objects as applier_
from sluice.reconcile.models import gather, guards, history, objects, view


async def autoscalers(applier: applier_.Applier, observed: gather.Observed, decided: view.Decided) -> None:
    """HPAs of revisions without pods, or all of them when there is no autoscaling."""
    model = observed.model
    kept = objects.kept_names(model.metadata.name, decided.decision) if model.spec.autoscaling is not None else ()
    await _prune(applier, observed, resources.HORIZONTAL_POD_AUTOSCALERS, kept)


async def everything_else(applier: applier_.Applier, observed: gather.Observed, decided: view.Decided) -> None:
    """Deployments, Services and guards of revisions that are over, evidence, and revisions that are too old."""
    name, decision = observed.model.metadata.name, decided.decision
    kept = objects.kept_names(name, decision)
    draining = {known.hash for known in decided.inputs.revisions if known.has_pods}
    await _prune(applier, observed, resources.DEPLOYMENTS, kept)
    await _prune(applier, observed, resources.SERVICES, kept)
    await _prune(applier, observed, resources.POD_DISRUPTION_BUDGETS, objects.budget_names(name, decision, decided.scaling))
    await _prune(applier, observed, resources.NETWORK_POLICIES, guards.policy_names(name, draining.union(decision.keep)))
    # Evidence is needed until the status says that its rollout is over.
    in_rollout = (state.revision for state in (decision.state, observed.state) if state is not None)
    await applier.prune(
        resources.CONFIG_MAPS,
        observed.model.metadata.namespace,
        objects.evidence_labels(name),
        keep=[naming.evidence_name(name, known) for known in in_rollout],
        owner_uid=observed.model.metadata.uid,
    )
    await history.prune(applier, observed, decided.inputs, decision)


async def _prune(
    applier: applier_.Applier, observed: gather.Observed, resource: resources.Resource, keep: Iterable[str]
) -> None:
    metadata = observed.model.metadata
    labels = objects.model_labels(metadata.name)
    await applier.prune(resource, metadata.namespace, labels, keep=keep, owner_uid=metadata.uid)
