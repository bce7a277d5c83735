"""Events on a real API server, as `kubectl describe` shows them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from sluice.kube import client, events, resources
from tests.support import apiproxy, controlplane


@pytest.fixture(scope="module")
def plane() -> Iterator[controlplane.ControlPlane]:
    with controlplane.ControlPlane() as made:
        yield made


@contextlib.asynccontextmanager
async def recorder(kubeconfig: pathlib.Path) -> AsyncIterator[events.Recorder]:
    async with await client.Client.connect(kubeconfig) as api:
        made = events.Recorder(api, instance="sluice-operator-0", now=time.time)
        task = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def config_map(plane: controlplane.ControlPlane, name: str) -> dict[str, Any]:
    async with await client.Client.connect(plane.kubeconfig) as api:
        return await api.create(resources.CONFIG_MAPS, {"metadata": {"namespace": "default", "name": name}})


def found(plane: controlplane.ControlPlane, name: str) -> list[dict[str, Any]]:
    listed = plane.kubectl("get", "events.v1.events.k8s.io", "-o", "json").stdout
    return [item for item in json.loads(listed)["items"] if item["regarding"]["name"] == name]


async def test_describe_shows_an_event_once_with_its_count(plane: controlplane.ControlPlane) -> None:
    """Type, reason, note and who told it; the same three times is one line."""
    thing = await config_map(plane, "described")
    async with recorder(plane.kubeconfig) as told:
        for _ in range(3):
            told.tell(events.Event(thing, events.Type.WARNING, "RolledBack", "The canary failed.", "Rollback"))
        told.tell(events.Event(thing, events.Type.NORMAL, "Promoted", "Revision abc is stable."))
        await told.drain(10)
    described = plane.kubectl("describe", "configmap", "described").stdout
    lines = [" ".join(line.split()) for line in described.splitlines()]
    assert [line for line in lines if line.startswith("Warning RolledBack") and "The canary failed." in line]
    assert [line for line in lines if line.startswith("Warning RolledBack") and "sluice.dev/operator" in line]
    assert [line for line in lines if line.startswith("Normal Promoted")]
    assert sorted((item["reason"], item.get("series", {}).get("count", 1)) for item in found(plane, "described")) == [
        ("Promoted", 1),
        ("RolledBack", 3),
    ]


async def test_an_event_that_has_expired_is_made_anew(plane: controlplane.ControlPlane) -> None:
    """Events live an hour; the next of a series must not be lost."""
    thing = await config_map(plane, "expired")
    async with recorder(plane.kubeconfig) as told:
        told.tell(events.Event(thing, events.Type.NORMAL, "Holding", "Waiting."))
        await told.drain(10)
        plane.kubectl("delete", "events", "--all")
        told.tell(events.Event(thing, events.Type.NORMAL, "Holding", "Waiting."))
        await told.drain(10)
    assert len(found(plane, "expired")) == 1


async def test_an_api_server_that_is_away_costs_the_event_and_nothing_else(
    plane: controlplane.ControlPlane, tmp_path: pathlib.Path
) -> None:
    """Telling never fails; later events are sent."""
    thing = await config_map(plane, "cut")
    async with apiproxy.ApiProxy(plane.kubeconfig, tmp_path) as proxy, recorder(proxy.kubeconfig) as told:
        proxy.cut()
        told.tell(events.Event(thing, events.Type.NORMAL, "First", "Lost."))
        await told.drain(20)
        proxy.heal()
        told.tell(events.Event(thing, events.Type.NORMAL, "Second", "Sent."))
        await told.drain(20)
    assert [item["reason"] for item in found(plane, "cut")] == ["Second"]
