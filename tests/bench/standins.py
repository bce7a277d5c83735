"""Stands in for the pods of a large fleet: one server that answers for all their addresses.

The addresses must be local (see `operator_scale`). Engines answer with one metrics page in plain HTTP; proxies with counters
of attempts over mTLS, with the certificates that the operator made for their gateways. The counters do not move.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import functools
import pathlib
import ssl
import tempfile
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

from sluice.api import naming
from sluice.workloads import gateway as gateway_objects
from sluice.workloads import pod_template
from tests.support import kubelet

POD_NETWORK: Final = "10.244.0.0/16"
_STARTED_SECONDS_AGO: Final = 3600
_ENGINE_PAGE_BYTES: Final = 52_000
"""The size of a real page of vLLM's."""


class Pods:
    """A context manager: while inside, pods answer. `reads` counts the pages that were asked for, by kind."""

    def __init__(self, kubeconfig: pathlib.Path) -> None:
        self._client = kubelet.client(kubeconfig)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stand-ins", daemon=True)
        self._runners: list[web.AppRunner] = []
        self._counts: collections.Counter[str] = collections.Counter()
        self._pages: dict[str, str] = {}
        """By address."""

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._serve(_app(self._counts, "engine", _engine_page), "0.0.0.0", pod_template.PORT, None))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for runner in self._runners:
            self._do(runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._client.close()

    @property
    def reads(self) -> collections.Counter[str]:
        """Pages answered so far."""
        return collections.Counter(self._counts)

    def refresh(self) -> None:
        """Answers for the proxies that there are by now, with counters of the revisions that there are."""
        selector = {"labelSelector": "app.kubernetes.io/component=gateway"}
        for pod in self._client.get("/api/v1/pods", params=selector).json()["items"]:
            address, labels = pod["status"]["podIP"], pod["metadata"]["labels"]
            known = address in self._pages
            self._pages[address] = self._proxy_page(pod["metadata"]["namespace"])
            if not known:
                context = self._context(pod["metadata"]["namespace"], labels[naming.LABEL_GATEWAY])
                app = _app(self._counts, "proxy", functools.partial(self._pages.__getitem__, address))
                self._do(self._serve(app, address, gateway_objects.STATS_PORT, context))

    def _proxy_page(self, namespace: str) -> str:
        """One series for each revision that has pods, as a proxy of the namespace would have after some traffic."""
        found = self._client.get(f"/apis/apps/v1/namespaces/{namespace}/deployments").json()["items"]
        revisions = [obj["metadata"]["name"] for obj in found if "sluice.dev/revision" in obj["metadata"]["labels"]]
        rest = 'code="200",flags="-",stream="",placeholder=""'
        lines = [f'envoy_sluice_attempts{{revision="{namespace}/{name}",route="{name}",{rest}}} 40' for name in revisions]
        return "\n".join([*lines, f"envoy_server_uptime{{}} {_STARTED_SECONDS_AGO}", ""])

    def _context(self, namespace: str, gateway: str) -> ssl.SSLContext:
        secret = self._client.get(f"/api/v1/namespaces/{namespace}/secrets/{gateway_objects.tls_secret_name(gateway)}").json()
        data = {key: base64.b64decode(value) for key, value in secret["data"].items()}
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=data["ca.crt"].decode())
        with tempfile.NamedTemporaryFile() as file:
            file.write(data["tls.crt"] + data["tls.key"])
            file.flush()
            context.load_cert_chain(file.name)
        return context

    async def _serve(self, app: web.Application, address: str, port: int, context: ssl.SSLContext | None) -> None:
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, address, port, ssl_context=context).start()

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


def _app(counts: collections.Counter[str], kind: str, page: Callable[[], str]) -> web.Application:
    async def answer(_: web.Request) -> web.Response:
        counts[kind] += 1
        return web.Response(text=page())

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    return app


def _engine_page() -> str:
    line = 'vllm:e2e_request_latency_seconds_bucket{engine="0",le="0.5",model_name="chat"} 12.0\n'
    return line * (_ENGINE_PAGE_BYTES // len(line))
