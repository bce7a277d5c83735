"""Reading engines over real sockets: whatever one of them does costs its own value and no other's.

And the port that answers: its certificate and its clients' CAs change while it stays open.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import pathlib
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Self

import aiohttp
import pytest
from aiohttp import web

from sluice.engine import clock
from sluice.kube import cache as kube_cache
from sluice.kube import resources
from sluice.metricsapi import listener, numbers, readings, scraper, selectors
from sluice.pki import authority
from sluice.sources import engines as sources
from sluice.sources import vllm
from sluice.workloads import pod_metrics
from tests.support import engines, ports

WAITING = pod_metrics.ALL[pod_metrics.REQUESTS_WAITING]


@contextlib.asynccontextmanager
async def answering(handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> AsyncIterator[str]:
    """The URL of a server that does just what the handler does."""
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics"
    finally:
        server.close()


def sending(text: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(text)
            await writer.drain()
        writer.close()

    return handle


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("reason", "answer", "said"),
    [
        ("an error", b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", "503"),
        ("a redirect is not followed", b"HTTP/1.1 302 F\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "302"),
        ("half a page", HEAD + b"Content-Length: 100\r\n\r\nvllm", ".+"),
        ("no HTTP", b"SSH-2.0\r\n", ".+"),
        ("nothing", b"", ".+"),
        ("an endless page", HEAD + b"Content-Length: 99999999\r\n\r\n" + b"#" * (vllm.PAGE_LIMIT + 1), "longer than"),
    ],
)
async def test_what_is_no_page_is_an_error(reason: str, answer: bytes, said: str) -> None:
    """The message tells what came instead."""
    async with answering(sending(answer)) as url, aiohttp.ClientSession() as session:
        with pytest.raises(vllm.ScrapeError, match=said):
            await vllm.fetch(session, url, seconds=5)


async def test_a_recorded_page_of_vllm_is_read_and_another_is_refused_by_name() -> None:
    """What the gates read, over HTTP; the error names pod and revision."""
    recorded = (pathlib.Path(__file__).parents[1] / "golden" / "metrics" / "vllm-0.32-busy.txt").read_bytes()
    async with aiohttp.ClientSession() as session:
        for page, said in (
            (recorded, None),
            (b"process_start_time_seconds x\n", "engine 127.0.0.1 of ml/chat-new: it is not in"),
        ):
            head = HEAD + b"Content-Length: %d\r\n\r\n" % len(page)
            async with answering(sending(head + page)) as url:
                target = sources.Target("u1", "ml/chat-new", "127.0.0.1", int(url.split(":")[2].split("/")[0]))
                if said is None:
                    assert (await sources.scrape(session, target)).cache == pytest.approx(0.0157, abs=1e-4)
                else:
                    with pytest.raises(vllm.ScrapeError, match=re.escape(said)):
                        await sources.scrape(session, target)


async def test_an_engine_that_is_silent_is_given_up() -> None:
    """And so is one that is not there."""
    async with answering(silent) as url, aiohttp.ClientSession() as session:
        begun = time.monotonic()
        with pytest.raises(vllm.ScrapeError, match=r"no answer in 0\.2 s"):
            await vllm.fetch(session, url, seconds=0.2)
        assert time.monotonic() - begun < 5
        with pytest.raises(vllm.ScrapeError):
            await vllm.fetch(session, f"http://127.0.0.1:{ports.free()}/metrics", seconds=5)


def pod(name: str, port: int, *, ready: bool = True, version: int = 1) -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": "ns",
            "name": name,
            "uid": name,
            "resourceVersion": str(version),
            "labels": {"sluice.dev/model-deployment": "chat", "sluice.dev/revision": "abc"},
        },
        "spec": {"containers": [{"name": "engine", "ports": [{"name": "http", "containerPort": port}]}]},
        "status": {"phase": "Running", "podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


class Scraping:
    """A scraper of the pods in a cache, five times a second."""

    def __init__(self, *pods: dict[str, Any]) -> None:
        self.cache = kube_cache.Cache()
        self.cache.replace(resources.PODS, pods, "1")
        self.store = readings.Readings(0.2)
        self.numbers = numbers.Numbers()
        self.scraper = scraper.Scraper(self.cache, self.store, clock=clock.SystemClock(), numbers=self.numbers, interval=0.2)

    async def __aenter__(self) -> Self:
        self.cache.mark_complete(resources.PODS)
        self._task = asyncio.create_task(self.scraper.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def values(self) -> dict[str, float]:
        """What would be answered; empty while the answer is refused."""
        try:
            found = self.store.ask(WAITING, "ns", selectors.parse(""), time.monotonic())
        except readings.NotFreshError:
            return {}
        return {each.pod: each.value.value for each in found}

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        limit = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < limit, f"not {what}: {self.values()}"
            await asyncio.sleep(0.02)


async def test_pods_are_read_as_they_come_and_go() -> None:
    """Each at its own address; one that is not ready any more is not answered for, and not asked."""
    with engines.Engine() as one, engines.Engine() as two:
        one.waiting.set(1)
        two.waiting.set(2)
        async with Scraping(pod("one", one.port)) as scraping:
            await scraping.until(lambda: scraping.values() == {"one": 1.0}, "the first")
            scraping.cache.put(resources.PODS, pod("two", two.port, version=2))
            await scraping.until(lambda: scraping.values() == {"one": 1.0, "two": 2.0}, "both")
            two.waiting.set(7)
            await scraping.until(lambda: scraping.values() == {"one": 1.0, "two": 7.0}, "the new value")
            scraping.cache.put(resources.PODS, pod("one", one.port, ready=False, version=3))
            await scraping.until(lambda: scraping.values() == {"two": 7.0}, "only the ready one")
            reads, more = one.reads, two.reads
            await scraping.until(lambda: two.reads > more + 3, "read on")
            assert one.reads <= reads + 1  # one may have been under way


async def test_a_pod_that_hangs_freezes_its_model_and_delays_nobody() -> None:
    """Its own selector gets no answer, until it can be read again; the others are read as often as before."""
    with engines.Engine() as well, engines.Engine() as ill:
        async with Scraping(pod("well", well.port), pod("ill", ill.port)) as scraping:
            await scraping.until(lambda: len(scraping.values()) == 2, "both")
            ill.broken = True
            await scraping.until(lambda: scraping.values() == {}, "refused")
            reads = well.reads
            await scraping.until(lambda: well.reads > reads + 3, "the other one is read on")
            scraping.scraper.refresh_numbers()
            page = scraping.numbers.render().decode()
            assert "sluice_metrics_pods 2.0" in page
            assert "sluice_metrics_stale_pods 1.0" in page
            ill.broken = False
            await scraping.until(lambda: len(scraping.values()) == 2, "both again")


async def test_the_port_stays_open_while_its_certificate_changes(tmp_path: pathlib.Path) -> None:
    """New connections get the new one, those that are open go on, and none is refused meanwhile."""
    now = datetime.datetime.now(datetime.UTC)
    authorities = [authority.new_authority(now) for _ in range(2)]

    def context(which: authority.Authority) -> ssl.SSLContext:
        leaf = authority.issue(which, [], ["localhost"], now)
        (tmp_path / "tls.crt").write_bytes(leaf.certificate)
        (tmp_path / "tls.key").write_bytes(leaf.key)
        return listener.tls_context(tmp_path, which.bundle.decode())

    async def handle(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_get("/", handle)
    served = listener.Listener(app, "127.0.0.1", 0)
    await served.serve(context(authorities[0]))
    try:
        url = f"https://localhost:{served.port}/"
        trusted = [ssl.create_default_context(cadata=each.bundle.decode()) for each in authorities]
        async with aiohttp.ClientSession() as old, aiohttp.ClientSession() as new:
            assert (await old.get(url, ssl=trusted[0])).status == 200
            for round_ in range(20):
                await served.serve(context(authorities[1 - round_ % 2]))
                reader = await new.get(url, ssl=trusted[1 - round_ % 2], headers={"Connection": "close"})
                assert reader.status == 200
            await served.serve(context(authorities[1]))
            assert (await old.get(url, ssl=trusted[0])).status == 200, "the open connection was closed"
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await new.get(url, ssl=trusted[0])
    finally:
        await served.stop()
    with pytest.raises(OSError, match=r"refused|Connect"):
        await asyncio.open_connection("127.0.0.1", served.port)


def test_a_key_of_another_certificate_is_refused(tmp_path: pathlib.Path) -> None:
    """As it looks in the middle of a renewal: the old one goes on until both are there."""
    now = datetime.datetime.now(datetime.UTC)
    made = authority.new_authority(now)
    (tmp_path / "tls.crt").write_bytes(authority.issue(made, [], ["a"], now).certificate)
    with pytest.raises(listener.CertificateError):
        listener.tls_context(tmp_path, "")
    (tmp_path / "tls.key").write_bytes(authority.issue(made, [], ["a"], now).key)
    with pytest.raises(listener.CertificateError):
        listener.tls_context(tmp_path, "")
