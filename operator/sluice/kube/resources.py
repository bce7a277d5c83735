"""The one table of the Kubernetes resources that Sluice touches, and what it may do with each.

The client refuses what is not declared here, and `hack/generate` makes the RBAC manifests from it, so that the roles hold
exactly what the code calls. A new call starts with a line in this table.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Iterator
from typing import Final

from sluice.api import base
from sluice.workloads import metrics_api

LEASE_NAME: Final = "sluice-operator"
CA_SECRET_NAME: Final = "sluice-ca"
CONFIG_NAME: Final = "sluice-config"


class Verb(enum.StrEnum):
    """A verb of Kubernetes RBAC."""

    GET = "get"
    """Read one object by name."""
    LIST = "list"
    """Read all objects, in pages."""
    WATCH = "watch"
    """Stream changes."""
    CREATE = "create"
    """Make an object; server-side apply of a new one needs it too."""
    UPDATE = "update"
    """Replace an object as a whole."""
    PATCH = "patch"
    """Server-side apply, and merge patches."""
    DELETE = "delete"
    """Remove one object by name."""


class Reach(enum.StrEnum):
    """Where a rule holds."""

    CLUSTER = "Cluster"
    """Objects without a namespace: always a ClusterRole."""
    WATCHED = "Watched"
    """Every namespace that the operator watches: a ClusterRole, or a Role in each of the listed namespaces."""
    OPERATOR = "Operator"
    """The operator's own namespace alone: a Role."""
    DELEGATED = "Delegated"
    """What Kubernetes' own roles give to aggregated API servers: `system:auth-delegator` and, in kube-system,
    `extension-apiserver-authentication-reader`."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """What may be done where. `names`, when given, restricts it to objects of these names (RBAC `resourceNames`)."""

    reach: Reach
    verbs: frozenset[Verb]
    subresource: str = ""
    names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Resource:
    """One kind of object: how it is addressed, and what we may do with it."""

    group: str
    version: str
    plural: str
    kind: str
    rules: tuple[Rule, ...]
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """`group/version`, or `v1` for the core group: the `apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def verbs(self) -> frozenset[Verb]:
        """All verbs on the object itself, wherever they hold."""
        return frozenset().union(*(rule.verbs for rule in self.rules if not rule.subresource))

    @property
    def subresources(self) -> frozenset[str]:
        """The subresources that some rule names, such as `status`."""
        return frozenset(rule.subresource for rule in self.rules if rule.subresource)

    def permits(self, verb: Verb, *, subresource: str = "", name: str = "", own_namespace: bool = False) -> bool:
        """Whether some rule declares the call. `own_namespace`: the object is in the operator's own namespace."""
        return any(
            verb in rule.verbs
            and rule.subresource == subresource
            and (rule.reach is not Reach.OPERATOR or own_namespace)
            and (not rule.names or name in rule.names)
            for rule in self.rules
        )

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


_READ: Final = frozenset({Verb.GET, Verb.LIST, Verb.WATCH})
_OWN: Final = _READ | {Verb.CREATE, Verb.PATCH, Verb.DELETE}
_READ_EVERYWHERE: Final = (Rule(Reach.WATCHED, _READ),)
_OWN_EVERYWHERE: Final = (Rule(Reach.WATCHED, _OWN),)


def _custom(plural: str, kind: str) -> Resource:
    """One of our own kinds: users write the spec, we write the status."""
    rules = (Rule(Reach.WATCHED, _READ), Rule(Reach.WATCHED, frozenset({Verb.PATCH}), subresource="status"))
    return Resource(base.GROUP, base.VERSION, plural, kind, rules)


MODEL_DEPLOYMENTS: Final = _custom("modeldeployments", "ModelDeployment")
GATEWAYS: Final = _custom("gateways", "Gateway")
RATE_LIMIT_POLICIES: Final = _custom("ratelimitpolicies", "RateLimitPolicy")
EVAL_GATES: Final = _custom("evalgates", "EvalGate")

DEPLOYMENTS: Final = Resource("apps", "v1", "deployments", "Deployment", _OWN_EVERYWHERE)
CONTROLLER_REVISIONS: Final = Resource("apps", "v1", "controllerrevisions", "ControllerRevision", _OWN_EVERYWHERE)
HORIZONTAL_POD_AUTOSCALERS: Final = Resource(
    "autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", _OWN_EVERYWHERE
)
POD_DISRUPTION_BUDGETS: Final = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", _OWN_EVERYWHERE)
NETWORK_POLICIES: Final = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", _OWN_EVERYWHERE)
JOBS: Final = Resource("batch", "v1", "jobs", "Job", _OWN_EVERYWHERE)
SERVICES: Final = Resource("", "v1", "services", "Service", _OWN_EVERYWHERE)
CONFIG_MAPS: Final = Resource(
    "",
    "v1",
    "configmaps",
    "ConfigMap",
    # The operator's namespace need not be among the watched ones.
    (Rule(Reach.WATCHED, _OWN), Rule(Reach.OPERATOR, frozenset({Verb.GET}), names=(CONFIG_NAME,))),
)
SECRETS: Final = Resource(
    "",
    "v1",
    "secrets",
    "Secret",
    (
        # RBAC cannot select by label: the watch asks for labelled Secrets only, see `watches`.
        Rule(Reach.WATCHED, _OWN),
        # The CA lives in the operator's namespace, which need not be among the watched ones.
        Rule(Reach.OPERATOR, frozenset({Verb.CREATE})),
        Rule(Reach.OPERATOR, frozenset({Verb.GET, Verb.UPDATE}), names=(CA_SECRET_NAME,)),
        Rule(Reach.OPERATOR, frozenset({Verb.GET, Verb.PATCH}), names=(metrics_api.CERTIFICATE_SECRET,)),
    ),
)
PODS: Final = Resource(
    "",
    "v1",
    "pods",
    "Pod",
    # Deleted when it runs another model or image than the first pod of its revision.
    (
        Rule(Reach.WATCHED, _READ | {Verb.DELETE}),
        # Where an engine says why it ended further up than a termination message reaches.
        Rule(Reach.WATCHED, frozenset({Verb.GET}), subresource="log"),
    ),
)
ENDPOINT_SLICES: Final = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", _READ_EVERYWHERE)
NAMESPACES: Final = Resource("", "v1", "namespaces", "Namespace", (Rule(Reach.CLUSTER, _READ),), namespaced=False)
EVENTS: Final = Resource("events.k8s.io", "v1", "events", "Event", (Rule(Reach.WATCHED, frozenset({Verb.CREATE, Verb.PATCH})),))
LEASES: Final = Resource(
    "coordination.k8s.io",
    "v1",
    "leases",
    "Lease",
    (
        Rule(Reach.OPERATOR, frozenset({Verb.CREATE})),
        Rule(Reach.OPERATOR, frozenset({Verb.GET, Verb.WATCH, Verb.UPDATE}), names=(LEASE_NAME,)),
    ),
)

API_SERVICES: Final = Resource(
    "apiregistration.k8s.io",
    "v1",
    "apiservices",
    "APIService",
    (
        Rule(Reach.CLUSTER, frozenset({Verb.GET}), names=metrics_api.API_SERVICES),
        # `spec.caBundle` of our own registration, and nothing else: see `reconcile.metrics_api`.
        Rule(Reach.CLUSTER, frozenset({Verb.PATCH}), names=(metrics_api.API_SERVICE,)),
    ),
    namespaced=False,
)

ALL: Final = (
    MODEL_DEPLOYMENTS,
    GATEWAYS,
    RATE_LIMIT_POLICIES,
    EVAL_GATES,
    DEPLOYMENTS,
    CONTROLLER_REVISIONS,
    HORIZONTAL_POD_AUTOSCALERS,
    POD_DISRUPTION_BUDGETS,
    NETWORK_POLICIES,
    JOBS,
    SERVICES,
    CONFIG_MAPS,
    SECRETS,
    PODS,
    ENDPOINT_SLICES,
    NAMESPACES,
    EVENTS,
    LEASES,
    API_SERVICES,
)
"""What the operator touches."""

_CREATE: Final = frozenset({Verb.CREATE})
API_SERVICES_READ: Final = dataclasses.replace(API_SERVICES, rules=API_SERVICES.rules[:1])
TOKEN_REVIEWS: Final = Resource(
    "authentication.k8s.io", "v1", "tokenreviews", "TokenReview", (Rule(Reach.DELEGATED, _CREATE),), namespaced=False
)
SUBJECT_ACCESS_REVIEWS: Final = Resource(
    "authorization.k8s.io",
    "v1",
    "subjectaccessreviews",
    "SubjectAccessReview",
    (Rule(Reach.DELEGATED, _CREATE),),
    namespaced=False,
)
DELEGATION: Final = Resource(
    "",
    "v1",
    "configmaps",
    "ConfigMap",
    (Rule(Reach.DELEGATED, frozenset({Verb.GET}), names=("extension-apiserver-authentication",)),),
)

PODS_READ: Final = dataclasses.replace(PODS, rules=_READ_EVERYWHERE)
"""Pods as `sluice metrics` sees them, which deletes none."""
METRICS: Final = (PODS_READ, API_SERVICES_READ, TOKEN_REVIEWS, SUBJECT_ACCESS_REVIEWS, DELEGATION)
"""What `sluice metrics` touches, by a ServiceAccount of its own."""


def for_object(obj: dict[str, object]) -> Resource:
    """The resource of an object by its `apiVersion` and `kind`. Raises KeyError when it is not in the table."""
    return _BY_KIND[(str(obj["apiVersion"]), str(obj["kind"]))]


def rules(reach: Reach, table: Iterable[Resource] = ALL) -> Iterator[tuple[Resource, Rule]]:
    """Every rule that holds in `reach`, in the order of the table."""
    return ((resource, rule) for resource in table for rule in resource.rules if rule.reach is reach)


_BY_KIND: Final = {(resource.api_version, resource.kind): resource for resource in ALL}
