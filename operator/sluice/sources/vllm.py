"""One vLLM metrics page as numbers: only the few families that are asked for, the rest is skipped unread.

A page has some 500 lines, of which we need about 80: filtered by prefix first, so that parsing costs a fraction. What is made
of successive pages is others' business.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import aiohttp
import prometheus_client.parser

STARTED: Final = "process_start_time_seconds"
PAGE_LIMIT: Final = 4 << 20
"""A page is some 60 KB for one engine; more than this is no page."""

Labels = tuple[tuple[str, str], ...]
"""Sorted pairs."""


class ScrapeError(Exception):
    """A pod could not be read; the message says why."""


class PageError(Exception):
    """The page is not in the exposition format; the message says where."""


@dataclasses.dataclass(frozen=True)
class Page:
    """One reading of one pod. Families that the page does not have are absent."""

    gauges: Mapping[str, tuple[float, ...]]
    """Values of a family's series: one for each engine and model name."""
    counters: Mapping[str, Mapping[Labels, float]]
    histograms: Mapping[str, Mapping[Labels, Mapping[float, float]]]
    """For each series (without `le`) the cumulative count by upper bound; the last one is infinite."""
    started: float | None = None
    """When the server's process began, as it says: another one has counted from zero."""

    def total(self, family: str) -> float | None:
        """A gauge over all engines of the pod; None when the page does not have it, or not as a number."""
        values = self.gauges.get(family)
        return sum(values) if values and all(map(math.isfinite, values)) else None

    def highest(self, family: str) -> float | None:
        """A gauge, of the engine where it is highest; None when the page does not have it, or not as a number."""
        values = self.gauges.get(family)
        return max(values) if values and all(map(math.isfinite, values)) else None


@dataclasses.dataclass(frozen=True)
class Families:
    """Which families of a page are needed, by type."""

    gauges: frozenset[str]
    counters: frozenset[str]
    histograms: frozenset[str]


class _Series(NamedTuple):
    """What stands before a sample's value. `bound` is that of a bucket, infinite for what has none."""

    name: str
    labels: Labels
    bound: float


def parse(text: str, families: Families) -> Page:
    """The page's numbers.

    Raises:
        PageError: a line of a needed family is not in the exposition format.
    """
    gauges: dict[str, list[float]] = collections.defaultdict(list)
    counters: dict[str, dict[Labels, float]] = collections.defaultdict(dict)
    histograms: dict[str, dict[Labels, dict[float, float]]] = collections.defaultdict(dict)
    started: float | None = None
    buckets = {f"{family}_bucket": family for family in families.histograms}
    try:
        for series, value in _samples(text, (*families.gauges, *families.counters, *buckets, STARTED)):
            if series.name in families.gauges:
                gauges[series.name].append(value)
            elif series.name in families.counters:
                counters[series.name][series.labels] = value
            elif series.name in buckets:
                histograms[buckets[series.name]].setdefault(series.labels, {})[series.bound] = value
            elif series.name == STARTED:
                started = value
        for family, known in histograms.items():
            if not all(math.inf in found for found in known.values()):
                raise ValueError(f"{family} has no bucket for +Inf")
    except (ValueError, LookupError) as error:
        raise PageError(f"it is not in Prometheus' text format: {error}") from error
    return Page({family: tuple(values) for family, values in gauges.items()}, counters, histograms, started)


def _samples(text: str, names: Iterable[str]) -> Iterator[tuple[_Series, float]]:
    """Samples of exactly these names."""
    prefixes = tuple(f"{name}{end}" for name in names for end in ("{", " "))
    for line in text.splitlines():
        if line.startswith(prefixes):
            head, brace, rest = line.rpartition("}")
            if not brace:
                head, _, rest = line.partition(" ")
            yield _series(head + brace), float(rest.split()[0])  # a time may follow


@functools.lru_cache(maxsize=1 << 15)
def _series(text: str) -> _Series:
    """The same few texts come again and again, from all pods of a model: each is parsed once."""
    (family,) = prometheus_client.parser.text_string_to_metric_families(f"{text} 0\n")
    (sample,) = family.samples
    labels = dict(sample.labels)
    bound = float(labels.pop("le")) if sample.name.endswith("_bucket") else math.inf
    return _Series(sample.name, tuple(sorted(labels.items())), bound)


def url_of(address: str, port: int) -> str:
    """Where the engine at an IP address shows its metrics."""
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}/metrics"


async def fetch(session: aiohttp.ClientSession, url: str, *, seconds: float) -> str:
    """The text of a metrics page. Raises ScrapeError after `seconds`, and for everything that is no such page."""
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=seconds), allow_redirects=False) as answer:
            if answer.status != 200:
                raise ScrapeError(f"it answered {answer.status}")
            body = bytearray()
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > PAGE_LIMIT:
                    raise ScrapeError(f"its page is longer than {PAGE_LIMIT} bytes")
            return body.decode(errors="replace")
    except TimeoutError as error:
        raise ScrapeError(f"no answer in {seconds:g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ScrapeError(str(error) or type(error).__name__) from error
