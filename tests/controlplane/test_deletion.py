"""Everything removed: nothing that was owned is left, and nothing of others was touched."""

from __future__ import annotations

import hashlib

import pytest

from tests.controlplane import test_references as parts
from tests.support import kubelet, world

pytestmark = [pytest.mark.usefixtures("operator"), pytest.mark.timeout(300)]

OWNED = "deployment,service,controllerrevision,configmap,secret,job,pod,endpointslice"


def test_delete_leaves_nothing(namespace: world.World) -> None:
    """`kubectl delete` of all resources, one in a rollout, leaves no object with our label and every object of the user's."""
    namespace.behave("slow", kubelet.loading)
    namespace.apply(
        parts.secret(hashlib.sha256(b"sk").hexdigest(), {"sluice.dev/secret-type": "api-keys"}),
        parts.config_map(**{"capitals.jsonl": '{"id": "1", "prompt": "p", "reference": "r"}'}),
        parts.gateway(clients={"apiKeys": [{"secretRef": {"name": "clients"}}]}),
        parts.golden(),
        parts.policy(),
        world.model(),
        world.model(name="other"),
    )
    namespace.ready()
    namespace.ready("other")
    namespace.apply(
        world.model("file:///models/two", steps=[{"name": "evals", "weight": 0, "gates": [{"name": "golden"}]}]),
        world.model(name="other", image="slow"),
    )
    namespace.until(lambda: namespace.objects("job"), "an eval runs")
    namespace.until(lambda: namespace.get("deployment", "edge-gateway"), "the proxies' Deployment is there")
    namespace.status("other warms up", lambda status: status.get("rollout", {}).get("phase") == "WarmingUp", "other")

    namespace.kubectl("delete", "mdep,slgw,rlp,eg", "--all")

    def left() -> list[str]:
        found = namespace.objects(OWNED, "app.kubernetes.io/managed-by=sluice")
        return [f"{obj['kind']}/{obj['metadata']['name']}" for obj in found]

    # The garbage collector looks for new kinds twice a minute, and acts on ours only after that.
    namespace.until(lambda: not left(), "nothing owned is left", show=left, patience=150)
    assert namespace.get("secret", "clients")
    assert namespace.get("configmap", "golden")


def test_deletion_in_the_foreground(namespace: world.World) -> None:
    """While the object waits for its deletion the operator makes nothing again that is collected."""
    namespace.apply(world.model())
    namespace.ready()
    namespace.kubectl("delete", "mdep", "chat", "--cascade=foreground", "--timeout=40s")
    namespace.until(lambda: not namespace.objects(OWNED, "app.kubernetes.io/managed-by=sluice"), "nothing owned is left")
    assert len(namespace.created()) == 2
