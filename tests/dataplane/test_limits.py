"""Rate limits inside the proxy: exact, apart by key, and told to clients as OpenAI's are."""

from __future__ import annotations

import asyncio
import collections
import pathlib
import time
from typing import Any

from sluice.api import ratelimitpolicy
from sluice.routing import inputs
from tests.support import gateway, upstream

CLIENT, MODEL = {"type": "Client"}, {"type": "Model"}


def given(
    server: upstream.Upstream,
    *limits: dict[str, Any],
    clients: int = 0,
    anonymous: bool = True,
    models: tuple[str, ...] = ("chat",),
) -> inputs.GatewayInputs:
    """A gateway with these limits and `clients` keys, `sk-0` and on."""
    specs = [
        {"name": f"limit-{index}", "unit": "Requests", "scope": "PerReplica", "per": "1h", **limit}
        for index, limit in enumerate(limits)
    ]
    target = [{"group": "sluice.dev", "kind": "Gateway", "name": "edge"}]
    wire = {"metadata": {"name": "fair", "namespace": "prod"}, "spec": {"targetRefs": target, "limits": specs}}
    return inputs.GatewayInputs(
        gateway.spec(clients={"apiKeys": [{"secretRef": {"name": "keys"}}], "anonymous": anonymous}),
        tuple(gateway.model(name, inputs.Split(gateway.revision(server, f"{name}-1"))) for name in models),
        (ratelimitpolicy.parse(wire),) if limits else (),
        {gateway.digest(f"sk-{index}"): f"client-{index}" for index in range(clients)},
    )


async def test_exactly_the_burst_is_admitted_under_concurrency(server: upstream.Upstream, tmp_path: pathlib.Path) -> None:
    """Of 200 requests at once exactly 50 pass; the rest are 429 with Retry-After, x-ratelimit-* and OpenAI's body."""
    limit = {"amount": 3600, "burst": 50, "per": "24h"}
    async with gateway.running(given(server, limit), tmp_path) as running:
        assert await running.load(200) == {200: 50, 429: 150}
        refused = await running.ask()
    assert server.count == 50
    error = refused.body["error"]
    assert (refused.status, error["code"], error["type"]) == (429, "rate_limit_exceeded", "rate_limit_error")
    assert refused.headers["content-type"] == "application/json"
    assert (refused.headers["x-ratelimit-limit"], refused.headers["x-ratelimit-remaining"]) == ("50", "0")
    assert 1 <= int(refused.headers["retry-after"]) <= 24


async def test_the_bucket_refills_steadily(server: upstream.Upstream, tmp_path: pathlib.Path) -> None:
    """What passes in a time is burst plus rate by time, to one request; Retry-After is enough to wait for."""
    async with gateway.running(given(server, {"amount": 20, "per": "1s", "burst": 20}), tmp_path) as running:
        started = time.monotonic()
        seen: collections.Counter[int] = collections.Counter()
        while time.monotonic() - started < 2:
            seen[(await running.ask()).status] += 1
        elapsed = time.monotonic() - started
        refused = next(answer for answer in [await running.ask() for _ in range(50)] if answer.status == 429)
        await asyncio.sleep(int(refused.headers["retry-after"]))
        assert (await running.ask()).status == 200
    assert 20 + 20 * 2 - 1 <= seen[200] <= 20 + 20 * elapsed + 1


async def test_each_client_has_its_own_bucket(server: upstream.Upstream, tmp_path: pathlib.Path) -> None:
    """60 clients, three times Envoy's default number of buckets, get 3 requests each, in whatever order they come."""
    limit = {"key": [CLIENT], "amount": 3, "burst": 3}
    async with gateway.running(given(server, limit, clients=60), tmp_path) as running:
        seen: dict[int, collections.Counter[int]] = collections.defaultdict(collections.Counter)
        for _ in range(5):
            for client in range(60):
                seen[client][(await running.ask(key=f"sk-{client}")).status] += 1
    assert all(counts == {200: 3, 429: 2} for counts in seen.values())


