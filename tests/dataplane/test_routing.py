"""Requests go where the body's `model` says, and everything else gets an OpenAI answer."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest

from sluice.routing import inputs
from tests.support import gateway, upstream


def split(server: upstream.Upstream, name: str) -> inputs.ModelInput:
    """A model served by this server alone."""
    return gateway.model(name, inputs.Split(gateway.revision(server, f"{name}-1")))


async def test_model_in_the_body_decides(tmp_path: pathlib.Path) -> None:
    """Each model's requests reach its own pods, whole and unchanged."""
    async with upstream.running("a", "b") as (a, b):
        given = inputs.GatewayInputs(gateway.spec(), (split(a, "chat"), split(b, "org/code-7b:v1")))
        async with gateway.running(given, tmp_path) as running:
            assert (await running.ask("chat", n=1.0, big=2**53 + 1)).body["choices"][0]["message"]["content"] == "a"
            assert (await running.ask("org/code-7b:v1", stream=True)).text.endswith("data: [DONE]\n\n")
            listed = (await running.request("GET", "/v1/models")).body
    assert [request.body for request in a.requests] == [{"model": "chat", "messages": [], "n": 1.0, "big": 2**53 + 1}]
    assert b.count == 1
    assert (listed["object"], [model["id"] for model in listed["data"]]) == ("list", ["chat", "org/code-7b:v1"])


async def test_an_adapter_is_asked_for_by_its_name(tmp_path: pathlib.Path) -> None:
    """The engine of its model gets the request with the adapter's name, and clients see it listed."""
    async with upstream.running("a") as (a,):
        served = dataclasses.replace(split(a, "chat"), adapters=("sql",))
        async with gateway.running(inputs.GatewayInputs(gateway.spec(), (served,)), tmp_path) as running:
            assert (await running.ask("sql")).status == 200
            listed = (await running.request("GET", "/v1/models")).body
    assert [request.body["model"] for request in a.requests] == ["sql"]
    assert [model["id"] for model in listed["data"]] == ["chat", "sql"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", gateway.COMPLETIONS, b'{"model": "gpt-9"}', 404, "model_not_found"),
        ("POST", gateway.COMPLETIONS, b'{"model": "cha"}', 404, "model_not_found"),
        ("POST", gateway.COMPLETIONS, b'{"messages": []}', 400, "missing_model"),
        ("POST", gateway.COMPLETIONS, b"not json", 400, "missing_model"),
        ("POST", gateway.COMPLETIONS, b"", 400, "missing_model"),
        ("GET", "/v1/nowhere", None, 404, "unknown_url"),
        ("GET", "/", None, 404, "unknown_url"),
        ("POST", "/metrics", b'{"model": "chat"}', 404, "unknown_url"),
        ("POST", "/v1/../metrics", b'{"model": "chat"}', 404, "unknown_url"),
    ],
)
async def test_what_is_not_routed_says_why(
    shared: gateway.Gateway, method: str, path: str, body: bytes | None, status: int, code: str
) -> None:
    """Unknown models, bodies without one and other paths get the status and body that OpenAI clients understand."""
    answer = await shared.request(method, path, data=body, headers={"content-type": "application/json"} if body else None)
    assert (answer.status, answer.body["error"]["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/json"
    assert answer.body["error"]["message"]


async def test_internal_headers_of_a_client_have_no_effect(shared: gateway.Gateway, server: upstream.Upstream) -> None:
    """A client can neither choose the route, the stream tag or its name by our headers, nor turn retries off by Envoy's."""
    forged = {"x-sluice-model": "chat", "x-sluice-stream": "true", "x-sluice-client": "admin", "x-envoy-max-retries": "0"}
    assert (await shared.ask(None, headers=forged)).body["error"]["code"] == "missing_model"
    before = server.count
    assert (await shared.ask("chat", headers=forged)).status == 200
    arrived = server.requests[before].headers
    assert not [name for name in arrived if name.startswith(("x-sluice-", "x-envoy-"))]
    samples = await shared.counted("envoy_sluice_attempts", 1)
    assert {dict(tags)["stream"] for tags in samples} == {""}


async def test_a_body_beyond_the_bound_is_refused(shared: gateway.Gateway, server: upstream.Upstream) -> None:
    """More than 16 MiB answers 413 in OpenAI's form, and reaches no pod."""
    before = server.count
    answer = await shared.ask("chat", padding="x" * (17 << 20))
    assert (answer.status, answer.body["error"]["code"]) == (413, "request_too_large")
    assert server.count == before


async def test_a_model_without_a_revision_says_so(tmp_path: pathlib.Path) -> None:
    """503 with a body, neither a hang nor a 404: the model exists."""
    given = inputs.GatewayInputs(gateway.spec(), (gateway.model("chat", inputs.Split()),))
    async with gateway.running(given, tmp_path) as running:
        answer = await running.ask("chat")
    assert (answer.status, answer.body["error"]["code"]) == (503, "model_not_ready")


async def test_no_pods_answers_at_once_in_openai_form(tmp_path: pathlib.Path) -> None:
    """A model whose pods are all gone fails at once with 503."""
    given = inputs.GatewayInputs(gateway.spec(), (gateway.model("chat", inputs.Split(gateway.revision(None, "chat-1"))),))
    async with gateway.running(given, tmp_path) as running:
        answer = await running.ask("chat")
    assert (answer.status, answer.body["error"]["code"]) == (503, "backend_unavailable")


async def test_a_request_beyond_its_time_answers_504(tmp_path: pathlib.Path) -> None:
    """A route's timeout ends a request that hangs, in OpenAI's form."""
    chain = [{"backends": [{"type": "ModelDeployment", "modelDeployment": {"name": "chat"}}]}]
    route = {"name": "chat", "match": {"models": ["chat"]}, "chain": chain, "timeouts": {"request": "1s"}}
    async with upstream.running("a") as (a,):
        a.mode = upstream.Mode.HANG
        given = inputs.GatewayInputs(gateway.spec(routes=[route]), (split(a, "chat"),))
        async with gateway.running(given, tmp_path) as running:
            answer = await running.ask("chat")
    assert (answer.status, answer.body["error"]["code"]) == (504, "timeout")


async def test_weights_and_models_change_under_load_without_a_failed_request(tmp_path: pathlib.Path) -> None:
    """Every change of the split, of revisions and of models is served through: no client sees an error."""
    async with upstream.running("one", "two", "three") as servers:
        one, two, three = (gateway.revision(server, f"chat-{index}") for index, server in enumerate(servers, 1))
        splits = [
            inputs.Split(one),
            inputs.Split(one, two, 500),
            inputs.Split(one, two, 5000),
            inputs.Split(one, two, 10_000),
            inputs.Split(two),
            inputs.Split(two, three, 1000),
            inputs.Split(two),
        ]
        given = [inputs.GatewayInputs(gateway.spec(), (gateway.model("chat", split),)) for split in splits]
        async with gateway.running(given[0], tmp_path) as running:
            for step in given[1:] + given[::-1]:
                load = await running.load_while(running.publish(step))
                assert set(load) == {200}
    assert all(server.count for server in servers)
