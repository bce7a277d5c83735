"""What gateways are told: endpoints that are ready, keys that are hashes, and what served as long as nothing is decided."""

from __future__ import annotations

import base64
import hashlib

import pytest

from sluice.api import naming
from sluice.reconcile import programmer
from sluice.reconcile.gateways import status
from sluice.rollout import model as rollout
from sluice.rollout import traffic as rollout_traffic
from sluice.routing import inputs, ir
from tests.unit.reconcile import parts

HASH = hashlib.sha256(b"sk-team-a").hexdigest()


@pytest.fixture
def world() -> parts.World:
    return parts.World()


def program(world: parts.World) -> programmer.Programmed:
    owner = world.lookup.gateway("ml", "edge")
    assert owner is not None
    return world.programmer.program(owner)


def keys(world: parts.World) -> parts.Object:
    clients = program(world).translation.ir.clients
    return dict(clients.keys)


def secret(labelled: bool = True, **data: bytes) -> parts.Object:
    labels = {naming.LABEL_SECRET_TYPE: naming.SECRET_TYPE_API_KEYS} if labelled else {}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "clients", "namespace": "ml", "labels": labels},
        "data": {name: base64.b64encode(value).decode() for name, value in data.items()},
    }


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (None, status.Reason.SECRET_NOT_FOUND),
        (secret(labelled=False, a=HASH.encode()), status.Reason.SECRET_NOT_FOUND),
        (secret(a=b"sk-team-a"), status.Reason.INVALID_API_KEYS),
        (secret(a=HASH.upper().encode()), status.Reason.INVALID_API_KEYS),
        (secret(a=b"\xff\xfe"), status.Reason.INVALID_API_KEYS),
        (secret(a=b""), status.Reason.INVALID_API_KEYS),
    ],
)
def test_unusable_keys_are_problems(world: parts.World, given: parts.Object | None, reason: status.Reason) -> None:
    """A Secret that is missing, not labelled, or holds no SHA-256 lets nobody in, and never shows a value."""
    if given is not None:
        world.api.put(given)
    world.apply(parts.edge(clients={"apiKeys": [{"secretRef": {"name": "clients"}}]}))
    (problem,) = program(world).problems
    assert problem.reason is reason
    assert "clients" in problem.message
    assert "sk-team-a" not in problem.message
    assert keys(world) == {}


def test_keys_are_clients_by_hash(world: parts.World) -> None:
    """A good entry counts beside a bad one; a line end after the hash is forgiven."""
    world.api.put(secret(good=f"{HASH}\n".encode(), bad=b"x"))
    world.apply(parts.edge(clients={"apiKeys": [{"secretRef": {"name": "clients"}}]}))
    assert keys(world) == {HASH: "good"}
    assert [problem.reason for problem in program(world).problems] == [status.Reason.INVALID_API_KEYS]


def test_nobody_may_call(world: parts.World) -> None:
    """Neither keys nor anonymous clients is a mistake."""
    world.apply(parts.edge(clients={}))
    assert [problem.reason for problem in program(world).problems] == [status.Reason.NO_CLIENTS]


def endpoint_slice(revision: str, *endpoints: tuple[str, bool]) -> parts.Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"chat-{revision}-x",
            "namespace": "ml",
            "labels": {programmer.SERVICE_NAME_LABEL: f"chat-{revision}", naming.LABEL_MODEL_DEPLOYMENT: "chat"},
        },
        "ports": [{"name": "http", "port": 8000}, {"name": "other", "port": 1}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": ready}} for address, ready in endpoints],
    }


def addresses(world: parts.World) -> dict[str, list[str]]:
    """Addresses by cluster."""
    clusters = program(world).translation.ir.clusters
    ours = [cluster for cluster in clusters if isinstance(cluster, ir.RevisionCluster)]
    return {cluster.name: [endpoint.address for endpoint in cluster.endpoints] for cluster in ours}


def test_ready_endpoints_of_the_traffic_in_force(world: parts.World) -> None:
    """Stable and canary have their ready endpoints, on the engine's port only."""
    world.apply(parts.edge())
    world.apply(parts.model(gated=True))
    world.api.put(endpoint_slice("a", ("10.0.0.2", True), ("10.0.0.1", True), ("10.0.0.3", False)))
    world.api.put(endpoint_slice("b", ("10.0.1.1", True)))
    world.table.put(parts.KEY, rollout.Sent(None, rollout_traffic.Traffic("a", "b", 5000, 1)))
    found = addresses(world)
    assert found["ml/chat-a"] == ["10.0.0.1", "10.0.0.2"]
    assert found["ml/chat-b"] == ["10.0.1.1"]


def test_copies_of_the_traffic_in_force(world: parts.World) -> None:
    """A canary without weight gets its share of copies."""
    world.apply(parts.edge())
    world.apply(parts.model(gated=True))
    world.table.put(parts.KEY, rollout.Sent(None, rollout_traffic.Traffic("a", "b", mirror=250, epoch=1)))
    (route,) = program(world).translation.ir.routes
    assert route.mirror == ir.Mirror("ml/chat-b/shadow", 250)


