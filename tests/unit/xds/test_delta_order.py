"""Make before break: what the delta protocol sends to one proxy first, and what waits for what."""

from __future__ import annotations

import dataclasses

from sluice.xds import delta, snapshot
from tests.unit.xds import fakes

CDS, EDS, LDS, RDS = snapshot.CLUSTER, snapshot.ENDPOINTS, snapshot.LISTENER, snapshot.ROUTE


def test_first_configuration_arrives_in_make_before_break_order() -> None:
    """Clusters, then their endpoints, then listeners, then routes; acknowledged only at the end."""
    proxy = fakes.Proxy()
    proxy.connect()
    proxy.session.update(fakes.state(7, clusters="a1 b1", routes="r1"))
    proxy.run()
    assert [kind for kind, _, _ in proxy.log] == [CDS, EDS, LDS, RDS]
    assert proxy.session.acknowledged == 7
    assert proxy.session.in_sync


def test_a_route_waits_for_endpoints_of_a_new_cluster_that_were_not_asked_for_yet() -> None:
    """The proxy may confirm a cluster before it asks for the endpoints: a route that names it must not slip in between."""
    proxy = fakes.connected(fakes.state(1, clusters="a1", routes="r1"))
    proxy.session.update(fakes.state(2, clusters="a1 b1", routes="rb"))
    response = proxy.next()
    assert response is not None
    assert response.type_url == CDS
    proxy.session.receive(delta.Request(CDS, nonce=response.nonce))
    assert proxy.next() is None
    proxy.session.receive(delta.Request(EDS, ("b",)))
    response = proxy.next()
    assert response is not None
    assert (response.type_url, tuple(response.resources)) == (EDS, ("b",))
    assert proxy.next() is None, "routes wait for the acknowledgement too"
    proxy.session.receive(delta.Request(EDS, nonce=response.nonce))
    response = proxy.next()
    assert response is not None
    assert response.type_url == RDS


def test_endpoints_do_not_wait_for_their_cluster_to_be_confirmed() -> None:
    """Envoy confirms a cluster only when it is warm, and it is not warm without endpoints: both waiting would cost 15 s."""
    proxy = fakes.connected(fakes.state(1, clusters="a1", routes="r1"))
    proxy.session.update(fakes.state(2, clusters="a1 b1", routes="rb"))
    response = proxy.next()
    assert response is not None
    proxy.session.receive(delta.Request(EDS, ("b",)))
    response = proxy.next()
    assert response is not None
    assert (response.type_url, tuple(response.resources)) == (EDS, ("b",))


def test_a_weight_does_not_wait_for_a_cluster_that_it_does_not_need() -> None:
    """A rollback goes out at once, whatever else is being added."""
    proxy = fakes.connected(fakes.state(1, clusters="a1", routes="r1"))
    proxy.session.update(fakes.state(2, clusters="a2 b1", routes="ra"))
    sent = [response.type_url for _ in range(3) if (response := proxy.next()) is not None]
    assert sent == [CDS, EDS, RDS]


def test_a_cluster_that_stays_cold_holds_a_route_up_for_a_second_only() -> None:
    """A provider whose name does not resolve must not keep a weight on a bad canary."""
    proxy = fakes.connected(fakes.state(1, clusters="a1", routes="r1"))
    latest = fakes.state(2, clusters="a1 p1", routes="rp")
    without = {**latest.entries, EDS: {"a": latest.of(EDS)["a"]}}
    proxy.session.update(dataclasses.replace(latest, entries=without, endpoints={"a": "a"}))
    response = proxy.next()
    assert response is not None
    assert response.type_url == CDS
    assert proxy.next() is None
    assert proxy.session.look_again == delta.PATIENCE
    proxy.now = delta.PATIENCE - 0.01
    assert proxy.next() is None
    proxy.now = delta.PATIENCE
    response = proxy.next()
    assert response is not None
    assert response.type_url == RDS
    proxy.session.receive(delta.Request(RDS, nonce=response.nonce))
    assert not proxy.session.in_sync
    proxy.session.receive(delta.Request(CDS, nonce="nothing"))
    assert proxy.session.acknowledged == 1


def test_a_changed_cluster_is_sent_with_its_endpoints() -> None:
    """Envoy does not ask again for endpoints it has, and would let the changed cluster wait 15 s for them."""
    proxy = fakes.connected(fakes.state(1, clusters="a1 b1", routes="r1"))
    proxy.session.update(fakes.state(2, clusters="a2 b1", routes="r1"))
    proxy.run()
    assert proxy.log == [(CDS, ("a",), ()), (EDS, ("a",), ())]
    assert proxy.session.acknowledged == 2


def test_a_changed_cluster_has_its_endpoints_sent_behind_it_even_if_they_are_under_way() -> None:
    """Those under way may arrive before the cluster, which would then warm without them."""
    proxy = fakes.connected(fakes.state(1, clusters="a1", routes="r1"))
    moved = fakes.state(2, clusters="a1", routes="r1")
    moved = dataclasses.replace(moved, entries={**moved.entries, EDS: {"a": fakes.entry("elsewhere")}})
    proxy.session.update(moved)
    under_way = proxy.next()
    assert under_way is not None
    assert under_way.type_url == EDS
    proxy.session.update(dataclasses.replace(moved, version=3, entries={**moved.entries, CDS: {"a": fakes.entry("a2")}}))
    cluster = proxy.next()
    assert cluster is not None
    assert cluster.type_url == CDS
    assert proxy.next() is None
    proxy.take(under_way)
    proxy.take(cluster)
    proxy.run()
    assert proxy.log[-1] == (EDS, ("a",), ())
    assert proxy.held[CDS] == {"a": "a2"}
    assert proxy.session.acknowledged == 3


def test_a_cluster_is_removed_after_the_routes_are_acknowledged() -> None:
    """No route may name a cluster that is gone."""
    proxy = fakes.connected(fakes.state(1, clusters="a1 b1", routes="r1"))
    proxy.session.update(fakes.state(2, clusters="a1", routes="r2"))
    response = proxy.next()
    assert response is not None
    assert response.type_url == RDS
    assert proxy.next() is None
    proxy.take(response)
    proxy.run()
    assert proxy.log == [(RDS, ("r",), ()), (CDS, (), ("b",))]
    assert proxy.session.acknowledged == 2
