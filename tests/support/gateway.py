"""A real gateway for tests of the data plane: Envoy with the resources that our translation makes, and clients of it.

No Kubernetes and no operator: models, keys and limits are given as `routing.inputs`. Addresses are moved to loopback.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import hashlib
import json
import math
import pathlib
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any

import aiohttp

from sluice.api import gateway as api
from sluice.routing import inputs, translate
from sluice.xds import bootstrap as xds_bootstrap
from sluice.xds import listener, snapshot
from sluice.xds import translate as xds_translate
from sluice.xds.filters import credentials
from tests.support import ads, envoy, ports, upstream

COMPLETIONS = "/v1/chat/completions"


def spec(**fields: Any) -> api.Gateway:
    """A Gateway of these spec fields, open to anyone unless `clients` says otherwise."""
    wire = {"clients": {"anonymous": True}, **fields}
    return api.parse({"metadata": {"name": "edge", "namespace": "prod"}, "spec": wire})


def revision(server: upstream.Upstream | None, name: str) -> inputs.Revision:
    """The revision `prod/<name>` with one pod, or with none."""
    endpoints = (inputs.Endpoint("127.0.0.1", server.port),) if server is not None else ()
    return inputs.Revision(f"prod/{name}", endpoints)


def model(name: str, split: inputs.Split) -> inputs.ModelInput:
    """The ModelDeployment `prod/<name>`, served under its name."""
    return inputs.ModelInput("prod", name, "2026-01-01T00:00:00Z", name, gateway_allowed=True, split=split)


def digest(key: str) -> str:
    """What a Secret of API keys holds for a client's key."""
    return hashlib.sha256(key.encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a client saw."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    text: str

    @property
    def body(self) -> Any:
        """The body as JSON."""
        return json.loads(self.text)


class Gateway:
    """An Envoy that runs what `publish` gave it."""

    def __init__(self, server: ads.Ads, process: envoy.Envoy, port: int, directory: pathlib.Path) -> None:
        self.envoy = process
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self.credentials = directory
        self._ads = server
        self._session: aiohttp.ClientSession | None = None

    async def publish(self, given: inputs.GatewayInputs, *, without: str = "") -> None:
        """Makes Envoy run this, and returns once it does. Resources of the type `without` are withheld."""
        made = on_loopback(xds_translate.build_resources(translate.translate(given).ir), self.port, self.credentials)
        await self._ads.publish({type_url: resources for type_url, resources in made.items() if type_url != without})

    async def open(self) -> None:
        """Opens the clients' connections."""
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60))

    async def close(self) -> None:
        """Closes them."""
        if self._session is not None:
            await self._session.close()

    async def request(
        self, method: str, path: str, *, data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request as it is."""
        assert self._session is not None
        async with self._session.request(method, self.url + path, data=data, headers=headers) as response:
            text = await response.text()
            return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, text)

    async def ask(
        self, name: str | None = "chat", *, key: str = "", headers: Mapping[str, str] | None = None, **body: Any
    ) -> Answer:
        """One chat completion of a model."""
        given = {"model": name} if name is not None else {}
        authorization = {"authorization": f"Bearer {key}"} if key else {}
        data = json.dumps({**given, "messages": [], **body}).encode()
        return await self.request(
            "POST", COMPLETIONS, data=data, headers={"content-type": "application/json", **authorization, **(headers or {})}
        )

    async def leave_stream(self, name: str = "chat") -> None:
        """Asks for a stream, reads its first chunk and goes away."""
        assert self._session is not None
        body = {"model": name, "messages": [], "stream": True}
        async with self._session.post(self.url + COMPLETIONS, json=body) as response:
            await response.content.readany()
            response.close()

    async def load(self, count: int, *, concurrency: int = 32, **ask: Any) -> collections.Counter[int]:
        """`count` completions by so many clients at once: how many ended with which status."""
        seen: collections.Counter[int] = collections.Counter()
        left = iter(range(count))

        async def client() -> None:
            for _ in left:
                seen[(await self.ask(**ask)).status] += 1

        await asyncio.gather(*(client() for _ in range(concurrency)))
        return seen

    async def load_while(self, change: Awaitable[object], *, least: int = 50, **ask: Any) -> collections.Counter[int]:
        """Completions by a few clients until `change` is done and `least` have ended since: how they ended, by status."""
        seen: collections.Counter[int] = collections.Counter()
        enough: float = math.inf

        async def client() -> None:
            while seen.total() < enough:
                seen[(await self.ask(**ask)).status] += 1

        clients = [asyncio.create_task(client()) for _ in range(8)]
        await change
        enough = seen.total() + least
        await asyncio.gather(*clients)
        return seen

    async def counted(self, name: str, total: float) -> dict[frozenset[tuple[str, str]], float]:
        """Samples of a counter once they add up to `total` at least: they show with the next flush."""
        async with asyncio.timeout(10):
            while True:
                samples = await self.envoy.counters(name)
                if sum(samples.values()) >= total:
                    return samples
                await asyncio.sleep(0.1)


def on_loopback(resources: snapshot.Resources, port: int, directory: pathlib.Path) -> snapshot.Resources:
    """The same resources on a loopback port, with credentials below `directory`."""
    front = snapshot_copy(resources[snapshot.LISTENER][listener.NAME])
    front.address.socket_address.address, front.address.socket_address.port_value = "127.0.0.1", port
    secrets = {
        name: credentials.build_secret(name.removeprefix("credential/"), str(directory)) for name in resources[snapshot.SECRET]
    }
    return {**resources, snapshot.LISTENER: {listener.NAME: front}, snapshot.SECRET: secrets}


def snapshot_copy(message: snapshot.Message) -> snapshot.Message:
    """A copy of a protobuf message."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def bootstrap(ads_port: int, admin_port: int) -> dict[str, Any]:
    """The least bootstrap that gets everything by plain ADS."""
    http2: dict[str, Any] = {"explicit_http_config": {"http2_protocol_options": {}}}
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    address = {"socket_address": {"address": "127.0.0.1", "port_value": ads_port}}
    everything = {"ads": {}, "resource_api_version": "V3"}
    return {
        "node": {"id": "test", "cluster": "test"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin_port}}},
        "stats_flush_interval": "0.2s",
        "stats_config": xds_bootstrap.build_stats_config(),
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "cds_config": everything,
            "lds_config": everything,
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "xds",
                    "type": "STATIC",
                    "typed_extension_protocol_options": {options: {"@type": f"type.googleapis.com/{options}", **http2}},
                    "load_assignment": {
                        "cluster_name": "xds",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
                    },
                }
            ]
        },
    }


@contextlib.asynccontextmanager
async def running(given: inputs.GatewayInputs, directory: pathlib.Path) -> AsyncIterator[Gateway]:
    """A ready gateway that runs `given`, for the length of the block. Credentials are files below `<directory>/credentials`."""
    async with ads.running() as server:
        process = envoy.Envoy(bootstrap(server.port, ports.free()), directory)
        made = Gateway(server, process, ports.free(), directory / "credentials")
        await made.publish(given)
        try:
            await process.start()
            await server.settled()
            await made.open()
            yield made
        finally:
            await made.close()
            await process.stop()
