"""The bounds that latencies are counted by at the gateway, and the bounds that are nearest to a wish.

A limit on a latency is a statement on how many requests took at least so long, so it must be a bound that requests are
counted by: between two bounds nothing is known, and interpolating there breaks the guarantee (simulated: false alarms of
39 % where 1 % was promised). The grid has two significant digits, because Envoy's histograms have, and pairs a bound with
bounds that are 10, 20, 50 and 100 % higher.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Final

from sluice.api import live_metric

BOUNDS: Final = live_metric.LATENCY_BOUNDS
"""Milliseconds, rising: 1 ms to 600 s."""


def bucket_below(bound: int) -> float:
    """The bucket bound for Envoy that counts what is below `bound`, both in milliseconds: 800 -> 790, 1000 -> 990.

    A bucket of Envoy holds the whole two-digit bin that begins at its bound, so it is the bin before that must be named.
    Values are whole milliseconds, so below 10 ms any value between two of them does.
    """
    power = len(str(bound)) - 2
    digits = bound * 10.0**-power
    return round((digits - 1) * 10.0**power if digits > 10 else 99 * 10.0 ** (power - 1), 2)


ENVOY_BUCKETS: Final = tuple(bucket_below(bound) for bound in BOUNDS)
"""Envoy's buckets, one for each of `BOUNDS`."""


def nearest(value: float, bounds: Sequence[float]) -> tuple[float, ...]:
    """The value itself if it is a bound, else the bounds next below and above it, as far as there are any."""
    place = bisect.bisect_left(bounds, value)
    if place < len(bounds) and bounds[place] == value:
        return (bounds[place],)
    return tuple(bounds[max(place - 1, 0) : place + 1])


def text(milliseconds: float) -> str:
    """As a duration of the API: 800 -> "800ms", 1500 -> "1500ms", 2000 -> "2s"."""
    return f"{milliseconds / 1000:.0f}s" if milliseconds % 1000 == 0 else f"{milliseconds:g}ms"
