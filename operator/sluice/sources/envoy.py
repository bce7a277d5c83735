"""Counters of attempts from the proxies, and what they counted since the last look.

A proxy's counters only ever rise, and begin at zero with its process. `Accumulator` turns their readings into
differences without counting anything twice: over lost readings, restarts of proxies and restarts of the operator. What
the attempts mean is `gates.attempts`' business; how Envoy writes them is documented in `xds/filters/attempts.py`.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import re
import ssl
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NoReturn

import aiohttp

from sluice.gates import attempts

TIMEOUT_SECONDS: Final = 1.0
PATH: Final = "/stats/prometheus"
FILTER: Final = r"^(sluice\.attempts|server\.uptime$)"
_ATTEMPTS: Final = "envoy_sluice_attempts{"
_UPTIME: Final = "envoy_server_uptime{"
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPE: Final = re.compile(r"\\(.)")
_CLOCK_SLACK: Final = 10.0
"""Seconds by which clocks of operator replicas may differ, and Envoy's uptime may lag."""
_UPTIME_GRAIN: Final = 1.0
"""Seconds by which Envoy's uptime may be too long: it is a difference of whole seconds."""


class ScrapeError(Exception):
    """A proxy's counters could not be read; the message says which proxy and why."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """One proxy's counters at one moment."""

    at: float
    """Seconds since the epoch."""
    uptime: int
    """Seconds since the proxy's process began, as the proxy says: up to one too long, or two too short."""
    series: Mapping[str, int]
    """Labels as the proxy writes them -> attempts since the process began. `parse_key` reads the labels."""

    def counters(self) -> attempts.Counters:
        """The attempts by their keys."""
        return _sum(self.series)


async def scrape(
    session: aiohttp.ClientSession,
    address: str,
    port: int,
    context: ssl.SSLContext,
    *,
    now: Callable[[], float] = time.time,
) -> Reading:
    """Reads one proxy's counters over mTLS.

    `context` presents the operator's certificate and checks in the handshake that the peer is a proxy of the right
    gateway (`pki.contexts`); the address is an IP address that proves nothing.

    Raises:
        ScrapeError: no answer within `TIMEOUT_SECONDS`, another identity, or an answer that is not what it should be.
    """
    host = f"[{address}]" if ":" in address else address
    url = f"https://{host}:{port}{PATH}"
    try:
        limits = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with session.get(url, params={"filter": FILTER}, ssl=context, timeout=limits, allow_redirects=False) as answer:
            if answer.status != 200:
                _fail(address, f"it answered {answer.status}")
            text = await answer.text(encoding="utf-8", errors="replace")
    except TimeoutError:
        _fail(address, f"no answer in {TIMEOUT_SECONDS:g} s")
    except (aiohttp.ClientError, OSError) as error:
        _fail(address, str(error) or type(error).__name__)
    uptime, series = parse(text)
    if uptime is None:
        _fail(address, "its answer has no uptime")
    return Reading(now(), uptime, series)


def parse(text: str) -> tuple[int | None, dict[str, int]]:
    """Uptime and attempt series of an exposition; every other line is skipped unread."""
    uptime: int | None = None
    series: dict[str, int] = {}
    for line in text.splitlines():
        if line.startswith(_ATTEMPTS):
            labels, _, value = line[len(_ATTEMPTS) :].rpartition("} ")
            series[labels] = int(value)
        elif line.startswith(_UPTIME):
            uptime = int(float(line.rpartition(" ")[2]))
    return uptime, series


@functools.lru_cache(maxsize=1 << 16)
def parse_key(labels: str) -> attempts.AttemptKey:
    """What a series counts. The same few texts come every second, so each is parsed once."""
    found = {
        name: _ESCAPE.sub(lambda match: "\n" if match[1] == "n" else match[1], text) for name, text in _LABEL.findall(labels)
    }
    code = found.get("code", "")
    return attempts.AttemptKey(
        revision=found.get("revision", ""),
        route=found.get("route", ""),
        code=int(code) if code.isdigit() else 0,
        flags=found.get("flags", "-"),
        stream=found.get("stream") == "true",
        placeholder=found.get("placeholder") == "yes",
    )


