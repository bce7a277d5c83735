"""Who may reach engines and what they may reach, by the labels of the pods that really ask them."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
import yaml

from sluice.api import gateway as gateway_api
from sluice.api import naming, network
from sluice.api import template as template_api
from sluice.workloads import gateway, network_policy, pod_template
from tests.support import netpol

ROOT = pathlib.Path(__file__).parents[3]
MANIFESTS = ROOT / "manifests"
OWNER = {"apiVersion": "sluice.dev/v1alpha1", "kind": "ModelDeployment", "name": "chat", "uid": "u", "controller": True}
PORT = pod_template.PORT
HUB = netpol.Outside("18.164.174.55")


def ingress(*peers: dict[str, Any], gateways: tuple[tuple[str, str], ...] = (("edge", "main"),)) -> dict[str, Any]:
    """The policy of the revision `abc` of ModelDeployment team/chat."""
    given = network.NetworkPolicy.model_validate({"ingress": list(peers)}) if peers else None
    return network_policy.build_ingress(
        namespace="team",
        name="chat",
        revision_hash="abc",
        gateways=gateways,
        operator_namespace="sluice-system",
        given=given,
        owner=OWNER,
    )


def egress(*rules: dict[str, Any], downloads: bool = False, openshift: bool = False) -> dict[str, Any]:
    """The policy of the same revision."""
    given = network.NetworkPolicy.model_validate({"egress": list(rules)}) if rules else None
    return network_policy.build_egress(
        namespace="team", name="chat", revision_hash="abc", downloads=downloads, openshift=openshift, given=given, owner=OWNER
    )


def engine_pod(name: str = "chat", revision_hash: str = "abc", namespace: str = "team") -> netpol.Pod:
    """A pod as it is rendered."""
    template = template_api.Template.model_validate({"model": {"source": "file:///m"}, "engine": {"type": "VLLM"}})
    rendered = pod_template.render_pod_template(
        name,
        template,
        revision_hash=revision_hash,
        defaults=pod_template.Defaults(engine_image="e"),
        timing=pod_template.Timing(startup=60, drain=10),
    )
    return netpol.of_template(namespace, rendered)


def gateway_pod(namespace: str = "edge", name: str = "main") -> netpol.Pod:
    """A proxy as a Gateway's Deployment makes it."""
    owner = gateway_api.parse(
        {"metadata": {"name": name, "namespace": namespace, "uid": "u"}, "spec": {"clients": {"anonymous": True}}}
    )
    deployment = gateway.build_deployment(owner, image="envoy", files={})
    return netpol.of_template(namespace, deployment["spec"]["template"])


def eval_pod(namespace: str = "team") -> netpol.Pod:
    """A pod as an eval's Job makes it; a test of evals holds the Job to this file."""
    job = yaml.safe_load((ROOT / "tests/golden/evals/builtin-job.yaml").read_text())
    return netpol.of_template(namespace, job["spec"]["template"])


def installed_pods() -> dict[str, netpol.Pod]:
    """Pods that are installed with Sluice, by what they run: `operator`, `metrics`."""
    found = {}
    for path in MANIFESTS.rglob("*.yaml"):
        for obj in yaml.safe_load_all(path.read_text()):
            if (obj or {}).get("kind") == "Deployment":
                template = obj["spec"]["template"]
                command = template["spec"]["containers"][0]["args"][0]
                found[command] = netpol.of_template(obj["metadata"]["namespace"], template)
    return found


def test_both_policies_are_about_the_revisions_own_pods() -> None:
    """And about no other pod that Sluice makes: evals and gateways go on as they are."""
    for policy in (ingress(), egress()):
        assert netpol.selects(policy, engine_pod())
        for other in (
            engine_pod(revision_hash="def"),
            engine_pod(name="other"),
            engine_pod(namespace="elsewhere"),
            eval_pod(),
            gateway_pod("team"),
        ):
            assert not netpol.selects(policy, other)


@pytest.mark.parametrize(
    ("peer", "is_let_in"),
    [
        pytest.param(gateway_pod(), True, id="proxies of an allowed gateway"),
        pytest.param(gateway_pod(name="other"), False, id="another gateway there"),
        pytest.param(gateway_pod("team"), False, id="a gateway of that name elsewhere"),
        pytest.param(eval_pod(), True, id="evals of the namespace"),
        pytest.param(eval_pod("elsewhere"), False, id="evals of another namespace"),
        pytest.param(engine_pod(revision_hash="def"), False, id="other engines"),
        pytest.param(netpol.Pod("team", {"app": "shell"}), False, id="anything else in the namespace"),
        pytest.param(
            netpol.Pod("team", {naming.LABEL_NAME: "sluice", naming.LABEL_COMPONENT: "operator"}),
            False,
            id="an operator outside the operator's namespace",
        ),
        pytest.param(netpol.Pod("sluice-system", {"app": "shell"}), False, id="anything else in the operator's namespace"),
        pytest.param(netpol.Outside("192.0.2.1"), False, id="the world"),
    ],
)
def test_engines_are_reached_by_those_who_ask_them_alone(peer: netpol.Pod | netpol.Outside, is_let_in: bool) -> None:
    """By the labels that these pods really have."""
    assert netpol.lets_in(ingress(), peer, PORT) is is_let_in


