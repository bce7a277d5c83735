"""The client against a server that fails in every way a network and an API server can."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import kubernetes.aio.client as aio_client
import pytest
from aiohttp import web

from sluice.kube import client, connection, errors, resources, retry

PATIENT = retry.Policy(timeout=0.5, attempts=3, first=0.01, longest=0.02)
ONCE = retry.Policy(timeout=0.5, attempts=1)

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def status(code: int, reason: str = "", headers: dict[str, str] | None = None, **details: Any) -> Answer:
    """An answer with a Status object."""

    async def answer(_: web.Request) -> web.StreamResponse:
        body = {"kind": "Status", "code": code, "reason": reason, "message": reason, "details": details}
        return web.json_response(body, status=code, headers=headers)

    return answer


def found(body: dict[str, Any]) -> Answer:
    """A success."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(body)

    return answer


async def drop(request: web.Request) -> web.StreamResponse:
    """The connection breaks before any answer."""
    assert request.transport
    request.transport.abort()
    return web.Response()


async def hang(_: web.Request) -> web.StreamResponse:
    """No answer ever comes."""
    await asyncio.Event().wait()
    return web.Response()


async def garbage(_: web.Request) -> web.StreamResponse:
    """Something that is no JSON."""
    return web.Response(text="<html>")


class Server:
    """Answers as scripted, in order, the last answer for ever; notes the requests."""

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.requests: list[tuple[str, str, str, bytes]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        content = request.headers.get("Content-Type", "")
        self.requests.append((request.method, request.path_qs, content, await request.read()))
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return await answer(request)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@contextlib.asynccontextmanager
async def connect(server: Server, policy: retry.Policy = PATIENT) -> AsyncIterator[client.Client]:
    configuration = aio_client.Configuration(host=server.url)
    async with client.Client(configuration, operator_namespace="sluice-system", policy=policy) as api:
        yield api


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (drop, errors.Unreachable),
        (hang, errors.Unreachable),
        (garbage, errors.ServerError),
        (status(500, "InternalError"), errors.ServerError),
        (status(503, "ServiceUnavailable"), errors.ServerError),
        (status(429, "TooManyRequests", {"Retry-After": "0"}), errors.TooManyRequests),
    ],
)
async def test_a_transient_fault_is_retried_and_then_raised(
    server: Server, failure: Answer, kind: type[errors.ApiError]
) -> None:
    """A fault that passes is not seen; one that stays ends after the attempts."""
    async with connect(server) as api:
        server.script = [failure, failure, found({"kind": "Pod", "metadata": {"name": "x"}})]
        assert (await api.get(resources.PODS, "ns", "x"))["kind"] == "Pod"
        assert len(server.requests) == 3
        server.requests.clear()
        server.script = [failure]
        with pytest.raises(kind, match="Cannot get pods ns/x"):
            await api.get(resources.PODS, "ns", "x")
        # aiohttp itself repeats an idempotent request once when the connection breaks.
        assert len(server.requests) == (6 if failure is drop else 3)


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (401, "Unauthorized", errors.Unauthorized),
        (403, "Forbidden", errors.Forbidden),
        (404, "NotFound", errors.NotFound),
        (409, "AlreadyExists", errors.AlreadyExists),
        (409, "Conflict", errors.Conflict),
        (410, "Expired", errors.Expired),
        (422, "Invalid", errors.Invalid),
    ],
)
async def test_a_refusal_is_raised_at_once(server: Server, code: int, reason: str, kind: type[errors.ApiError]) -> None:
    """Asking again would change nothing."""
    server.script = [status(code, reason)]
    async with connect(server) as api:
        with pytest.raises(kind):
            await api.get(resources.PODS, "ns", "x")
    assert len(server.requests) == 1


async def test_a_server_that_asks_for_more_patience_than_we_have_is_left_alone(server: Server) -> None:
    """The caller's queue comes back later."""
    server.script = [status(429, "TooManyRequests", {"Retry-After": "60"})]
    async with connect(server) as api:
        with pytest.raises(errors.TooManyRequests) as caught:
            await api.get(resources.PODS, "ns", "x")
    assert caught.value.retry_after == 60
    assert len(server.requests) == 1


async def test_nobody_listening_is_unreachable(server: Server) -> None:
    """A refused connection is a transient fault like any other."""
    server.url = "http://127.0.0.1:1"
    async with connect(server) as api:
        with pytest.raises(errors.Unreachable):
            await api.get(resources.PODS, "ns", "x")


