"""The operator's own HTTP port: `/healthz` (the event loop turns), `/readyz` (the cache is complete), `/metrics`."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from sluice.observability import metrics


class Server:
    """Serves the three paths on every replica, leader or not."""

    def __init__(self, *, not_ready: Callable[[], str | None]) -> None:
        self._not_ready = not_ready
        self._runner: web.AppRunner | None = None

    async def start(self, address: str, port: int) -> None:
        """Listens. Raises OSError when the port is taken."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, address, port).start()

    async def stop(self) -> None:
        """Stops listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        # That it answers at all is the statement: a stuck loop doesn't, and the kubelet restarts us.
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        reason = self._not_ready()
        return web.Response(text="ok\n") if reason is None else web.Response(status=503, text=f"{reason}\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
