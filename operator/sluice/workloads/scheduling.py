"""Where the pods of a revision go: spread over zones and nodes, spot nodes first when that is wanted.

What Sluice adds is preference, never demand: a pod that cannot be placed serves nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sluice.api import template as template_api  # parameters are named template

SPREAD_KEYS: Final = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_SPOT_WEIGHT: Final = 100

Object = dict[str, Any]


def build(scheduling: template_api.Scheduling | None, labels: Mapping[str, str]) -> Object:
    """Members of a pod's spec. `labels` are those of the revision's pods: what spread and affinity mean by "these pods"."""
    wanted = scheduling or template_api.Scheduling()
    spot = wanted.spot if wanted.spot is not None and wanted.spot.preferred else None
    affinity = _affinity(wanted.affinity.to_wire() if wanted.affinity is not None else {}, labels)
    tolerations = [toleration.to_wire() for toleration in wanted.tolerations or ()]
    if spot is not None:
        affinity = _prefer(affinity, spot.node_selector or {})
        tolerations += [toleration.to_wire() for toleration in spot.tolerations or ()]
    given = wanted.topology_spread_constraints
    fields: Object = {
        "nodeSelector": dict(wanted.node_selector or {}),
        "tolerations": tolerations,
        "affinity": affinity,
        "topologySpreadConstraints": default_spread(labels)
        if given is None
        else [_own_pods(constraint.to_wire(), labels) for constraint in given],
        "priorityClassName": wanted.priority_class_name,
        "runtimeClassName": wanted.runtime_class_name,
    }
    return {name: value for name, value in fields.items() if value}


def default_spread(labels: Mapping[str, str]) -> list[Object]:
    """Spreads the pods with these labels over zones, and over nodes, as far as there is room."""
    return [_own_pods({"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway"}, labels) for key in SPREAD_KEYS]


def _own_pods(term: Object, labels: Mapping[str, str]) -> Object:
    """The term about the revision's own pods where it does not say which: nobody knows their labels beforehand."""
    return {**term, "labelSelector": term.get("labelSelector", {"matchLabels": dict(labels)})}


def _affinity(affinity: Object, labels: Mapping[str, str]) -> Object:
    filled = dict(affinity)
    for side in ("podAffinity", "podAntiAffinity"):
        if side in affinity:
            filled[side] = dict(_neighbours(affinity[side], labels))
    return filled


def _neighbours(terms: Object, labels: Mapping[str, str]) -> Iterable[tuple[str, list[Object]]]:
    if _REQUIRED in terms:
        yield _REQUIRED, [_own_pods(term, labels) for term in terms[_REQUIRED]]
    if _PREFERRED in terms:
        yield (
            _PREFERRED,
            [{**term, "podAffinityTerm": _own_pods(term["podAffinityTerm"], labels)} for term in terms[_PREFERRED]],
        )


def _prefer(affinity: Object, node_labels: Mapping[str, str]) -> Object:
    """The affinity with these nodes preferred over all else; others are taken when there are none."""
    conditions = [{"key": key, "operator": "In", "values": [value]} for key, value in sorted(node_labels.items())]
    term = {"weight": _SPOT_WEIGHT, "preference": {"matchExpressions": conditions}}
    node = affinity.get("nodeAffinity", {})
    return {**affinity, "nodeAffinity": {**node, _PREFERRED: [term, *node.get(_PREFERRED, ())]}}
