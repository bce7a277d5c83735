"""A whole rollout as proxies see it: copies, testers, users who stay, more weight, promotion, and back; no request is lost."""

from __future__ import annotations

import asyncio
import collections
import pathlib
from collections.abc import Mapping
from typing import Any

import pytest

from sluice.routing import inputs
from tests.support import gateway, upstream

KEYS = {gateway.digest("sk-qa"): "qa"}
CLIENTS = {"apiKeys": [{"secretRef": {"name": "keys"}}], "anonymous": True}
QA = inputs.Override("x-sluice-revision", "canary", ("qa",))
KINDS: tuple[Mapping[str, Any], ...] = (
    {},
    {"stream": True},
    {"headers": {"x-user-id": "a-user"}},
    {"headers": {"x-user-id": "another-user"}, "stream": True},
    {"key": "sk-qa", "headers": {"x-sluice-revision": "canary"}},
)
"""All the ways in which clients ask."""


def rollout(old: inputs.Revision, new: inputs.Revision) -> list[inputs.Split]:
    """The splits of a rollout in order. Stable has room for all 40 clients at once: what is lost is lost by a change."""
    shield = inputs.Shield(max_extra_load=1.0)

    def split(weight: int, *, mirror: int = 0, in_flight: int | None = None) -> inputs.Split:
        return inputs.Split(old, new, weight, mirror, "x-user-id", QA, shield, in_flight)

    return [
        inputs.Split(old),
        split(0, mirror=1000),
        split(0, mirror=10_000),
        split(50),
        split(500, in_flight=100),
        split(2500, in_flight=64),
        split(5000, in_flight=100),
        split(10_000, in_flight=100),
        inputs.Split(new),
    ]


def given(split: inputs.Split) -> inputs.GatewayInputs:
    """`chat` so split."""
    return inputs.GatewayInputs(gateway.spec(clients=CLIENTS), (gateway.model("chat", split),), api_keys=KEYS)


@pytest.mark.parametrize("mode", [upstream.Mode.OK, upstream.Mode.ERROR, upstream.Mode.RESET])
async def test_no_request_is_lost_on_the_way_there_and_back(tmp_path: pathlib.Path, mode: upstream.Mode) -> None:
    """Each change is made under all kinds of requests, whether the new revision works or fails."""
    async with upstream.running("old", "new") as (old, new):
        new.mode = mode
        splits = rollout(gateway.revision(old, "chat-1"), gateway.revision(new, "chat-2"))
        steps = splits if mode is upstream.Mode.OK else splits[:-1]
        seen: collections.Counter[int] = collections.Counter()
        async with gateway.running(given(splits[0]), tmp_path) as running:
            for split in [*steps[1:], *steps[-2::-1]]:
                change = asyncio.ensure_future(running.publish(given(split)))
                for load in await asyncio.gather(*(running.load_while(change, least=8, **kind) for kind in KINDS)):
                    seen += load
    assert set(seen) == {200}
    assert old.count > 0
    assert new.count > 0