class Accumulator:
    """Differences of successive readings of many proxies, since the first or since a persisted state.

    - A proxy that was running before the first reading of all counts from its own first reading on, a younger one from zero.
    - A reading that failed is no reading: the next difference covers the time between.
    - A restarted proxy counts from zero again. Its process is known by its uptime, because a counter alone may already be
      past its old value (a process that lived only seconds and was replaced within ten escapes that). A single series that
      is gone and comes back (Envoy drops unused ones) counts from zero too.
    - A proxy that is no longer among the readings is forgotten; what it counted after its last reading is lost.

    `revisions` (cluster names) limits what is counted and persisted.
    """

    def __init__(self, revisions: Collection[str] | None = None) -> None:
        self._revisions = frozenset(revisions) if revisions is not None else None
        self._since: float | None = None
        self._last: dict[str, Reading] = {}

    def observe(self, readings: Mapping[str, Reading | None]) -> attempts.Counters:
        """Attempts since the last call. `readings` has every proxy that exists; None: it could not be read."""
        present = {proxy: self._limited(reading) for proxy, reading in readings.items() if reading is not None}
        if self._since is None and present:
            self._since = min(reading.at for reading in present.values())
        delta: collections.Counter[str] = collections.Counter()
        for proxy, reading in present.items():
            before = self._before(proxy, reading)
            for labels, value in reading.series.items():
                counted = before.get(labels, 0)
                delta[labels] += value - counted if value >= counted else value
        kept = {proxy: last for proxy, last in self._last.items() if proxy in readings}
        self._last = {**kept, **present}
        return _sum({labels: count for labels, count in delta.items() if count})

    def to_json(self) -> dict[str, Any]:
        """The state as plain data. Persist it together with what was made of the differences so far."""
        return {"since": self._since, "proxies": {proxy: dataclasses.asdict(last) for proxy, last in self._last.items()}}

    @classmethod
    def from_json(cls, data: Any, revisions: Collection[str] | None = None) -> Accumulator:
        """Goes on from a persisted state: the first difference covers all that was counted since.

        Damaged data gives a fresh accumulator: what was counted meanwhile is lost, and nothing is counted twice.
        """
        made = cls(revisions)
        try:
            since = data["since"]
            last = {
                str(proxy): Reading(
                    float(item["at"]), int(item["uptime"]), {str(key): int(value) for key, value in item["series"].items()}
                )
                for proxy, item in data["proxies"].items()
            }
            made._since = float(since) if since is not None else None
        except (TypeError, ValueError, KeyError, AttributeError):
            return cls(revisions)
        made._last = last
        return made

    def _before(self, proxy: str, reading: Reading) -> Mapping[str, int]:
        """What of the reading was counted already."""
        last = self._last.get(proxy)
        assert self._since is not None
        if last is None:
            return {} if reading.at - reading.uptime + _UPTIME_GRAIN > self._since else reading.series
        restarted = reading.uptime < last.uptime or reading.at - last.at > reading.uptime + _CLOCK_SLACK
        return {} if restarted else last.series

    def _limited(self, reading: Reading) -> Reading:
        if self._revisions is None:
            return reading
        series = {labels: value for labels, value in reading.series.items() if parse_key(labels).revision in self._revisions}
        return dataclasses.replace(reading, series=series)


def _sum(series: Mapping[str, int]) -> attempts.Counters:
    """By key: series that differ only in what a key leaves out (`stream` empty or `false`) are one."""
    counters: collections.Counter[attempts.AttemptKey] = collections.Counter()
    for labels, count in series.items():
        counters[parse_key(labels)] += count
    return dict(counters)


def _fail(address: str, cause: str) -> NoReturn:
    raise ScrapeError(f"Cannot read the counters of proxy {address}: {cause}")
