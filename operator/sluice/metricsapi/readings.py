"""What is known of all pods, and what may be answered from it: all of a selector, or nothing.

Pure apart from what it remembers; times are the caller's monotonic seconds. Reading pods is `scraper`'s business.

**A failed scrape freezes.** An HPA that sees only some of its pods may remove the wrong number. So when a ready pod has no
fresh value, the whole question is refused and the HPA keeps its size (`ScalingActive=False`). A pod that has just become ready
is left out instead: the HPA counts it as missing, that is as on target before it removes pods and as idle before it adds some.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator
from typing import Final

from sluice.metricsapi import selectors, targets, windows
from sluice.sources import vllm
from sluice.workloads import pod_metrics

FRESH_INTERVALS: Final = 3
"""How many intervals a reading is good for; a pod that became ready is given as long for its first values."""


class NotFreshError(Exception):
    """A ready pod's value is not known; the message says whose and why."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """A pod's value. `age`: seconds since it was read."""

    pod: str
    value: windows.Value
    age: float


@dataclasses.dataclass
class _Pod:
    target: targets.Target
    seen: float
    initial: bool
    window: windows.Window = dataclasses.field(default_factory=windows.Window)
    attempts: int = 0
    failure: str = "it has not been read yet"


class Readings:
    """The windows of all ready pods. `interval` is the time between two readings of one, in seconds."""

    def __init__(self, interval: float) -> None:
        self._fresh = FRESH_INTERVALS * interval
        self._pods: dict[targets.Target, _Pod] = {}
        self._spaces: dict[str, dict[str, _Pod]] = collections.defaultdict(dict)

    def add(self, target: targets.Target, now: float, *, initial: bool) -> None:
        """A pod is ready. `initial`: it was so before we first looked, so nobody knows for how long."""
        pod = _Pod(target, now, initial)
        self._pods[target] = pod
        self._spaces[target.namespace][target.name] = pod

    def relabel(self, target: targets.Target) -> None:
        """Takes the labels of a pod that is known."""
        self._pods[target].target = target

    def remove(self, target: targets.Target) -> None:
        """The pod is gone, or not ready any more: what it said is forgotten."""
        pod = self._pods.pop(target)
        names = self._spaces[target.namespace]
        if names.get(target.name) is pod:
            del names[target.name]
        if not names:
            del self._spaces[target.namespace]

    def succeeded(self, target: targets.Target, page: vllm.Page, now: float) -> None:
        """The pod was read."""
        if pod := self._pods.get(target):
            pod.window.add(page, now)
            pod.attempts += 1

    def failed(self, target: targets.Target, cause: str) -> None:
        """The pod could not be read."""
        if pod := self._pods.get(target):
            pod.failure = cause
            pod.attempts += 1

    @property
    def unread(self) -> int:
        """How many of the initial pods have not been tried twice: before that, not even a percentile can be had."""
        return sum(pod.initial and pod.attempts < 2 for pod in self._pods.values())

    def stale(self, now: float) -> int:
        """How many pods cannot be answered for, because they were not read for too long."""
        return sum(not self._young(pod, now) and not self._is_fresh(pod, now) for pod in self._pods.values())

    def ask(self, metric: pod_metrics.PodMetric, namespace: str, selector: selectors.Selector, now: float) -> list[Answer]:
        """The values of all selected ready pods, by name. Raises NotFreshError."""
        return list(self._answers(metric, self._selected(namespace, selector), now))

    def ask_one(self, metric: pod_metrics.PodMetric, namespace: str, name: str, now: float) -> Answer | None:
        """The value of one pod; None when it is not a ready pod of ours, or too young. Raises NotFreshError."""
        pod = self._spaces.get(namespace, {}).get(name)
        return next(self._answers(metric, iter((pod,)), now), None) if pod is not None else None

    def _selected(self, namespace: str, selector: selectors.Selector) -> Iterator[_Pod]:
        for _, pod in sorted(self._spaces.get(namespace, {}).items()):
            if selectors.matches(selector, pod.target.labels):
                yield pod

    def _answers(self, metric: pod_metrics.PodMetric, pods: Iterator[_Pod], now: float) -> Iterator[Answer]:
        for pod in pods:
            value = self._value(pod, metric, now)
            if value is not None:
                assert pod.window.at is not None
                yield Answer(pod.target.name, value, now - pod.window.at)
            elif not self._young(pod, now):
                raise NotFreshError(f"ready pod {pod.target} has no fresh value: {self._why(pod, now)}")

    def _value(self, pod: _Pod, metric: pod_metrics.PodMetric, now: float) -> windows.Value | None:
        if not self._is_fresh(pod, now):
            return None
        try:
            return pod.window.value(metric)
        except windows.MissingSeriesError as error:
            raise NotFreshError(f"ready pod {pod.target} has no such value: {error}") from error

    def _why(self, pod: _Pod, now: float) -> str:
        if pod.window.at is None:
            return pod.failure
        if not self._is_fresh(pod, now):
            return f"it could not be read for {now - pod.window.at:.0f} s ({pod.failure})"
        return "it was read only once yet"

    def _is_fresh(self, pod: _Pod, now: float) -> bool:
        return pod.window.at is not None and now - pod.window.at <= self._fresh

    def _young(self, pod: _Pod, now: float) -> bool:
        return not pod.initial and now - pod.seen < self._fresh
