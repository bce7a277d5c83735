"""The attempt counters of a gateway's proxies: read over mTLS, and turned into differences that survive restarts.

Format and labels of the counters are described in `xds/filters/attempts.py`. A proxy that cannot be read is no data.
"""

from __future__ import annotations

import collections
import dataclasses
import re
import ssl
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, Self

import aiohttp
import yarl

from sluice.gates import attempts

PREFIX: Final = "envoy_sluice_attempts{"
PATH: Final = "/stats/prometheus?filter=%5Esluice%5C.attempts"
TIMEOUT: Final = 0.9
"""Seconds. Below the interval of a second, so that one slow proxy delays no look."""
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def parse(text: str) -> attempts.Counters:
    """Attempt counters in a page of Prometheus' text format; other lines are skipped unread.

    Raises:
        ValueError: a line of ours is not in the form that our proxies write.
    """
    counters: collections.Counter[attempts.AttemptKey] = collections.Counter()
    for line in text.splitlines():
        if not line.startswith(PREFIX):
            continue
        labels, _, value = line[len(PREFIX) :].rpartition("} ")
        tags = dict(_LABEL.findall(labels))
        key = attempts.AttemptKey(
            revision=tags.get("revision", ""),
            route=tags.get("route", ""),
            code=int(tags.get("code") or 0),
            flags=tags.get("flags", ""),
            stream=tags.get("stream") == "true",
            placeholder=tags.get("placeholder") == "yes",
        )
        counters[key] += int(float(value))
    return counters


class Reader:
    """Reads proxies by their pods' addresses; `context` gives what checks that they are the gateway's."""

    def __init__(self, context: Callable[[str, str], ssl.SSLContext], *, port: int) -> None:
        self._context = context
        self._port = port
        self._session: aiohttp.ClientSession | None = None

    async def read(self, gateway: tuple[str, str], address: str) -> attempts.Counters:
        """Running totals of one proxy of the gateway (namespace, name).

        Raises:
            OSError: it can't be reached, is someone else, or answers nonsense.
            TimeoutError: it doesn't answer within TIMEOUT.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT))
        url = yarl.URL(f"https://{address}:{self._port}{PATH}", encoded=True)
        try:
            async with self._session.get(url, ssl=self._context(*gateway)) as response:
                response.raise_for_status()
                return parse(await response.text())
        except (aiohttp.ClientError, ValueError) as error:
            raise OSError(f"Cannot read proxy {address}: {error}") from error

    async def close(self) -> None:
        """Closes all connections."""
        if self._session is not None:
            await self._session.close()


@dataclasses.dataclass
class Accumulator:
    """Differences between successive totals of several proxies.

    A proxy counts from its second reading on: what it counted before was not asked for. A total that fell belongs to a
    proxy that started again, and counts from zero. After a gap the difference covers the whole of it.
    """

    revisions: frozenset[str]
    """Clusters whose attempts are kept."""
    totals: dict[str, dict[attempts.AttemptKey, int]] = dataclasses.field(default_factory=dict)
    """By proxy."""

    def observe(self, readings: Mapping[str, attempts.Counters | None]) -> attempts.Counters:
        """The attempts since the last reading of each proxy, all together. None: the proxy could not be read."""
        delta: collections.Counter[attempts.AttemptKey] = collections.Counter()
        for proxy, counters in readings.items():
            if counters is None:
                continue
            latest = {key: count for key, count in counters.items() if key.revision in self.revisions}
            known = self.totals.get(proxy)
            if known is not None:
                for key, count in latest.items():
                    before = known.get(key, 0)
                    delta[key] += count - before if count >= before else count
            self.totals[proxy] = latest
        self._forget(readings.keys())
        return +delta

    def _forget(self, present: Collection[str]) -> None:
        for proxy in [proxy for proxy in self.totals if proxy not in present]:
            del self.totals[proxy]

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` reads it back."""
        return {
            proxy: [[*dataclasses.astuple(key), count] for key, count in sorted(totals.items(), key=str)]
            for proxy, totals in self.totals.items()
        }

    @classmethod
    def from_json(cls, revisions: Iterable[str], data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: the data was not written by `to_json`.
        """
        totals = {
            str(proxy): {
                attempts.AttemptKey(str(r), str(route), int(code), str(flags), bool(stream), bool(placeholder)): int(count)
                for r, route, code, flags, stream, placeholder, count in rows
            }
            for proxy, rows in data.items()
        }
        return cls(frozenset(revisions), totals)
