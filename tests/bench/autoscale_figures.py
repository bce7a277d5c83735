"""What the benchmark of autoscaling has seen, as figures: pure, so that it can be tested without a cluster."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final

SYNC_SECONDS: Final = 15.0
"""How often the HPA controller looks: its own default."""

Series = list[tuple[float, float]]
"""Moments (epoch seconds) and values, oldest first; a value holds until the next one."""


@dataclasses.dataclass
class Seen:
    """Everything that was recorded of one run."""

    target: float
    """What the HPA holds the average queue at."""
    window: float
    """scaleDown.stabilizationWindowSeconds."""
    replicas: Series = dataclasses.field(default_factory=list)
    """The Deployment's spec.replicas, at each change."""
    ready: Series = dataclasses.field(default_factory=list)
    """Its ready pods, at each change."""
    samples: Series = dataclasses.field(default_factory=list)
    """The average queue that the HPA's status shows, whenever it changed."""
    queue: Series = dataclasses.field(default_factory=list)
    """Requests that wait, all pods together, as the metrics API says."""
    load: tuple[float, float] = (0.0, math.inf)
    """When the load began and ended."""

    @property
    def before(self) -> int:
        """The size when the load began."""
        return int(next((size for at, size in reversed(self.replicas) if at <= self.load[0]), self.replicas[0][1]))

    @property
    def rise(self) -> float | None:
        """When the size first rose."""
        return next((at for at, size in self.replicas if at > self.load[0] and size > self.before), None)

    @property
    def above(self) -> list[float]:
        """When samples above the target were seen."""
        return [at for at, value in self.samples if at > self.load[0] and value > self.target]

    @property
    def falls(self) -> list[float]:
        """When the size fell."""
        pairs = zip(self.replicas, self.replicas[1:], strict=False)
        return [at for (_, before), (at, after) in pairs if after < before and at > self.load[0]]


def figures(seen: Seen) -> dict[str, Any]:
    """The figures to publish.

    `periods_to_scale`: syncs of the HPA controller from the first sample above the target in the HPA's status to the first
    rise, rounded up; the controller scales before it writes its status, so 0 means: in the very sync that saw it.
    `cooldown_kept`: the size fell, and never before the window after the last sample above the target was over.

    Raises:
        ValueError: the size never rose, or no sample was above the target.
    """
    if seen.rise is None or not seen.above:
        raise ValueError("Cannot judge autoscaling: the size never rose, or no sample was above the target")
    return {
        "replicas_before": seen.before,
        "replicas_peak": int(max(size for at, size in seen.replicas if at > seen.load[0])),
        "replicas_after": int(seen.replicas[-1][1]),
        "peak_queue": round(max(value for _, value in seen.queue)),
        "periods_to_scale": max(0, math.ceil((seen.rise - seen.above[0]) / SYNC_SECONDS)),
        "cooldown_kept": bool(seen.falls) and seen.falls[0] >= seen.above[-1] + seen.window,
        "target": seen.target,
        "down_window_seconds": seen.window,
        "load_to_rise_seconds": round(seen.rise - seen.load[0], 1),
        "last_above_to_fall_seconds": round(seen.falls[0] - seen.above[-1], 1) if seen.falls else None,
    }
