"""Quantiles of histograms, as Prometheus' `histogram_quantile` estimates them, so that both give the same number."""

from __future__ import annotations

import math
from collections.abc import Mapping


def histogram_quantile(quantile: float, buckets: Mapping[float, float]) -> float | None:
    """The quantile (0 to 1) of a histogram's cumulative counts by upper bound; None when nothing was counted.

    Within the bucket that it falls into, observations are taken to be spread evenly; the first bucket begins at 0. In the
    last, infinite bucket it is that bucket's lower bound: the estimate never exceeds the highest finite bound. Counts that
    fall from one bucket to the next (a page read while it changed) are taken to be level.

    Raises:
        ValueError: there is no infinite bucket.
    """
    bounds = sorted(buckets)
    if not bounds or not math.isinf(bounds[-1]):
        raise ValueError("Cannot estimate a quantile: the histogram has no bucket for +Inf")
    total = max(buckets.values())
    if total <= 0:
        return None
    rank = quantile * total
    below, lower = 0.0, 0.0
    for bound in bounds:
        count = max(below, buckets[bound])
        if count >= rank and count > below:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * max(0.0, rank - below) / (count - below)
        below, lower = count, bound if not math.isinf(bound) else lower
    return lower
