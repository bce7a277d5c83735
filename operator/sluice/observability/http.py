"""`/healthz`, `/readyz` and `/metrics` of one replica.

Alive means that the event loop turns. Ready means that the cache is complete, so a replica that does not lead is ready too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from aiohttp import web

from sluice.observability import metrics, watchdog

Missing = Callable[[], Sequence[str]]
"""What keeps the replica from being ready, in words; empty when nothing does."""


class Numbers(Protocol):
    """The metrics of the process."""

    def render(self) -> bytes:
        """The page that Prometheus scrapes, of `metrics.CONTENT_TYPE`."""


class Server:
    """Serves until `stop`. `port` is that asked for, after `start` the one bound (0 takes any)."""

    def __init__(self, host: str, port: int, *, numbers: Numbers, missing: Missing, dog: watchdog.Watchdog) -> None:
        self._host = host
        self.port = port
        self._numbers = numbers
        self._missing = missing
        self._dog = dog
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self) -> None:
        """Binds. Raises OSError when the port is taken."""
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Closes the port and all connections."""
        await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        if self._dog.stuck:
            return web.Response(status=503, text=f"the event loop stood still for {self._dog.silence:.0f} s\n")
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        missing = self._missing()
        if missing:
            return web.Response(status=503, text="waiting for: " + ", ".join(missing) + "\n")
        return web.Response(text="ok\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._numbers.render(), headers={"Content-Type": metrics.CONTENT_TYPE})
