"""A plain-HTTP proxy in front of a real API server, which a test can cut, slow, or make tell watches that they are too old.

So a test breaks the network of one client and leaves the API server to everybody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib
import ssl
from typing import Any, Self

import aiohttp
import yaml
from aiohttp import web

from sluice.kube import connection

_GONE = {"kind": "Status", "apiVersion": "v1", "code": 410, "reason": "Expired", "message": "too old resource version"}


class ApiProxy:
    """An async context manager; `kubeconfig` leads through the proxy with the rights of the one it was made from."""

    def __init__(self, kubeconfig: pathlib.Path, directory: pathlib.Path) -> None:
        self._upstream = kubeconfig
        self.kubeconfig = directory / "proxied.kubeconfig"
        self.requests: list[tuple[str, str]] = []
        self._open: dict[int, web.Request] = {}
        self._cut = False
        self._expire: set[str] = set()
        self._fail: dict[str, list[int]] = {}

    async def __aenter__(self) -> Self:
        known = await connection.credentials(await connection.load(self._upstream))
        context = ssl.create_default_context(cafile=known.ca_path)
        assert known.certificate_path
        context.load_cert_chain(known.certificate_path, known.private_key_path)
        self._server = known.server
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=0), read_bufsize=2**21)
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.kubeconfig.write_text(_config(f"http://127.0.0.1:{self._runner.addresses[0][1]}"))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        await self._runner.cleanup()
        await self._session.close()

    def cut(self) -> None:
        """Breaks every open connection, and every new one."""
        self._cut = True
        self._abort(lambda _: True)

    def heal(self) -> None:
        """Lets everything through again."""
        self._cut = False

    def expire(self, plural: str) -> None:
        """Ends the watch of this resource; the next one is told once that its version is too old."""
        self._expire.add(plural)
        self._abort(lambda request: _is_watch(request, plural))

    def fail(self, plural: str, status: int, times: int = 1) -> None:
        """Ends the watch of this resource; the next ones are refused so many times with this HTTP status."""
        self._fail[plural] = [status] * times
        self._abort(lambda request: _is_watch(request, plural))

    def watching(self, plural: str) -> bool:
        """Whether a watch of this resource is open."""
        return any(_is_watch(request, plural) for request in self._open.values())

    def _abort(self, which: Any) -> None:
        for request in list(self._open.values()):
            if which(request) and request.transport:
                self._open.pop(id(request))
                request.transport.abort()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs))
        self._open[id(request)] = request
        try:
            if self._cut:
                assert request.transport
                request.transport.abort()
                return web.Response()
            plural = request.path.rsplit("/", 1)[-1]
            if "watch" in request.query and plural in self._expire:
                self._expire.discard(plural)
                return web.Response(text=json.dumps({"type": "ERROR", "object": _GONE}) + "\n")
            if "watch" in request.query and self._fail.get(plural):
                return web.json_response({"kind": "Status", "message": "as the test wants"}, status=self._fail[plural].pop())
            return await self._forward(request)
        finally:
            self._open.pop(id(request), None)

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        headers = {key: value for key, value in request.headers.items() if key in {"Accept", "Content-Type"}}
        url = self._server + request.raw_path
        limit = aiohttp.ClientTimeout(total=None)
        body = await request.read() or None
        async with self._session.request(request.method, url, headers=headers, data=body, timeout=limit) as answer:
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
            await response.prepare(request)
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            return response


def _is_watch(request: web.Request, plural: str) -> bool:
    return "watch" in request.query and request.path.endswith(f"/{plural}")


def _config(server: str) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "proxied",
            "clusters": [{"name": "proxied", "cluster": {"server": server}}],
            "users": [{"name": "proxied", "user": {}}],
            "contexts": [{"name": "proxied", "context": {"cluster": "proxied", "user": "proxied"}}],
        }
    )