@pytest.mark.parametrize("is_open", [False, True])
def test_testers_may_ask_once_the_rollout_says_so(world: parts.World, is_open: bool) -> None:
    """The rules name them from the start; before the gates without traffic have passed they have no effect."""
    world.apply(parts.edge())
    world.apply(parts.model(gated=True))
    rules = rollout_traffic.Rules("x-user-id", inputs.Override("x-canary", "yes", ("qa",)))
    world.table.put(parts.KEY, rollout.Sent(None, rollout_traffic.Traffic("a", "b", 50, 1, override=is_open, rules=rules)))
    (route,) = program(world).translation.ir.routes
    assert route.stickiness == ir.Stickiness("x-user-id", "ml/chat-b")
    assert (route.override is not None) == is_open
    assert route.override is None or (route.override.header, route.override.clients) == ("x-canary", ("qa",))


def retries(world: parts.World) -> dict[str, int]:
    """Retries that each revision's cluster allows, as programmed last."""
    clusters = program(world).translation.ir.clusters
    return {cluster.name: cluster.max_retries for cluster in clusters}


def test_the_shield_follows_the_load_of_stable_in_steps(world: parts.World) -> None:
    """Only a reading that is far off programs the gateway anew; one that failed changes nothing."""
    world.apply(parts.edge())
    world.apply(parts.model(gated=True))
    world.table.put(parts.KEY, rollout.Sent(None, rollout_traffic.Traffic("a", "b", 500, 1)))
    model = world.lookup.model(parts.KEY.namespace, parts.KEY.name)
    assert model is not None
    assert retries(world) == {"ml/chat-a": 0, "ml/chat-b": 100}

    readings: dict[str, float | None] = {}
    world.programmer.in_flight = lambda _, cluster: readings.get(cluster)
    seen: list[int] = []
    for measured in (200.0, 190.0, None, 150.0, 400.0, None, 20.0):
        readings["ml/chat-a"] = measured
        before = dict(world.ads.versions)
        world.programmer.follow_in_flight(model)
        seen.append(retries(world)["ml/chat-b"])
        assert (world.ads.versions != before) == (measured in (200.0, 400.0, 20.0))
    assert seen == [43, 43, 43, 43, 83, 83, 8]


def test_without_a_rollout_nothing_is_measured(world: parts.World) -> None:
    """The load of a revision that shields nobody changes nothing."""
    world.apply(parts.edge())
    world.apply(parts.model(gated=True))
    world.table.put(parts.KEY, rollout.Sent(None, rollout_traffic.Traffic("a", epoch=1)))
    model = world.lookup.model(parts.KEY.namespace, parts.KEY.name)
    assert model is not None
    program(world)
    before = dict(world.ads.versions)
    world.programmer.in_flight = lambda *_: 1e6
    world.programmer.follow_in_flight(model)
    assert world.ads.versions == before


def test_undecided_model_goes_on_serving(world: parts.World) -> None:
    """Before anything is decided, as after a change of leader, the stable revision of the status has the traffic."""
    obj = parts.model(gated=True)
    obj["status"] = {"stableRevision": "a"}
    world.apply(parts.edge())
    world.apply(obj)
    world.api.put(endpoint_slice("a", ("10.0.0.1", True)))
    assert addresses(world)["ml/chat-a"] == ["10.0.0.1"]


def test_acknowledged_needs_every_gateway(world: parts.World) -> None:
    """The epoch counts once every gateway of the model runs it; a gateway that was never told does not."""
    world.apply(parts.edge())
    obj = parts.model(gated=True)
    obj["spec"]["gatewayRefs"].append({"name": "second"})
    world.apply(obj)
    model = world.lookup.model("ml", "chat")
    assert model is not None
    assert world.programmer.acknowledged(model) == -1
    world.table.put(parts.KEY, rollout.Sent(None, rollout_traffic.Traffic("a", epoch=4)))
    world.programmer.program_for(model)
    assert world.programmer.acknowledged(model) == -1
    world.api.put({**parts.edge(), "metadata": {"name": "second", "namespace": "ml"}})
    world.programmer.program_for(model)
    assert world.programmer.acknowledged(model) == 4
    world.ads.prompt = False
    assert world.programmer.acknowledged(model) == -1


def test_what_is_to_be_said_of_a_gateway_is_told_when_it_changes(world: parts.World) -> None:
    """A first revision that serves resolves a route although nothing of the Gateway changed: its status must follow."""
    told: list[naming.ObjectKey] = []
    world.programmer.on_change = told.append
    world.apply(parts.edge())
    world.apply(parts.model(gated=True))
    program(world)
    told.clear()
    program(world)
    assert told == []
    world.table.put(parts.KEY, rollout.Sent(None, rollout_traffic.Traffic("first", epoch=1)))
    program(world)
    assert [str(key) for key in told] == ["Gateway/ml/edge"]


def test_nothing_is_programmed_while_held(world: parts.World) -> None:
    """A leader that takes over programs each gateway once, not once for each of its models."""
    world.apply(parts.edge())
    world.apply(parts.model(gated=True))
    model = world.lookup.model(parts.KEY.namespace, parts.KEY.name)
    assert model is not None
    with world.programmer.held():
        world.programmer.program_for(model)
        assert world.ads.versions == {}
    world.programmer.program_for(model)
    assert world.ads.versions != {}
