"""Where pods go: spread by default, spot as a preference, and the user's own words."""

from __future__ import annotations

from typing import Any

from sluice.api import template as template_api
from sluice.workloads import pod_template, scheduling

LABELS = pod_template.revision_labels("chat", "abc")
OWN = {"labelSelector": {"matchLabels": LABELS}}
SPOT = {"cloud.google.com/gke-spot": "true"}


def build(**given: Any) -> dict[str, Any]:
    """The pod's members for this `scheduling`."""
    return scheduling.build(template_api.Scheduling.model_validate(given) if given else None, LABELS)


def test_pods_spread_over_zones_and_nodes_as_far_as_there_is_room() -> None:
    """Nothing is demanded: a cluster with one zone, or one GPU node, still runs all pods."""
    constraints = build()["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in constraints] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    assert all(each["whenUnsatisfiable"] == "ScheduleAnyway" and each["maxSkew"] == 1 for each in constraints)
    assert all(each["labelSelector"] == OWN["labelSelector"] for each in constraints)
    assert build().keys() == {"topologySpreadConstraints"}


def test_the_users_spread_replaces_ours_and_needs_no_selector() -> None:
    """Nobody knows the revision's labels beforehand; a constraint without a selector would count no pods."""
    given = {"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}
    assert build(topologySpreadConstraints=[given])["topologySpreadConstraints"] == [{**given, **OWN}]
    chosen = {**given, "labelSelector": {"matchLabels": {"team": "a"}}}
    assert build(topologySpreadConstraints=[chosen])["topologySpreadConstraints"] == [chosen]


def test_an_empty_spread_means_none() -> None:
    """For clusters where even a preference is in the way."""
    assert "topologySpreadConstraints" not in build(topologySpreadConstraints=[])


def test_spot_nodes_are_preferred_and_others_remain_possible() -> None:
    """Preference and toleration; no demand."""
    toleration = {"key": "cloud.google.com/gke-spot", "operator": "Exists"}
    pod = build(spot={"preferred": True, "nodeSelector": SPOT, "tolerations": [toleration]})
    term = {"key": "cloud.google.com/gke-spot", "operator": "In", "values": ["true"]}
    assert pod["affinity"] == {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": {"matchExpressions": [term]}}]
        }
    }
    assert pod["tolerations"] == [toleration]
    assert "nodeSelector" not in pod


def test_spot_that_is_not_preferred_changes_nothing() -> None:
    """Neither preference nor tolerations: the pods stay off spot nodes that are tainted."""
    assert build(spot={"preferred": False, "nodeSelector": SPOT, "tolerations": [{"operator": "Exists"}]}) == build()


def test_spot_adds_to_what_the_user_says_of_nodes() -> None:
    """Demands and other preferences stay."""
    required = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}]}
    preferred = {"weight": 5, "preference": {"matchExpressions": [{"key": "fast", "operator": "Exists"}]}}
    node = {
        "requiredDuringSchedulingIgnoredDuringExecution": required,
        "preferredDuringSchedulingIgnoredDuringExecution": [preferred],
    }
    toleration = {"key": "gpu", "operator": "Exists"}
    pod = build(affinity={"nodeAffinity": node}, tolerations=[toleration], spot={"preferred": True, "nodeSelector": SPOT})
    built = pod["affinity"]["nodeAffinity"]
    assert built["requiredDuringSchedulingIgnoredDuringExecution"] == required
    assert [term["weight"] for term in built["preferredDuringSchedulingIgnoredDuringExecution"]] == [100, 5]
    assert pod["tolerations"] == [toleration]


def test_neighbours_are_the_revisions_own_pods_unless_said_otherwise() -> None:
    """In terms that are demanded and in those that are preferred, near and away."""
    host = {"topologyKey": "kubernetes.io/hostname"}
    other = {**host, "labelSelector": {"matchLabels": {"app": "noisy"}}}
    pod = build(
        affinity={
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [host, other],
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": host}],
            },
            "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 2, "podAffinityTerm": other}]},
        }
    )
    away = pod["affinity"]["podAntiAffinity"]
    assert away["requiredDuringSchedulingIgnoredDuringExecution"] == [{**host, **OWN}, other]
    assert away["preferredDuringSchedulingIgnoredDuringExecution"] == [{"weight": 1, "podAffinityTerm": {**host, **OWN}}]
    near = pod["affinity"]["podAffinity"]
    assert near == {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 2, "podAffinityTerm": other}]}


def test_classes_and_selectors_are_passed_on() -> None:
    """As the user writes them."""
    given = {"nodeSelector": {"gpu": "h100"}, "priorityClassName": "serving", "runtimeClassName": "nvidia"}
    assert build(**given) == {**build(), **given}
