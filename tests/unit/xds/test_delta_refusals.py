"""What one proxy refuses: it is found, reported, not repeated, and breaks nothing else."""

from __future__ import annotations

from sluice.xds import delta, snapshot
from tests.unit.xds import fakes

CDS, RDS = snapshot.CLUSTER, snapshot.ROUTE


def test_a_refused_resource_is_reported_and_not_repeated() -> None:
    """The last good one stays at the proxy, and the version is not acknowledged."""
    proxy = fakes.connected(fakes.state(1, clusters="a1", routes="r1"))
    proxy.refuses = {"r2"}
    proxy.session.update(fakes.state(2, clusters="a1", routes="r2"))
    proxy.run()
    assert proxy.held[RDS] == {"r": "r1"}
    assert proxy.session.rejections == (delta.Rejection(RDS, "r", "bad r"),)
    assert proxy.session.acknowledged == 1
    assert len(proxy.log) == 1
    proxy.session.update(fakes.state(3, clusters="a1", routes="r3"))
    proxy.run()
    assert not proxy.session.rejections
    assert proxy.session.acknowledged == 3


def test_going_back_to_the_last_good_one_needs_no_response() -> None:
    """The proxy still holds it."""
    proxy = fakes.connected(fakes.state(1, clusters="a1", routes="r1"))
    proxy.refuses = {"r2"}
    proxy.session.update(fakes.state(2, clusters="a1", routes="r2"))
    proxy.run()
    proxy.session.update(fakes.state(3, clusters="a1", routes="r1"))
    proxy.run()
    assert len(proxy.log) == 1
    assert proxy.session.acknowledged == 3


def test_one_bad_cluster_among_many_is_found_and_the_others_are_applied() -> None:
    """A refusal names no resource: each is tried alone, and the routes go on."""
    proxy = fakes.connected(fakes.state(1, clusters="a1", routes="r1"))
    proxy.refuses = {"c2"}
    proxy.session.update(fakes.state(2, clusters="a2 b2 c2 d2", routes="r2"))
    proxy.run()
    assert proxy.session.rejections == (delta.Rejection(CDS, "c", "bad c"),)
    assert proxy.held[CDS] == {"a": "a2", "b": "b2", "d": "d2"}
    assert proxy.held[RDS] == {"r": "r2"}


def test_a_group_refused_and_then_reverted_is_sent_again() -> None:
    """Part of a refused response may be in force: only sending says for sure."""
    proxy = fakes.connected(fakes.state(1, clusters="a1 b1", routes="r1"))
    proxy.refuses = {"b2"}
    proxy.session.update(fakes.state(2, clusters="a2 b2", routes="r1"))
    response = proxy.next()
    assert response is not None
    proxy.session.update(fakes.state(3, clusters="a1 b1", routes="r1"))
    proxy.take(response)
    assert proxy.warming["a"] == "a2"
    proxy.run()
    assert proxy.held[CDS] == {"a": "a1", "b": "b1"}
    assert proxy.session.acknowledged == 3


def test_no_cluster_is_removed_while_a_route_is_refused() -> None:
    """The route that the proxy kept may name it."""
    proxy = fakes.connected(fakes.state(1, clusters="a1 b1", routes="r1"))
    proxy.refuses = {"r2"}
    proxy.session.update(fakes.state(2, clusters="a1", routes="r2"))
    proxy.run()
    assert set(proxy.held[CDS]) == {"a", "b"}
