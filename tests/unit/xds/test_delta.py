"""The delta xDS protocol as seen by one proxy."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.xds import delta, snapshot

CDS, EDS, LDS, RDS, ECDS = (
    snapshot.CLUSTER, snapshot.ENDPOINTS, snapshot.LISTENER, snapshot.ROUTE, snapshot.EXTENSION,
)  # fmt: skip


def entry(text: str) -> delta.Entry:
    return delta.Entry(text, text.encode())


def state(version: int, *, clusters: str = "", routes: str = "", listener: str = "l1", keys: str = "") -> delta.Snapshot:
    """`clusters="a1 b2"`: clusters a and b in contents 1 and 2, each with endpoints; the rest alike."""

    def entries(words: str) -> dict[str, delta.Entry]:
        return {word[0]: entry(word) for word in words.split()}

    return delta.Snapshot(
        version,
        {
            CDS: entries(clusters),
            EDS: {name: entry(f"{name}-endpoints") for name in entries(clusters)},
            LDS: entries(listener),
            RDS: entries(routes),
            ECDS: entries(keys),
        },
        {name: name for name in entries(clusters)},
    )


@dataclasses.dataclass
class Proxy:
    """A proxy that behaves as Envoy does.

    It asks for the endpoints of its clusters, unless it has asked before; confirms clusters only when all of them are warm,
    that is when endpoints came after them; and asks for routes and extensions once it has a listener.
    """

    session: delta.Session = dataclasses.field(default_factory=delta.Session)
    held: dict[str, dict[str, str]] = dataclasses.field(default_factory=lambda: {t: {} for t in (CDS, EDS, LDS, RDS, ECDS)})
    refuses: set[str] = dataclasses.field(default_factory=set)
    """Versions that it refuses."""
    log: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = dataclasses.field(default_factory=list)
    named: dict[str, set[str]] = dataclasses.field(default_factory=lambda: {t: set() for t in (EDS, RDS, ECDS)})
    routes: tuple[str, ...] = ("r",)
    extensions: tuple[str, ...] = ()
    warming: dict[str, str] = dataclasses.field(default_factory=dict)
    unconfirmed: delta.Response | None = None
    now: float = 0.0

    def connect(self) -> None:
        self.session = delta.Session()
        self.unconfirmed = None
        for kind in (CDS, LDS):
            kept = {**self.held[kind], **(self.warming if kind == CDS else {})}
            self.session.receive(delta.Request(kind, initial_versions=kept))
        for kind, names in self.named.items():
            if names:
                self.session.receive(delta.Request(kind, tuple(names), initial_versions=dict(self.held[kind])))

    def next(self) -> delta.Response | None:
        return self.session.next_response(self.now)

    def take(self, response: delta.Response) -> None:
        kind = response.type_url
        self.log.append((kind, tuple(response.resources), response.removed))
        bad = [name for name, item in response.resources.items() if item.version in self.refuses]
        good = {name: item.version for name, item in response.resources.items() if name not in bad}
        if kind == CDS:
            self.warming |= good
        else:
            self.held[kind] |= good
        for name in response.removed:
            self.held[kind].pop(name, None)
        if kind == EDS:
            for name in {*good, *response.removed} & self.warming.keys():
                self.held[CDS][name] = self.warming.pop(name)
        if kind == CDS and self.warming and not bad:
            self.unconfirmed = response
        else:
            error = f"bad {' '.join(bad)}" if bad else None
            self.session.receive(delta.Request(kind, nonce=response.nonce, error=error))
        self._ask(EDS, {*self.held[CDS], *self.warming})
        if self.held[LDS]:
            self._ask(RDS, set(self.routes))
            self._ask(ECDS, set(self.extensions))
        if not self.warming:
            self.confirm_clusters()

    def confirm_clusters(self) -> None:
        if self.unconfirmed is not None:
            self.session.receive(delta.Request(CDS, nonce=self.unconfirmed.nonce))
            self.unconfirmed = None

    def give_up_warming(self) -> None:
        """What Envoy does after 15 s: the clusters serve with what they have."""
        self.held[CDS] |= self.warming
        self.warming.clear()
        self.confirm_clusters()

    def _ask(self, kind: str, wanted: set[str]) -> None:
        new, gone = wanted - self.named[kind], self.named[kind] - wanted
        self.named[kind] = wanted
        for name in gone:
            self.held[kind].pop(name, None)
        if new or gone:
            self.session.receive(delta.Request(kind, tuple(sorted(new)), tuple(sorted(gone))))

    def run(self, limit: int = 200) -> None:
        for _ in range(limit):
            response = self.next()
            if response is None:
                return
            self.take(response)
        pytest.fail("the server never comes to rest")


def connected(latest: delta.Snapshot) -> Proxy:
    proxy = Proxy()
    proxy.connect()
    proxy.session.update(latest)
    proxy.run()
    proxy.log.clear()
    return proxy


def test_nothing_is_sent_before_the_first_snapshot() -> None:
    """A leader that does not know a gateway yet must not take its configuration away."""
    proxy = Proxy()
    proxy.connect()
    assert proxy.next() is None
    assert not proxy.session.in_sync


def test_first_configuration_arrives_in_make_before_break_order() -> None:
    """Clusters, then their endpoints, then listeners, then routes; acknowledged only at the end."""
    proxy = Proxy()
    proxy.connect()
    proxy.session.update(state(7, clusters="a1 b1", routes="r1"))
    proxy.run()
    assert [kind for kind, _, _ in proxy.log] == [CDS, EDS, LDS, RDS]
    assert proxy.session.acknowledged == 7
    assert proxy.session.in_sync


def test_first_wildcard_request_is_answered_even_with_nothing() -> None:
    """Envoy waits for its first answer: an empty one ends the wait."""
    proxy = Proxy()
    proxy.connect()
    proxy.session.update(delta.Snapshot(1, {}))
    proxy.run()
    assert proxy.log == [(CDS, (), ()), (LDS, (), ())]
    assert proxy.session.acknowledged == 1


def test_only_what_changed_is_sent() -> None:
    """A weight change is one route configuration, whatever else there is."""
    proxy = connected(state(1, clusters="a1 b1", routes="r1"))
    proxy.session.update(state(2, clusters="a1 b1", routes="r2"))
    proxy.run()
    assert proxy.log == [(RDS, ("r",), ())]


def test_a_route_waits_for_endpoints_of_a_new_cluster_that_were_not_asked_for_yet() -> None:
    """The proxy may confirm a cluster before it asks for the endpoints: a route that names it must not slip in between."""
    proxy = connected(state(1, clusters="a1", routes="r1"))
    proxy.session.update(state(2, clusters="a1 b1", routes="rb"))
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
    proxy = connected(state(1, clusters="a1", routes="r1"))
    proxy.session.update(state(2, clusters="a1 b1", routes="rb"))
    response = proxy.next()
    assert response is not None
    proxy.session.receive(delta.Request(EDS, ("b",)))
    response = proxy.next()
    assert response is not None
    assert (response.type_url, tuple(response.resources)) == (EDS, ("b",))


def test_a_weight_does_not_wait_for_a_cluster_that_it_does_not_need() -> None:
    """A rollback goes out at once, whatever else is being added."""
    proxy = connected(state(1, clusters="a1", routes="r1"))
    proxy.session.update(state(2, clusters="a2 b1", routes="ra"))
    sent = [response.type_url for _ in range(3) if (response := proxy.next()) is not None]
    assert sent == [CDS, EDS, RDS]


def test_a_cluster_that_stays_cold_holds_a_route_up_for_a_second_only() -> None:
    """A provider whose name does not resolve must not keep a weight on a bad canary."""
    proxy = connected(state(1, clusters="a1", routes="r1"))
    latest = state(2, clusters="a1 p1", routes="rp")
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


def test_a_changed_cluster_has_its_endpoints_sent_behind_it_even_if_they_are_under_way() -> None:
    """Those under way may arrive before the cluster, which would then warm without them."""
    proxy = connected(state(1, clusters="a1", routes="r1"))
    moved = state(2, clusters="a1", routes="r1")
    moved = dataclasses.replace(moved, entries={**moved.entries, EDS: {"a": entry("elsewhere")}})
    proxy.session.update(moved)
    under_way = proxy.next()
    assert under_way is not None
    assert under_way.type_url == EDS
    proxy.session.update(dataclasses.replace(moved, version=3, entries={**moved.entries, CDS: {"a": entry("a2")}}))
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
    proxy = connected(state(1, clusters="a1 b1", routes="r1"))
    proxy.session.update(state(2, clusters="a1", routes="r2"))
    response = proxy.next()
    assert response is not None
    assert response.type_url == RDS
    assert proxy.next() is None
    proxy.take(response)
    proxy.run()
    assert proxy.log == [(RDS, ("r",), ()), (CDS, (), ("b",))]
    assert proxy.session.acknowledged == 2


def test_a_changed_cluster_is_sent_with_its_endpoints() -> None:
    """Envoy does not ask again for endpoints it has, and would let the changed cluster wait 15 s for them."""
    proxy = connected(state(1, clusters="a1 b1", routes="r1"))
    proxy.session.update(state(2, clusters="a2 b1", routes="r1"))
    proxy.run()
    assert proxy.log == [(CDS, ("a",), ()), (EDS, ("a",), ())]
    assert proxy.session.acknowledged == 2


def test_a_state_that_passed_while_the_proxy_was_busy_is_skipped() -> None:
    """Latest state, never a queue."""
    proxy = connected(state(1, clusters="a1", routes="r1"))
    proxy.session.update(state(2, clusters="a1", routes="r2"))
    under_way = proxy.next()
    assert under_way is not None
    for version in range(3, 9):
        proxy.session.update(state(version, clusters="a1", routes=f"r{version}"))
        assert proxy.next() is None
    proxy.take(under_way)
    assert proxy.session.acknowledged == 1, "it never ran version 2 as the latest"
    proxy.run()
    assert proxy.held[RDS] == {"r": "r8"}
    assert len(proxy.log) == 2
    assert proxy.session.acknowledged == 8


def test_an_old_acknowledgement_is_not_taken_for_a_newer_state() -> None:
    """What is acknowledged is what was sent, not what is wanted meanwhile."""
    proxy = connected(state(1, clusters="a1", routes="r1"))
    proxy.session.update(state(2, clusters="a1", routes="r2"))
    under_way = proxy.next()
    assert under_way is not None
    proxy.session.update(state(3, clusters="a1", routes="r3"))
    proxy.session.receive(delta.Request(RDS, nonce=under_way.nonce))
    assert not proxy.session.in_sync
    assert proxy.session.acknowledged == 1


def test_reconnect_sends_only_endpoints_when_the_proxy_has_the_rest() -> None:
    """`initial_resource_versions` spare the rest; a cluster may be warming, so endpoints always come again."""
    latest = state(1, clusters="a1 b1", routes="r1")
    proxy = connected(latest)
    proxy.connect()
    proxy.session.update(latest)
    proxy.run()
    assert {kind for kind, names, _ in proxy.log if names} == {EDS}
    assert proxy.session.acknowledged == 1
    assert proxy.session.held(RDS) == {"r": "r1"}


def test_reconnect_after_a_change_sends_the_difference() -> None:
    """A new leader brings a proxy from whatever it holds to the present, removals included."""
    proxy = connected(state(1, clusters="a1 b1", routes="r1"))
    proxy.connect()
    proxy.session.update(state(1, clusters="a1 c1", routes="r2"))
    proxy.run()
    sent = [item for item in proxy.log if item[1] or item[2]]
    assert sent == [(CDS, ("c",), ()), (EDS, ("a", "c"), ()), (RDS, ("r",), ()), (CDS, (), ("b",))]
    assert proxy.session.acknowledged == 1


def test_reconnect_does_not_withdraw_an_extension_that_a_listener_still_uses() -> None:
    """Its removal would fail every request until the listener follows."""
    proxy = Proxy(extensions=("k",))
    proxy.connect()
    proxy.session.update(state(1, clusters="a1", routes="r1", keys="k1"))
    proxy.run()
    assert proxy.held[ECDS] == {"k": "k1"}
    proxy.log.clear()
    proxy.connect()
    proxy.session.update(state(1, clusters="a1", routes="r1"))
    proxy.run()
    assert not [item for item in proxy.log if item[0] == ECDS]


def test_a_name_that_does_not_exist_is_answered_once() -> None:
    """Otherwise the proxy would wait for it until its time is over."""
    proxy = connected(state(1, clusters="a1", routes="r1"))
    proxy.session.receive(delta.Request(EDS, ("z",)))
    response = proxy.next()
    assert response is not None
    assert response.removed == ("z",)
    proxy.session.receive(delta.Request(EDS, nonce=response.nonce))
    assert proxy.next() is None


def test_asking_again_by_name_is_answered_again() -> None:
    """The protocol says so: the proxy may have dropped it."""
    proxy = connected(state(1, clusters="a1", routes="r1"))
    proxy.session.receive(delta.Request(RDS, ("r",)))
    assert not proxy.session.in_sync
    response = proxy.next()
    assert response is not None
    assert tuple(response.resources) == ("r",)


def test_an_unsubscribed_resource_is_no_longer_sent() -> None:
    """Nor is the proxy in sync without it, as long as it belongs to the state."""
    proxy = connected(state(1, clusters="a1", routes="r1"))
    proxy.session.receive(delta.Request(RDS, unsubscribe=("r",)))
    proxy.session.update(state(2, clusters="a1", routes="r2"))
    assert proxy.next() is None
    assert not proxy.session.in_sync


def test_explicit_wildcard_can_be_left() -> None:
    """`*` subscribes to all, and unsubscribing it leaves only what was named."""
    session = delta.Session()
    session.receive(delta.Request(CDS, ("*", "a")))
    session.receive(delta.Request(CDS, unsubscribe=("*",)))
    session.update(state(1, clusters="a1 b1"))
    response = session.next_response(0.0)
    assert response is not None
    assert tuple(response.resources) == ("a",)


def test_a_refused_resource_is_reported_and_not_repeated() -> None:
    """The last good one stays at the proxy, and the version is not acknowledged."""
    proxy = connected(state(1, clusters="a1", routes="r1"))
    proxy.refuses = {"r2"}
    proxy.session.update(state(2, clusters="a1", routes="r2"))
    proxy.run()
    assert proxy.held[RDS] == {"r": "r1"}
    assert proxy.session.rejections == (delta.Rejection(RDS, "r", "bad r"),)
    assert proxy.session.acknowledged == 1
    assert len(proxy.log) == 1
    proxy.session.update(state(3, clusters="a1", routes="r3"))
    proxy.run()
    assert not proxy.session.rejections
    assert proxy.session.acknowledged == 3


def test_going_back_to_the_last_good_one_needs_no_response() -> None:
    """The proxy still holds it."""
    proxy = connected(state(1, clusters="a1", routes="r1"))
    proxy.refuses = {"r2"}
    proxy.session.update(state(2, clusters="a1", routes="r2"))
    proxy.run()
    proxy.session.update(state(3, clusters="a1", routes="r1"))
    proxy.run()
    assert len(proxy.log) == 1
    assert proxy.session.acknowledged == 3


def test_one_bad_cluster_among_many_is_found_and_the_others_are_applied() -> None:
    """A refusal names no resource: each is tried alone, and the routes go on."""
    proxy = connected(state(1, clusters="a1", routes="r1"))
    proxy.refuses = {"c2"}
    proxy.session.update(state(2, clusters="a2 b2 c2 d2", routes="r2"))
    proxy.run()
    assert proxy.session.rejections == (delta.Rejection(CDS, "c", "bad c"),)
    assert proxy.held[CDS] == {"a": "a2", "b": "b2", "d": "d2"}
    assert proxy.held[RDS] == {"r": "r2"}


def test_a_group_refused_and_then_reverted_is_sent_again() -> None:
    """Part of a refused response may be in force: only sending says for sure."""
    proxy = connected(state(1, clusters="a1 b1", routes="r1"))
    proxy.refuses = {"b2"}
    proxy.session.update(state(2, clusters="a2 b2", routes="r1"))
    response = proxy.next()
    assert response is not None
    proxy.session.update(state(3, clusters="a1 b1", routes="r1"))
    proxy.take(response)
    assert proxy.warming["a"] == "a2"
    proxy.run()
    assert proxy.held[CDS] == {"a": "a1", "b": "b1"}
    assert proxy.session.acknowledged == 3


def test_no_cluster_is_removed_while_a_route_is_refused() -> None:
    """The route that the proxy kept may name it."""
    proxy = connected(state(1, clusters="a1 b1", routes="r1"))
    proxy.refuses = {"r2"}
    proxy.session.update(state(2, clusters="a1", routes="r2"))
    proxy.run()
    assert set(proxy.held[CDS]) == {"a", "b"}


def test_an_unknown_nonce_confirms_nothing() -> None:
    """Only the response under way can be confirmed."""
    proxy = connected(state(1, clusters="a1", routes="r1"))
    proxy.session.update(state(2, clusters="a1", routes="r2"))
    assert proxy.next() is not None
    proxy.session.receive(delta.Request(RDS, nonce="999"))
    assert not proxy.session.in_sync


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
    proxy = Proxy(refuses=refused, extensions=("k",))
    proxy.connect()
    latest = delta.Snapshot(0, {})
    for index, (clusters, route, keys) in enumerate(states):
        latest = state(index + 1, clusters=" ".join(clusters), routes=f"r{route}", keys=keys)
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
    proxy = Proxy()
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
        proxy.session.update(state(index + 1, clusters=" ".join(clusters), routes=f"r{named}"))
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
