"""Testers whom a rollout names get the new revision when they ask for it; nobody else can."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import AsyncIterator, Mapping

import pytest

from sluice.routing import inputs
from tests.support import gateway, upstream

ASK = {"x-sluice-revision": "canary"}
KEYS = {gateway.digest("sk-qa"): "qa", gateway.digest("sk-app"): "app"}
REQUESTS = 40


@contextlib.asynccontextmanager
async def asking(
    directory: pathlib.Path, weight: int = 0
) -> AsyncIterator[tuple[gateway.Gateway, upstream.Upstream, upstream.Upstream]]:
    """A gateway that knows the clients qa, who may ask, and app, who may not."""
    async with upstream.running("stable", "canary") as (stable, canary):
        override = inputs.Override("x-sluice-revision", "canary", ("qa", "other"))
        split = inputs.Split(gateway.revision(stable, "chat-1"), gateway.revision(canary, "chat-2"), weight, override=override)
        clients = {"apiKeys": [{"secretRef": {"name": "keys"}}], "anonymous": True}
        given = inputs.GatewayInputs(gateway.spec(clients=clients), (gateway.model("chat", split),), api_keys=KEYS)
        async with gateway.running(given, directory) as running:
            yield running, stable, canary


@pytest.mark.parametrize("weight", [0, 500])
async def test_testers_get_what_they_ask_for(tmp_path: pathlib.Path, weight: int) -> None:
    """Whatever the weight, all of their requests go to the canary, streams too, and its engine sees no header of ours."""
    async with asking(tmp_path, weight) as (running, stable, canary):
        assert await running.load(REQUESTS, key="sk-qa", headers=ASK) == {200: REQUESTS}
        assert await running.load(REQUESTS, key="sk-qa", headers=ASK, stream=True) == {200: REQUESTS}
        attempts = await running.counted("envoy_sluice_attempts", 2 * REQUESTS)
    assert (stable.count, canary.count) == (0, 2 * REQUESTS)
    assert {dict(tags)["route"] for tags in attempts} == {"prod/chat/override"}
    assert not [name for name in canary.requests[0].headers if name.startswith("x-sluice-") or name == "authorization"]


@pytest.mark.parametrize(
    ("key", "headers"),
    [
        ("sk-qa", {}),
        ("sk-qa", {"x-sluice-revision": "stable"}),
        ("sk-qa", {"x-sluice-revision": "canary2"}),
        ("sk-app", ASK),
        ("sk-app", {**ASK, "x-sluice-client": "qa"}),
        ("", ASK),
        ("", {**ASK, "x-sluice-client": "qa"}),
    ],
    ids=["not asked", "another value", "a longer value", "not named", "forged", "anonymous", "anonymous and forged"],
)
async def test_nobody_else_gets_it(tmp_path: pathlib.Path, key: str, headers: Mapping[str, str]) -> None:
    """Without the header, with another value, without being named, or by a forged name: stable answers."""
    async with asking(tmp_path) as (running, stable, canary):
        assert await running.load(REQUESTS, key=key, headers=headers) == {200: REQUESTS}
        attempts = await running.counted("envoy_sluice_attempts", REQUESTS)
    assert (stable.count, canary.count) == (REQUESTS, 0)
    assert {dict(tags)["route"] for tags in attempts} == {"prod/chat"}


async def test_a_wrong_key_is_refused_as_ever(tmp_path: pathlib.Path) -> None:
    """To ask is no way past the keys."""
    async with asking(tmp_path) as (running, stable, canary):
        assert await running.load(5, key="sk-nobody", headers=ASK) == {401: 5}
    assert (stable.count, canary.count) == (0, 0)


@pytest.mark.parametrize("mode", [upstream.Mode.ERROR, upstream.Mode.RESET, upstream.Mode.LIMITED])
async def test_testers_are_shielded_too(tmp_path: pathlib.Path, mode: upstream.Mode) -> None:
    """They see stable's answer; that the canary failed is in the counters, under the override's name."""
    async with asking(tmp_path) as (running, stable, canary):
        canary.mode = mode
        assert await running.load(REQUESTS, key="sk-qa", headers=ASK) == {200: REQUESTS}
        attempts = await running.counted("envoy_sluice_attempts", 2 * REQUESTS)
    assert (stable.count, canary.count) == (REQUESTS, REQUESTS)
    assert {(dict(tags)["route"], dict(tags)["revision"]) for tags in attempts} == {
        ("prod/chat/override", "prod/chat-1"),
        ("prod/chat/override", "prod/chat-2"),
    }


async def test_models_are_listed_once(tmp_path: pathlib.Path) -> None:
    """A second way to a model is no second model."""
    async with asking(tmp_path) as (running, _, _):
        listed = (await running.request("GET", "/v1/models")).body
    assert [entry["id"] for entry in listed["data"]] == ["chat"]
