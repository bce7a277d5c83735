"""Real proxies programmed by the operator's own ADS server over mTLS: what `gateway.py` leaves out.

No Kubernetes: certificates and configuration that a pod would have mounted are files below a test's directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import pathlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Self

import aiohttp

from sluice.pki import authority, identity
from sluice.routing import inputs, translate
from sluice.xds import bootstrap, server, snapshot
from sluice.xds import translate as xds_translate
from tests.support import envoy, gateway, ports

EDGE = ("prod", "edge")
OPERATOR_URI = identity.OPERATOR_URI


def now() -> datetime.datetime:
    """The real time: TLS compares certificates with it."""
    return datetime.datetime.now(datetime.UTC)


@dataclasses.dataclass(frozen=True)
class Certificates:
    """A CA and what it issues."""

    ca: authority.Authority = dataclasses.field(default_factory=lambda: authority.new_authority(now()))

    def operator(self) -> authority.Leaf:
        """The operator's certificate."""
        return authority.issue(self.ca, [OPERATOR_URI], ["sluice-xds.sluice-system.svc"], now())

    def gateway(self, name: tuple[str, str] = EDGE) -> authority.Leaf:
        """The certificate of a gateway's proxies."""
        return authority.issue(self.ca, [identity.gateway_uri(*name)], [], now())


def tls(leaf: authority.Leaf) -> server.Tls:
    """A certificate as the ADS server takes it."""
    return server.Tls(leaf.certificate, leaf.key, leaf.bundle)


@contextlib.asynccontextmanager
async def operator(
    certificates: Certificates, *, leading: bool = True, port: int = 0, **options: Any
) -> AsyncIterator[tuple[server.AdsServer, int]]:
    """A listening ADS server and its port, for the length of the block."""
    ads = server.AdsServer(tls(certificates.operator()), identify=identity.gateway_of, **options)
    bound = await ads.start(f"127.0.0.1:{port}")
    try:
        ads.serve(leading)
        yield ads, bound
    finally:
        await ads.stop()


class Proxy(envoy.Envoy):
    """An Envoy with the bootstrap of a gateway's pods, moved to loopback ports."""

    def __init__(
        self, directory: pathlib.Path, leaf: authority.Leaf, operators: Sequence[int], *, node: str = "proxy-0",
        name: tuple[str, str] = EDGE,
    ) -> None:  # fmt: skip
        files = directory / "files"
        files.mkdir(parents=True)
        self.certificates = directory / "tls"
        self.stats_port, self.probe_port = ports.free(), ports.free()
        settings = bootstrap.Settings(
            *name, "sluice-system", xds_address="127.0.0.1", xds_port=operators[0], admin_port=ports.free(), bind="127.0.0.1",
            stats_port=self.stats_port, probe_port=self.probe_port, tls_directory=str(self.certificates),
            files_directory=str(files),
        )  # fmt: skip
        for file, text in bootstrap.build_files(settings).items():
            (files / file).write_text(text)
        self.certificates.mkdir()
        for file, content in {"tls.crt": leaf.certificate, "tls.key": leaf.key, "ca.crt": leaf.bundle}.items():
            (self.certificates / file).write_bytes(content)
        config = bootstrap.build_bootstrap(settings)
        config["node"]["id"] = node
        _reach(config, operators)
        super().__init__(config, directory)


def _reach(config: dict[str, Any], operators: Sequence[int]) -> None:
    """All operators, as the headless Service would list them."""
    (cluster,) = [each for each in config["static_resources"]["clusters"] if each["name"] == bootstrap.XDS_CLUSTER]
    hosts = [{"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}} for port in operators]
    cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": hosts}]


@contextlib.asynccontextmanager
async def proxy(
    directory: pathlib.Path, leaf: authority.Leaf, *operators: int, ready: bool = True, **options: Any
) -> AsyncIterator[Proxy]:
    """A running proxy, for the length of the block; ready (so: programmed) unless said otherwise."""
    made = Proxy(directory, leaf, operators, **options)
    try:
        await made.start(wait_ready=ready)
        yield made
    finally:
        await made.stop()


def resources(
    port: int, split: inputs.Split, *, directory: pathlib.Path, api_keys: Mapping[str, str] | None = None, **spec: Any
) -> snapshot.Resources:
    """What our translation makes of one model `chat` with this split, listening on a loopback port."""
    given = inputs.GatewayInputs(
        gateway=gateway.spec(**spec), models=(gateway.model("chat", split),), policies=(), api_keys=api_keys or {}
    )
    return gateway.on_loopback(xds_translate.build_resources(translate.translate(given).ir), port, directory)


async def until(condition: Callable[[], bool], seconds: float = 12) -> None:
    """Waits for something that no event tells of. Less than the 15 s after which Envoy gives up waiting for resources."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)


class Load:
    """Clients that ask without pause, for the length of the block, and remember what they got."""

    def __init__(self, port: int, *, clients: int = 4, headers: Mapping[str, str] | None = None) -> None:
        self.answers: list[tuple[int, str]] = []
        """Status (0: the connection broke) and who answered."""
        self._port = port
        self._clients = clients
        self._headers = dict(headers or {})
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30), headers=self._headers)
        self._tasks = [asyncio.create_task(self._client()) for _ in range(self._clients)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    @property
    def failures(self) -> list[tuple[int, str]]:
        """What was no 200."""
        return [answer for answer in self.answers if answer[0] != 200]

    async def more(self, count: int = 20) -> list[str]:
        """Who answered the next so many requests that begin and end after this call."""
        start = len(self.answers) + self._clients
        await until(lambda: len(self.answers) >= start + count)
        return [name for _, name in self.answers[start:]]

    async def _client(self) -> None:
        while True:
            self.answers.append(await ask(self._session, self._port))


async def ask(session: aiohttp.ClientSession, port: int) -> tuple[int, str]:
    """One completion: status and who answered."""
    url = f"http://127.0.0.1:{port}{gateway.COMPLETIONS}"
    try:
        async with session.post(url, json={"model": "chat", "messages": []}) as response:
            body = await response.json()
            return response.status, body["choices"][0]["message"]["content"] if response.status == 200 else str(body)
    except (aiohttp.ClientError, ConnectionError) as error:
        return 0, repr(error)


async def until_dump(proxy: envoy.Envoy, condition: Callable[[str], bool], seconds: float = 12) -> None:
    """Waits for something in Envoy's configuration."""
    async with asyncio.timeout(seconds):
        while not condition(await proxy.get("/config_dump")):
            pass
