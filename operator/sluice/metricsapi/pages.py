"""Which families of a vLLM page our metrics are made of. Reading the page is `sources.vllm`'s business."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sluice.sources import vllm
from sluice.workloads import pod_metrics


def families_of(metrics: Iterable[pod_metrics.PodMetric]) -> vllm.Families:
    """Those that these metrics are made of."""
    gauges: set[str] = set()
    counters: set[str] = set()
    histograms: set[str] = set()
    for metric in metrics:
        match metric.source:
            case pod_metrics.Total(families):
                gauges.update(families)
            case pod_metrics.Highest(family):
                gauges.add(family)
            case pod_metrics.Quantile(family=family, pending=pending):
                histograms.add(family)
                gauges.add(pending)
            case pod_metrics.Share(family):
                counters.add(family)
    return vllm.Families(frozenset(gauges), frozenset(counters), frozenset(histograms))


NEEDED: Final = families_of(pod_metrics.ALL.values())
