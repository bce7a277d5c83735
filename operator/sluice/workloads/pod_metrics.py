"""The one table of the metrics that `sluice metrics` offers of each vLLM pod: names, units, and what they are made of.

HPAs are built from its names, the API server of custom metrics serves it, and the documentation of other adapters follows it.
How a page is read and a value computed stays out: that is `metricsapi`'s.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator, Mapping
from typing import Final

WINDOW_SECONDS: Final = 60
"""Percentiles and ratios are those of the last so many seconds; everything else is the newest reading."""
PERCENTILES: Final = (50, 90, 95, 99)
"""Percentiles that exist; an HPA can ask for no others."""

REQUESTS_RUNNING: Final = "sluice_requests_running"
REQUESTS_WAITING: Final = "sluice_requests_waiting"
REQUESTS_IN_FLIGHT: Final = "sluice_requests_in_flight"
KV_CACHE_USAGE: Final = "sluice_kv_cache_usage"
ERROR_RATIO: Final = "sluice_error_ratio"

RUNNING: Final = "vllm:num_requests_running"
WAITING: Final = "vllm:num_requests_waiting"
KV_CACHE: Final = "vllm:kv_cache_usage_perc"
FIRST_TOKEN: Final = "vllm:time_to_first_token_seconds"
INTER_TOKEN: Final = "vllm:inter_token_latency_seconds"
ANSWERS: Final = "http_requests_total"


class Unit(enum.StrEnum):
    """What one of a metric is. HPAs compare in thousandths of it."""

    REQUESTS = "requests"
    """A number of requests."""
    RATIO = "ratio"
    """A share from 0 to 1: `800m` is 80 %."""
    SECONDS = "seconds"
    """A duration: `500m` is 500 ms; a thousandth, 1 ms, is the resolution."""


@dataclasses.dataclass(frozen=True)
class Total:
    """The newest values of these gauges, summed over the engines of a pod (data parallelism runs several)."""

    families: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Highest:
    """The newest value of a gauge, of the pod's engine where it is highest: requests can't move to another engine."""

    family: str


@dataclasses.dataclass(frozen=True)
class Quantile:
    """A quantile of what a histogram counted within the window, over all engines of the pod.

    Without a single observation it is 0, since an idle pod needs no help. Unless `pending`, a gauge, was above 0 in every
    reading of the window: then requests waited for the whole of it, and the value is the window's length, a lower bound.
    That does not hold while another histogram, `progress`, counts: answers of one token have no time between tokens.
    """

    family: str
    quantile: float
    pending: str
    progress: str = ""


@dataclasses.dataclass(frozen=True)
class Share:
    """What part of a counter's increase within the window has `label` equal to `part`, of that with `part` or `rest`.

    Only series with the label values of `only` count. 0 when nothing was counted.
    """

    family: str
    only: tuple[tuple[str, str], ...]
    label: str
    part: str
    rest: str


Source = Total | Highest | Quantile | Share


@dataclasses.dataclass(frozen=True)
class PodMetric:
    """One metric of a pod."""

    name: str
    unit: Unit
    source: Source
    help: str


def ttft(percentile: int) -> str:
    """Name of a percentile of the time to the first token. Raises KeyError for one that does not exist."""
    return _TTFT[percentile]


def itl(percentile: int) -> str:
    """Name of a percentile of the time between two tokens. Raises KeyError for one that does not exist."""
    return _ITL[percentile]


_TTFT: Final = {percentile: f"sluice_ttft_seconds_p{percentile}" for percentile in PERCENTILES}
_ITL: Final = {percentile: f"sluice_itl_seconds_p{percentile}" for percentile in PERCENTILES}


def _table() -> Iterator[PodMetric]:
    yield PodMetric(REQUESTS_RUNNING, Unit.REQUESTS, Total((RUNNING,)), "Requests that the engine works on.")
    yield PodMetric(REQUESTS_WAITING, Unit.REQUESTS, Total((WAITING,)), "Requests that wait for the engine: the queue's depth.")
    yield PodMetric(REQUESTS_IN_FLIGHT, Unit.REQUESTS, Total((RUNNING, WAITING)), "Requests that run or wait.")
    yield PodMetric(KV_CACHE_USAGE, Unit.RATIO, Highest(KV_CACHE), "Share of the KV cache in use.")
    for percentile, name in _TTFT.items():
        source = Quantile(FIRST_TOKEN, percentile / 100, pending=WAITING)
        yield PodMetric(name, Unit.SECONDS, source, f"Time to the first token, percentile {percentile}.")
    for percentile, name in _ITL.items():
        source = Quantile(INTER_TOKEN, percentile / 100, pending=RUNNING, progress=FIRST_TOKEN)
        yield PodMetric(name, Unit.SECONDS, source, f"Time between two tokens, percentile {percentile}.")
    errors = Share(ANSWERS, only=(("method", "POST"),), label="status", part="5xx", rest="2xx")
    # Mistakes of clients (4xx) are on neither side: they say nothing of the engine.
    yield PodMetric(ERROR_RATIO, Unit.RATIO, errors, "Share of requests that the engine answered with 5xx.")


ALL: Final[Mapping[str, PodMetric]] = {metric.name: metric for metric in _table()}
"""Every metric by its name."""
