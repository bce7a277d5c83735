"""What holds of the delta protocol in every history of states, reconnects and refusals."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sluice.xds import delta, snapshot
from tests.unit.xds import fakes

CDS, EDS, LDS, RDS = snapshot.CLUSTER, snapshot.ENDPOINTS, snapshot.LISTENER, snapshot.ROUTE

_words = st.lists(
    st.sampled_from([f"{name}{content}" for name in "abcd" for content in "123"]), max_size=4, unique_by=lambda w: w[0]
)


@given(
    states=st.lists(st.tuples(_words, st.sampled_from("123"), st.sampled_from(["", "k1", "k2"])), min_size=1, max_size=8),
    steps=st.lists(st.integers(0, 4), min_size=8, max_size=8),
    reconnects=st.sets(st.integers(0, 7)),
    refused=st.sets(st.sampled_from(["a2", "b3", "c1", "r2", "k2"])),
)
def test_every_history_ends_with_the_proxy_holding_the_latest_state_or_a_reported_refusal(
    states: list[tuple[list[str], str, str]], steps: list[int], reconnects: set[int], refused: set[str]
) -> None:
    """Whatever changes, breaks and is refused: what is not reported as refused is held, and acknowledged says exactly that."""
    proxy = fakes.Proxy(refuses=refused, extensions=("k",))
    proxy.connect()
    latest = delta.Snapshot(0, {})
    for index, (clusters, route, keys) in enumerate(states):
        latest = fakes.state(index + 1, clusters=" ".join(clusters), routes=f"r{route}", keys=keys)
        if index in reconnects:
            proxy.connect()
        proxy.session.update(latest)
        for _ in range(steps[index]):
            if (response := proxy.next()) is not None:
                proxy.take(response)
        if proxy.session.acknowledged == latest.version:
            assert {n: e.version for n, e in latest.of(RDS).items()} == proxy.held[RDS]
    proxy.run()
    if reconnects and proxy.warming:
        proxy.give_up_warming()
        proxy.run()
    bad = {(item.type_url, item.name) for item in proxy.session.rejections}
    for kind in (CDS, LDS, RDS, EDS):
        for name, item in latest.of(kind).items():
            reachable = kind != EDS or name in proxy.held[CDS]
            assert (kind, name) in bad or not reachable or proxy.held[kind].get(name) == item.version
    assert proxy.session.in_sync == (not bad)
    if not bad:
        assert set(proxy.held[CDS]) == set(latest.of(CDS))


@given(
    states=st.lists(st.tuples(_words, st.integers(0, 15)), min_size=1, max_size=8),
    steps=st.lists(st.integers(0, 5), min_size=8, max_size=8),
    reconnects=st.sets(st.integers(0, 7)),
)
def test_no_route_ever_names_a_cluster_or_endpoints_that_the_proxy_lacks(
    states: list[tuple[list[str], int]], steps: list[int], reconnects: set[int]
) -> None:
    """Make before break, at every instant of every history: the content of a route is the list of clusters it names."""
    proxy = fakes.Proxy()
    proxy.connect()

    def take_one() -> bool:
        response = proxy.next()
        if response is not None:
            proxy.take(response)
            assert set(proxy.held[RDS].get("r", "r")[1:]) <= proxy.held[CDS].keys()
        return response is not None

    for index, (clusters, mask) in enumerate(states):
        named = "".join(sorted(word[0] for bit, word in enumerate(clusters) if mask >> bit & 1))
        if index in reconnects:
            proxy.connect()
        proxy.session.update(fakes.state(index + 1, clusters=" ".join(clusters), routes=f"r{named}"))
        for _ in range(steps[index]):
            take_one()
    while take_one():
        pass
    if reconnects and proxy.warming:
        # A stream that breaks between a cluster and its endpoints, and a new leader without both: Envoy has to wait.
        proxy.give_up_warming()
        while take_one():
            pass
    assert proxy.session.in_sync
