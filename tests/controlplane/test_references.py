"""References that lead nowhere: each shows as a condition with the fix, and heals without an edit of the object."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.support import world

pytestmark = pytest.mark.usefixtures("operator")


def gateway(**spec: Any) -> world.Object:
    """A Gateway that anybody may call."""
    return {
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Gateway",
        "metadata": {"name": "edge"},
        "spec": {"replicas": 1, "clients": {"anonymous": True}, **spec},
    }


def golden(threshold: str = "0.5") -> world.Object:
    """An EvalGate with one eval on a data set in a ConfigMap."""
    one = {
        "name": "capitals",
        "runner": {"type": "Builtin"},
        "dataset": {"type": "ConfigMap", "configMap": {"name": "golden", "key": "capitals.jsonl"}},
        "generation": {"temperature": "0", "maxTokens": 8},
        "scorer": {"type": "ExactMatch"},
        "threshold": {"min": threshold},
    }
    return {
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "EvalGate",
        "metadata": {"name": "golden"},
        "spec": {"evals": [one]},
    }


def config_map(**data: str) -> world.Object:
    """The data set."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "golden"}, "data": data}


def policy() -> world.Object:
    """A limit at the Gateway."""
    limit = {"name": "all", "key": [], "unit": "Requests", "amount": 10, "per": "1m", "scope": "PerReplica"}
    return {
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "RateLimitPolicy",
        "metadata": {"name": "limits"},
        "spec": {"targetRefs": [{"group": "sluice.dev", "kind": "Gateway", "name": "edge"}], "limits": [limit]},
    }


def secret(value: str, labels: dict[str, str]) -> world.Object:
    """A Secret of API keys with one entry."""
    metadata = {"name": "clients", "labels": labels}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"team-a": value}}


def settled(namespace: world.World, kind: str, name: str) -> None:
    """Waits until the object is not Stalled any more and its references resolve."""

    def seen() -> bool:
        status = namespace.get(kind, name)["status"]
        resolved: bool = world.condition(status, "ResolvedRefs")["status"] == "True"
        return resolved and not world.condition(status, "Stalled")["status"]

    namespace.until(seen, f"{kind}/{name} is mended", show=lambda: namespace.get(kind, name)["status"])


def test_missing_gateway(namespace: world.World) -> None:
    """A gatewayRef to nothing: Stalled, naming field and Gateway, while the model serves; mended by the Gateway."""
    namespace.apply(world.model(gatewayRefs=[{"name": "edge"}]))
    stalled = namespace.reason("mdep", "chat", "Stalled", "GatewayNotFound")
    assert "spec.gatewayRefs[0]" in stalled["message"]
    assert f"{namespace.name}/edge" in stalled["message"]
    namespace.status("it serves all the same", lambda status: world.condition(status, "Available")["status"] == "True")
    namespace.apply(gateway())
    settled(namespace, "mdep", "chat")


def test_gateway_that_does_not_allow_the_namespace(namespace: world.World) -> None:
    """allowedModels decides: Stalled with that field, mended by a label of the namespace, broken by its removal."""
    selector = {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}
    namespace.apply(
        gateway(allowedModels={"namespaces": selector}),
        world.model(gatewayRefs=[{"name": "edge"}]),
    )
    stalled = namespace.reason("mdep", "chat", "Stalled", "NotAllowedByGateway")
    assert "spec.allowedModels.namespaces" in stalled["message"]
    namespace.kubectl("label", "namespace", namespace.name, "team=a")
    settled(namespace, "mdep", "chat")
    namespace.kubectl("label", "namespace", namespace.name, "team-")
    namespace.reason("mdep", "chat", "Stalled", "NotAllowedByGateway")


def test_missing_gate(namespace: world.World) -> None:
    """A step that names no EvalGate of the namespace: nothing is rolled out blind; mended by the gate and its data set."""
    namespace.apply(world.model(steps=[{"name": "evals", "weight": 0, "gates": [{"name": "golden"}]}]))
    stalled = namespace.reason("mdep", "chat", "Stalled", "InvalidRollout")
    assert "spec.rollout.strategy.canary.steps[evals].gates" in stalled["message"]
    assert namespace.revisions() == {}
    namespace.apply(config_map(**{"capitals.jsonl": '{"id": "1", "prompt": "p", "reference": "r"}'}), golden())
    settled(namespace, "mdep", "chat")
    namespace.until(lambda: namespace.objects("job"), "the eval runs")
    namespace.reason("eg", "golden", "Ready", "Accepted")
    assert namespace.get("eg", "golden")["status"]["users"] == 1


