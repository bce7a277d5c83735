"""The operator's ADS server: every gateway's proxies get the latest resources, over mTLS, from the leader alone.

A proxy's certificate decides which gateway's resources it gets, whatever else it says of itself. What to send is
`delta.py`'s decision, what is acknowledged `proxies.py`'s; who leads and what the resources are comes from outside.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import ipaddress
import logging
import time
import urllib.parse
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc

from sluice.xds import delta, proxies, snapshot, stream

Gateway = tuple[str, str]
"""(namespace, name) of a Gateway."""
ProxyState = proxies.ProxyState

NOT_LEADER: Final = "This replica does not lead: another one serves"
_STOP_SECONDS: Final = 2.0
_OPTIONS: Final = (
    # Two servers on one port would take turns instead of failing.
    ("grpc.so_reuseport", 0),
    # Envoy pings every few seconds; by default gRPC answers that with GOAWAY "too many pings".
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
    ("grpc.http2.max_ping_strikes", 0),
    # We ping too: a proxy whose node is lost must not count as connected for as long as TCP takes to notice.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", 16 << 20),
)
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Tls:
    """The server's certificate and key, and the bundle of CAs whose clients may connect; all PEM."""

    certificate: bytes
    key: bytes = dataclasses.field(repr=False)
    bundle: bytes


@dataclasses.dataclass
class Counts:
    """What happened since the process began, for metrics. Only ever rises."""

    responses: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Responses sent, by type URL."""
    rejections: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Responses that a proxy refused, by type URL."""
    refused_streams: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Streams not served: `NotLeader` or `NoIdentity`. Certificates of other CAs do not come this far."""


@dataclasses.dataclass
class _Served:
    """One gateway: its fleet and its open streams."""

    gateway: Gateway
    fleet: proxies.Fleet
    tell: Callable[[Gateway], None]
    streams: set[stream.Stream] = dataclasses.field(default_factory=set)

    def changed(self) -> None:
        """Tells whoever listens, in a turn of its own: what goes wrong there must not end a proxy's stream."""
        asyncio.get_running_loop().call_soon(self.tell, self.gateway)

    def end_all(self, reason: str) -> None:
        """Ends all streams."""
        for each in tuple(self.streams):
            each.end(reason)


class AdsServer(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]
    """Serves resources to proxies; all methods are to be called in the event loop that `start` ran in.

    `identify` says which gateway a client certificate (PEM) speaks for. `on_change` is called, in the loop, when something
    in `state` or `acknowledged` of a gateway may have changed; it must be quick.
    """

    def __init__(
        self,
        tls: Tls,
        *,
        identify: Callable[[bytes], Gateway | None],
        on_change: Callable[[Gateway], None] = lambda _: None,
        proxy_gone_after: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts = Counts()
        self._tls = tls
        self._identify = identify
        self._on_change = on_change
        self._gone_after = proxy_gone_after
        self._clock = clock
        self._serving = False
        self._serving_since = clock()
        self._served: dict[Gateway, _Served] = {}
        self._server: Any = None

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return sum(len(served.streams) for served in self._served.values())

    async def start(self, address: str) -> int:
        """Listens on `host:port` and refuses all streams until `serve(True)`. Returns the port.

        Raises:
            OSError: the address cannot be listened on.
        """
        self._server = grpc.aio.server(options=_OPTIONS)
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(self, self._server)
        credentials = grpc.dynamic_ssl_server_credentials(
            _configuration(self._tls), self._fetch_configuration(), require_client_authentication=True
        )
        try:
            port = int(self._server.add_secure_port(address, credentials))
        except RuntimeError as error:
            raise OSError(f"Cannot listen on {address}: {error}") from error
        await self._server.start()
        return port

    async def stop(self) -> None:
        """Ends all streams in order and stops listening."""
        self.serve(leading=False)
        if self._server is not None:
            await self._server.stop(_STOP_SECONDS)
            self._server = None

    def set_tls(self, tls: Tls) -> None:
        """Takes a renewed certificate or bundle, from the next connection on."""
        self._tls = tls

    def serve(self, leading: bool) -> None:
        """Serves, or ends all streams and refuses new ones so that proxies look for the leader."""
        if leading == self._serving:
            return
        self._serving = leading
        if leading:
            self._serving_since = self._clock()
        for served in self._served.values():
            if leading:
                served.fleet.restart(self._serving_since)
            else:
                served.end_all(NOT_LEADER)

    def set_resources(self, gateway: Gateway, resources: snapshot.Resources) -> int:
        """Makes these the gateway's resources and tells its proxies at once. Returns their version.

        The version rises by one when something changed, from 1 on, and means nothing in another process. Messages must not
        be altered afterwards: the same object is taken as unchanged.
        """
        served = self._of(gateway)
        latest, changed = served.fleet.update(resources)
        if changed:
            for each in served.streams:
                each.wake()
        return latest.version

    def forget(self, gateway: Gateway) -> None:
        """The Gateway is gone. Its proxies keep what they have until they end."""
        served = self._served.pop(gateway, None)
        if served is not None:
            served.end_all("This gateway is gone")

    def expect(self, gateway: Gateway, addresses: Collection[str]) -> None:
        """Which proxies exist, by the IP address they connect from (leaving ones too).

        `acknowledged` waits for those even if they have not connected to this process yet, as after a change of leader.
        """
        self._of(gateway).fleet.expect(addresses, self._clock())

    def state(self, gateway: Gateway) -> ProxyState:
        """What the gateway's proxies run."""
        served = self._served.get(gateway)
        return served.fleet.state() if served is not None else ProxyState()

    def acknowledged(self, gateway: Gateway, version: int) -> bool:
        """Whether every proxy confirmed all of this version, or of a later one.

        A proxy without a stream goes on serving what it has: it is waited for until it has been gone for `proxy_gone_after`
        seconds. So are, after a change of leader, proxies that have not connected yet: all of them until the first did, and
        the expected ones after that. Confirmed means that Envoy's main thread took it; its workers follow within
        milliseconds.
        """
        served = self._served.get(gateway)
        return self._serving and served is not None and served.fleet.acknowledged(version, self._clock(), self._gone_after)

    def held(self, gateway: Gateway, type_url: str) -> Mapping[proxies.ProxyKey, Mapping[str, str]]:
        """Name -> version of what each connected proxy holds of a type; from its first request on what it brought along."""
        served = self._served.get(gateway)
        return {key: session.held(type_url) for key, session in served.fleet.sessions.items()} if served is not None else {}

    async def DeltaAggregatedResources(self, _: Any, context: Any) -> None:  # noqa: N802 - gRPC's name
        """One proxy's stream."""
        if not self._serving:
            self.counts.refused_streams["NotLeader"] += 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, NOT_LEADER)
        gateway = self._identify(_certificate(context))
        if gateway is None:
            self.counts.refused_streams["NoIdentity"] += 1
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "The certificate names no gateway")
            return
        connection = _Connection(self._of(gateway), context, self.counts)
        try:
            await connection.run()
        finally:
            if connection.left(self._clock()):
                asyncio.get_running_loop().call_later(self._gone_after, self._gone, gateway)

    def _of(self, gateway: Gateway) -> _Served:
        if gateway not in self._served:
            self._served[gateway] = _Served(gateway, proxies.Fleet(self._serving_since), self._on_change)
        return self._served[gateway]

    def _gone(self, gateway: Gateway) -> None:
        """A proxy may have been gone long enough not to be waited for any more."""
        if (served := self._served.get(gateway)) is not None:
            served.fleet.prune(self._clock(), self._gone_after)
            served.changed()

    def _fetch_configuration(self) -> Callable[[], Any]:
        used = self._tls

        def fetch() -> Any:
            """Called by gRPC at each handshake, in a thread of its own: the new configuration, or None for no change."""
            nonlocal used
            latest = self._tls
            if latest is used:
                return None
            used = latest
            return _configuration(latest)

        return fetch


