"""Rollouts by weights, as far as they go without proxies: what is persisted, in which order, and what a failure leaves.

The proxies of these Gateways never connect, and are given up after a second. Real ones are in tests/dataplane and tests/e2e.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.controlplane import test_references as parts
from tests.support import kubelet, operators, statuses, world

STEPS = [{"name": "ten", "weight": 10, "hold": "1s"}, {"name": "half", "weight": 50, "hold": "1s"}]
LONG = [{"name": "half", "weight": 50, "hold": "10m"}]
QUICK = {
    "SLUICE_PROXY_GONE_AFTER": "1",
    "SLUICE_LEASE_DURATION": "3",
    "SLUICE_LEASE_RENEW_DEADLINE": "2",
    "SLUICE_LEASE_RETRY": "0.5",
    "SLUICE_LEASE_REQUEST_TIMEOUT": "0.5",
}


@pytest.fixture
def operator(rights: pathlib.Path, tmp_path: pathlib.Path) -> Iterator[operators.Operator]:
    """A replica that gives up proxies soon."""
    with operators.Operator(rights, tmp_path, environment=QUICK) as running:
        running.wait_leading()
        yield running


def canary(source: str = "file:///models/one", **given: Any) -> world.Object:
    """A ModelDeployment behind the Gateway. Nobody can read proxies here, so pods that leave stay for all their time."""
    made = world.model(source, gatewayRefs=[{"name": "edge"}], **{"steps": STEPS, **given})
    made["spec"]["drainTimeout"] = "3s"
    return made


def serving(namespace: world.World, **given: Any) -> str:
    """A first revision that serves behind a Gateway; returns its hash."""
    namespace.apply(parts.gateway(), canary(**given))
    hash_: str = namespace.ready()["stableRevision"]
    return hash_


def weights(namespace: world.World) -> list[str]:
    """The weights that were persisted, without repetitions."""
    found: list[str] = []
    for obj in namespace.history.of(namespace.name, "ModelDeployment"):
        weight = obj.get("status", {}).get("rollout", {}).get("weight")
        if weight is not None and weight not in found[-1:]:
            found.append(weight)
    return found


@pytest.mark.usefixtures("operator")
def test_weights_step_up_to_promotion(namespace: world.World) -> None:
    """Each step's weight is persisted in turn, the epoch rises with each, and the pods that warmed up are those that serve."""
    old = serving(namespace)
    namespace.apply(canary("file:///models/two"))
    status = namespace.ended("Promoted")
    namespace.ready()
    assert weights(namespace) == ["0", "10", "50", "100"]
    epochs = statuses.epochs(namespace.history.of(namespace.name, "ModelDeployment"))
    assert epochs == sorted(epochs)
    assert len(set(epochs)) >= 4
    assert namespace.revisions() == {old: "Previous", status["stableRevision"]: "Stable"}
    assert namespace.served_by() == status["stableRevision"]
    namespace.until(lambda: not namespace.get("deployment", f"chat-{old}"), "the old pods go, though no proxy says anything")
    assert len(namespace.created()) == 4


@pytest.mark.usefixtures("operator")
def test_pods_that_fail_in_traffic_roll_back(namespace: world.World) -> None:
    """A canary with weight whose engine dies again and again: weight 0, RolledBack, Rejected for good; stable untouched."""
    old = serving(namespace)
    stable_pods = namespace.pods()
    namespace.apply(canary(image="later-crash", steps=LONG))
    namespace.status("it has half", lambda status: status.get("rollout", {}).get("stepEnteredAt"))
    namespace.behave("later-crash", kubelet.crash_looping)
    status = namespace.ended("RolledBack")
    assert status["lastRollout"]["reason"] == "CrashLoop"
    assert namespace.revisions() == {old: "Stable", status["lastRollout"]["revision"]: "Rejected"}
    namespace.until(lambda: namespace.pods() == stable_pods, "only the stable pods are left, untouched")
    namespace.reason("mdep", "chat", "Stalled", "RevisionRejected")


@pytest.mark.usefixtures("operator")
def test_pods_lost_in_traffic_warm_up_again(namespace: world.World) -> None:
    """Nodes that go are nobody's fault: weight 0, Waiting with the cause, and on again when there is room; never Rejected."""
    serving(namespace)
    namespace.apply(canary(image="homeless-later", steps=LONG))
    namespace.status("it has half", lambda status: status.get("rollout", {}).get("stepEnteredAt"))
    namespace.behave("homeless-later", kubelet.unschedulable)
    namespace.kubectl("delete", "pod", "-l", f"sluice.dev/revision={namespace.model()['status']['rollout']['revision']}")
    namespace.status(
        "it waits without traffic",
        lambda status: (status.get("rollout", {}).get("phase"), status.get("rollout", {}).get("weight")) == ("WarmingUp", "0"),
    )
    namespace.behave("homeless-later", kubelet.ready)
    namespace.status("it has half again", lambda status: status.get("rollout", {}).get("weight") == "50")
    assert "Rejected" not in namespace.revisions().values()


@pytest.mark.usefixtures("operator")
def test_no_measurement_is_no_pass(namespace: world.World) -> None:
    """With the counters out of reach a rollout that is judged by them gets no weight, and says what it waits for."""
    obj = canary()
    del obj["spec"]["rollout"]["analysis"]
    namespace.apply(parts.gateway(), obj)
    namespace.ready()
    obj["spec"]["template"]["model"]["source"] = "file:///models/two"
    namespace.apply(obj)
    namespace.status(
        "it says that it cannot measure",
        lambda status: status.get("rollout", {}).get("reason") == "MeasurementFailed",
    )
    stuck = namespace.model()["status"]["rollout"]
    assert stuck["weight"] == "0"
    assert stuck["hadTraffic"] is False
    assert world.condition(namespace.model()["status"], "CanaryHealthy")["status"] != "True"


@pytest.mark.usefixtures("operator")
def test_gateway_deleted_in_traffic(namespace: world.World) -> None:
    """The Gateway goes in the middle of a step: the rollout waits and says so, and goes on when it is back."""
    serving(namespace)
    namespace.apply(canary("file:///models/two"))
    namespace.status("it has weight", lambda status: status.get("rollout", {}).get("weight") == "10")
    namespace.kubectl("delete", "slgw", "edge")
    namespace.reason("mdep", "chat", "Stalled", "GatewayNotFound")
    namespace.apply(parts.gateway())
    namespace.ended("Promoted")
    namespace.ready()


def test_kill_in_traffic(
    namespace: world.World, operator: operators.Operator, rights: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """kill -9 while the canary has weight: the successor goes on from there, no step is repeated and no epoch falls."""
    old = serving(namespace)
    namespace.apply(canary("file:///models/two"))
    namespace.status("it has weight", lambda status: status.get("rollout", {}).get("weight") == "10")
    operator.kill()
    with operators.Operator(rights, tmp_path, name="successor", environment=QUICK):
        status = namespace.ended("Promoted")
        assert status["stableRevision"] != old
        namespace.ready()
    assert weights(namespace) == ["0", "10", "50", "100"]
    epochs = statuses.epochs(namespace.history.of(namespace.name, "ModelDeployment"))
    assert epochs == sorted(epochs)
    assert len(namespace.created()) == 4