def test_missing_data_set(namespace: world.World) -> None:
    """A gate whose ConfigMap, or its key, is missing: Stalled, naming both; mended when it appears, though not watched."""
    namespace.apply(golden(), world.model(steps=[{"name": "evals", "weight": 0, "gates": [{"name": "golden"}]}]))
    stalled = namespace.reason("mdep", "chat", "Stalled", "InvalidRollout")
    assert f"there is no ConfigMap {namespace.name}/golden" in stalled["message"]
    namespace.apply(config_map(other="x"))
    namespace.until(
        lambda: "has no key 'capitals.jsonl'" in world.condition(namespace.model()["status"], "Stalled")["message"],
        "the missing key is named",
        show=lambda: namespace.model()["status"],
    )
    namespace.apply(config_map(**{"capitals.jsonl": '{"id": "1", "prompt": "p", "reference": "r"}'}))
    settled(namespace, "mdep", "chat")


def test_api_keys(namespace: world.World) -> None:
    """A Secret of keys that is missing, not labelled, or holds no SHA-256: each is said with the fix, and mended in turn."""
    label = {"sluice.dev/secret-type": "api-keys"}
    namespace.apply(gateway(clients={"apiKeys": [{"secretRef": {"name": "clients"}}]}))
    stalled = namespace.reason("slgw", "edge", "Stalled", "SecretNotFound")
    assert "spec.clients.apiKeys[0].secretRef" in stalled["message"]
    namespace.apply(secret("sk-plain-text", {}))
    assert "kubectl label secret" in namespace.reason("slgw", "edge", "Stalled", "SecretNotFound")["message"]
    namespace.kubectl("label", "secret", "clients", "sluice.dev/secret-type=api-keys")
    stalled = namespace.reason("slgw", "edge", "Stalled", "InvalidAPIKeys")
    assert "team-a" in stalled["message"]
    assert "sk-plain-text" not in str(namespace.get("slgw", "edge"))
    namespace.apply(secret(hashlib.sha256(b"sk-plain-text").hexdigest(), label))
    settled(namespace, "slgw", "edge")
    namespace.kubectl("delete", "secret", "clients")
    namespace.reason("slgw", "edge", "Stalled", "SecretNotFound")


def test_gateway_without_clients(namespace: world.World) -> None:
    """A Gateway that nobody may call says so."""
    namespace.apply(gateway(clients={}))
    assert "anonymous" in namespace.reason("slgw", "edge", "Stalled", "NoClients")["message"]


def test_policy_on_a_missing_gateway(namespace: world.World) -> None:
    """A RateLimitPolicy that targets nothing enforces nothing and says so; mended by the Gateway, broken by its deletion."""
    namespace.apply(policy())
    assert f"{namespace.name}/edge" in namespace.reason("rlp", "limits", "Stalled", "GatewayNotFound")["message"]
    assert world.condition(namespace.get("rlp", "limits")["status"], "Enforced")["status"] == "False"
    namespace.apply(gateway())
    settled(namespace, "rlp", "limits")
    namespace.kubectl("delete", "slgw", "edge")
    namespace.reason("rlp", "limits", "Stalled", "GatewayNotFound")


def test_route_to_a_model_that_goes(namespace: world.World) -> None:
    """An explicit route says at once when its model comes and when it goes."""

    def route() -> str:
        routes = namespace.get("slgw", "edge").get("status", {}).get("routes", [])
        found: world.Object = next((entry for entry in routes if entry["name"] == "named"), {})
        status: str = world.condition(found, "ResolvedRefs")["status"]
        return status

    backend = {"type": "ModelDeployment", "modelDeployment": {"name": "chat"}}
    named = {"name": "named", "match": {"models": ["chat"]}, "chain": [{"backends": [backend]}]}
    namespace.apply(gateway(routes=[named]))
    show = lambda: namespace.get("slgw", "edge").get("status")  # noqa: E731 - used thrice
    namespace.until(lambda: route() == "False", "the route has no backend", show=show)
    namespace.apply(world.model(gatewayRefs=[{"name": "edge"}]))
    namespace.until(lambda: route() == "True", "the route resolves", show=show)
    namespace.kubectl("delete", "mdep", "chat")
    namespace.until(lambda: route() == "False", "the route has no backend again", show=show)
