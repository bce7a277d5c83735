"""One proxy's ADS stream: moves requests into a `delta.Session` and its responses out, until somebody ends it.

Reading never waits for writing, and a proxy that does not read holds up only its own writer, with one response under way:
its session keeps following the latest state meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import grpc
from envoy.service.discovery.v3 import discovery_pb2

from sluice.xds import delta


class Stream:
    """The server's side of one stream. Everything happens in one event loop."""

    def __init__(
        self,
        context: Any,
        *,
        on_request: Callable[[Any], None],
        on_response: Callable[[delta.Response], None],
    ) -> None:
        self.session = delta.Session()
        self._context = context
        self._on_request = on_request
        self._on_response = on_response
        self._wake = asyncio.Event()
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        """The session may have something to send."""
        self._wake.set()

    def end(self, reason: str) -> None:
        """Refuses the rest of the stream: the proxy connects again, maybe elsewhere. Safe to call more than once."""
        if not self._ended.done():
            self._ended.set_result(reason)

    async def run(self) -> None:
        """Serves until the proxy leaves (returns) or `end` is called (aborts with UNAVAILABLE).

        To cancel a handler's task sends nothing, and the proxy would wait for ever on a half-open stream: hence `abort`.
        """
        # Before any response: a first write that is cancelled would leave it open whether they were sent, and `abort` could
        # then neither send them again nor do without.
        await self._context.send_initial_metadata(())
        tasks: set[asyncio.Future[Any]] = {asyncio.ensure_future(self._read()), asyncio.ensure_future(self._write())}
        try:
            await asyncio.wait({*tasks, self._ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        if self._ended.done():
            await self._context.abort(grpc.StatusCode.UNAVAILABLE, self._ended.result())
        for result in results:
            if isinstance(result, Exception) and not self._context.cancelled():
                raise result

    async def _read(self) -> None:
        while (request := await self._context.read()) is not grpc.aio.EOF:
            self._on_request(request)
            self._wake.set()

    async def _write(self) -> None:
        while True:
            now = asyncio.get_running_loop().time()
            response = self.session.next_response(now)
            if response is None:
                self._wake.clear()
                again = self.session.look_again
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(again if again is not None and again > now else None):
                        await self._wake.wait()
                continue
            self._on_response(response)
            await self._context.write(build_response(response))


def parse_request(message: Any) -> delta.Request:
    """The protobuf request as our value."""
    return delta.Request(
        type_url=message.type_url,
        subscribe=tuple(message.resource_names_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe),
        initial_versions=dict(message.initial_resource_versions),
        nonce=message.response_nonce,
        error=message.error_detail.message if message.HasField("error_detail") else None,
    )


def build_response(response: delta.Response) -> Any:
    """Our value as the protobuf response."""
    message = discovery_pb2.DeltaDiscoveryResponse(
        type_url=response.type_url,
        nonce=response.nonce,
        system_version_info=str(response.version),
        removed_resources=response.removed,
    )
    for name, entry in response.resources.items():
        resource = message.resources.add(name=name, version=entry.version)
        resource.resource.type_url = response.type_url
        resource.resource.value = entry.body
    return message
