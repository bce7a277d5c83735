"""The platform's configuration as this process knows it: read from its ConfigMap, kept when it breaks, said when it is broken.

Static for what runs, closed for what is new: while the latest configuration cannot be used, the last good one holds, and
whoever would start something new is told to wait. What the configuration means is in `workloads.platform_rules`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

import yaml

from sluice.engine import clock as clock_
from sluice.kube import cache as kube_cache
from sluice.kube import client as kube_client
from sluice.kube import errors, resources
from sluice.observability import logs, metrics
from sluice.workloads import platform_config

_log = logs.get(__name__)

JITTER: Final = 0.2
RETRY_SECONDS: Final = 5.0


def read(data: Mapping[str, str]) -> platform_config.Config:
    """The configuration in the ConfigMap's data. Raises platform_config.ConfigError when it cannot be used."""
    return platform_config.parse({key: _yaml(key, text) for key, text in data.items()})


def _yaml(key: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise platform_config.ConfigError(f"key {key} is no YAML: {' '.join(str(error).split())}") from error


def _nothing() -> None:
    """Nobody wants to be told."""


@dataclasses.dataclass
class Platform:
    """Defaults and rules. Every replica reads them, so that a new leader has them."""

    client: kube_client.Client
    cache: kube_cache.Cache
    namespace: str
    """The operator's."""
    clock: clock_.Clock
    numbers: metrics.Metrics
    on_change: Callable[[], None] = _nothing
    """Told when defaults or rules have changed, or whether they can be used."""
    interval: float = 30.0
    """Longest time in seconds until a change is seen of a ConfigMap without our label; with it, the watch tells at once."""
    chance: Callable[[], float] = random.random
    """Uniform in [0, 1)."""
    config: platform_config.Config = platform_config.EMPTY
    """The last one that could be used."""
    trouble: str = ""
    """Why the latest one cannot be used; empty when it is `config`."""

    def __post_init__(self) -> None:
        self._told = asyncio.Event()
        self.cache.subscribe(self._changed)

    @property
    def object_name(self) -> str:
        """The ConfigMap, for messages."""
        return f"ConfigMap {self.namespace}/{resources.CONFIG_NAME}"

    async def load(self) -> None:
        """Reads the ConfigMap; without one there are no defaults and no rules.

        Raises:
            errors.ApiError: it could not be read. What is known stays.
        """
        data: Mapping[str, str] = {}
        try:
            found = await self.client.get(resources.CONFIG_MAPS, self.namespace, resources.CONFIG_NAME)
            data = {**(found.get("data") or {}), **dict.fromkeys(found.get("binaryData") or (), "")}
        except errors.NotFound:
            pass
        self._take(data)

    def _take(self, data: Mapping[str, str]) -> None:
        before = (self.config, self.trouble)
        try:
            self.config, self.trouble = read(data), ""
        except platform_config.ConfigError as error:
            self.trouble = f"{self.object_name} cannot be used: {error}"
        self.numbers.platform_config_valid.set(not self.trouble)
        if (self.config, self.trouble) == before:
            return
        if self.trouble:
            _log.error("platform configuration cannot be used; the last good one holds", cause=self.trouble)
        else:
            _log.info("platform configuration", rules=[rule.name for rule in self.config.enforced])
        self.on_change()

    async def run(self) -> None:
        """Keeps it up to date until cancelled."""
        wait = self.interval
        while True:
            await self._until_due(wait * (1.0 - JITTER * self.chance()))
            try:
                await self.load()
                wait = self.interval
            except errors.ApiError as error:
                _log.warning("platform configuration not read", cause=str(error))
                wait = min(RETRY_SECONDS, self.interval)

    async def _until_due(self, seconds: float) -> None:
        """Returns after so many seconds, or when the watch has told of a change."""
        sleeping = asyncio.create_task(self.clock.sleep(seconds))
        told = asyncio.create_task(self._told.wait())
        try:
            await asyncio.wait({sleeping, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            told.cancel()
        self._told.clear()

    def _changed(self, resource: resources.Resource, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> None:
        metadata = ((new or old) or {}).get("metadata", {})
        if resource is resources.CONFIG_MAPS and (metadata.get("namespace"), metadata.get("name")) == (
            self.namespace,
            resources.CONFIG_NAME,
        ):
            self._told.set()
