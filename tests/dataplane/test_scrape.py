"""Counters of real proxies over mTLS: who may read what, and that nothing is lost or counted twice."""

from __future__ import annotations

import asyncio
import collections
import pathlib
import ssl
import tempfile
from collections.abc import AsyncIterator

import aiohttp
import pytest

from sluice.gates import attempts
from sluice.pki import authority, contexts, identity
from sluice.routing import inputs
from sluice.sources import accumulator, envoy
from tests.support import fleet, gateway, ports, upstream

CERTIFICATES = fleet.Certificates()
STABLE = "prod/stable"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


def context(leaf: authority.Leaf | None = None, gateway_name: tuple[str, str] = fleet.EDGE) -> ssl.SSLContext:
    return contexts.client_context(leaf or CERTIFICATES.operator(), identity.gateway_uri(*gateway_name))


def split(server: upstream.Upstream) -> inputs.Split:
    return inputs.Split(stable=gateway.revision(server, "stable"), canary=None, weight=0)


async def test_only_the_operator_reads_and_only_the_counters(tmp_path: pathlib.Path, session: aiohttp.ClientSession) -> None:
    """The port that the pod network reaches gives nothing of the admin interface but one read-only page."""
    async with upstream.running("stable") as (stable,), fleet.operator(CERTIFICATES) as (ads, xds):
        ads.set_resources(fleet.EDGE, fleet.resources(ports.free(), split(stable), directory=tmp_path))
        async with fleet.proxy(tmp_path / "p", CERTIFICATES.gateway(), xds) as proxy:
            url, trusted = f"https://127.0.0.1:{proxy.stats_port}", context()
            async with session.get(url + envoy.PATH, ssl=trusted) as answer:
                assert answer.status == 200
                assert "envoy_server_uptime" in await answer.text()
            for method, path in (
                ("POST", "/stats/prometheus"), ("POST", "/quitquitquit"), ("GET", "/config_dump"), ("GET", "/stats"),
                ("GET", "/"), ("GET", "/stats/prometheus/../../config_dump"), ("GET", "//config_dump"), ("GET", "/ready"),
            ):  # fmt: skip
                async with session.request(method, url + path, ssl=trusted) as answer:
                    assert answer.status == 404, (method, path)
            nobody = ssl.create_default_context()
            nobody.check_hostname, nobody.verify_mode = False, ssl.CERT_NONE
            strangers = (
                ("no certificate", nobody),
                ("another proxy", context(CERTIFICATES.gateway())),
                ("another gateway's proxy", context(CERTIFICATES.gateway(("prod", "other")))),
                ("another authority", context(_stranger())),
            )
            for who, theirs in strangers:
                with pytest.raises(aiohttp.ClientError):
                    async with session.get(url + envoy.PATH, ssl=theirs) as answer:
                        pytest.fail(f"{who} was answered {answer.status}")


def _stranger() -> authority.Leaf:
    """Another CA's operator, who trusts our CA, so that only its own certificate is wrong."""
    leaf = fleet.Certificates().operator()
    return authority.Leaf(leaf.certificate, leaf.key, CERTIFICATES.ca.bundle)


async def test_a_peer_of_another_gateway_is_refused_before_anything_is_sent(session: aiohttp.ClientSession) -> None:
    """A pod's address may have gone to another pod: its certificate tells, inside the handshake."""
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read(1))
        writer.close()

    server_context = _server_context(CERTIFICATES.gateway(("prod", "other")))
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context)
    port = server.sockets[0].getsockname()[1]
    try:
        with pytest.raises(envoy.ScrapeError, match="sluice://gateway/prod/other"):
            await envoy.scrape(session, "127.0.0.1", port, context())
    finally:
        server.close()
        await server.wait_closed()
    assert b"".join(received) == b""


def _server_context(leaf: authority.Leaf) -> ssl.SSLContext:
    plain = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(leaf.certificate + leaf.key)
        file.flush()
        plain.load_cert_chain(file.name)
    return plain


async def test_what_is_no_proxy_is_a_typed_error(session: aiohttp.ClientSession) -> None:
    """Refused, or silent for longer than a scrape may take: no reading, and the message names the proxy."""
    with pytest.raises(envoy.ScrapeError, match=r"127\.0\.0\.1"):
        await envoy.scrape(session, "127.0.0.1", ports.free(), context())
    silent = await asyncio.start_server(lambda _, __: asyncio.sleep(30), "127.0.0.1", 0)
    try:
        with pytest.raises(envoy.ScrapeError, match="no answer in 1 s"):
            await envoy.scrape(session, "127.0.0.1", silent.sockets[0].getsockname()[1], context())
    finally:
        silent.close()


async def test_differences_are_exactly_what_the_servers_saw(tmp_path: pathlib.Path, session: aiohttp.ClientSession) -> None:
    """Over scrapes, a proxy that takes another's place and a restart of the operator: good and bad attempts, each once."""
    port = ports.free()
    total: collections.Counter[str] = collections.Counter()
    async with upstream.running("stable") as (stable,), fleet.operator(CERTIFICATES) as (ads, xds):
        ads.set_resources(fleet.EDGE, fleet.resources(port, split(stable), directory=tmp_path))
        counted_by = accumulator.Accumulator(revisions={STABLE})

        async def look(proxy: fleet.Proxy) -> None:
            name = proxy.directory.name
            reading = await envoy.scrape(session, "127.0.0.1", proxy.stats_port, context())
            counted = attempts.tally(counted_by.observe({name: reading}).attempts, STABLE)
            total.update(bad=counted.bad, good=counted.total - counted.bad)

        async def ask(count: int, status: int) -> None:
            stable.mode = upstream.Mode.OK if status == 200 else upstream.Mode.ERROR
            async with aiohttp.ClientSession() as client:
                assert {(await fleet.ask(client, port))[0] for _ in range(count)} == {status}

        async with fleet.proxy(tmp_path / "p", CERTIFICATES.gateway(), xds) as proxy:
            await look(proxy)
            await ask(30, 200)
            await ask(3, 500)
            async with asyncio.timeout(5):
                while total.total() < 33:
                    await look(proxy)
            counted_by = accumulator.Accumulator.from_json(counted_by.to_json(), {STABLE})
            await ask(5, 200)
            async with asyncio.timeout(5):
                while total.total() < 38:
                    await look(proxy)
        async with fleet.proxy(tmp_path / "q", CERTIFICATES.gateway(), xds) as proxy:
            await ask(50, 200)
            async with asyncio.timeout(5):
                while total.total() < 88:
                    await look(proxy)
        assert total == {"good": 85, "bad": 3}
        assert stable.count == 88
