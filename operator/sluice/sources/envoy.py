"""Counters and histograms of attempts from the proxies, as they stand.

A proxy's counters only ever rise, and begin at zero with its process: `accumulator` makes differences of them. What the
attempts mean is `gates`' business; how Envoy writes them is documented in `xds/filters/attempts.py`.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
import re
import ssl
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NoReturn

import aiohttp

from sluice.gates import attempts, grid, readings

TIMEOUT_SECONDS: Final = 1.0
PATH: Final = "/stats/prometheus"
MOST_NAMED: Final = 40
"""Revisions that a filter names at most: the whole of a bigger gateway is read instead."""
_ATTEMPTS: Final = "envoy_sluice_attempts{"
_UPTIME: Final = "envoy_server_uptime{"
_PREFIX: Final = "envoy_sluice_"
_BUCKETS: Final = tuple(f"{_PREFIX}{measure}_bucket{{" for measure in readings.Measure)
_ACTIVE: Final = ("envoy_cluster_upstream_rq_active{", "envoy_cluster_upstream_rq_pending_active{")
_BOUNDS: Final = (*grid.BOUNDS, math.inf)
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPE: Final = re.compile(r"\\(.)")


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
    histograms: Mapping[str, Mapping[float, int]] = dataclasses.field(default_factory=dict)
    """Measure and labels as the proxy writes them -> requests by bin. `parse_histogram` reads the key."""
    active: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Requests in flight or waiting for a connection, by cluster. A cluster that the proxy does not know has none."""

    def counters(self) -> attempts.Counters:
        """The attempts by their keys."""
        sums: collections.Counter[attempts.AttemptKey] = collections.Counter()
        for labels, count in self.series.items():
            sums[parse_key(labels)] += count
        return dict(sums)


async def scrape(
    session: aiohttp.ClientSession,
    address: str,
    port: int,
    context: ssl.SSLContext,
    *,
    revisions: Collection[str] = (),
    now: Callable[[], float] = time.time,
) -> Reading:
    """Reads one proxy's counters over mTLS.

    `context` presents the operator's certificate and checks in the handshake that the peer is a proxy of the right
    gateway (`pki.contexts`); the address is an IP address that proves nothing. `revisions`: cluster names that the answer
    may be limited to; none: no limit.

    Raises:
        ScrapeError: no answer within `TIMEOUT_SECONDS`, another identity, or an answer that is not what it should be.
    """
    host = f"[{address}]" if ":" in address else address
    url = f"https://{host}:{port}{PATH}"
    query = {"filter": filter_for(revisions)}
    try:
        limits = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with session.get(url, params=query, ssl=context, timeout=limits, allow_redirects=False) as answer:
            if answer.status != 200:
                _fail(address, f"it answered {answer.status}")
            text = await answer.text(encoding="utf-8", errors="replace")
    except TimeoutError:
        _fail(address, f"no answer in {TIMEOUT_SECONDS:g} s")
    except (aiohttp.ClientError, OSError) as error:
        _fail(address, str(error) or type(error).__name__)
    try:
        page = parse(text)
    except ValueError as error:
        _fail(address, f"its answer is not in Prometheus' text format: {error}")
    if page.uptime is None:
        _fail(address, "its answer has no uptime")
    return Reading(now(), page.uptime, page.series, page.histograms, page.active)


def filter_for(revisions: Collection[str]) -> str:
    """The regular expression by which Envoy chooses what to write: it sees names with the values of all tags in them.

    A histogram of one revision and route is 116 lines, so with many revisions only those that are asked for are read.
    """
    if not 0 < len(revisions) <= MOST_NAMED:
        return r"^(sluice\.(attempts|ttft|duration)\.|server\.uptime$|cluster\..*\.upstream_rq_(pending_)?active$)"
    names = "|".join(re.escape(name) for name in sorted(revisions))
    return (
        rf"^(server\.uptime$|sluice\.(attempts|ttft|duration)\.revision\.({names})(/shadow)?\.route\."
        rf"|cluster\.({names})(/shadow)?\.upstream_rq_(pending_)?active$)"
    )


@dataclasses.dataclass
class Page:
    """What is needed of an exposition."""

    uptime: int | None = None
    series: dict[str, int] = dataclasses.field(default_factory=dict)
    histograms: dict[str, dict[float, int]] = dataclasses.field(default_factory=dict)
    active: dict[str, int] = dataclasses.field(default_factory=dict)


def parse(text: str) -> Page:
    """The numbers of an exposition; lines of others are skipped unread. Raises ValueError for a line of ours that is none.

    A histogram with other buckets than ours is left out: its proxy still runs an older bootstrap.
    """
    page = Page()
    cumulative: dict[str, list[int]] = {}
    for line in text.splitlines():
        if line.startswith(_BUCKETS):
            # The bounds come in order, and are ours or none of them: only how many there are is looked at.
            labels, _, end = line[len(_PREFIX) :].rpartition(',le="')
            cumulative.setdefault(labels, []).append(int(end.rpartition("} ")[2]))
        elif line.startswith(_ATTEMPTS):
            labels, _, value = line[len(_ATTEMPTS) :].rpartition("} ")
            page.series[labels] = int(value)
        elif line.startswith(_ACTIVE):
            found = _LABEL.search(line)
            name = found[2] if found else ""
            page.active[name] = page.active.get(name, 0) + int(line.rpartition(" ")[2])
        elif line.startswith(_UPTIME):
            page.uptime = int(float(line.rpartition(" ")[2]))
    page.histograms = {labels: _bins(counts) for labels, counts in cumulative.items() if len(counts) == len(_BOUNDS)}
    return page


def _bins(cumulative: Sequence[int]) -> dict[float, int]:
    """The bins that are not empty."""
    counts = (count - before for before, count in zip((0, *cumulative), cumulative, strict=False))
    return {bound: count for bound, count in zip(_BOUNDS, counts, strict=True) if count}


@functools.lru_cache(maxsize=1 << 16)
def parse_key(labels: str) -> attempts.AttemptKey:
    """What a series counts. The same few texts come every second, so each is parsed once."""
    found = _labels(labels)
    code = found.get("code", "")
    return attempts.AttemptKey(
        revision=found.get("revision", ""),
        route=found.get("route", ""),
        code=int(code) if code.isdigit() else 0,
        flags=found.get("flags", "-"),
        stream=found.get("stream") == "true",
        placeholder=found.get("placeholder") == "yes",
    )


@functools.lru_cache(maxsize=1 << 14)
def parse_histogram(key: str) -> readings.HistogramKey:
    """What a histogram of `Reading.histograms` measures."""
    name, _, labels = key.partition("_bucket{")
    found = _labels(labels)
    return readings.HistogramKey(readings.Measure(name), found.get("revision", ""), found.get("route", ""))


def _labels(text: str) -> dict[str, str]:
    return {
        name: _ESCAPE.sub(lambda match: "\n" if match[1] == "n" else match[1], value) for name, value in _LABEL.findall(text)
    }


def _fail(address: str, cause: str) -> NoReturn:
    raise ScrapeError(f"Cannot read the counters of proxy {address}: {cause}")
