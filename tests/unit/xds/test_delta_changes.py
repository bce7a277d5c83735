"""What one proxy is sent of a new state, and of the state it finds when it comes back."""

from __future__ import annotations

from sluice.xds import delta, snapshot
from tests.unit.xds import fakes

CDS, EDS, RDS, ECDS = snapshot.CLUSTER, snapshot.ENDPOINTS, snapshot.ROUTE, snapshot.EXTENSION


def test_only_what_changed_is_sent() -> None:
    """A weight change is one route configuration, whatever else there is."""
    proxy = fakes.connected(fakes.state(1, clusters="a1 b1", routes="r1"))
    proxy.session.update(fakes.state(2, clusters="a1 b1", routes="r2"))
    proxy.run()
    assert proxy.log == [(RDS, ("r",), ())]


def test_a_state_that_passed_while_the_proxy_was_busy_is_skipped() -> None:
    """Latest state, never a queue."""
    proxy = fakes.connected(fakes.state(1, clusters="a1", routes="r1"))
    proxy.session.update(fakes.state(2, clusters="a1", routes="r2"))
    under_way = proxy.next()
    assert under_way is not None
    for version in range(3, 9):
        proxy.session.update(fakes.state(version, clusters="a1", routes=f"r{version}"))
        assert proxy.next() is None
    proxy.take(under_way)
    assert proxy.session.acknowledged == 1, "it never ran version 2 as the latest"
    proxy.run()
    assert proxy.held[RDS] == {"r": "r8"}
    assert len(proxy.log) == 2
    assert proxy.session.acknowledged == 8


def test_an_old_acknowledgement_is_not_taken_for_a_newer_state() -> None:
    """What is acknowledged is what was sent, not what is wanted meanwhile."""
    proxy = fakes.connected(fakes.state(1, clusters="a1", routes="r1"))
    proxy.session.update(fakes.state(2, clusters="a1", routes="r2"))
    under_way = proxy.next()
    assert under_way is not None
    proxy.session.update(fakes.state(3, clusters="a1", routes="r3"))
    proxy.session.receive(delta.Request(RDS, nonce=under_way.nonce))
    assert not proxy.session.in_sync
    assert proxy.session.acknowledged == 1


def test_an_unknown_nonce_confirms_nothing() -> None:
    """Only the response under way can be confirmed."""
    proxy = fakes.connected(fakes.state(1, clusters="a1", routes="r1"))
    proxy.session.update(fakes.state(2, clusters="a1", routes="r2"))
    assert proxy.next() is not None
    proxy.session.receive(delta.Request(RDS, nonce="999"))
    assert not proxy.session.in_sync


def test_reconnect_sends_only_endpoints_when_the_proxy_has_the_rest() -> None:
    """`initial_resource_versions` spare the rest; a cluster may be warming, so endpoints always come again."""
    latest = fakes.state(1, clusters="a1 b1", routes="r1")
    proxy = fakes.connected(latest)
    proxy.connect()
    proxy.session.update(latest)
    proxy.run()
    assert {kind for kind, names, _ in proxy.log if names} == {EDS}
    assert proxy.session.acknowledged == 1
    assert proxy.session.held(RDS) == {"r": "r1"}


def test_reconnect_after_a_change_sends_the_difference() -> None:
    """A new leader brings a proxy from whatever it holds to the present, removals included."""
    proxy = fakes.connected(fakes.state(1, clusters="a1 b1", routes="r1"))
    proxy.connect()
    proxy.session.update(fakes.state(1, clusters="a1 c1", routes="r2"))
    proxy.run()
    sent = [item for item in proxy.log if item[1] or item[2]]
    assert sent == [(CDS, ("c",), ()), (EDS, ("a", "c"), ()), (RDS, ("r",), ()), (CDS, (), ("b",))]
    assert proxy.session.acknowledged == 1


def test_reconnect_does_not_withdraw_an_extension_that_a_listener_still_uses() -> None:
    """Its removal would fail every request until the listener follows."""
    proxy = fakes.Proxy(extensions=("k",))
    proxy.connect()
    proxy.session.update(fakes.state(1, clusters="a1", routes="r1", keys="k1"))
    proxy.run()
    assert proxy.held[ECDS] == {"k": "k1"}
    proxy.log.clear()
    proxy.connect()
    proxy.session.update(fakes.state(1, clusters="a1", routes="r1"))
    proxy.run()
    assert not [item for item in proxy.log if item[0] == ECDS]
