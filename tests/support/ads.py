"""The least ADS server that can drive a real Envoy: plain text, one kind of client, no identity.

For tests of what the proxies do with resources. The operator's own server (mTLS, versions, leadership) has its own tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2

from sluice.xds import order, snapshot
from tests.support import ports

_WILDCARD: Final = (snapshot.CLUSTER, snapshot.LISTENER)


@dataclasses.dataclass(eq=False)
class _Stream:
    outgoing: asyncio.Queue[Any] = dataclasses.field(default_factory=asyncio.Queue)
    subscribed: dict[str, set[str]] = dataclasses.field(default_factory=dict)
    sent: dict[str, dict[str, bytes]] = dataclasses.field(default_factory=dict)
    unanswered: set[str] = dataclasses.field(default_factory=set)


class Ads(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]
    """Serves one set of resources to every Envoy that connects."""

    def __init__(self) -> None:
        self.port = ports.free()
        self.rejected: list[str] = []
        """What Envoy said of resources that it refused."""
        self._resources: snapshot.Resources = {}
        self._streams: set[_Stream] = set()
        self._nonce = 0
        self._answered = asyncio.Condition()
        self._server = grpc.aio.server()

    async def start(self) -> None:
        """Listens on `port`."""
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(self, self._server)
        self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        """Closes all streams."""
        await self._server.stop(None)

    async def publish(self, resources: snapshot.Resources) -> None:
        """Sends what differs and waits until every connected Envoy has answered. Raises if one refused something."""
        self._resources = resources
        for type_url in order.ADD:
            if type_url == snapshot.ROUTE:
                # A route to a cluster that is still without endpoints would fail its requests.
                await self.settled()
            for stream in self._streams:
                self._send(stream, type_url, removals=False)
        await self.settled()
        for type_url in order.REMOVE:
            for stream in self._streams:
                self._send(stream, type_url)
        await self.settled()

    async def settled(self) -> None:
        """Waits until nothing that was sent is unanswered, and every cluster has its endpoints."""
        async with asyncio.timeout(20), self._answered:
            await self._answered.wait_for(lambda: all(self._is_settled(stream) for stream in self._streams))
        assert not self.rejected, self.rejected

    def _is_settled(self, stream: _Stream) -> bool:
        endpoints = self._resources.get(snapshot.ENDPOINTS, {}).keys()
        return not stream.unanswered and endpoints <= stream.sent.get(snapshot.ENDPOINTS, {}).keys()

    async def DeltaAggregatedResources(self, requests: AsyncIterator[Any], _: Any) -> AsyncIterator[Any]:  # noqa: N802
        """The stream of one Envoy."""
        stream = _Stream()
        self._streams.add(stream)
        reader = asyncio.create_task(self._read(stream, requests))
        try:
            while True:
                yield await stream.outgoing.get()
        finally:
            reader.cancel()
            self._streams.discard(stream)

    async def _read(self, stream: _Stream, requests: AsyncIterator[Any]) -> None:
        async for request in requests:
            if request.response_nonce:
                if request.HasField("error_detail"):
                    self.rejected.append(request.error_detail.message)
                async with self._answered:
                    stream.unanswered.discard(request.response_nonce)
                    self._answered.notify_all()
            wanted = stream.subscribed.setdefault(request.type_url, set())
            wanted.update(request.resource_names_subscribe)
            wanted.difference_update(request.resource_names_unsubscribe)
            for name in (*request.resource_names_subscribe, *request.resource_names_unsubscribe):
                stream.sent.setdefault(request.type_url, {}).pop(name, None)
            if request.resource_names_subscribe or not request.response_nonce:
                self._send(stream, request.type_url, first=not request.response_nonce)

    def _send(self, stream: _Stream, type_url: str, *, removals: bool = True, first: bool = False) -> None:
        if type_url not in stream.subscribed:
            return
        sent = stream.sent.setdefault(type_url, {})
        wanted = stream.subscribed[type_url]
        current = {
            name: message.SerializeToString(deterministic=True)
            for name, message in self._resources.get(type_url, {}).items()
            if type_url in _WILDCARD or name in wanted
        }
        changed = {name: data for name, data in current.items() if sent.get(name) != data}
        removed = [name for name in sent if name not in current] if removals else []
        if not changed and not removed and not first:
            return
        self._nonce += 1
        response = discovery_pb2.DeltaDiscoveryResponse(type_url=type_url, nonce=str(self._nonce), removed_resources=removed)
        for name, data in changed.items():
            resource = response.resources.add(name=name, version=str(self._nonce))
            resource.resource.type_url, resource.resource.value = type_url, data
            sent[name] = data
            if type_url == snapshot.CLUSTER:
                # A changed cluster waits for its endpoints to be sent again.
                stream.sent.get(snapshot.ENDPOINTS, {}).pop(name, None)
        for name in removed:
            del sent[name]
        stream.unanswered.add(response.nonce)
        stream.outgoing.put_nowait(response)


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Ads]:
    """A listening server for the length of the block."""
    server = Ads()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
