"""Where the pods of a revision go: spread over zones and nodes, spot nodes first when that is wanted.

All of it is preference unless the user demands more: a pod that cannot be placed serves nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

SPREAD_KEYS: Final = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
SPOT_NODES: Final[Mapping[str, str]] = {
    "karpenter.sh/capacity-type": "spot",
    "eks.amazonaws.com/capacityType": "SPOT",
    "cloud.google.com/gke-spot": "true",
    "kubernetes.azure.com/scalesetpriority": "spot",
}
"""The labels of spot nodes at the clouds and with Karpenter: what `spot.preferred` means without a nodeSelector."""
SPOT_TAINTS: Final[Mapping[str, str]] = {
    "cloud.google.com/gke-spot": "true",
    "kubernetes.azure.com/scalesetpriority": "spot",
}
"""The taints that clouds put on spot nodes by themselves: what is tolerated without `spot.tolerations`."""
_SPOT_WEIGHT: Final = 100

Object = dict[str, Any]


def default_spread(labels: Mapping[str, str]) -> list[Object]:
    """Spreads the pods with these labels over zones, and over nodes, as far as there is room."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": dict(labels)},
        }
        for key in SPREAD_KEYS
    ]


def spread(given: Iterable[Object], labels: Mapping[str, str]) -> list[Object]:
    """The user's constraints, or the default ones. One without a selector counts the revision's own pods."""
    own = [{"labelSelector": {"matchLabels": dict(labels)}, **constraint} for constraint in given]
    return own or default_spread(labels)


def prefer_spot(affinity: Mapping[str, Any], node_selector: Mapping[str, str]) -> Object:
    """The affinity with spot nodes preferred over all else; others are taken when there are none."""
    # One term for each known label, since a node has those of one cloud only; the user's labels all belong to one node.
    choices = [node_selector] if node_selector else [{key: value} for key, value in SPOT_NODES.items()]
    terms = [
        {
            "weight": _SPOT_WEIGHT,
            "preference": {
                "matchExpressions": [{"key": key, "operator": "In", "values": [value]} for key, value in sorted(choice.items())]
            },
        }
        for choice in choices
    ]
    node = dict(affinity.get("nodeAffinity") or {})
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    return {**affinity, "nodeAffinity": {**node, preferred: [*terms, *node.get(preferred, ())]}}


def spot_tolerations(given: Iterable[Object]) -> list[Object]:
    """Tolerations of spot nodes' taints: the user's, or those of the clouds."""
    return list(given) or [
        {"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"} for key, value in SPOT_TAINTS.items()
    ]
