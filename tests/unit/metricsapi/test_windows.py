"""What successive pages of a pod say: gauges of the moment, percentiles and ratios of the last minute."""

from __future__ import annotations

import dataclasses
import math
from typing import Final

import pytest

from sluice.metricsapi import windows
from sluice.sources import vllm
from sluice.workloads import pod_metrics

INTERVAL = 15.0
ONE: Final[vllm.Labels] = (("engine", "0"),)
TWO: Final[vllm.Labels] = (("engine", "1"),)


def page(
    *,
    waiting: tuple[float, ...] = (0.0,),
    running: tuple[float, ...] = (0.0,),
    first_token: dict[vllm.Labels, tuple[float, float, float]] | None = None,
    answers: dict[tuple[str, str], float] | None = None,
    started: float = 1.0,
) -> vllm.Page:
    """`first_token`: cumulative counts up to 1 s, up to 2 s and of all, by series. `answers`: by method and status."""
    histogram = first_token or {ONE: (0.0, 0.0, 0.0)}
    return vllm.Page(
        gauges={pod_metrics.WAITING: waiting, pod_metrics.RUNNING: running, pod_metrics.KV_CACHE: (0.25, 0.75)},
        counters={
            pod_metrics.ANSWERS: {
                (("method", method), ("status", status)): value for (method, status), value in (answers or {}).items()
            }
        },
        histograms={
            family: {labels: dict(zip((1.0, 2.0, math.inf), counts, strict=True)) for labels, counts in histogram.items()}
            for family in (pod_metrics.FIRST_TOKEN, pod_metrics.INTER_TOKEN)
        },
        started=started,
    )


def after(*given: vllm.Page, interval: float = INTERVAL) -> windows.Window:
    window = windows.Window()
    for number, each in enumerate(given):
        window.add(each, number * interval)
    return window


def value(window: windows.Window, name: str) -> float | None:
    found = window.value(pod_metrics.ALL[name])
    return None if found is None else found.value


def test_gauges_are_summed_over_engines() -> None:
    """Data parallelism runs several engines in a pod; each has its own queue."""
    window = after(page(waiting=(3.0, 4.0), running=(1.0, 1.0)))
    assert value(window, pod_metrics.REQUESTS_WAITING) == 7
    assert value(window, pod_metrics.REQUESTS_RUNNING) == 2
    assert value(window, pod_metrics.REQUESTS_IN_FLIGHT) == 9


def test_cache_use_is_that_of_the_fullest_engine() -> None:
    """Requests cannot move to another engine's cache."""
    assert value(after(page()), pod_metrics.KV_CACHE_USAGE) == 0.75


def test_percentiles_need_two_readings() -> None:
    """One tells what was counted since the process began, not what happens now."""
    assert value(after(page(first_token={ONE: (100.0, 100.0, 100.0)})), pod_metrics.ttft(95)) is None


def test_percentiles_are_of_the_window_only() -> None:
    """What was slow before does not count."""
    slow: dict[vllm.Labels, tuple[float, float, float]] = {ONE: (0.0, 100.0, 100.0)}
    fast = {ONE: (10.0, 110.0, 110.0)}
    assert value(after(page(first_token=slow), page(first_token=fast)), pod_metrics.ttft(50)) == pytest.approx(0.5)


def test_percentiles_are_over_all_engines() -> None:
    """The pod has one value."""
    first = {ONE: (0.0, 0.0, 0.0), TWO: (0.0, 0.0, 0.0)}
    second = {ONE: (10.0, 10.0, 10.0), TWO: (0.0, 10.0, 10.0)}
    assert value(after(page(first_token=first), page(first_token=second)), pod_metrics.ttft(50)) == pytest.approx(1.0)


def test_steps_older_than_the_window_are_forgotten() -> None:
    """It covers 60 to 75 seconds at readings every 15."""
    slow = page(first_token={ONE: (0.0, 50.0, 50.0)})
    window = after(page(), slow, slow, slow, slow)
    assert window.value(pod_metrics.ALL[pod_metrics.ttft(50)]) == windows.Value(1.5, 60.0)
    window.add(slow, 5 * INTERVAL)
    assert window.value(pod_metrics.ALL[pod_metrics.ttft(50)]) == windows.Value(0.0, 60.0)


