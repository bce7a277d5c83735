"""The objects of a Gateway: what its proxies are started with, and what replaces them."""

from __future__ import annotations

import pytest

from sluice.api import gateway as api
from sluice.workloads import gateway

FILES = {"envoy.yaml": "static: config"}


def edge(**spec: object) -> api.Gateway:
    metadata = {"name": "edge", "namespace": "ml", "uid": "u", "generation": 1}
    return api.parse({"metadata": metadata, "spec": {"replicas": 2, "clients": {"anonymous": True}, **spec}})


def template(owner: api.Gateway, *, image: str = "envoy:1", files: dict[str, str] = FILES) -> dict[str, object]:
    built: dict[str, object] = gateway.build_deployment(owner, image=image, files=files)["spec"]["template"]
    return built


def test_changed_bootstrap_replaces_the_pods() -> None:
    """What comes by ADS replaces no pod; what a proxy starts with does."""
    assert template(edge()) == template(edge(routes=[], allowedModels={"namespaces": {"from": "All"}}))
    assert template(edge()) != template(edge(), files={"envoy.yaml": "other"})
    assert template(edge()) != template(edge(), image="envoy:2")


def test_scaling_changes_no_pod() -> None:
    """More replicas are more of the same pods."""
    assert template(edge()) == template(edge(replicas=5))


@pytest.mark.parametrize("service_type", ["ClusterIP", "LoadBalancer"])
def test_service_leads_to_the_listeners(service_type: str) -> None:
    """Clients reach each listener at its own port, and only this Gateway's proxies."""
    owner = edge(service={"type": service_type})
    spec = gateway.build_service(owner)["spec"]
    assert spec["type"] == service_type
    assert [port["port"] for port in spec["ports"]] == [listener.port for listener in owner.spec.listeners]
    assert spec["selector"] == gateway.build_deployment(owner, image="e", files=FILES)["spec"]["selector"]["matchLabels"]


def test_everything_is_owned_and_labelled() -> None:
    """Every object goes with its Gateway and wakes it."""
    owner = edge()
    built = [
        gateway.build_bootstrap_config_map(owner, FILES),
        gateway.build_service(owner),
        gateway.build_deployment(owner, image="e", files=FILES),
    ]
    for obj in built:
        assert obj["metadata"]["ownerReferences"][0]["uid"] == "u"
        assert obj["metadata"]["labels"].items() >= gateway.labels("edge").items()


def test_provider_keys_are_mounted_only_when_named() -> None:
    """credentialsSecretRef is mounted whole, without subPath, so that rotation works; without it nothing is."""

    def mounted(owner: api.Gateway) -> list[str]:
        pod = gateway.build_deployment(owner, image="e", files=FILES)["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert not [mount for mount in container["volumeMounts"] if "subPath" in mount]
        return [mount["mountPath"] for mount in container["volumeMounts"]]

    assert gateway.CREDENTIALS_PATH not in mounted(edge())
    assert gateway.CREDENTIALS_PATH in mounted(edge(credentialsSecretRef={"name": "keys"}))
