"""A proxy that behaves as Envoy does, and small states to send it."""

from __future__ import annotations

import dataclasses

import pytest

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
            if kind == CDS:
                self.warming.pop(name, None)
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
