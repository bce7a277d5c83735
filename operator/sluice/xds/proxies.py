"""What is known of each gateway's proxies: who is connected, who just left, and what all of them have confirmed.

A proxy that lost its stream goes on serving what it has (fail static), so it counts until it has been gone for a while.
The clock is an argument; the streams themselves are `stream.py`'s.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import NamedTuple

from sluice.xds import delta, snapshot, versions


class ProxyKey(NamedTuple):
    """One proxy over its reconnects. Only to tell proxies of one gateway apart: identity is the certificate's."""

    node: str
    """What the proxy calls itself."""
    address: str
    """IP address that it connects from."""


@dataclasses.dataclass(frozen=True)
class ProxyState:
    """What a Gateway's proxies run, for its status."""

    connected: int = 0
    in_sync: int = 0
    """Connected proxies that confirmed everything of the latest version."""
    rejected: int = 0
    """Connected proxies that refuse something of it."""
    errors: tuple[delta.Rejection, ...] = ()
    """What they refuse, each once."""


@dataclasses.dataclass
class _Gone:
    since: float
    acknowledged: int


@dataclasses.dataclass
class Fleet:
    """The proxies of one gateway. `serving_since` is when this process began to serve."""

    serving_since: float
    versioner: versions.Versioner = dataclasses.field(default_factory=versions.Versioner)
    sessions: dict[ProxyKey, delta.Session] = dataclasses.field(default_factory=dict)
    _gone: dict[ProxyKey, _Gone] = dataclasses.field(default_factory=dict)
    _expected: dict[str, float] = dataclasses.field(default_factory=dict)
    """Address -> since when it is expected."""
    _ever_connected: bool = False

    def update(self, resources: snapshot.Resources) -> tuple[delta.Snapshot, bool]:
        """Gives the resources to every session. Returns the latest snapshot and whether it is a new one."""
        changed = self.versioner.update(resources)
        latest = self.versioner.latest
        assert latest is not None
        if changed:
            for session in self.sessions.values():
                session.update(latest)
        return latest, changed

    def connected(self, key: ProxyKey, session: delta.Session) -> None:
        """A stream began. A former one of the same proxy no longer counts."""
        self._gone.pop(key, None)
        self._ever_connected = True
        self.sessions[key] = session
        if self.versioner.latest is not None:
            session.update(self.versioner.latest)

    def disconnected(self, key: ProxyKey, session: delta.Session, now: float) -> bool:
        """A stream ended. Returns whether the proxy is without one now."""
        if self.sessions.get(key) is not session:
            return False
        del self.sessions[key]
        self._gone[key] = _Gone(now, session.acknowledged)
        return True

    def expect(self, addresses: Collection[str], now: float) -> None:
        """The proxies that exist, leaving ones too, by IP address: waited for even if this process has not met them yet."""
        self._expected = {address: self._expected.get(address, now) for address in addresses}
        known = set(addresses)
        for key in [key for key in self._gone if key.address not in known]:
            del self._gone[key]

    def restart(self, now: float) -> None:
        """This process begins to serve (again). Whoever served meanwhile may have told the proxies anything."""
        self.serving_since = now
        self._gone = {key: _Gone(now, 0) for key in (*self._gone, *self.sessions)}
        self._expected = dict.fromkeys(self._expected, now)
        self.sessions = {}
        self._ever_connected = False

    def state(self) -> ProxyState:
        """Counts and errors of the connected proxies."""
        rejections = [session.rejections for session in self.sessions.values()]
        return ProxyState(
            connected=len(self.sessions),
            in_sync=sum(session.in_sync for session in self.sessions.values()),
            rejected=sum(bool(found) for found in rejections),
            errors=tuple(sorted({rejection for found in rejections for rejection in found})),
        )

    def acknowledged(self, version: int, now: float, gone_after: float) -> bool:
        """Whether no proxy can be serving anything older than `version`, except one that is gone for `gone_after` seconds.

        Right after this process began to serve, proxies that it has not met may run anything: until the first connects
        nothing is acknowledged, and those that are expected are waited for by address.
        """
        if any(session.acknowledged < version for session in self.sessions.values()):
            return False
        if any(gone.acknowledged < version and now - gone.since < gone_after for gone in self._gone.values()):
            return False
        met = {key.address for key in (*self.sessions, *self._gone)}
        if any(address not in met and now - since < gone_after for address, since in self._expected.items()):
            return False
        return self._ever_connected or now - self.serving_since >= gone_after

    def prune(self, now: float, gone_after: float) -> None:
        """Forgets proxies that are no longer waited for."""
        for key in [key for key, gone in self._gone.items() if now - gone.since >= gone_after]:
            del self._gone[key]
