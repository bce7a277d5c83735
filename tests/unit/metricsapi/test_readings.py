"""All pods of a selector are answered for, or none: an HPA that sees a part of its pods may remove the wrong number."""

from __future__ import annotations

import math

import pytest

from sluice.metricsapi import readings, selectors, targets
from sluice.sources import vllm
from sluice.workloads import pod_metrics

WAITING = pod_metrics.ALL[pod_metrics.REQUESTS_WAITING]
TTFT = pod_metrics.ALL[pod_metrics.ttft(95)]
INTERVAL, FRESH = 15.0, 45.0
ALL = selectors.parse("")


def target(name: str, *, uid: str = "", revision: str = "abc", namespace: str = "ns") -> targets.Target:
    return targets.Target(namespace, name, uid or name, "10.0.0.1", 8000, {"revision": revision})


def page(waiting: float = 1.0) -> vllm.Page:
    return vllm.Page(
        {pod_metrics.WAITING: (waiting,)}, {}, {pod_metrics.FIRST_TOKEN: {(("engine", "0"),): {1.0: 0.0, math.inf: 0.0}}}
    )


def store(*names: str, at: float = 0.0, initial: bool = True, read: bool = True) -> readings.Readings:
    """Pods that are ready since `at`, read twice by then unless told otherwise."""
    made = readings.Readings(INTERVAL)
    for name in names:
        made.add(target(name), at, initial=initial)
        if read:
            made.succeeded(target(name), page(), at)
            made.succeeded(target(name), page(), at)
    return made


def pods(made: readings.Readings, now: float, metric: pod_metrics.PodMetric = WAITING) -> list[str]:
    return [answer.pod for answer in made.ask(metric, "ns", ALL, now)]


def test_every_pod_of_the_selector_is_answered_for() -> None:
    """By name, each with the age of its reading; pods of others are not."""
    made = store("b", "a")
    made.add(target("other", revision="xyz"), 0.0, initial=True)
    made.add(target("a", namespace="elsewhere"), 0.0, initial=True)
    found = made.ask(WAITING, "ns", selectors.parse("revision=abc"), 10.0)
    assert [(each.pod, each.value.value, each.age) for each in found] == [("a", 1.0, 10.0), ("b", 1.0, 10.0)]


def test_one_stale_pod_refuses_the_whole_question() -> None:
    """The message names it, since when, and why."""
    made = store("a", "b")
    made.succeeded(target("a"), page(), FRESH)
    made.failed(target("b"), "connection refused")
    assert pods(made, FRESH) == ["a", "b"]
    with pytest.raises(readings.NotFreshError, match=r"ns/b .* for 46 s \(connection refused\)"):
        made.ask(WAITING, "ns", ALL, FRESH + 1)
    assert made.stale(FRESH + 1) == 1


def test_a_pod_that_was_ready_before_we_looked_is_never_young() -> None:
    """After a restart nobody knows for how long it has been serving: its value is not made up by leaving it out."""
    made = store("a")
    made.add(target("b"), 0.0, initial=True)
    with pytest.raises(readings.NotFreshError, match="ns/b"):
        made.ask(WAITING, "ns", ALL, 1.0)
    assert made.unread == 1


def test_a_young_pod_is_left_out_until_it_has_a_value() -> None:
    """The HPA takes it for missing: as on target before it removes pods, as idle before it adds some."""
    made = store("a")
    made.add(target("b"), 1.0, initial=False)
    assert pods(made, 2.0) == ["a"]
    made.succeeded(target("b"), page(), 3.0)
    assert pods(made, 3.0) == ["a", "b"]
    assert pods(made, 3.0, TTFT) == ["a"]
    made.succeeded(target("b"), page(), 18.0)
    assert pods(made, 18.0, TTFT) == ["a", "b"]
    assert made.unread == 0


def test_a_pod_that_stays_without_a_value_is_not_young_for_ever() -> None:
    """Three intervals after it became ready it must have been read."""
    made = store("a", at=40.0)
    made.add(target("b"), 0.0, initial=False)
    made.failed(target("b"), "no answer in 5 s")
    assert pods(made, FRESH - 1) == ["a"]
    with pytest.raises(readings.NotFreshError, match="no answer in 5 s"):
        made.ask(WAITING, "ns", ALL, FRESH)


def test_a_page_without_the_series_refuses_even_for_a_young_pod() -> None:
    """It will not come by waiting."""
    made = store()
    made.add(target("a"), 0.0, initial=False)
    made.succeeded(target("a"), vllm.Page({}, {}, {}), 1.0)
    with pytest.raises(readings.NotFreshError, match="vllm:num_requests_waiting"):
        made.ask(WAITING, "ns", ALL, 2.0)


def test_pods_that_are_gone_are_not_waited_for() -> None:
    """A pod replaced under its own name is another pod."""
    made = store("a", "b")
    made.remove(target("b"))
    assert pods(made, 1.0) == ["a"]
    made.add(target("a", uid="new"), 1.0, initial=False)
    made.remove(target("a"))
    assert pods(made, 2.0) == []
    made.succeeded(target("a", uid="new"), page(5.0), 3.0)
    assert [each.value.value for each in made.ask(WAITING, "ns", ALL, 3.0)] == [5.0]
    made.remove(target("a", uid="new"))
    assert made.ask(WAITING, "ns", ALL, 3.0) == []


def test_late_results_of_pods_that_are_gone_are_nobodys() -> None:
    """A reading may end after its pod."""
    made = store()
    made.succeeded(target("a"), page(), 1.0)
    made.failed(target("a"), "gone")
    assert pods(made, 1.0) == []


def test_one_pod_by_name() -> None:
    """As a person asks for it."""
    made = store("a")
    made.add(target("b"), 0.0, initial=True)
    found = made.ask_one(WAITING, "ns", "a", 1.0)
    assert found is not None
    assert found.value.value == 1.0
    assert made.ask_one(WAITING, "ns", "nobody", 1.0) is None
    with pytest.raises(readings.NotFreshError):
        made.ask_one(WAITING, "ns", "b", 1.0)


def test_labels_follow_the_pod() -> None:
    """Labels may change while it runs."""
    made = store("a")
    made.relabel(target("a", revision="xyz"))
    assert [each.pod for each in made.ask(WAITING, "ns", selectors.parse("revision=xyz"), 1.0)] == ["a"]
