"""What the engines of both revisions count themselves, as histograms that `accumulator` makes differences of.

Every signal of an engine becomes a histogram of requests: a share is one with two bins. What cannot be told apart: requests
of evals and warm-ups, which reach pods directly, count like those of clients.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import aiohttp

from sluice.api import naming
from sluice.gates import readings
from sluice.sources import envoy, vllm
from sluice.workloads import pod_template

TIMEOUT_SECONDS: Final = 1.0
MILLISECONDS: Final = 1000.0
HISTOGRAMS: Final[Mapping[readings.Measure, tuple[str, float]]] = {
    readings.Measure.ITL: ("vllm:request_time_per_output_token_seconds", MILLISECONDS),
    readings.Measure.QUEUE: ("vllm:request_queue_time_seconds", MILLISECONDS),
    readings.Measure.TOKENS: ("vllm:request_generation_tokens", 1.0),
}
"""vLLM's families, and what their bounds are multiplied by. Each counts a request once, when it has ended."""
FINISHED: Final = "vllm:request_success_total"
TRUNCATED: Final = "length"
KV_CACHE: Final = "vllm:kv_cache_usage_perc"
_UNFINISHED: Final = frozenset({"abort", "error"})
FAMILIES: Final = vllm.Families(
    gauges=frozenset({KV_CACHE}),
    counters=frozenset({FINISHED}),
    histograms=frozenset(family for family, _ in HISTOGRAMS.values()),
)


@dataclasses.dataclass(frozen=True)
class Reading:
    """One engine's page, as far as it is needed."""

    counted: envoy.Reading
    """Histograms of all measures under the revision's name, in the form that differences are made of."""
    bounds: Mapping[readings.Measure, Sequence[float]]
    """By which finite bounds each measure is counted."""
    cache: float | None = None
    """Share of the KV cache that is in use, of the pod's engine where it is highest."""


def reading_of(page: vllm.Page, cluster: str, now: float) -> Reading:
    """A page of a pod of the revision with that cluster name, read at `now`, in seconds since the epoch.

    Raises:
        PageError: the page does not say since when it counts.
    """
    if page.started is None:
        raise vllm.PageError("it has no process_start_time_seconds")
    histograms: dict[str, Mapping[float, int]] = {}
    bounds: dict[readings.Measure, Sequence[float]] = {}
    for measure, (family, unit) in HISTOGRAMS.items():
        if family in page.histograms:
            buckets = _merged(page.histograms[family].values(), unit)
            histograms[_key(measure, cluster)] = {bound: count for bound, count in _bins(buckets) if count}
            bounds[measure] = [bound for bound in sorted(buckets) if math.isfinite(bound)]
    if FINISHED in page.counters:
        histograms[_key(readings.Measure.TRUNCATED, cluster)] = _finished(page.counters[FINISHED])
        bounds[readings.Measure.TRUNCATED] = (readings.NOT_BAD,)
    uptime = max(0, math.floor(now - page.started))
    return Reading(envoy.Reading(now, uptime, {}, histograms), bounds, page.highest(KV_CACHE))


def common_bounds(seen: Iterable[Reading]) -> dict[readings.Measure, Sequence[float]]:
    """Bounds by which all these engines count: only those may be compared at."""
    common: dict[readings.Measure, set[float]] = {}
    for reading in seen:
        for measure, bounds in reading.bounds.items():
            common[measure] = common[measure] & set(bounds) if measure in common else set(bounds)
    return {measure: sorted(bounds) for measure, bounds in common.items()}


@dataclasses.dataclass(frozen=True)
class Target:
    """An engine to be read. Its `name` is the pod's UID."""

    name: str
    cluster: str
    """Of the revision that it runs."""
    address: str
    port: int

    @property
    def url(self) -> str:
        """Where its metrics are."""
        return vllm.url_of(self.address, self.port)


def target_of(pod: Mapping[str, Any]) -> Target | None:
    """A pod as a target; None when it is no engine of ours or has no address."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    labels, port = metadata.get("labels") or {}, port_of(pod)
    if not {naming.LABEL_MODEL_DEPLOYMENT, naming.LABEL_REVISION} <= labels.keys() or port is None:
        return None
    if not status.get("podIP") or status.get("phase") != "Running":
        return None
    cluster = naming.revision_cluster(
        metadata["namespace"], labels[naming.LABEL_MODEL_DEPLOYMENT], labels[naming.LABEL_REVISION]
    )
    return Target(metadata["uid"], cluster, status["podIP"], port)


def port_of(pod: Mapping[str, Any]) -> int | None:
    """The port of the engine's container; None when there is no such container, as in eval Jobs."""
    for container in pod.get("spec", {}).get("containers") or ():
        if container["name"] == pod_template.CONTAINER:
            for port in container.get("ports") or ():
                if port.get("name") == pod_template.PORT_NAME:
                    return int(port["containerPort"])
    return None


def _key(measure: readings.Measure, cluster: str) -> str:
    """As `envoy.parse_histogram` reads it; names of clusters need no escapes."""
    return f'{measure.value}_bucket{{revision="{cluster}",route=""'


def _merged(series: Iterable[Mapping[float, float]], unit: float) -> dict[float, float]:
    """Cumulative counts of all engines of a pod; bounds rounded, so that 0.3 s are 300 ms."""
    sums: collections.Counter[float] = collections.Counter()
    for buckets in series:
        sums.update({round(bound * unit, 6): count for bound, count in buckets.items()})
    return dict(sums)


def _bins(cumulative: Mapping[float, float]) -> Iterator[tuple[float, int]]:
    before = 0.0
    for bound in sorted(cumulative):
        yield bound, max(0, round(cumulative[bound] - before))
        before = cumulative[bound]


def _finished(counts: Mapping[vllm.Labels, float]) -> dict[float, int]:
    """Two bins: requests that ended by themselves, and those that ended at a token limit."""
    bins = {readings.NOT_BAD: 0, math.inf: 0}
    for labels, count in counts.items():
        reason = dict(labels).get("finished_reason", "")
        if reason not in _UNFINISHED:
            bins[math.inf if reason == TRUNCATED else readings.NOT_BAD] += round(count)
    return bins


async def scrape(session: aiohttp.ClientSession, target: Target, *, now: Callable[[], float] = time.time) -> Reading:
    """Reads one engine.

    Raises:
        ScrapeError: no answer within `TIMEOUT_SECONDS`, or none that is such a page.
    """
    try:
        page = vllm.parse(await vllm.fetch(session, target.url, seconds=TIMEOUT_SECONDS), FAMILIES)
        return reading_of(page, target.cluster, now())
    except (vllm.ScrapeError, vllm.PageError) as error:
        raise vllm.ScrapeError(f"Cannot read the metrics of engine {target.address} of {target.cluster}: {error}") from error
