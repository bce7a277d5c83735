"""Who may call: keys are known by their hash only, and a revoked one drops nobody else."""

from __future__ import annotations

import pathlib

from sluice.routing import inputs
from sluice.xds import snapshot
from tests.support import gateway, upstream

SECRET = {"apiKeys": [{"secretRef": {"name": "keys"}}]}


def given(server: upstream.Upstream, keys: dict[str, str], **clients: bool) -> inputs.GatewayInputs:
    """The inputs of a gateway that knows these keys (key -> client)."""
    model = gateway.model("chat", inputs.Split(gateway.revision(server, "chat-1")))
    hashed = {gateway.digest(key): client for key, client in keys.items()}
    return inputs.GatewayInputs(gateway.spec(clients={**SECRET, **clients}), (model,), api_keys=hashed)


async def test_only_known_keys_pass(server: upstream.Upstream, tmp_path: pathlib.Path) -> None:
    """A known key is let through; a wrong one, an empty one, another scheme and none are 401 in OpenAI's form."""
    async with gateway.running(given(server, {"sk-a": "team-a"}), tmp_path) as running:
        assert (await running.ask(key="sk-a")).status == 200
        refused = [
            await running.ask(key="sk-b"),
            await running.ask(),
            await running.ask(headers={"authorization": "Basic sk-a"}),
            await running.ask(headers={"authorization": "Bearer"}),
            await running.ask(headers={"authorization": "Bearer sk-a sk-a"}),
            await running.ask(headers={"authorization": "Bearer " + "x" * 4000}),
            await running.request("GET", "/v1/models"),
        ]
        lower = await running.ask(headers={"authorization": "bearer sk-a"})
    assert [(answer.status, answer.body["error"]["code"]) for answer in refused] == [(401, "invalid_api_key")] * len(refused)
    assert {answer.headers["www-authenticate"] for answer in refused} == {"Bearer"}
    assert (lower.status, server.count) == (200, 2)


async def test_the_digest_is_sha256_for_every_length(server: upstream.Upstream, tmp_path: pathlib.Path) -> None:
    """Keys of 1 to 300 bytes, over all the borders of its blocks, are recognised; each by its own hash."""
    keys = {"k" * length: f"client-{length}" for length in range(1, 301)}
    async with gateway.running(given(server, keys), tmp_path) as running:
        assert {(await running.ask(key=key)).status for key in keys} == {200}
        samples = await running.counted("envoy_sluice_requests", len(keys))
    assert {dict(tags)["client"]: count for tags, count in samples.items()} == dict.fromkeys(keys.values(), 1.0)


async def test_a_clients_key_goes_nowhere(server: upstream.Upstream, tmp_path: pathlib.Path) -> None:
    """Neither the key nor the client's name reaches a pod, and the proxy's configuration has no key either."""
    async with gateway.running(given(server, {"sk-very-secret": "team-a"}), tmp_path) as running:
        assert (await running.ask(key="sk-very-secret")).status == 200
        dump = await running.envoy.get("/config_dump")
    assert "authorization" not in server.requests[0].headers
    assert "team-a" not in str(server.requests[0].headers)
    assert "sk-very-secret" not in dump
    assert gateway.digest("sk-very-secret") in dump


async def test_a_revoked_key_stops_at_once_and_drops_nobody_else(server: upstream.Upstream, tmp_path: pathlib.Path) -> None:
    """Under load keys are revoked and given again: the other client sees no error, the revoked one only 401."""
    both, one = given(server, {"sk-a": "team-a", "sk-b": "team-b"}), given(server, {"sk-a": "team-a"})
    async with gateway.running(both, tmp_path) as running:
        assert (await running.ask(key="sk-b")).status == 200
        for inputs_now, status in ((one, 401), (both, 200)) * 5:
            assert set(await running.load_while(running.publish(inputs_now), key="sk-a")) == {200}
            assert (await running.ask(key="sk-b")).status == status


async def test_anonymous_and_keys_together(server: upstream.Upstream, tmp_path: pathlib.Path) -> None:
    """With anonymous on, no key is fine, a known key names the client, and a wrong key is still refused."""
    async with gateway.running(given(server, {"sk-a": "team-a"}, anonymous=True), tmp_path) as running:
        answers = [(await running.ask()).status, (await running.ask(key="sk-a")).status, (await running.ask(key="x")).status]
        samples = await running.counted("envoy_sluice_requests", 3)
    assert answers == [200, 200, 401]
    seen = {(dict(tags)["client"], dict(tags)["code"]) for tags in samples}
    assert seen == {("", "200"), ("team-a", "200"), ("", "401")}


async def test_anyone_may_send_any_key_where_there_are_none(shared: gateway.Gateway, server: upstream.Upstream) -> None:
    """OpenAI's clients insist on sending a key: an open gateway drops it unread."""
    assert (await shared.ask(key="sk-dummy")).status == 200
    assert "authorization" not in server.requests[-1].headers


async def test_without_its_keys_the_gateway_lets_nobody_in(server: upstream.Upstream, tmp_path: pathlib.Path) -> None:
    """When the filter's configuration is missing, even a known key gets 503: closed, never open."""
    known = given(server, {"sk-a": "team-a"}, anonymous=True)
    async with gateway.running(known, tmp_path) as running:
        assert (await running.ask(key="sk-a")).status == 200
        await running.publish(known, without=snapshot.EXTENSION)
        closed = await running.ask(key="sk-a")
        await running.publish(known)
        assert (await running.ask(key="sk-a")).status == 200
    assert (closed.status, closed.body["error"]["code"]) == (503, "not_configured")
    assert server.count == 2
