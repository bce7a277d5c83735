"""Which resources a change touches. What they hold is in the golden files, what they do in the data plane's tests."""

from __future__ import annotations

import dataclasses

import hypothesis
from hypothesis import strategies as st

from sluice.gates import attempts
from sluice.routing import chain, inputs, ir
from sluice.xds import order, protos, routes, snapshot, translate
from sluice.xds.filters import api_keys, limits

POD = inputs.Endpoint("10.0.0.1", 8000)
BASE = ir.Gateway(
    name="prod/edge",
    port=8080,
    clients=ir.Clients(ir.Access.KEY, (("a" * 64, "team-a"),)),
    routes=(
        ir.Route(
            "prod/chat",
            "chat",
            (
                ir.Group((ir.Member("prod/chat-1", 9000), ir.Member("prod/chat-2", 1000))),
                ir.Group((ir.Member("prod/chat-1", 1),)),
            ),
            times=ir.Times(300_000, 30_000),
            limits=("fair/all",),
        ),
    ),
    clusters=(
        ir.RevisionCluster("prod/chat-1", (POD,), max_retries=0),
        ir.RevisionCluster("prod/chat-2", (POD,), max_retries=10),
        ir.ProviderCluster("provider/p", "p.example", 443, tls=True, credential="key", max_retries=0),
    ),
    limits=(ir.Limit("fair/all", (), True, True, "TokenBucket", 10, 1000, 10),),
)


def serialised(gateway: ir.Gateway) -> dict[tuple[str, str], bytes]:
    """Every resource as the bytes that are sent."""
    return {
        (type_url, name): message.SerializeToString(deterministic=True)
        for type_url, resources in translate.build_resources(gateway).items()
        for name, message in resources.items()
    }


def changed(before: ir.Gateway, after: ir.Gateway) -> set[tuple[str, str]]:
    """(type, name) of the resources that differ."""
    old, new = serialised(before), serialised(after)
    return {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}


def test_a_weight_changes_the_routes_alone() -> None:
    """A step of a rollout remakes no cluster, filter or listener."""
    divided = ir.Group((ir.Member("prod/chat-1", 5000), ir.Member("prod/chat-2", 5000)))
    route = dataclasses.replace(BASE.routes[0], groups=(divided, BASE.routes[0].groups[1]))
    assert changed(BASE, dataclasses.replace(BASE, routes=(route,))) == {(snapshot.ROUTE, "main")}


def test_pods_change_the_endpoints_of_their_cluster_alone() -> None:
    """The last pod that leaves does too: it is replaced by the placeholder."""
    emptied = ir.RevisionCluster("prod/chat-1", (), max_retries=0)
    after = dataclasses.replace(BASE, clusters=(emptied, *BASE.clusters[1:]))
    assert changed(BASE, after) == {(snapshot.ENDPOINTS, "prod/chat-1")}


def test_keys_change_their_filter_alone() -> None:
    """A revoked key touches no listener, so no connection is closed."""
    after = dataclasses.replace(BASE, clients=ir.Clients(ir.Access.KEY, ()))
    assert changed(BASE, after) == {(snapshot.EXTENSION, api_keys.NAME)}


def test_amounts_of_a_limit_change_their_filter_alone() -> None:
    """And nothing else changes that filter, because its buckets would start full again."""
    after = dataclasses.replace(BASE, limits=(dataclasses.replace(BASE.limits[0], burst=20),))
    assert changed(BASE, after) == {(snapshot.EXTENSION, limits.NAME)}


@hypothesis.given(st.integers(1024, 65535))
def test_the_port_changes_the_listener_alone(port: int) -> None:
    """It is the only thing that does."""
    expected = {(snapshot.LISTENER, "http")} if port != BASE.port else set()
    assert changed(BASE, dataclasses.replace(BASE, port=port)) == expected


def test_equal_content_gives_equal_bytes() -> None:
    """Maps inside messages are serialised in one order, however they were filled: nothing is sent for nothing."""
    fields = {f"field-{index}": index for index in range(100)}
    backwards = dict(reversed(fields.items()))
    assert protos.typed_struct("x.Y", fields).value == protos.typed_struct("x.Y", backwards).value
    assert serialised(BASE) == serialised(dataclasses.replace(BASE))


def test_every_type_has_its_place_in_the_order() -> None:
    """A type that is missing from the order would never be sent."""
    assert set(translate.build_resources(BASE)) == set(order.ADD) == set(order.REMOVE)


def test_resources_are_keyed_by_their_own_names() -> None:
    """Envoy asks by the name inside the message."""
    for type_url, resources in translate.build_resources(BASE).items():
        field = "cluster_name" if type_url == snapshot.ENDPOINTS else "name"
        assert all(getattr(message, field) == name for name, message in resources.items())


def test_no_credential_is_in_any_resource() -> None:
    """A provider's key is a file name; only the proxy reads the file."""
    secret = translate.build_resources(BASE)[snapshot.SECRET]["credential/key"]
    assert secret.generic_secret.secret.filename == "/etc/sluice/credentials/key"
    assert not secret.generic_secret.secret.inline_string


def test_copies_and_testers_are_named_as_the_evidence_knows_them() -> None:
    """A name that the evidence does not leave out would be counted as what users met."""
    assert chain.shadow_cluster("prod/chat-2") == f"prod/chat-2{attempts.SHADOW_SUFFIX}"
    assert routes.OVERRIDE_SUFFIX == attempts.OVERRIDE_SUFFIX