class _Connection:
    """Ties one stream to the fleet of its gateway."""

    def __init__(self, served: _Served, context: Any, counts: Counts) -> None:
        self._served = served
        self._counts = counts
        self._address = peer_address(context.peer())
        self._stream = stream.Stream(context, on_request=self._request, on_response=self._response)
        self._key: proxies.ProxyKey | None = None

    async def run(self) -> None:
        """Serves until the stream ends, one way or the other."""
        self._served.streams.add(self._stream)
        try:
            await self._stream.run()
        finally:
            self._served.streams.discard(self._stream)

    def left(self, now: float) -> bool:
        """Takes note that the stream has ended. Returns whether a proxy is without one now."""
        if self._key is None or not self._served.fleet.disconnected(self._key, self._stream.session, now):
            return False
        self._served.changed()
        return True

    def _request(self, message: Any) -> None:
        if self._key is None:
            self._enter(message.node.id)
        session = self._stream.session
        before = (session.acknowledged, session.in_sync, session.rejections)
        request = stream.parse_request(message)
        session.receive(request)
        if request.error is not None:
            self._counts.rejections[request.type_url] += 1
            _log.warning(
                "Proxy %s of %s/%s refused a %s: %s", self._key, *self._served.gateway, request.type_url, request.error
            )
        if before != (session.acknowledged, session.in_sync, session.rejections):
            self._served.changed()

    def _response(self, response: delta.Response) -> None:
        self._counts.responses[response.type_url] += 1

    def _enter(self, node: str) -> None:
        """The first request says which proxy it is. A former stream of the same proxy is dead, whether TCP knows or not."""
        self._key = proxies.ProxyKey(node, self._address)
        former = self._served.fleet.sessions.get(self._key)
        for each in tuple(self._served.streams):
            if each.session is former:
                each.end("A newer stream of this proxy took over")
        self._served.fleet.connected(self._key, self._stream.session)
        self._served.changed()


def peer_address(peer: str) -> str:
    """The IP address in gRPC's name of a peer (`ipv4:10.0.0.1:1234`, `ipv6:%5B::1%5D:1234`)."""
    text = urllib.parse.unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]")
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return peer


def _certificate(context: Any) -> bytes:
    found = context.auth_context().get("x509_pem_cert") or (b"",)
    return bytes(found[0])


def _configuration(tls: Tls) -> Any:
    return grpc.ssl_server_certificate_configuration([(tls.key, tls.certificate)], tls.bundle)
