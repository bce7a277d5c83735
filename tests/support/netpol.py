"""What a NetworkPolicy lets through, by the rules of Kubernetes: labels of pods and namespaces, addresses, ports.

The selectors alone: whether a cluster's network plugin enforces a policy is its own affair.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Mapping
from typing import Any

Object = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Pod:
    """One end of a connection."""

    namespace: str
    labels: Mapping[str, str]
    namespace_labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Beside its name, which every namespace has as a label."""
    address: str = "10.244.0.9"

    @property
    def all_namespace_labels(self) -> Mapping[str, str]:
        """With the label that Kubernetes sets."""
        return {**self.namespace_labels, "kubernetes.io/metadata.name": self.namespace}


@dataclasses.dataclass(frozen=True)
class Outside:
    """An end that is no pod."""

    address: str


def of_template(namespace: str, template: Object) -> Pod:
    """A pod of a PodTemplateSpec."""
    return Pod(namespace, template["metadata"]["labels"])


def selects(policy: Object, pod: Pod) -> bool:
    """Whether the policy is about this pod."""
    return policy["metadata"]["namespace"] == pod.namespace and matches(policy["spec"]["podSelector"], pod.labels)


def lets_in(policy: Object, peer: Pod | Outside, port: int, protocol: str = "TCP") -> bool:
    """Whether pods of an Ingress policy may be reached so."""
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    rules = policy["spec"].get("ingress") or ()
    return any(_allows(rule, "from", policy, peer, port, protocol) for rule in rules)


def lets_out(policy: Object, peer: Pod | Outside, port: int, protocol: str = "TCP") -> bool:
    """Whether pods of an Egress policy may reach that."""
    assert policy["spec"]["policyTypes"] == ["Egress"]
    rules = policy["spec"].get("egress") or ()
    return any(_allows(rule, "to", policy, peer, port, protocol) for rule in rules)


def matches(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects an object with these labels; an empty one selects all."""
    exact = selector.get("matchLabels") or {}
    conditions = selector.get("matchExpressions") or ()
    return all(labels.get(key) == value for key, value in exact.items()) and all(_holds(each, labels) for each in conditions)


def _holds(condition: Object, labels: Mapping[str, str]) -> bool:
    key, values = condition["key"], condition.get("values") or ()
    match condition["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case other:
            raise ValueError(f"no operator of label selectors: {other}")


def _allows(rule: Object, side: str, policy: Object, peer: Pod | Outside, port: int, protocol: str) -> bool:
    peers = rule.get(side) or ()
    named = not peers or any(_is_peer(each, policy["metadata"]["namespace"], peer) for each in peers)
    ports = rule.get("ports") or ()
    return named and (not ports or any(_is_port(each, port, protocol) for each in ports))


def _is_peer(given: Object, home: str, peer: Pod | Outside) -> bool:
    if "ipBlock" in given:
        block, address = given["ipBlock"], ipaddress.ip_address(peer.address)
        inside = address in ipaddress.ip_network(block["cidr"])
        return inside and not any(address in ipaddress.ip_network(part) for part in block.get("except") or ())
    if isinstance(peer, Outside):
        return False
    namespaces = given.get("namespaceSelector")
    same = peer.namespace == home if namespaces is None else matches(namespaces, peer.all_namespace_labels)
    return same and matches(given.get("podSelector") or {}, peer.labels)


def _is_port(given: Object, port: int, protocol: str) -> bool:
    if given.get("protocol", "TCP") != protocol:
        return False
    return "port" not in given or given["port"] <= port <= given.get("endPort", given["port"])
