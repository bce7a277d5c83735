"""Explicit chains: a provider answers when the model can't, with the gateway's own key and nobody else's."""

from __future__ import annotations

import os
import pathlib
from typing import Any

from sluice.routing import inputs
from tests.support import gateway, upstream

MODEL = {"type": "ModelDeployment", "modelDeployment": {"name": "chat"}}


def provider(name: str) -> dict[str, Any]:
    """A provider as a backend."""
    return {"type": "Provider", "provider": {"name": name}}


def given(
    split: inputs.Split, chain: list[dict[str, Any]], providers: dict[str, tuple[upstream.Upstream, str]], **fields: Any
) -> inputs.GatewayInputs:
    """A gateway with one chain for `chat`; providers are name -> (server, key of the credentials or "")."""
    specs = [
        {
            "name": name,
            "type": "OpenAICompatible",
            "url": f"http://127.0.0.1:{server.port}",
            **({"credentials": {"key": key}} if key else {}),
        }
        for name, (server, key) in providers.items()
    ]
    route = {"name": "chain", "match": {"models": ["chat"]}, "chain": [{"backends": [backend]} for backend in chain]}
    spec = gateway.spec(providers=specs, routes=[route], credentialsSecretRef={"name": "keys"}, **fields)
    key = gateway.digest("sk-client")
    return inputs.GatewayInputs(spec, (gateway.model("chat", split),), api_keys={key: "team-a"})


def mount(directory: pathlib.Path, **keys: str) -> None:
    """Puts a Secret's files where the kubelet would, in the way it does: one link is moved, and all files change together."""
    base = directory / "credentials"
    version = base / f"..{len(list(base.glob('..*')))}"
    version.mkdir(parents=True)
    for name, key in keys.items():
        (version / name).write_text(key + "\n")
        if not (base / name).is_symlink():
            (base / name).symlink_to(f"..data/{name}")
    (base / "..new").symlink_to(version.name)
    (base / "..new").rename(base / "..data")


async def test_the_provider_answers_when_all_pods_are_gone(tmp_path: pathlib.Path) -> None:
    """Without endpoints every request goes on to the provider, under load, at once."""
    mount(tmp_path, openai="sk-provider")
    async with upstream.running("provider") as (outside,):
        split = inputs.Split(gateway.revision(None, "chat-1"))
        chain = given(split, [MODEL, provider("openai")], {"openai": (outside, "openai")})
        async with gateway.running(chain, tmp_path) as running:
            assert await running.load(300) == {200: 300}
    assert outside.count == 300


async def test_the_provider_answers_when_stable_fails(tmp_path: pathlib.Path) -> None:
    """5xx, 429, resets and refused connections of stable go on to the provider, under load."""
    mount(tmp_path, openai="sk-provider")
    async with upstream.running("stable", "provider") as (stable, outside):
        split = inputs.Split(gateway.revision(stable, "chat-1"))
        chain = given(split, [MODEL, provider("openai")], {"openai": (outside, "openai")})
        async with gateway.running(chain, tmp_path) as running:
            for mode in (upstream.Mode.ERROR, upstream.Mode.LIMITED, upstream.Mode.RESET):
                stable.mode = mode
                assert await running.load(200) == {200: 200}
            await stable.stop()
            assert await running.load(200) == {200: 200}
    assert (stable.count, outside.count) == (600, 800)


async def test_the_provider_is_left_alone_while_the_model_answers(tmp_path: pathlib.Path) -> None:
    """A canary that fails is shielded by stable, not by the provider; only what stable fails too goes on."""
    mount(tmp_path, openai="sk-provider")
    async with upstream.running("stable", "canary", "provider") as (stable, canary, outside):
        canary.mode = upstream.Mode.ERROR
        split = inputs.Split(gateway.revision(stable, "chat-1"), gateway.revision(canary, "chat-2"), 5000)
        chain = given(split, [MODEL, provider("openai")], {"openai": (outside, "openai")})
        async with gateway.running(chain, tmp_path) as running:
            assert await running.load(200) == {200: 200}
            assert (stable.count, outside.count) == (200, 0)
            stable.mode = upstream.Mode.ERROR
            assert await running.load(200) == {200: 200}
    assert outside.count == 200


