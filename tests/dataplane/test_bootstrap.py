"""The proxies' own two ports, and their readiness: who may see what, and when."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import ssl
from collections.abc import AsyncIterator

import aiohttp
import pytest
from cryptography import x509

from sluice.pki import authority, contexts, identity
from sluice.routing import inputs
from sluice.sources import envoy
from tests.support import fleet, ports, upstream

CERTIFICATES = fleet.Certificates()


@contextlib.asynccontextmanager
async def programmed(directory: pathlib.Path) -> AsyncIterator[tuple[fleet.Proxy, int]]:
    """A proxy that serves a model, and the port it does so on."""
    port = ports.free()
    async with upstream.running("stable") as (stable,), fleet.operator(CERTIFICATES) as (ads, xds):
        split = inputs.Split(inputs.Revision("prod/chat-1", (inputs.Endpoint("127.0.0.1", stable.port),)))
        ads.set_resources(fleet.EDGE, fleet.resources(port, split, directory=directory))
        async with fleet.proxy(directory / "proxy", CERTIFICATES.gateway(), xds) as proxy:
            yield proxy, port


async def get(url: str, *, method: str = "GET", context: ssl.SSLContext | None = None) -> tuple[int, str]:
    """Status and body of one request."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context if context is not None else True)) as session,
        session.request(method, url) as response,
    ):
        return response.status, await response.text()


def client(leaf: authority.Leaf) -> ssl.SSLContext:
    """A client of the proxy with this certificate."""
    return contexts.client_context(leaf, identity.gateway_uri(*fleet.EDGE))


async def test_the_operator_reads_counters_and_nothing_else(tmp_path: pathlib.Path) -> None:
    """GET /stats/prometheus with any filter is served; the rest of Envoy's admin, which can stop it, is not."""
    async with programmed(tmp_path) as (proxy, port):
        async with aiohttp.ClientSession() as session:
            assert (await fleet.ask(session, port))[0] == 200
        url, context = f"https://127.0.0.1:{proxy.stats_port}", client(CERTIFICATES.operator())
        async with asyncio.timeout(10):
            while ',le="+Inf"} 1' not in (text := (await get(f"{url}/stats/prometheus?filter=^sluice", context=context))[1]):
                continue
        assert {line.split("{")[0] for line in text.splitlines() if line and not line.startswith("#")} == {
            "envoy_sluice_attempts",
            "envoy_sluice_requests",
            *(f"envoy_sluice_duration_{part}" for part in ("bucket", "sum", "count")),
        }
        ((key, bins),) = envoy.parse(text).histograms.items()
        assert (envoy.parse_histogram(key).revision, sum(bins.values())) == ("prod/chat-1", 1), "it has our buckets"
        for path in ("/", "/config_dump", "/quitquitquit", "/stats", "/ready", "/stats/prometheus/../../config_dump"):
            assert (await get(url + path, context=context))[0] == 404
        assert (await get(url + "/stats/prometheus", method="POST", context=context))[0] == 404


@pytest.mark.parametrize("who", ["nobody", "another gateway", "another authority"])
async def test_counters_are_for_the_operator_only(tmp_path: pathlib.Path, who: str) -> None:
    """Without a certificate, with a gateway's, or with one of a foreign CA there are no counters to see."""
    async with programmed(tmp_path) as (proxy, _):
        if who == "nobody":
            context = ssl.create_default_context(cadata=CERTIFICATES.ca.bundle.decode())
            context.check_hostname = False
        elif who == "another gateway":
            context = client(CERTIFICATES.gateway(("prod", "other")))
        else:
            stranger = fleet.Certificates().operator()
            context = client(authority.Leaf(stranger.certificate, stranger.key, CERTIFICATES.ca.bundle))
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await get(f"https://127.0.0.1:{proxy.stats_port}/stats/prometheus", context=context)


async def test_the_kubelet_sees_readiness_and_nothing_else(tmp_path: pathlib.Path) -> None:
    """The plain port answers GET /ready; everything else is 404."""
    async with programmed(tmp_path) as (proxy, _):
        url = f"http://127.0.0.1:{proxy.probe_port}"
        assert (await get(f"{url}/ready"))[0] == 200
        for path in ("/", "/stats/prometheus", "/config_dump", "/quitquitquit", "/ready/.."):
            assert (await get(url + path))[0] == 404
        assert (await get(f"{url}/ready", method="POST"))[0] == 404


async def test_a_proxy_without_routes_is_never_ready(tmp_path: pathlib.Path) -> None:
    """While no operator answers, a new proxy takes no traffic; a rolling update would else replace those that serve."""
    async with fleet.proxy(tmp_path / "proxy", CERTIFICATES.gateway(), ports.free(), ready=False) as proxy:
        async with asyncio.timeout(20):
            while await _failed_connections(proxy) < 3:
                continue
        assert (await get(f"{proxy.admin}/ready"))[0] == 503
        with pytest.raises(aiohttp.ClientError):
            await get(f"http://127.0.0.1:{proxy.probe_port}/ready")


async def _failed_connections(proxy: fleet.Proxy) -> int:
    """How often the proxy has tried to reach an operator; 0 while it is not up itself."""
    with contextlib.suppress(aiohttp.ClientError):
        text = await proxy.get("/stats?filter=cluster.sluice-xds.upstream_cx_connect_fail")
        return int(text.partition(": ")[2] or 0)
    return 0


async def test_a_renewed_certificate_is_used_without_a_restart(tmp_path: pathlib.Path) -> None:
    """The mounted Secret changes, and new connections see the new certificate while requests go on."""
    async with programmed(tmp_path) as (proxy, port), fleet.Load(port) as load:
        context = client(CERTIFICATES.operator())
        before = await _serial(proxy.stats_port, context)
        renewed = CERTIFICATES.gateway()
        files = {"tls.crt": renewed.certificate, "tls.key": renewed.key, "ca.crt": renewed.bundle}
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
            (tmp_path / name).rename(proxy.certificates / name)
        async with asyncio.timeout(10):
            while await _serial(proxy.stats_port, context) == before:
                continue
        assert await _serial(proxy.stats_port, context) == x509.load_pem_x509_certificate(renewed.certificate).serial_number
        await load.more()
        assert not load.failures


async def _serial(port: int, context: ssl.SSLContext) -> int:
    """Serial number of the certificate that a port shows."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        encoded = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(encoded).serial_number
    finally:
        writer.close()
