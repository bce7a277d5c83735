"""RateLimitPolicies and EvalGates: their honest statuses."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.api import modeldeployment, naming, ratelimitpolicy
from sluice.kube import resources
from sluice.reconcile import policies
from sluice.xds import proxies
from tests.support import statuses
from tests.unit.reconcile import parts

LIMITS = naming.ObjectKey(ratelimitpolicy.KIND, "ml", "limits")


def policy(*gateways: str) -> parts.Object:
    return {
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "RateLimitPolicy",
        "metadata": {"name": "limits", "namespace": "ml"},
        "spec": {
            "targetRefs": [{"group": "sluice.dev", "kind": "Gateway", "name": name} for name in gateways],
            "limits": [{"name": "all", "key": [], "unit": "Requests", "amount": 1, "per": "1m", "scope": "PerReplica"}],
        },
    }


async def judged(world: parts.World, in_sync: int) -> dict[str, Any]:
    """The conditions of the policy, by type."""
    world.ads.state = lambda _: proxies.ProxyState(connected=in_sync, in_sync=in_sync)
    made = policies.PolicyReconciler(world.api, world.lookup, world.programmer, world.ads, world.clock)
    await made.reconcile(LIMITS)
    stored = world.cache.get(resources.RATE_LIMIT_POLICIES, "ml", "limits")
    assert stored is not None
    return {condition["type"]: condition for condition in stored["status"]["conditions"]}


@pytest.mark.parametrize(
    ("targets", "in_sync", "ready", "enforced", "going"),
    [
        (("edge",), 2, ("True", "Enforced"), "True", None),
        (("edge",), 0, ("False", "NoProxies"), "False", "Reconciling"),
        (("nowhere",), 0, ("False", "GatewayNotFound"), "False", "Stalled"),
        (("edge", "nowhere"), 2, ("False", "GatewayNotFound"), "True", "Stalled"),
    ],
)
async def test_policy(targets: tuple[str, ...], in_sync: int, ready: tuple[str, str], enforced: str, going: str | None) -> None:
    """The worst that any target says counts, and Enforced says what runs all the same."""
    world = parts.World()
    world.apply(parts.edge())
    world.apply(policy(*targets))
    found = await judged(world, in_sync)
    assert (found["Ready"]["status"], found["Ready"]["reason"]) == ready
    assert found["Enforced"]["status"] == enforced
    assert {"Reconciling", "Stalled"} & found.keys() == ({going} if going else set())
    assert list(statuses.contradictions(found, serves=False)) == []


async def test_nothing_new_is_not_written() -> None:
    """A policy whose status says it all is left alone."""
    world = parts.World()
    world.apply(parts.edge())
    world.apply(policy("edge"))
    await judged(world, 1)
    before = world.cache.get(resources.RATE_LIMIT_POLICIES, "ml", "limits")
    await judged(world, 1)
    assert world.cache.get(resources.RATE_LIMIT_POLICIES, "ml", "limits") is before


async def test_gate_counts_its_users() -> None:
    """A gate's status has how many ModelDeployments of its namespace name it, in steps or in the analysis."""
    world = parts.World()
    world.apply(parts.model(steps=[{"name": "one", "weight": 0, "gates": [{"name": "golden"}]}]))
    world.apply(
        {
            "apiVersion": "sluice.dev/v1alpha1",
            "kind": "EvalGate",
            "metadata": {"name": "golden", "namespace": "ml"},
            "spec": {"metrics": [{"name": "e", "signal": {"type": "ErrorRate"}, "regression": {"points": "1%"}}]},
        }
    )
    await policies.GateReconciler(world.api, world.lookup, world.clock).reconcile(naming.ObjectKey("EvalGate", "ml", "golden"))
    stored = world.cache.get(resources.EVAL_GATES, "ml", "golden")
    assert stored is not None
    assert stored["status"]["users"] == 1


@pytest.mark.parametrize(
    ("analysis", "names"),
    [(None, {"golden", "default"}), ((), {"golden"}), (({"name": "slo"},), {"golden", "slo"})],
)
def test_gates_of_a_model(analysis: Any, names: set[str]) -> None:
    """Gates of steps and of the analysis; without an analysis the built-in one, which a gate of that name replaces."""
    obj = parts.model(steps=[{"name": "one", "weight": 0, "gates": [{"name": "golden"}]}], analysis=analysis)
    assert policies.gate_names(modeldeployment.parse(obj)) == names
