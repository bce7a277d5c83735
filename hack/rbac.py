"""Roles from the tables of resources that the client enforces: what the code does not declare, it may not do.

Also the roles for `sluice metrics` and those who ask it, and for people: whoever may edit or view a namespace may do so
with Sluice's kinds, by aggregation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sluice.api import base, commands, crdgen, modeldeployment, naming
from sluice.kube import resources
from sluice.workloads import metrics_api, pod_metrics

NAME: Final = "sluice-operator"
METRICS_NAME: Final = "sluice-metrics"
NAMESPACE: Final = "sluice-system"
_HPA_CONTROLLER: Final = ("kube-system", "horizontal-pod-autoscaler")
_LABELS: Final = {naming.LABEL_NAME: naming.MANAGED_BY}
_VIEW: Final = ("get", "list", "watch")
_EDIT: Final = (*_VIEW, "create", "update", "patch", "delete", "deletecollection")


def build_rbac() -> list[dict[str, Any]]:
    """All objects of `manifests/rbac.yaml`."""
    cluster_rules = [*resources.rules(resources.Reach.CLUSTER), *resources.rules(resources.Reach.WATCHED)]
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata(NAME, namespaced=True)},
        _role("ClusterRole", NAME, _policy(cluster_rules)),
        _binding("ClusterRole", NAME),
        _role("Role", NAME, _policy(resources.rules(resources.Reach.OPERATOR)), namespaced=True),
        _binding("Role", NAME),
        _people_role("sluice-view", _VIEW, ("view",)),
        _people_role("sluice-edit", _EDIT, ("edit", "admin")),
        _order_role(),
    ]


def build_metrics_rbac() -> list[dict[str, Any]]:
    """All objects of `manifests/metrics/rbac.yaml`: what `sluice metrics` may do, and the HPA controller's right to ask it."""
    table = resources.METRICS
    rules = [*resources.rules(resources.Reach.CLUSTER, table), *resources.rules(resources.Reach.WATCHED, table)]
    delegator = _binding("ClusterRole", f"{METRICS_NAME}-auth-delegator", role="system:auth-delegator", account=METRICS_NAME)
    reader = _binding(
        "Role", f"{METRICS_NAME}-auth-reader", role="extension-apiserver-authentication-reader", account=METRICS_NAME
    )
    reader["metadata"]["namespace"] = "kube-system"
    asking = [f"pods/{name}" for name in pod_metrics.ALL]
    readers = f"{METRICS_NAME}-reader"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata(METRICS_NAME, namespaced=True)},
        _role("ClusterRole", METRICS_NAME, _policy(rules)),
        _binding("ClusterRole", METRICS_NAME),
        delegator,
        reader,
        _role("ClusterRole", readers, [{"apiGroups": [metrics_api.GROUP], "resources": asking, "verbs": ["get"]}]),
        _binding("ClusterRole", readers, account=_HPA_CONTROLLER),
    ]


def _policy(rules: Iterable[tuple[resources.Resource, resources.Rule]]) -> list[dict[str, Any]]:
    """RBAC rules, those that differ in the resource alone joined."""
    joined: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for resource, rule in rules:
        verbs = tuple(verb.value for verb in resources.Verb if verb in rule.verbs)
        name = f"{resource.plural}/{rule.subresource}" if rule.subresource else resource.plural
        names = joined.setdefault((resource.group, verbs, rule.names), [])
        if name not in names:
            names.append(name)
    return [
        {
            "apiGroups": [group],
            "resources": plurals,
            **({"resourceNames": list(names)} if names else {}),
            "verbs": list(verbs),
        }
        for (group, verbs, names), plurals in joined.items()
    ]


def _role(kind: str, name: str, rules: list[dict[str, Any]], *, namespaced: bool = False) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": _metadata(name, namespaced=namespaced),
        "rules": rules,
    }


def _binding(role_kind: str, name: str, *, role: str = "", account: str | tuple[str, str] = "") -> dict[str, Any]:
    """Binds the role of the same name, or another, to the ServiceAccount of the same name, or to another (with namespace)."""
    namespace, subject = account if isinstance(account, tuple) else (NAMESPACE, account or name)
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": f"{role_kind}Binding",
        "metadata": _metadata(name, namespaced=role_kind == "Role"),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role or name},
        "subjects": [{"kind": "ServiceAccount", "name": subject, "namespace": namespace}],
    }


def _people_role(name: str, verbs: tuple[str, ...], aggregate_to: tuple[str, ...]) -> dict[str, Any]:
    plurals = [kind.plural for kind in crdgen.KINDS]
    rules = [{"apiGroups": [base.GROUP], "resources": plurals, "verbs": list(verbs)}]
    scalable = [f"{kind.plural}/scale" for kind in crdgen.KINDS if kind.scale]
    if "patch" in verbs:
        rules.append({"apiGroups": [base.GROUP], "resources": scalable, "verbs": ["get", "update", "patch"]})
    role = _role("ClusterRole", name, rules)
    role["metadata"]["labels"] |= {f"rbac.authorization.k8s.io/aggregate-to-{to}": "true" for to in aggregate_to}
    return role


def _order_role() -> dict[str, Any]:
    """The virtual verbs that admission policies ask for. Not for `edit`: who may change a model need not be who lets it out."""
    verbs = [permission.value for permission in commands.Permission]
    role = _role(
        "ClusterRole", "sluice-order", [{"apiGroups": [base.GROUP], "resources": [modeldeployment.PLURAL], "verbs": verbs}]
    )
    role["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-admin"] = "true"
    return role


def _metadata(name: str, *, namespaced: bool) -> dict[str, Any]:
    where = {"namespace": NAMESPACE} if namespaced else {}
    return {"name": name, **where, "labels": dict(_LABELS)}