@pytest.mark.parametrize("started", [1.0, 2.0])
def test_counters_that_begin_anew_count_from_zero(started: float) -> None:
    """The engine restarted; whether its counts fell, or its process says so."""
    before = page(first_token={ONE: (0.0, 90.0, 90.0)}, answers={("POST", "2xx"): 90.0})
    reset = page(first_token={ONE: (10.0, 10.0, 10.0)}, answers={("POST", "2xx"): 5.0, ("POST", "5xx"): 5.0}, started=started)
    window = after(before, reset)
    assert value(window, pod_metrics.ttft(50)) == pytest.approx(0.5)
    assert value(window, pod_metrics.ERROR_RATIO) == pytest.approx(0.5)


def test_a_restart_is_seen_even_when_counts_rose() -> None:
    """A busy engine may pass its old counts between two readings: its process' start tells."""
    before = page(first_token={ONE: (0.0, 5.0, 5.0)})
    passed = page(first_token={ONE: (20.0, 25.0, 25.0)}, started=2.0)
    assert value(after(before, passed), pod_metrics.ttft(50)) == pytest.approx(0.625)


def test_an_idle_pod_has_zero() -> None:
    """It needs no help, and an HPA that got no value would never shrink."""
    window = after(page(), page())
    for name in (pod_metrics.ttft(99), pod_metrics.itl(50), pod_metrics.ERROR_RATIO):
        assert value(window, name) == 0.0, name


def test_waiting_without_a_first_token_is_as_slow_as_the_window_is_long() -> None:
    """The worst case counts nothing, and must not look idle."""
    window = after(*[page(waiting=(2.0,)) for _ in range(3)])
    assert value(window, pod_metrics.ttft(50)) == pytest.approx(2 * INTERVAL)
    assert value(window, pod_metrics.itl(50)) == 0.0
    window.add(page(waiting=(0.0,)), 3 * INTERVAL)
    assert value(window, pod_metrics.ttft(50)) == 0.0


def test_running_without_a_token_is_as_slow_as_the_window_is_long() -> None:
    """The same for the time between tokens."""
    window = after(*[page(running=(1.0,)) for _ in range(3)])
    assert value(window, pod_metrics.itl(95)) == pytest.approx(2 * INTERVAL)


def test_answers_of_one_token_have_no_time_between_tokens() -> None:
    """Requests run all the time, none has a second token: that is no stall, since first tokens come."""
    pair = [page(running=(1.0,)), page(running=(1.0,), first_token={ONE: (5.0, 5.0, 5.0)})]
    without = {pod_metrics.INTER_TOKEN: {ONE: {math.inf: 0.0}}}
    window = after(*[dataclasses.replace(each, histograms={**each.histograms, **without}) for each in pair])
    assert value(window, pod_metrics.itl(95)) == 0.0


def test_errors_are_answers_of_5xx_to_requests_for_work() -> None:
    """Neither clients' mistakes nor reads of model lists dilute the ratio."""
    later = {("POST", "2xx"): 30.0, ("POST", "5xx"): 10.0, ("POST", "4xx"): 500.0, ("GET", "2xx"): 500.0}
    assert value(after(page(), page(answers=later)), pod_metrics.ERROR_RATIO) == pytest.approx(0.25)


def test_a_long_gap_begins_the_window_anew() -> None:
    """What happened in the ten minutes without a reading is not what happens now."""
    window = after(page(), page(first_token={ONE: (0.0, 50.0, 50.0)}), interval=61.0)
    assert value(window, pod_metrics.ttft(50)) is None


def test_what_the_page_lacks_is_an_error() -> None:
    """Not zero: another engine, or a version that renamed it."""
    window = after(vllm.Page({}, {}, {}), vllm.Page({}, {}, {}))
    for name in (pod_metrics.REQUESTS_WAITING, pod_metrics.KV_CACHE_USAGE, pod_metrics.ttft(50)):
        with pytest.raises(windows.MissingSeriesError, match="vllm:"):
            value(window, name)


def test_answers_that_were_never_counted_are_no_errors() -> None:
    """That family appears with the first request."""
    assert value(after(vllm.Page({}, {}, {}), vllm.Page({}, {}, {})), pod_metrics.ERROR_RATIO) == 0.0


def test_a_gauge_that_is_no_number_is_missing() -> None:
    """It must reach no HPA as a size."""
    with pytest.raises(windows.MissingSeriesError):
        value(after(page(waiting=(math.nan,))), pod_metrics.REQUESTS_WAITING)
