"""Whether the revision that a spec asks for may be rolled out, by the platform's rules and defaults.

Rules hold for what is new. What serves, what is in rollout and what was rejected is as it is: a rule that is added later
changes none of it, and no rule keeps a spec from going back to what serves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from sluice.api import modeldeployment
from sluice.kube import cache as kube_cache
from sluice.kube import resources
from sluice.reconcile import platform as platform_
from sluice.reconcile.models import status
from sluice.workloads import platform_config, platform_rules, pod_template, revision

_LEFT = "What runs is left alone"
_SETTLED = frozenset({revision.OutcomeLabel.STABLE, revision.OutcomeLabel.CANDIDATE, revision.OutcomeLabel.REJECTED})
"""Outcomes of revisions that serve, whose rollout has begun, or that are not tried again."""


@dataclasses.dataclass
class Admission:
    """Judges by the configuration as it is known and the labels that the namespace has."""

    cache: kube_cache.Cache
    platform: platform_.Platform
    defaults: pod_template.Defaults
    """The operator's own."""

    @property
    def platform_defaults(self) -> platform_config.Defaults:
        """What new revisions get that do not say."""
        return self.platform.config.defaults

    def problems(
        self, model: modeldeployment.ModelDeployment, wanted: revision.Revision, stored: Iterable[revision.Revision]
    ) -> tuple[status.Problem, ...]:
        """Why the revision may not be rolled out; nothing when it may, or need not be asked."""
        return () if _is_settled(model, wanted, tuple(stored)) else tuple(self._problems(model))

    def _problems(self, model: modeldeployment.ModelDeployment) -> Iterator[status.Problem]:
        if self.platform.trouble:
            message = f"Cannot check what the platform allows: {self.platform.trouble}. No new revision is rolled out until it "
            yield status.Problem(status.Reason.POLICY_UNAVAILABLE, f"{message}is mended. {_LEFT}")
            return
        labels = self._namespace_labels(model.metadata.namespace)
        if labels is None and self.platform.config.enforced:
            message = f"Cannot check what the platform allows: Namespace {model.metadata.namespace} is not known yet. {_LEFT}"
            yield status.Problem(status.Reason.POLICY_UNAVAILABLE, message)
            return
        filled = platform_rules.fill(model.spec.template, self.platform_defaults, self.defaults)
        for violation in platform_rules.violations(self._rules(labels or {}), filled):
            yield status.Problem(status.Reason.POLICY_DENIED, f"{violation.message}. {_LEFT}")

    def required_gates(self, namespace: str) -> tuple[tuple[str, str], ...]:
        """(gate, rule) for each EvalGate that rollouts in the namespace must pass."""
        return platform_rules.required_gates(self._rules(self._namespace_labels(namespace) or {}))

    def _rules(self, labels: Mapping[str, str]) -> list[platform_config.Rule]:
        return [rule for rule in self.platform.config.enforced if rule.selects(labels)]

    def _namespace_labels(self, namespace: str) -> Mapping[str, str] | None:
        found = self.cache.get(resources.NAMESPACES, "", namespace)
        return None if found is None else found["metadata"].get("labels") or {}


def _is_settled(
    model: modeldeployment.ModelDeployment, wanted: revision.Revision, stored: tuple[revision.Revision, ...]
) -> bool:
    if wanted not in stored:
        return False
    rollout = model.status.rollout
    if wanted.outcome in _SETTLED or (rollout is not None and rollout.revision == wanted.hash):
        return True
    # The stable one's object was deleted by hand: the one that served before it serves.
    labels = [known.outcome for known in stored]
    previous = [known for known in stored if known.outcome is revision.OutcomeLabel.PREVIOUS]
    serves = max(previous, key=lambda known: known.number, default=None)
    return revision.OutcomeLabel.STABLE not in labels and wanted == serves
