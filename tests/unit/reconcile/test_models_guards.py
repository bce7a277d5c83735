"""Policies and budgets around a revision's pods: made before them, kept as long as there are any, about those who may call."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.api import naming
from sluice.kube import resources
from sluice.workloads import gateway, pod_template
from tests.support import netpol
from tests.unit.reconcile import parts

PROXY = netpol.Pod(parts.EDGE.namespace, gateway.labels(parts.EDGE.name))


@pytest.fixture
def world() -> parts.World:
    return parts.World()


def listed(world: parts.World, resource: resources.Resource) -> dict[str, Any]:
    """Live objects by name."""
    return {obj["metadata"]["name"]: obj for obj in world.cache.list(resource, parts.KEY.namespace)}


def policies(world: parts.World) -> dict[str, Any]:
    return listed(world, resources.NETWORK_POLICIES)


def ingress(world: parts.World) -> Any:
    """The one policy about who may reach the engines."""
    (found,) = (policy for name, policy in policies(world).items() if name.endswith("-in"))
    return found


async def test_each_revision_with_pods_has_its_own(world: parts.World) -> None:
    """And loses them with its last pod, not before: a pod that drains is as open as any."""
    world.apply(parts.model())
    await world.reconcile()
    first = world.status["stableRevision"]
    names = {f"chat-{first}-in", f"chat-{first}-out"}
    assert policies(world).keys() == names
    assert listed(world, resources.POD_DISRUPTION_BUDGETS).keys() == {f"chat-{first}"}
    world.apply(parts.model("file:///two"))
    while f"chat-{first}" in listed(world, resources.DEPLOYMENTS):
        await world.models.reconcile(parts.KEY)
        world.run_pods()
    second = world.status["stableRevision"]
    await world.models.reconcile(parts.KEY)
    assert listed(world, resources.POD_DISRUPTION_BUDGETS).keys() == {f"chat-{second}"}
    assert policies(world).keys() == names | {f"chat-{second}-in", f"chat-{second}-out"}
    world.drop_pods()
    await world.models.reconcile(parts.KEY)
    assert policies(world).keys() == {f"chat-{second}-in", f"chat-{second}-out"}


async def test_policies_are_there_before_the_pods(world: parts.World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod that starts unprotected is open while its model loads."""
    applied: list[str] = []
    apply = world.api.apply

    async def record(resource: resources.Resource, obj: parts.Object) -> parts.Object:
        applied.append(obj["kind"])
        made: parts.Object = await apply(resource, obj)
        return made

    monkeypatch.setattr(world.api, "apply", record)
    world.apply(parts.model())
    await world.reconcile()
    assert applied.index("NetworkPolicy") < applied.index("Deployment")
    assert applied.count("NetworkPolicy") == 2


async def test_only_gateways_that_exist_and_allow_the_model_are_let_in(world: parts.World) -> None:
    """A reference alone opens nothing, and a permission that is taken back closes it."""
    world.apply(parts.model(gated=True))
    await world.reconcile()
    assert not netpol.lets_in(ingress(world), PROXY, pod_template.PORT)
    world.apply(parts.edge())
    await world.reconcile()
    assert netpol.lets_in(ingress(world), PROXY, pod_template.PORT)
    selector = {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "none"}}}}
    world.apply(parts.edge(allowedModels=selector))
    await world.reconcile()
    assert not netpol.lets_in(ingress(world), PROXY, pod_template.PORT)


async def test_without_replicas_there_is_no_budget(world: parts.World) -> None:
    """There is nothing to protect; policies wait for the next pod."""
    world.apply(parts.model())
    await world.reconcile()
    idle = parts.model()
    idle["spec"]["replicas"] = 0
    world.apply(idle)
    await world.reconcile()
    assert listed(world, resources.POD_DISRUPTION_BUDGETS) == {}
    assert len(policies(world)) == 2


async def test_settings_of_guards_start_no_rollout(world: parts.World) -> None:
    """They are outside the template: the objects change, the pods stay."""
    world.apply(parts.model())
    await world.reconcile()
    revisions = listed(world, resources.CONTROLLER_REVISIONS).keys()
    changed = parts.model()
    changed["spec"]["disruption"] = {"maxUnavailable": "50%"}
    changed["spec"]["networkPolicy"] = {
        "ingress": [{"podSelector": {"matchLabels": {"app": "client"}}}],
        "egress": [{"ports": [{"port": 4317}]}],
    }
    world.apply(changed)
    await world.reconcile()
    assert listed(world, resources.CONTROLLER_REVISIONS).keys() == revisions
    (budget,) = listed(world, resources.POD_DISRUPTION_BUDGETS).values()
    assert budget["spec"]["maxUnavailable"] == "50%"
    assert netpol.lets_in(ingress(world), netpol.Pod("ml", {"app": "client"}), pod_template.PORT)
    (out,) = (policy for name, policy in policies(world).items() if name.endswith("-out"))
    assert netpol.lets_out(out, netpol.Outside("192.0.2.1"), 4317)


async def test_guards_are_written_once(world: parts.World) -> None:
    """Neither they nor anything else is written again while nothing changes."""
    world.apply(parts.edge())
    world.apply(parts.model(gated=True))
    await world.reconcile()
    versions = {name: policy["metadata"]["resourceVersion"] for name, policy in policies(world).items()}
    await world.reconcile(3)
    assert {name: policy["metadata"]["resourceVersion"] for name, policy in policies(world).items()} == versions
    assert all(policy["metadata"]["labels"][naming.LABEL_MANAGED_BY] == "sluice" for policy in policies(world).values())
