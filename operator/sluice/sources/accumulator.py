"""What the proxies counted since the last look, without counting anything twice.

Over lost readings, restarts of proxies and restarts of the operator. Histograms are counters of their bins.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, Final

from sluice.gates import attempts, readings
from sluice.sources import envoy

_CLOCK_SLACK: Final = 10.0
"""Seconds by which clocks of operator replicas may differ, and Envoy's uptime may lag."""
_UPTIME_GRAIN: Final = 1.0
"""Seconds by which Envoy's uptime may be too long: it is a difference of whole seconds."""


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
        self._last: dict[str, envoy.Reading] = {}

    def observe(self, looked: Mapping[str, envoy.Reading | None]) -> readings.Delta:
        """What was counted since the last call. `looked` has every proxy that exists; None: it could not be read."""
        present = {proxy: self._limited(reading) for proxy, reading in looked.items() if reading is not None}
        if self._since is None and present:
            self._since = min(reading.at for reading in present.values())
        counted: collections.Counter[attempts.AttemptKey] = collections.Counter()
        bins: dict[readings.HistogramKey, collections.Counter[float]] = {}
        for proxy, reading in present.items():
            before = self._before(proxy, reading)
            for labels, value in reading.series.items():
                known = before.series.get(labels, 0)
                counted[envoy.parse_key(labels)] += value - known if value >= known else value
            for labels, now in reading.histograms.items():
                new = _new_bins(before.histograms.get(labels, {}), now)
                bins.setdefault(envoy.parse_histogram(labels), collections.Counter()).update(new)
        kept = {proxy: last for proxy, last in self._last.items() if proxy in looked}
        self._last = {**kept, **present}
        return readings.Delta(
            {key: count for key, count in counted.items() if count}, {key: new for key, new in bins.items() if new}
        )

    def to_json(self) -> dict[str, Any]:
        """The state as plain data. Persist it together with what was made of the differences so far."""
        return {"since": self._since, "proxies": {proxy: _to_json(last) for proxy, last in self._last.items()}}

    @classmethod
    def from_json(cls, data: Any, revisions: Collection[str] | None = None) -> Accumulator:
        """Goes on from a persisted state: the first difference covers all that was counted since.

        Damaged data gives a fresh accumulator: what was counted meanwhile is lost, and nothing is counted twice.
        """
        made = cls(revisions)
        try:
            since = data["since"]
            last = {str(proxy): _from_json(item) for proxy, item in data["proxies"].items()}
            made._since = float(since) if since is not None else None
        except (TypeError, ValueError, KeyError, AttributeError):
            return cls(revisions)
        made._last = last
        return made

    def _before(self, proxy: str, reading: envoy.Reading) -> envoy.Reading:
        """What of the reading was counted already."""
        last = self._last.get(proxy)
        nothing = envoy.Reading(reading.at, 0, {})
        assert self._since is not None
        if last is None:
            return nothing if reading.at - reading.uptime + _UPTIME_GRAIN > self._since else reading
        restarted = reading.uptime < last.uptime or reading.at - last.at > reading.uptime + _CLOCK_SLACK
        return nothing if restarted else last

    def _limited(self, reading: envoy.Reading) -> envoy.Reading:
        known = self._revisions
        if known is None:
            return dataclasses.replace(reading, active={})
        return dataclasses.replace(
            reading,
            series={key: value for key, value in reading.series.items() if _served(envoy.parse_key(key).revision) in known},
            histograms={
                key: bins for key, bins in reading.histograms.items() if _served(envoy.parse_histogram(key).revision) in known
            },
            active={},
        )


def _served(cluster: str) -> str:
    """The revision whose pods the cluster's requests reach: copied ones have a cluster of their own."""
    return cluster.removesuffix(attempts.SHADOW_SUFFIX)


def _new_bins(before: readings.Bins, now: readings.Bins) -> dict[float, int]:
    """What a histogram counted since; all of it, where any bin holds less than before: then it began again."""
    if any(now.get(bound, 0) < count for bound, count in before.items()):
        before = {}
    return {bound: count - before.get(bound, 0) for bound, count in now.items() if count > before.get(bound, 0)}


def _to_json(reading: envoy.Reading) -> dict[str, Any]:
    histograms = {key: {f"{bound:g}": count for bound, count in bins.items()} for key, bins in reading.histograms.items()}
    return {"at": reading.at, "uptime": reading.uptime, "series": dict(reading.series), "histograms": histograms}


def _from_json(data: Mapping[str, Any]) -> envoy.Reading:
    return envoy.Reading(
        float(data["at"]),
        int(data["uptime"]),
        {str(key): int(value) for key, value in data["series"].items()},
        {str(key): {float(bound): int(count) for bound, count in bins.items()} for key, bins in data["histograms"].items()},
    )
