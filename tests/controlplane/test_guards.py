"""What stands around pods, on a real API server: made for each revision, changed without a rollout, gone with it."""

from __future__ import annotations

import pytest

from tests.support import operators, world

pytestmark = pytest.mark.usefixtures("operator")

SELECTOR = "sluice.dev/model-deployment=chat"
GATEWAY = {
    "apiVersion": "sluice.dev/v1alpha1",
    "kind": "Gateway",
    "metadata": {"name": "edge"},
    "spec": {"replicas": 1, "clients": {"anonymous": True}},
}
FULL = {
    "ingress": [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}, "podSelector": {}},
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
    ],
    "egress": [
        {"to": [{"namespaceSelector": {}}], "ports": [{"port": 9000}, {"protocol": "UDP", "port": 30000, "endPort": 30010}]},
        {"to": [{"ipBlock": {"cidr": "2001:db8::/32"}}]},
    ],
}


def names(namespace: world.World, kind: str) -> set[str]:
    """Names of the model's objects of a kind."""
    return {obj["metadata"]["name"] for obj in namespace.objects(kind, SELECTOR)}


def test_guards_come_with_a_revision_and_go_with_it(namespace: world.World) -> None:
    """Two policies and a budget for the one that serves; those of the old one are pruned."""
    namespace.apply(world.model())
    old = namespace.ready()["stableRevision"]
    assert names(namespace, "networkpolicy") == {f"chat-{old}-in", f"chat-{old}-out"}
    assert names(namespace, "poddisruptionbudget") == {f"chat-{old}"}
    namespace.apply(world.model("file:///models/two"))
    namespace.ended("Promoted")
    new = namespace.ready()["stableRevision"]
    assert new != old
    namespace.until(
        lambda: names(namespace, "networkpolicy") == {f"chat-{new}-in", f"chat-{new}-out"}, "the old policies are gone"
    )
    namespace.until(lambda: names(namespace, "poddisruptionbudget") == {f"chat-{new}"}, "the old budget is gone")


def test_every_form_of_peer_and_rule_is_taken_by_kubernetes(namespace: world.World, operator: operators.Operator) -> None:
    """What our CRD admits, the API of NetworkPolicies admits; and no pod is touched by it."""
    namespace.apply(GATEWAY, world.model(gatewayRefs=[{"name": "edge"}]))
    revision = namespace.ready()["stableRevision"]
    before = namespace.pods()
    namespace.apply(world.model(gatewayRefs=[{"name": "edge"}], networkPolicy=FULL, disruption={"maxUnavailable": "25%"}))

    def peers() -> int:
        return len(namespace.get("networkpolicy", f"chat-{revision}-in")["spec"]["ingress"][0]["from"])

    namespace.until(lambda: peers() == 5, "gateway, evals, operator and both of the user's peers are in")
    egress = namespace.until(
        lambda: rules if len(rules := namespace.get("networkpolicy", f"chat-{revision}-out")["spec"]["egress"]) == 3 else None,
        "DNS and both of the user's rules are in",
    )
    assert egress[1]["ports"] == [{"protocol": "TCP", "port": 9000}, {"protocol": "UDP", "port": 30000, "endPort": 30010}]
    budget = namespace.get("poddisruptionbudget", f"chat-{revision}")
    assert budget["spec"]["maxUnavailable"] == "25%"
    assert namespace.pods() == before
    assert len(namespace.revisions()) == 1
    failed = [line for line in operator.log.splitlines() if "reconcile failed" in line and f"/{namespace.name}/" in line]
    assert failed == []


def test_guards_that_somebody_changes_or_deletes_are_mended(namespace: world.World) -> None:
    """A policy that is opened by hand is closed again."""
    namespace.apply(world.model())
    revision = namespace.ready()["stableRevision"]
    open_it = '{"spec": {"ingress": [{}]}}'
    namespace.kubectl("patch", "networkpolicy", f"chat-{revision}-in", "--type=merge", "-p", open_it)
    namespace.until(
        lambda: "from" in namespace.get("networkpolicy", f"chat-{revision}-in")["spec"]["ingress"][0], "it is closed again"
    )
    namespace.kubectl("delete", "poddisruptionbudget", f"chat-{revision}")
    namespace.until(lambda: namespace.get("poddisruptionbudget", f"chat-{revision}"), "the budget is made again")


def test_without_replicas_there_is_no_budget(namespace: world.World) -> None:
    """And it is back with the first replica."""
    namespace.apply(world.model())
    revision = namespace.ready()["stableRevision"]
    namespace.kubectl("scale", "mdep/chat", "--replicas=0")
    namespace.until(lambda: not names(namespace, "poddisruptionbudget"), "the budget is gone")
    namespace.kubectl("scale", "mdep/chat", "--replicas=1")
    namespace.until(lambda: names(namespace, "poddisruptionbudget") == {f"chat-{revision}"}, "the budget is back")
