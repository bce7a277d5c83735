"""NetworkPolicies of one revision: who may reach its engines, and what they may reach.

Both are needed: vLLM's /metrics, /tokenize and more are open to everybody even where it asks for a key, and an engine runs
code and templates that came with a model. Kubernetes always lets the node's own probes through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sluice.api import naming, network
from sluice.workloads import gateway, pod_template, sources

NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"
"""The label with its name that Kubernetes gives each namespace."""
OPERATOR_COMPONENTS: Final = ("operator", "metrics")
"""Values of `app.kubernetes.io/component` of the pods in the operator's namespace that ask engines."""
EVAL_COMPONENT: Final = "eval"
DNS_PORT: Final = 53
OPENSHIFT_DNS_PORT: Final = 5353
"""Where OpenShift's DNS pods listen: a policy sees the pod's port, not the Service's."""
HTTPS_PORT: Final = 443
_EVERYWHERE: Final = ("0.0.0.0/0", "::/0")

Object = dict[str, Any]


def ingress_name(name: str, revision_hash: str) -> str:
    """Name of the policy about who may reach the engines."""
    return f"{naming.revision_name(name, revision_hash)}-in"


def egress_name(name: str, revision_hash: str) -> str:
    """Name of the policy about what the engines may reach."""
    return f"{naming.revision_name(name, revision_hash)}-out"


def build_ingress(
    *,
    namespace: str,
    name: str,
    revision_hash: str,
    gateways: Iterable[tuple[str, str]],
    operator_namespace: str,
    given: network.NetworkPolicy | None,
    owner: Mapping[str, Any],
) -> Object:
    """The policy `<name>-<hash>-in`. `gateways` are (namespace, name) of those that may send traffic here."""
    peers = [
        *(_gateway_peer(*key) for key in sorted(gateways)),
        {"podSelector": {"matchLabels": {naming.LABEL_MANAGED_BY: naming.MANAGED_BY, naming.LABEL_COMPONENT: EVAL_COMPONENT}}},
        _operator_peer(operator_namespace),
        *(peer.to_wire() for peer in (given.ingress if given is not None else None) or ()),
    ]
    rule = {"from": peers, "ports": [{"protocol": "TCP", "port": pod_template.PORT}]}
    return _policy(ingress_name(name, revision_hash), namespace, name, revision_hash, owner) | {
        "spec": {**_pods(name, revision_hash), "policyTypes": ["Ingress"], "ingress": [rule]}
    }


def build_egress(
    *,
    namespace: str,
    name: str,
    revision_hash: str,
    downloads: bool,
    openshift: bool,
    given: network.NetworkPolicy | None,
    owner: Mapping[str, Any],
) -> Object:
    """The policy `<name>-<hash>-out`. `downloads`: the revision has sources that are fetched over HTTPS."""
    # DNS may be a node's cache at an address of no pod, so that it cannot be selected.
    dns_ports = (DNS_PORT, OPENSHIFT_DNS_PORT) if openshift else (DNS_PORT,)
    rules: list[Object] = [
        {"ports": [{"protocol": protocol, "port": port} for port in dns_ports for protocol in ("UDP", "TCP")]}
    ]
    if downloads:
        rules.append(
            {
                # As addresses, not as "everything": some network plugins then keep other pods out.
                "to": [{"ipBlock": {"cidr": cidr}} for cidr in _EVERYWHERE],
                "ports": [{"protocol": "TCP", "port": HTTPS_PORT}],
            }
        )
    rules += [_egress_rule(rule) for rule in (given.egress if given is not None else None) or ()]
    return _policy(egress_name(name, revision_hash), namespace, name, revision_hash, owner) | {
        "spec": {**_pods(name, revision_hash), "policyTypes": ["Egress"], "egress": rules}
    }


def needs_downloads(template: Mapping[str, Any]) -> bool:
    """Whether an admitted template has a model or an adapter that is downloaded."""
    model = template["model"]
    found = (model["source"], *(adapter["source"] for adapter in model.get("adapters") or ()))
    return any(sources.parse(source).is_downloaded for source in found)


def _gateway_peer(namespace: str, name: str) -> Object:
    return {
        "namespaceSelector": {"matchLabels": {NAMESPACE_NAME: namespace}},
        "podSelector": {"matchLabels": gateway.labels(name)},
    }


def _operator_peer(namespace: str) -> Object:
    return {
        "namespaceSelector": {"matchLabels": {NAMESPACE_NAME: namespace}},
        "podSelector": {
            "matchLabels": {naming.LABEL_NAME: naming.MANAGED_BY},
            "matchExpressions": [{"key": naming.LABEL_COMPONENT, "operator": "In", "values": list(OPERATOR_COMPONENTS)}],
        },
    }


def _egress_rule(rule: network.EgressRule) -> Object:
    wire = rule.to_wire()
    if "ports" in wire:
        wire["ports"] = [{"protocol": "TCP", **port} for port in wire["ports"]]
    return wire


def _pods(name: str, revision_hash: str) -> Object:
    return {"podSelector": {"matchLabels": pod_template.revision_labels(name, revision_hash)}}


def _policy(policy: str, namespace: str, name: str, revision_hash: str, owner: Mapping[str, Any]) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": policy,
            "namespace": namespace,
            "labels": pod_template.revision_labels(name, revision_hash),
            "ownerReferences": [dict(owner)],
        },
    }