def test_what_is_installed_with_sluice_reaches_engines() -> None:
    """Operator and metrics server, as the manifests have them."""
    pods = installed_pods()
    assert "operator" in pods
    for command in pods.keys() & {"operator", "metrics"}:
        assert netpol.lets_in(ingress(), pods[command], PORT), command


def test_no_other_port_is_open() -> None:
    """vLLM listens at more than its API where several GPUs or nodes work together."""
    assert not netpol.lets_in(ingress(), gateway_pod(), PORT + 1)
    assert not netpol.lets_in(ingress(), gateway_pod(), PORT, "UDP")


def test_without_a_gateway_evals_and_the_operator_are_still_let_in() -> None:
    """And nobody else: an empty list of peers would let everybody in."""
    policy = ingress(gateways=())
    assert netpol.lets_in(policy, eval_pod(), PORT)
    assert not netpol.lets_in(policy, gateway_pod(), PORT)


@pytest.mark.parametrize(
    ("given", "peer", "other"),
    [
        (
            {"podSelector": {"matchLabels": {"app": "client"}}},
            netpol.Pod("team", {"app": "client"}),
            netpol.Pod("elsewhere", {"app": "client"}),
        ),
        (
            {
                "namespaceSelector": {"matchLabels": {"team": "monitoring"}},
                "podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["prometheus", "agent"]}]},
            },
            netpol.Pod("observe", {"app": "prometheus"}, {"team": "monitoring"}),
            netpol.Pod("observe", {"app": "shell"}, {"team": "monitoring"}),
        ),
        (
            {"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.128/25"]}},
            netpol.Outside("192.0.2.7"),
            netpol.Outside("192.0.2.200"),
        ),
    ],
)
def test_peers_of_the_users_are_let_in_beside_ours(
    given: dict[str, Any], peer: netpol.Pod | netpol.Outside, other: netpol.Pod | netpol.Outside
) -> None:
    """Exactly those that are listed."""
    policy = ingress(given)
    assert netpol.lets_in(policy, peer, PORT)
    assert not netpol.lets_in(policy, other, PORT)
    assert netpol.lets_in(policy, gateway_pod(), PORT)


def test_engines_reach_dns_and_nothing_else() -> None:
    """Wherever the cluster's DNS is; the API server, other pods and the world are closed."""
    dns = netpol.Pod("kube-system", {"k8s-app": "kube-dns"})
    policy = egress()
    for protocol in ("UDP", "TCP"):
        assert netpol.lets_out(policy, dns, 53, protocol)
        assert netpol.lets_out(policy, netpol.Outside("169.254.20.10"), 53, protocol)
        assert not netpol.lets_out(policy, dns, 5353, protocol)
        assert netpol.lets_out(egress(openshift=True), dns, 5353, protocol)
    for peer, port in ((HUB, 443), (HUB, 80), (gateway_pod(), 8080), (netpol.Outside("10.96.0.1"), 6443)):
        assert not netpol.lets_out(policy, peer, port)


def test_downloads_open_https_alone() -> None:
    """To addresses of both families."""
    policy = egress(downloads=True)
    assert netpol.lets_out(policy, HUB, 443)
    assert netpol.lets_out(policy, netpol.Outside("2600:9000::1"), 443)
    assert not netpol.lets_out(policy, HUB, 80)
    assert not netpol.lets_out(policy, HUB, 443, "UDP")


def test_rules_of_the_users_open_more() -> None:
    """Peers with ports, ports alone, and peers alone."""
    store = netpol.Pod("storage", {"app": "minio"})
    rule = {"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "minio"}}}], "ports": [{"port": 9000}]}
    assert netpol.lets_out(egress(rule), store, 9000)
    assert not netpol.lets_out(egress(rule), store, 9001)
    assert not netpol.lets_out(egress(rule), HUB, 9000)
    ports = {"ports": [{"protocol": "UDP", "port": 4317, "endPort": 4318}]}
    assert netpol.lets_out(egress(ports), store, 4318, "UDP")
    assert not netpol.lets_out(egress(ports), store, 4318)
    assert netpol.lets_out(egress({"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}), netpol.Outside("10.1.2.3"), 3128)


@pytest.mark.parametrize(
    ("model", "downloads"),
    [
        ({"source": "hf://org/model"}, True),
        ({"source": "s3://bucket/prefix"}, True),
        ({"source": "gs://bucket/prefix"}, True),
        ({"source": "pvc://claim/path"}, False),
        ({"source": "oci://registry.example/org/model:1"}, False),
        ({"source": "file:///models/one"}, False),
        ({"source": "file:///models/one", "adapters": [{"name": "sql", "source": "hf://org/lora"}]}, True),
        ({"source": "file:///models/one", "adapters": [{"name": "sql", "source": "pvc://claim/lora"}]}, False),
    ],
)
def test_only_what_is_downloaded_needs_the_world(model: dict[str, Any], downloads: bool) -> None:
    """An image is pulled by the node, and a claim mounted by it."""
    assert network_policy.needs_downloads({"model": model}) is downloads


def test_objects_belong_to_the_model_and_the_revision() -> None:
    """Names and labels by which they are found, and the owner that takes them along."""
    for policy, name in ((ingress(), "chat-abc-in"), (egress(), "chat-abc-out")):
        metadata = policy["metadata"]
        assert (metadata["name"], metadata["namespace"]) == (name, "team")
        assert metadata["labels"] == pod_template.revision_labels("chat", "abc")
        assert metadata["ownerReferences"] == [OWNER]
