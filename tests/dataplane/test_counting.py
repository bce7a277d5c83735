"""The evidence of rollouts: every attempt and every request is counted once, as the servers and clients saw it."""

from __future__ import annotations

import asyncio
import collections
import json
import pathlib
from collections.abc import Mapping

import aiohttp

from sluice.routing import inputs
from tests.support import gateway, upstream

ATTEMPTS, REQUESTS = "envoy_sluice_attempts", "envoy_sluice_requests"


def by(samples: Mapping[frozenset[tuple[str, str]], float], *names: str) -> dict[tuple[str, ...], float]:
    """Samples added up by these labels."""
    found: collections.Counter[tuple[str, ...]] = collections.Counter()
    for tags, count in samples.items():
        labels = dict(tags)
        found[tuple(labels[name] for name in names)] += int(count)
    return dict(found)


def split(stable: upstream.Upstream, canary: upstream.Upstream, weight: int) -> inputs.GatewayInputs:
    """`chat` divided between two servers."""
    both = inputs.Split(gateway.revision(stable, "chat-1"), gateway.revision(canary, "chat-2"), weight)
    return inputs.GatewayInputs(gateway.spec(), (gateway.model("chat", both),))


async def test_attempts_agree_with_the_servers_to_one(tmp_path: pathlib.Path) -> None:
    """Over a mix of answers the counters per revision and code equal what each server did."""
    async with (
        upstream.running("stable", "canary") as (stable, canary),
        gateway.running(split(stable, canary, 3000), tmp_path) as running,
    ):
        for mode in upstream.Mode.OK, upstream.Mode.ERROR, upstream.Mode.RESET, upstream.Mode.LIMITED:
            canary.mode = mode
            assert await running.load(300) == {200: 300}
            assert await running.load(100, stream=True) == {200: 100}
        total = stable.count + canary.count
        attempts = await running.counted(ATTEMPTS, total)
        requests = await running.counted(REQUESTS, 1600)
    counted = by(attempts, "revision", "code", "flags", "placeholder")
    assert counted == {
        ("prod/chat-1", "200", "-", ""): stable.count,
        ("prod/chat-2", "200", "-", ""): canary.outcomes["200"],
        ("prod/chat-2", "500", "-", ""): canary.outcomes["500"],
        ("prod/chat-2", "429", "-", ""): canary.outcomes["429"],
        ("prod/chat-2", "0", "UC", ""): canary.outcomes["reset"],
    }
    assert by(attempts, "route", "stream").keys() == {("prod/chat", ""), ("prod/chat", "true")}
    assert by(requests, "route", "code", "client") == {("prod/chat", "200", ""): 1600}


async def test_what_users_saw_is_counted_by_client_and_code(server: upstream.Upstream, tmp_path: pathlib.Path) -> None:
    """Requests are counted as they ended for the client, refused ones too."""
    model = gateway.model("chat", inputs.Split(gateway.revision(server, "chat-1")))
    spec = gateway.spec(clients={"apiKeys": [{"secretRef": {"name": "keys"}}]})
    given = inputs.GatewayInputs(spec, (model,), api_keys={gateway.digest("sk-a"): "team-a"})
    async with gateway.running(given, tmp_path) as running:
        await running.load(5, key="sk-a")
        await running.load(2)
        await running.ask("nowhere", key="sk-a")
        server.mode = upstream.Mode.ERROR
        await running.load(3, key="sk-a")
        await server.stop()
        await running.load(4, key="sk-a")
        requests = await running.counted(REQUESTS, 15)
    assert by(requests, "route", "code", "flags", "client") == {
        ("prod/chat", "200", "-", "team-a"): 5,
        ("prod/chat", "500", "-", "team-a"): 3,
        ("prod/chat", "503", "UF", "team-a"): 4,
        ("", "401", "-", ""): 2,
        ("", "404", "-", "team-a"): 1,
    }


async def test_a_stream_that_breaks_and_a_client_that_leaves_are_told_apart(tmp_path: pathlib.Path) -> None:
    """A broken stream carries an upstream flag; a client that leaves does not, before and after the headers."""
    async with (
        upstream.running("stable", "canary") as (stable, canary),
        gateway.running(split(stable, canary, 10_000), tmp_path) as running,
    ):
        canary.mode = upstream.Mode.BREAK
        for _ in range(3):
            try:
                await running.ask(stream=True)
            except aiohttp.ClientError:
                continue
        canary.mode = upstream.Mode.OK
        canary.delay = 30.0
        leaving = asyncio.create_task(running.ask(stream=True))
        await canary.arrived(4)
        leaving.cancel()
        canary.delay, canary.gap = 0.0, 30.0
        await running.leave_stream()
        attempts = await running.counted(ATTEMPTS, 5)
    assert by(attempts, "revision", "code", "flags") == {
        ("prod/chat-2", "200", "UPE"): 3,
        ("prod/chat-2", "0", "-"): 1,
        ("prod/chat-2", "200", "-"): 1,
    }


async def test_each_attempt_is_a_line_of_the_log(tmp_path: pathlib.Path) -> None:
    """Standard output has one line per attempt with its time, revision, code and flags, and nothing of what was said."""
    async with upstream.running("stable", "canary") as (stable, canary):
        canary.mode = upstream.Mode.ERROR
        async with gateway.running(split(stable, canary, 10_000), tmp_path) as running:
            await running.load(3, key="sk-secret", messages=[{"role": "user", "content": "confidential"}])
            process = running.envoy
        lines = [json.loads(line) for line in process.log.splitlines() if '"sluice_attempt"' in line]
    assert collections.Counter((line["revision"], line["code"], line["flags"]) for line in lines) == {
        ("prod/chat-1", 200, "-"): 3,
        ("prod/chat-2", 500, "-"): 3,
    }
    assert all(line["start"].endswith("Z") and line["duration_ms"] >= 0 and line["route"] == "prod/chat" for line in lines)
    assert "confidential" not in process.log
    assert "sk-secret" not in process.log
