"""Users stay with one revision while the weight rises, and are not the same first ones in every rollout."""

from __future__ import annotations

import asyncio
import json
import pathlib
from typing import Any

import pytest

from sluice.api import rollout_spec
from sluice.routing import inputs
from tests.support import gateway, upstream

HEADER = "x-user-id"
USERS = 1000


def given(
    stable: upstream.Upstream, canary: upstream.Upstream, weight: int, *, revision: str = "chat-2"
) -> inputs.GatewayInputs:
    """`chat` divided between two servers, users by their header."""
    split = inputs.Split(gateway.revision(stable, "chat-1"), gateway.revision(canary, revision), weight, stickiness=HEADER)
    return inputs.GatewayInputs(gateway.spec(), (gateway.model("chat", split),))


async def users_of_canary(running: gateway.Gateway) -> set[int]:
    """Users whose two requests were both answered by the canary. Fails if one was answered by both revisions."""
    found = set()
    users = iter(range(USERS))

    async def ask() -> None:
        for user in users:
            answers = [await running.ask(headers={HEADER: f"user-{user}"}) for _ in range(2)]
            names = {answer.body["choices"][0]["message"]["content"] for answer in answers}
            assert len(names) == 1, f"user {user} met {names}"
            if names == {"canary"}:
                found.add(user)

    await asyncio.gather(*(ask() for _ in range(16)))
    return found


async def test_users_stay_while_the_weight_rises(tmp_path: pathlib.Path) -> None:
    """5, 10, 25, 90 percent: who had the canary has it still, and each share is about what was asked for."""
    async with (
        upstream.running("stable", "canary") as (stable, canary),
        gateway.running(given(stable, canary, 500), tmp_path) as running,
    ):
        before: set[int] = set()
        for weight in (500, 1000, 2500, 9000):
            await running.publish(given(stable, canary, weight))
            found = await users_of_canary(running)
            assert before <= found
            expected = USERS * weight / 10_000
            assert abs(len(found) - expected) < 6 * (expected * (1 - weight / 10_000)) ** 0.5
            before = found


@pytest.mark.parametrize("text", ["0.5", "0.01", "12.34", "99.99"])
async def test_a_fraction_of_a_percent_reaches_envoy_exactly(tmp_path: pathlib.Path, text: str) -> None:
    """The step's weight is what Envoy runs: hundredths of a percent, over a total that never changes."""
    weight = rollout_spec.weight_basis_points(text)
    async with (
        upstream.running("stable", "canary") as (stable, canary),
        gateway.running(given(stable, canary, weight), tmp_path) as running,
    ):
        dump = json.loads(await running.envoy.get("/config_dump?resource=dynamic_route_configs"))
    split = [route for route in routes(dump) if route.get("name") == "prod/chat"]
    assert split
    for route in split:
        plugin = route["route"]["inline_cluster_specifier_plugin"]["extension"]["typed_config"]["value"]
        assert {cluster["cluster_name"]: cluster["weight"] for cluster in plugin["priority_groups"][0]["clusters"]} == {
            "prod/chat-1": 10_000 - weight,
            "prod/chat-2": weight,
        }


def routes(dump: Any) -> list[dict[str, Any]]:
    """The routes that an Envoy runs."""
    (config,) = dump["configs"]
    (host,) = config["route_config"]["virtual_hosts"]
    found: list[dict[str, Any]] = host["routes"]
    return found


async def test_other_users_are_first_in_the_next_rollout(tmp_path: pathlib.Path) -> None:
    """The revision salts the choice: of two tenths of the users a hundredth is in both, by chance."""
    async with (
        upstream.running("stable", "canary") as (stable, canary),
        gateway.running(given(stable, canary, 1000), tmp_path) as running,
    ):
        one = await users_of_canary(running)
        await running.publish(given(stable, canary, 1000, revision="chat-3"))
        other = await users_of_canary(running)
    assert min(len(one), len(other)) > 50
    assert len(one & other) < 30


async def test_every_proxy_knows_the_same_users(tmp_path: pathlib.Path) -> None:
    """Another Envoy process sends the same users to the canary."""
    async with upstream.running("stable", "canary") as (stable, canary):
        found = []
        for name in ("one", "other"):
            async with gateway.running(given(stable, canary, 1000), tmp_path / name) as running:
                found.append(await users_of_canary(running))
    assert found[0] == found[1]


async def test_requests_without_the_header_are_drawn_anew(tmp_path: pathlib.Path) -> None:
    """They belong to no user, and get the canary in its share."""
    async with (
        upstream.running("stable", "canary") as (stable, canary),
        gateway.running(given(stable, canary, 2500), tmp_path) as running,
    ):
        assert await running.load(1000) == {200: 1000}
    assert 150 <= canary.count <= 350


async def test_nobody_changes_sides_under_load_while_the_weight_rises(tmp_path: pathlib.Path) -> None:
    """One user of the canary and one of stable ask all the time, and each meets one revision only."""
    async with (
        upstream.running("stable", "canary") as (stable, canary),
        gateway.running(given(stable, canary, 1000), tmp_path) as running,
    ):
        first = min(await users_of_canary(running))
        stable.forget()
        for weight in (1100, 2500, 5000, 9900):
            change = running.publish(given(stable, canary, weight))
            assert set(await running.load_while(change, headers={HEADER: f"user-{first}"})) == {200}
    assert stable.count == 0


@pytest.mark.parametrize("mode", [upstream.Mode.ERROR, upstream.Mode.RESET, upstream.Mode.LIMITED])
async def test_users_of_a_failing_canary_are_shielded(tmp_path: pathlib.Path, mode: upstream.Mode) -> None:
    """Staying is no reason to fail: stable answers for the time being."""
    async with (
        upstream.running("stable", "canary") as (stable, canary),
        gateway.running(given(stable, canary, 5000), tmp_path) as running,
    ):
        canary.mode = mode
        for user in range(40):
            assert (await running.ask(headers={HEADER: f"user-{user}"})).status == 200
    assert canary.count > 0
    assert stable.count == 40
