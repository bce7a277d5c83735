"""Asking for values over HTTP: a real Prometheus, and servers that are slow, endless, dead or not to be trusted."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import json
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from sluice.api import external as api
from sluice.pki import authority
from sluice.sources import external
from tests.support import ports, prometheus

CONTEXT = external.Context("ml", "chat", "7c9d", "1a2b", "half", 50.0)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """The operator's."""
    async with aiohttp.ClientSession() as made:
        yield made


@contextlib.asynccontextmanager
async def serving(handler: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The URL of a server that answers everything so."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    port = ports.free()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


def secret(**data: str) -> dict[str, Any]:
    """A Secret as the API server has it."""
    return {"data": {key.replace("_", "."): base64.b64encode(value.encode()).decode() for key, value in data.items()}}


def hook(url: str, *, credentials: bool = False, **fields: Any) -> api.Webhook:
    reference = {"credentialsSecretRef": {"name": "source"}} if credentials else {}
    return api.Webhook.model_validate({"url": url, **reference, **fields})


@pytest.mark.skipif(prometheus.unavailable() is not None, reason=str(prometheus.unavailable()))
async def test_a_real_prometheus_answers_with_one_number_or_says_why_not(session: aiohttp.ClientSession) -> None:
    """Placeholders find the revision's series; everything that is not one number is an error."""
    at = time.time() - 3600
    scrapes = [
        prometheus.Scrape(at, f"power {watts}\n", {"namespace": "ml", "pod": f"chat-{revision}-x"})
        for revision, watts in (("7c9d", 300), ("1a2b", 200))
    ]
    with prometheus.holding(scrapes) as client:

        async def value(text: str) -> float:
            asked = api.Prometheus.model_validate({"url": str(client.base_url), "query": text})
            return await external.query(session, asked, CONTEXT, None)

        of = 'max(last_over_time(power{{namespace="{{{{namespace}}}}",pod=~"{{{{model}}}}-{{{{{}}}}}-.*"}}[5h]))'
        assert await value(of.format("revision")) == 300
        assert await value(f"{of.format('revision')} / {of.format('stable')}") == 1.5
        assert await value("scalar(vector(2))") == 2
        for text, said in (
            ("last_over_time(power[5h])", "2 series"),
            ("nothing_of_this_name", "is empty"),
            ("vector(0) / 0", "no finite number"),
            ("power[5h]", "neither a vector nor a scalar"),
            ("sum(", "answered 400"),
        ):
            with pytest.raises(external.SourceError, match=said):
                await value(text)


async def test_a_webhook_is_told_what_it_is_about(session: aiohttp.ClientSession) -> None:
    """Model, both revisions, step and weight, with the headers and the token of the Secret."""
    seen: list[tuple[Any, str | None, str | None]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append((await request.json(), request.headers.get("Authorization"), request.headers.get("X-Scope-OrgID")))
        return web.json_response({"value": 0.75})

    async with serving(answer) as url:
        headers = [{"name": "X-Scope-OrgID", "value": "team-a"}]
        asked = hook(url, credentials=True, headers=headers)
        assert await external.call(session, asked, CONTEXT, secret(token="abc\n")) == 0.75
        assert await external.call(session, asked, CONTEXT, secret(username="u", password="p")) == 0.75
    context = {"namespace": "ml", "model": "chat", "revision": "7c9d", "stable": "1a2b", "step": "half", "weight": 50.0}
    basic = f"Basic {base64.b64encode(b'u:p').decode()}"
    assert seen == [(context, "Bearer abc", "team-a"), (context, basic, "team-a")]


async def _redirect(_: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("/elsewhere")


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        while True:
            await response.write(b" " * 65536)
    return response


def _saying(text: str, status: int = 200) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=text, status=status)

    return answer


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (_saying("secret of somebody", 500), "answered 500"),
        (_redirect, "answered 302"),
        (_endless, "longer than"),
        (_saying("<html>secret of somebody"), "no JSON"),
        (_saying('{"value": NaN}'), "no finite number"),
        (_saying('{"value": 1e999}'), "no finite number"),
        (_saying("[" * 100_000), "no JSON"),
        (_saying(json.dumps({"value": "0.5"})), "no number called value"),
    ],
    ids=["error", "redirect", "endless", "html", "nan", "infinite", "deep", "text"],
)
async def test_a_server_that_answers_nonsense_gives_no_value(
    session: aiohttp.ClientSession, handler: Handler, said: str
) -> None:
    """The error says what was wrong and repeats nothing of the answer."""
    async with serving(handler) as url:
        with pytest.raises(external.SourceError, match=said) as raised:
            await external.call(session, hook(url), CONTEXT, None)
    assert "secret" not in str(raised.value)


async def test_a_server_that_is_slow_or_gone_gives_no_value(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the time of one question."""
    monkeypatch.setattr(external, "TIMEOUT_SECONDS", 0.2)

    async def hang(request: web.Request) -> web.StreamResponse:
        await request.read()
        await asyncio.Event().wait()
        return web.Response()

    async with serving(hang) as url:
        with pytest.raises(external.SourceError, match=r"no answer in 0\.2 s"):
            await external.call(session, hook(url), CONTEXT, None)
    with pytest.raises(external.SourceError, match="cannot be reached"):
        await external.call(session, hook(f"http://127.0.0.1:{ports.free()}"), CONTEXT, None)


async def test_https_is_trusted_by_the_secrets_authority_alone(session: aiohttp.ClientSession) -> None:
    """A private CA is named in the Secret; without it, or with another one, nothing is sent."""
    now = datetime.datetime.now(datetime.UTC)
    ours, other = authority.new_authority(now), authority.new_authority(now)
    leaf = authority.issue(ours, [], ["localhost"], now)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(leaf.certificate + leaf.key)
        file.flush()
        context.load_cert_chain(file.name)
    async with serving(_saying('{"value": 1}'), context) as url:
        url = url.replace("127.0.0.1", "localhost")
        asked = hook(url, credentials=True)
        assert await external.call(session, asked, CONTEXT, secret(ca_crt=ours.bundle.decode())) == 1
        for trusted in (secret(), secret(ca_crt=other.bundle.decode())):
            with pytest.raises(external.SourceError, match="its certificate is not trusted"):
                await external.call(session, asked, CONTEXT, trusted)
        with pytest.raises(external.SourceError, match=r"ca\.crt is no certificate"):
            await external.call(session, asked, CONTEXT, secret(ca_crt="nonsense"))


async def test_a_secret_that_is_missing_is_named(session: aiohttp.ClientSession) -> None:
    """With what to do; nothing is asked without it."""
    with pytest.raises(external.SourceError, match=r"Secret source .* label"):
        await external.call(session, hook("http://127.0.0.1:1", credentials=True), CONTEXT, None)
    with pytest.raises(external.SourceError, match="token is not one line"):
        await external.call(session, hook("http://127.0.0.1:1", credentials=True), CONTEXT, secret(token="a\nb"))
