"""Which proxies are waited for."""

from __future__ import annotations

from envoy.config.route.v3 import route_pb2

from sluice.xds import delta, proxies, snapshot

ONE, TWO = proxies.ProxyKey("gw", "10.0.0.1"), proxies.ProxyKey("gw", "10.0.0.2")
GONE_AFTER = 60.0


def fleet(since: float = 0.0) -> proxies.Fleet:
    made = proxies.Fleet(since)
    set_version(made, 1)
    return made


def set_version(made: proxies.Fleet, version: int) -> None:
    latest, changed = made.update(
        {snapshot.ROUTE: {"r": route_pb2.RouteConfiguration(name="r", virtual_hosts=[{"name": str(version)}])}}
    )
    assert changed
    assert latest.version == version


def confirm(session: delta.Session) -> None:
    """A proxy that takes whatever it is sent."""
    for kind, names in ((snapshot.CLUSTER, ()), (snapshot.LISTENER, ()), (snapshot.ROUTE, ("r",))):
        session.receive(delta.Request(kind, names if not session.held(kind) else ()))
    while (response := session.next_response(0.0)) is not None:
        session.receive(delta.Request(response.type_url, nonce=response.nonce))


def connect(made: proxies.Fleet, key: proxies.ProxyKey, *, confirmed: bool = True) -> delta.Session:
    session = delta.Session()
    made.connected(key, session)
    if confirmed:
        confirm(session)
    return session


def acknowledged(made: proxies.Fleet, version: int, now: float) -> bool:
    return made.acknowledged(version, now, GONE_AFTER)


def test_every_connected_proxy_must_have_confirmed() -> None:
    """One that has not is enough to wait."""
    made = fleet()
    connect(made, ONE)
    assert acknowledged(made, 1, 0)
    late = connect(made, TWO, confirmed=False)
    assert not acknowledged(made, 1, 0)
    confirm(late)
    assert acknowledged(made, 1, 0)
    assert made.state() == proxies.ProxyState(connected=2, in_sync=2)


def test_a_later_version_confirms_the_earlier_ones_and_not_the_reverse() -> None:
    """Proxies skip states that passed meanwhile."""
    made = fleet()
    session = connect(made, ONE)
    set_version(made, 2)
    assert acknowledged(made, 1, 0)
    assert not acknowledged(made, 2, 0)
    set_version(made, 3)
    confirm(session)
    assert acknowledged(made, 2, 0)


def test_nobody_connected_is_no_confirmation_until_the_proxies_must_be_gone() -> None:
    """After a change of leader the proxies are out there, with whatever they were told last."""
    made = fleet(since=100)
    assert not acknowledged(made, 1, 159)
    assert acknowledged(made, 1, 160)


def test_a_proxy_that_left_is_waited_for_and_then_not() -> None:
    """It goes on serving without us."""
    made = fleet()
    connect(made, ONE)
    session = connect(made, TWO)
    set_version(made, 2)
    assert made.disconnected(TWO, session, 10)
    confirm(made.sessions[ONE])
    assert acknowledged(made, 1, 11)
    assert not acknowledged(made, 2, 69)
    assert acknowledged(made, 2, 70)
    made.prune(70, GONE_AFTER)
    assert acknowledged(made, 2, 70)


def test_a_stream_that_was_replaced_does_not_count_when_it_ends() -> None:
    """The proxy has a newer one."""
    made = fleet()
    old = connect(made, ONE)
    new = connect(made, ONE)
    assert not made.disconnected(ONE, old, 10)
    assert made.sessions == {ONE: new}


def test_expected_proxies_are_waited_for_by_address() -> None:
    """One of two has connected to the new leader: the other may still run the old weight."""
    made = fleet()
    made.expect([ONE.address, TWO.address], 0)
    connect(made, ONE)
    assert not acknowledged(made, 1, 5)
    connect(made, TWO)
    assert acknowledged(made, 1, 5)


def test_an_expected_proxy_that_never_comes_is_given_up() -> None:
    """A pod on a lost node must not stop every rollout."""
    made = fleet()
    made.expect([ONE.address, TWO.address], 0)
    connect(made, ONE)
    made.expect([ONE.address, TWO.address], 30)
    assert not acknowledged(made, 1, 59)
    assert acknowledged(made, 1, 60)


def test_a_proxy_that_no_longer_exists_is_not_waited_for() -> None:
    """Its pod is gone, so it serves nobody."""
    made = fleet()
    connect(made, ONE)
    session = connect(made, TWO)
    set_version(made, 2)
    confirm(made.sessions[ONE])
    made.disconnected(TWO, session, 10)
    assert not acknowledged(made, 2, 11)
    made.expect([ONE.address], 11)
    assert acknowledged(made, 2, 11)


def test_what_was_confirmed_before_another_leader_served_is_void() -> None:
    """It may have told the proxies anything."""
    made = fleet()
    session = connect(made, ONE)
    made.disconnected(ONE, session, 10)
    assert acknowledged(made, 1, 11)
    made.restart(20)
    assert not acknowledged(made, 1, 79)
    assert acknowledged(made, 1, 80)
