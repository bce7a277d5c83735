"""What one proxy has asked for, and how often it is answered."""

from __future__ import annotations

from sluice.xds import delta, snapshot
from tests.unit.xds import fakes

CDS, EDS, LDS, RDS = snapshot.CLUSTER, snapshot.ENDPOINTS, snapshot.LISTENER, snapshot.ROUTE


def test_nothing_is_sent_before_the_first_snapshot() -> None:
    """A leader that does not know a gateway yet must not take its configuration away."""
    proxy = fakes.Proxy()
    proxy.connect()
    assert proxy.next() is None
    assert not proxy.session.in_sync


def test_first_wildcard_request_is_answered_even_with_nothing() -> None:
    """Envoy waits for its first answer: an empty one ends the wait."""
    proxy = fakes.Proxy()
    proxy.connect()
    proxy.session.update(delta.Snapshot(1, {}))
    proxy.run()
    assert proxy.log == [(CDS, (), ()), (LDS, (), ())]
    assert proxy.session.acknowledged == 1


def test_a_name_that_does_not_exist_is_answered_once() -> None:
    """Otherwise the proxy would wait for it until its time is over."""
    proxy = fakes.connected(fakes.state(1, clusters="a1", routes="r1"))
    proxy.session.receive(delta.Request(EDS, ("z",)))
    response = proxy.next()
    assert response is not None
    assert response.removed == ("z",)
    proxy.session.receive(delta.Request(EDS, nonce=response.nonce))
    assert proxy.next() is None


def test_asking_again_by_name_is_answered_again() -> None:
    """The protocol says so: the proxy may have dropped it."""
    proxy = fakes.connected(fakes.state(1, clusters="a1", routes="r1"))
    proxy.session.receive(delta.Request(RDS, ("r",)))
    assert not proxy.session.in_sync
    response = proxy.next()
    assert response is not None
    assert tuple(response.resources) == ("r",)


def test_an_unsubscribed_resource_is_no_longer_sent() -> None:
    """Nor is the proxy in sync without it, as long as it belongs to the state."""
    proxy = fakes.connected(fakes.state(1, clusters="a1", routes="r1"))
    proxy.session.receive(delta.Request(RDS, unsubscribe=("r",)))
    proxy.session.update(fakes.state(2, clusters="a1", routes="r2"))
    assert proxy.next() is None
    assert not proxy.session.in_sync


def test_explicit_wildcard_can_be_left() -> None:
    """`*` subscribes to all, and unsubscribing it leaves only what was named."""
    session = delta.Session()
    session.receive(delta.Request(CDS, ("*", "a")))
    session.receive(delta.Request(CDS, unsubscribe=("*",)))
    session.update(fakes.state(1, clusters="a1 b1"))
    response = session.next_response(0.0)
    assert response is not None
    assert tuple(response.resources) == ("a",)