async def test_anonymous_requests_share_a_bucket(server: upstream.Upstream, tmp_path: pathlib.Path) -> None:
    """A limit per client counts requests without a key too, all together: no key is no way round it."""
    async with gateway.running(given(server, {"key": [CLIENT], "amount": 4}, clients=1), tmp_path) as running:
        assert await running.load(10) == {200: 4, 429: 6}
        assert await running.load(10, key="sk-0") == {200: 4, 429: 6}


async def test_each_model_has_its_own_bucket_and_strangers_take_none(server: upstream.Upstream, tmp_path: pathlib.Path) -> None:
    """Models are counted apart; names that are not routed neither count nor push a bucket out."""
    limit = {"key": [MODEL], "amount": 5}
    async with gateway.running(given(server, limit, models=("chat", "code")), tmp_path) as running:
        assert await running.load(8) == {200: 5, 429: 3}
        assert await running.load(8, name="code") == {200: 5, 429: 3}
        for index in range(100):
            assert (await running.ask(f"nowhere-{index}")).status == 404
        assert await running.load(3) == {429: 3}


async def test_a_limit_counts_only_what_it_matches(server: upstream.Upstream, tmp_path: pathlib.Path) -> None:
    """Limits for one model or one client leave the others alone."""
    limits = ({"match": {"models": ["code"]}, "amount": 2}, {"match": {"clients": ["client-0"]}, "amount": 3})
    async with gateway.running(given(server, *limits, clients=2, models=("chat", "code")), tmp_path) as running:
        assert await running.load(5, key="sk-1") == {200: 5}
        assert await running.load(5, key="sk-0") == {200: 3, 429: 2}
        assert await running.load(5) == {200: 5}
        assert await running.load(5, name="code") == {200: 2, 429: 3}


async def test_all_limits_must_admit(server: upstream.Upstream, tmp_path: pathlib.Path) -> None:
    """With a limit per client and a shared one, the tighter decides for each request."""
    limits = ({"key": [CLIENT], "amount": 4}, {"amount": 6})
    async with gateway.running(given(server, *limits, clients=2), tmp_path) as running:
        assert await running.load(10, key="sk-0") == {200: 4, 429: 6}
        assert (await running.load(10, key="sk-1"))[200] <= 2
    assert server.count <= 6


async def test_other_changes_leave_buckets_alone(tmp_path: pathlib.Path) -> None:
    """A used-up bucket stays so when weights, pods or keys change: a rollout gives nobody new quota."""
    async with upstream.running("stable", "canary") as (stable, canary):
        before = given(stable, {"amount": 5}, clients=1)
        split = inputs.Split(gateway.revision(stable, "chat-1"), gateway.revision(canary, "chat-2"), 5000)
        after = inputs.GatewayInputs(before.gateway, (gateway.model("chat", split),), before.policies)
        async with gateway.running(before, tmp_path) as running:
            assert await running.load(8) == {200: 5, 429: 3}
            await running.publish(after)
            assert await running.load(8) == {429: 8}


async def test_limits_change_without_a_failed_request(server: upstream.Upstream, tmp_path: pathlib.Path) -> None:
    """A limit that is added, changed and removed under load refuses only what it is to refuse."""
    none, wide, tight = given(server), given(server, {"amount": 1_000_000}), given(server, {"amount": 1})
    async with gateway.running(none, tmp_path) as running:
        assert set(await running.load_while(running.publish(wide))) == {200}
        assert set(await running.load_while(running.publish(tight))) == {200, 429}
        await running.publish(none)
        assert set(await running.load(50)) == {200}


async def test_attempts_are_charged_once(tmp_path: pathlib.Path) -> None:
    """A request that the shield retries costs one of the limit, not two."""
    async with upstream.running("stable", "canary") as (stable, canary):
        canary.mode = upstream.Mode.ERROR
        split = inputs.Split(gateway.revision(stable, "chat-1"), gateway.revision(canary, "chat-2"), 10_000)
        made = given(stable, {"amount": 10})
        both = inputs.GatewayInputs(made.gateway, (gateway.model("chat", split),), made.policies)
        async with gateway.running(both, tmp_path) as running:
            assert await running.load(20) == {200: 10, 429: 10}
    assert (stable.count, canary.count) == (10, 10)
