"""Stands in for the pods of a large fleet: one server that answers for all their addresses.

The addresses must be local (see `operator_scale`). Engines answer with one metrics page in plain HTTP; proxies with counters
of attempts over mTLS, with the certificates that the operator made for their gateways, and they confirm whatever its ADS server
sends. The counters do not move.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import contextlib
import dataclasses
import functools
import pathlib
import ssl
import tempfile
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

import grpc
from aiohttp import web
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2

from sluice.api import naming
from sluice.workloads import gateway as gateway_objects
from sluice.workloads import pod_template
from sluice.xds import order
from tests.support import kubelet

POD_NETWORK: Final = "10.244.0.0/16"
XDS_NAME: Final = "sluice-xds.sluice-system.svc"
RECONNECT_SECONDS: Final = 1.0
_STARTED_SECONDS_AGO: Final = 3600
_ENGINE_PAGE_BYTES: Final = 52_000
"""The size of a real page of vLLM's."""


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What a gateway's Secret holds, as PEM."""

    ca: bytes
    chain: bytes
    key: bytes

    def server_context(self) -> ssl.SSLContext:
        """For one that asks its clients for a certificate of the same CA."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self.ca.decode())
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.chain + self.key)
            file.flush()
            context.load_cert_chain(file.name)
        return context


class Pods:
    """A context manager: while inside, pods answer. `reads` counts the pages that were asked for, by kind.

    The operator's ADS server must listen on `xds_port` of every address: a connection to a local address comes from the same
    one, and by that the operator knows its proxies.
    """

    def __init__(self, kubeconfig: pathlib.Path, xds_port: int) -> None:
        self._client = kubelet.client(kubeconfig)
        self._xds_port = xds_port
        self._streams: list[asyncio.Task[None]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stand-ins", daemon=True)
        self._runners: list[web.AppRunner] = []
        self._counts: collections.Counter[str] = collections.Counter()
        self._pages: dict[str, str] = {}
        """By address."""
        self._certificates: dict[str, Certificate] = {}
        """By address."""

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._serve(_app(self._counts, "engine", _engine_page), "0.0.0.0", pod_template.PORT, None))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._do(self._end_streams())
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
                certificate = self._certificate(pod["metadata"]["namespace"], labels[naming.LABEL_GATEWAY])
                self._certificates[address] = certificate
                app = _app(self._counts, "proxy", functools.partial(self._pages.__getitem__, address))
                self._do(self._serve(app, address, gateway_objects.STATS_PORT, certificate.server_context()))
                self._do(self._follow(address, certificate))

    def _proxy_page(self, namespace: str) -> str:
        """One series for each revision that has pods, as a proxy of the namespace would have after some traffic."""
        found = self._client.get(f"/apis/apps/v1/namespaces/{namespace}/deployments").json()["items"]
        revisions = [obj["metadata"]["name"] for obj in found if "sluice.dev/revision" in obj["metadata"]["labels"]]
        rest = 'code="200",flags="-",stream="",placeholder=""'
        lines = [f'envoy_sluice_attempts{{revision="{namespace}/{name}",route="{name}",{rest}}} 40' for name in revisions]
        return "\n".join([*lines, f"envoy_server_uptime{{}} {_STARTED_SECONDS_AGO}", ""])

    def any_certificate(self) -> Certificate:
        """That of some gateway."""
        return next(iter(self._certificates.values()))

    def _certificate(self, namespace: str, gateway: str) -> Certificate:
        secret = self._client.get(f"/api/v1/namespaces/{namespace}/secrets/{gateway_objects.tls_secret_name(gateway)}").json()
        data = {key: base64.b64decode(value) for key, value in secret["data"].items()}
        return Certificate(data["ca.crt"], data["tls.crt"], data["tls.key"])

    async def _follow(self, address: str, certificate: Certificate) -> None:
        self._streams.append(asyncio.create_task(_confirm_all(f"{address}:{self._xds_port}", certificate)))

    async def _end_streams(self) -> None:
        for stream in self._streams:
            stream.cancel()
        await asyncio.gather(*self._streams, return_exceptions=True)

    async def _serve(self, app: web.Application, address: str, port: int, context: ssl.SSLContext | None) -> None:
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, address, port, ssl_context=context).start()

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


async def _confirm_all(target: str, certificate: Certificate) -> None:
    """A proxy's ADS stream: confirms whatever comes, and connects again when it ends, until cancelled."""
    credentials = grpc.ssl_channel_credentials(certificate.ca, certificate.key, certificate.chain)
    options = (("grpc.ssl_target_name_override", XDS_NAME), ("grpc.max_receive_message_length", -1))
    async with grpc.aio.secure_channel(target, credentials, options=options) as channel:
        while True:
            call = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                for kind in order.ADD:
                    request = discovery_pb2.DeltaDiscoveryRequest(type_url=kind, resource_names_subscribe=["*"])
                    request.node.id = target
                    await call.write(request)
                while (response := await call.read()) is not grpc.aio.EOF:
                    await call.write(
                        discovery_pb2.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
                    )
            await asyncio.sleep(RECONNECT_SECONDS)


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
