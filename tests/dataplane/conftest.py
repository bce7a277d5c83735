"""A gateway for tests that only ask: one model, `chat`, on one pod."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sluice.routing import inputs
from tests.support import gateway, upstream


@pytest_asyncio.fixture
async def server() -> AsyncIterator[upstream.Upstream]:
    """The pod."""
    async with upstream.running("stable") as (only,):
        yield only


@pytest_asyncio.fixture
async def shared(server: upstream.Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[gateway.Gateway]:
    """The gateway, open to anyone."""
    model = gateway.model("chat", inputs.Split(gateway.revision(server, "chat-1")))
    async with gateway.running(inputs.GatewayInputs(gateway.spec(), (model,)), tmp_path_factory.mktemp("gateway")) as running:
        yield running