async def test_a_provider_gets_the_gateways_key_and_never_the_clients(tmp_path: pathlib.Path) -> None:
    """The file's key as a bearer token and the provider's own host name; of the caller neither key, name nor address."""
    mount(tmp_path, openai="sk-provider")
    async with upstream.running("provider") as (outside,):
        chain = given(
            inputs.Split(),
            [provider("openai")],
            {"openai": (outside, "openai")},
            clients={"apiKeys": [{"secretRef": {"name": "k"}}]},
        )
        async with gateway.running(chain, tmp_path) as running:
            assert (await running.ask(key="sk-client")).status == 200
            dump = await running.envoy.get("/config_dump?include_eds")
    headers = outside.requests[0].headers
    assert headers["authorization"] == "Bearer sk-provider"
    assert headers["host"] == "127.0.0.1"
    assert not [value for value in headers.values() if "sk-client" in value or "team-a" in value]
    assert not {"x-envoy-external-address", "x-forwarded-for"} & headers.keys()
    assert "sk-provider" not in dump


async def test_a_key_of_one_attempt_does_not_reach_the_next(tmp_path: pathlib.Path) -> None:
    """Each provider of a chain gets its own key, one without credentials and the pods get none."""
    mount(tmp_path, one="sk-one", two="sk-two")
    async with upstream.running("one", "two", "plain", "stable") as (one, two, plain, stable):
        for server in (one, two, plain):
            server.mode = upstream.Mode.ERROR
        chain = given(
            inputs.Split(gateway.revision(stable, "chat-1")),
            [provider("one"), provider("two"), provider("plain"), MODEL],
            {"one": (one, "one"), "two": (two, "two"), "plain": (plain, "")},
        )
        async with gateway.running(chain, tmp_path) as running:
            assert (await running.ask(key="sk-client")).status == 200
    assert [server.requests[0].headers.get("authorization") for server in (one, two, plain, stable)] == [
        "Bearer sk-one",
        "Bearer sk-two",
        None,
        None,
    ]


async def test_a_replaced_key_is_used_without_a_restart(tmp_path: pathlib.Path) -> None:
    """The mounted Secret changes: the new key is sent, and no request failed meanwhile."""
    mount(tmp_path, openai="sk-old")
    async with upstream.running("provider") as (outside,):
        chain = given(inputs.Split(), [provider("openai")], {"openai": (outside, "openai")})
        async with gateway.running(chain, tmp_path) as running:
            assert await running.load(10) == {200: 10}
            pid = running.envoy.pid
            mount(tmp_path, openai="sk-new")
            while outside.requests[-1].headers["authorization"] != "Bearer sk-new":
                assert (await running.ask()).status == 200
            os.kill(pid, 0)
    assert {request.headers["authorization"] for request in outside.requests} == {"Bearer sk-old", "Bearer sk-new"}


async def test_when_everything_fails_the_last_answer_is_the_clients(tmp_path: pathlib.Path) -> None:
    """With model and provider down the client gets the provider's error at once, each tried once."""
    mount(tmp_path, openai="sk-provider")
    async with upstream.running("stable", "provider") as (stable, outside):
        stable.mode = outside.mode = upstream.Mode.ERROR
        split = inputs.Split(gateway.revision(stable, "chat-1"))
        chain = given(split, [MODEL, provider("openai")], {"openai": (outside, "openai")})
        async with gateway.running(chain, tmp_path) as running:
            answer = await running.ask()
    assert (answer.status, answer.body["error"]["message"]) == (500, "provider fails")
    assert (stable.count, outside.count) == (1, 1)


async def test_a_provider_whose_name_does_not_resolve_is_passed_by(tmp_path: pathlib.Path) -> None:
    """A provider without an address fails at once, and the next group answers."""
    async with upstream.running("stable") as (stable,):
        made = given(inputs.Split(gateway.revision(stable, "chat-1")), [provider("lost"), MODEL], {"lost": (stable, "")})
        spec = made.gateway.spec
        lost = spec.providers[0].model_copy(update={"url": "http://nowhere.invalid"})
        api = made.gateway.model_copy(update={"spec": spec.model_copy(update={"providers": (lost,)})})
        async with gateway.running(inputs.GatewayInputs(api, made.models), tmp_path) as running:
            assert await running.load(50) == {200: 50}
    assert stable.count == 50