async def test_a_list_goes_through_all_pages(server: Server) -> None:
    """Every page is asked for with the token of the one before; items get the kind that lists leave out."""
    pages = [
        {"metadata": {"continue": "t1", "resourceVersion": "7"}, "items": [{"metadata": {"name": "a"}}]},
        {"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "b"}}]},
    ]
    server.script = [found(page) for page in pages]
    async with connect(server) as api:
        listing = await api.list(resources.PODS, labels="a=b", limit=1)
    assert [item["metadata"]["name"] for item in listing.items] == ["a", "b"]
    assert {(item["apiVersion"], item["kind"]) for item in listing.items} == {("v1", "Pod")}
    assert listing.resource_version == "7"
    assert [path for _, path, _, _ in server.requests] == [
        "/api/v1/pods?limit=1&labelSelector=a%3Db",
        "/api/v1/pods?limit=1&labelSelector=a%3Db&continue=t1",
    ]


async def test_writes_are_sent_as_kubernetes_wants_them(server: Server) -> None:
    """Method, path, field manager, content type and body of every kind of write."""
    server.script = [found({})]
    config = {"metadata": {"name": "c", "namespace": "ns"}, "data": {"a": "1"}}
    full = {"apiVersion": "v1", "kind": "ConfigMap", **config}
    async with connect(server) as api:
        await api.create(resources.CONFIG_MAPS, config)
        await api.apply(resources.CONFIG_MAPS, config)
        await api.patch(resources.CONFIG_MAPS, "ns", "c", {"data": {"a": None}})
        await api.delete(resources.CONFIG_MAPS, "ns", "c", uid="u", propagation="Foreground")
        await api.apply_status(resources.GATEWAYS, "ns", "g", {"x": 1}, resource_version="5")
    sent = [(method, path, content, json.loads(body)) for method, path, content, body in server.requests]
    assert sent[0] == ("POST", "/api/v1/namespaces/ns/configmaps?fieldManager=sluice", "application/json", full)
    assert sent[1] == (
        "PATCH",
        "/api/v1/namespaces/ns/configmaps/c?fieldManager=sluice&force=true",
        "application/apply-patch+yaml",
        full,
    )
    assert sent[2][2:] == ("application/merge-patch+json", {"data": {"a": None}})
    assert sent[3][0] == "DELETE"
    assert sent[3][3]["preconditions"] == {"uid": "u"}
    assert sent[3][3]["propagationPolicy"] == "Foreground"
    assert sent[4][1] == "/apis/sluice.dev/v1alpha1/namespaces/ns/gateways/g/status?fieldManager=sluice&force=true"
    assert sent[4][3]["metadata"] == {"name": "g", "namespace": "ns", "resourceVersion": "5"}


async def test_what_the_table_does_not_declare_is_never_sent(server: Server) -> None:
    """Wrong verb, wrong namespace, wrong name: RBAC would refuse it in production only."""
    server.script = [found({})]
    lease = {"metadata": {"name": resources.LEASE_NAME, "namespace": "elsewhere"}}
    async with connect(server) as api:
        with pytest.raises(errors.UndeclaredVerb, match="Cannot delete endpointslices"):
            await api.delete(resources.ENDPOINT_SLICES, "ns", "x")
        with pytest.raises(errors.UndeclaredVerb):
            await api.apply(resources.GATEWAYS, {"metadata": {"name": "g", "namespace": "ns"}})
        with pytest.raises(errors.UndeclaredVerb):
            await api.replace(resources.LEASES, lease)
        with pytest.raises(errors.UndeclaredVerb):
            await api.get(resources.LEASES, "sluice-system", "another")
    assert server.requests == []


def lines(*events: dict[str, Any], then: Answer) -> Answer:
    """A watch stream of these events, after which something happens."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for event in events:
            await response.write(json.dumps(event).encode() + b"\n")
        if then is not hang:
            with contextlib.suppress(ConnectionError):
                await then(request)
            return response
        await hang(request)
        return response

    return answer


LEASE = {"metadata": {"name": resources.LEASE_NAME, "resourceVersion": "3"}}


async def watch(api: client.Client, idle: float = 5.0) -> tuple[list[str], errors.ApiError | None]:
    """The types of the events that came, and the error that ended the stream."""
    seen: list[str] = []
    try:
        async for event in api.watch(resources.LEASES, "sluice-system", resources.LEASE_NAME, resource_version="1", idle=idle):
            seen += [event.type]
    except errors.ApiError as error:
        return seen, error
    return seen, None


async def end(_: web.Request) -> web.StreamResponse:
    """The server ends the stream in good order, as it does every few minutes."""
    return web.Response()


GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}


@pytest.mark.parametrize(
    ("answer", "seen", "kind"),
    [
        (lines({"type": "MODIFIED", "object": LEASE}, then=end), ["MODIFIED"], type(None)),
        (lines({"type": "MODIFIED", "object": LEASE}, then=drop), ["MODIFIED"], errors.Unreachable),
        (lines({"type": "MODIFIED", "object": LEASE}, then=hang), ["MODIFIED"], errors.Unreachable),
        (lines({"type": "DELETED", "object": LEASE}, GONE, then=end), ["DELETED"], errors.Expired),
        (status(410, "Expired"), [], errors.Expired),
        (status(403, "Forbidden"), [], errors.Forbidden),
        (drop, [], errors.Unreachable),
    ],
    ids=["ends", "breaks", "falls silent", "expires midway", "expired", "forbidden", "broken at once"],
)
async def test_a_watch_tells_events_and_how_it_ended(
    server: Server, answer: Answer, seen: list[str], kind: type[object]
) -> None:
    """A good end raises nothing; silence is as bad as a broken connection."""
    server.script = [answer]
    async with connect(server) as api:
        events, error = await watch(api, idle=0.3)
    assert events == seen
    assert isinstance(error, kind)


async def test_outside_a_cluster_a_kubeconfig_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's current context is never used unasked."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(connection.NotConfigured, match="no kubeconfig path was given"):
        await client.Client.connect()


async def test_a_kubeconfig_that_is_not_there_is_named_in_the_error(tmp_path: Any) -> None:
    """One clear sentence."""
    with pytest.raises(connection.NotConfigured, match="absent"):
        await client.Client.connect(tmp_path / "absent")
