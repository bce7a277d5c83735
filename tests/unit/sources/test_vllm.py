"""Reading a page: exactly the families that are needed, whatever else is on it."""

from __future__ import annotations

import math
import pathlib

import pytest

from sluice.metricsapi import pages
from sluice.sources import vllm
from sluice.workloads import pod_metrics

RECORDED = pathlib.Path(__file__).resolve().parents[2] / "golden" / "metrics" / "vllm-0.32-busy.txt"


def test_a_page_of_real_vllm() -> None:
    """Recorded under load: each family is found, and no other whose name begins alike."""
    page = vllm.parse(RECORDED.read_text(), pages.NEEDED)
    assert page.total(pod_metrics.RUNNING) == 4
    assert page.total(pod_metrics.WAITING) == 0
    assert page.highest(pod_metrics.KV_CACHE) == pytest.approx(0.0157, abs=1e-4)
    assert page.gauges.keys() == pages.NEEDED.gauges
    assert page.histograms.keys() == pages.NEEDED.histograms
    for family in pages.NEEDED.histograms:
        (buckets,) = page.histograms[family].values()
        assert list(buckets.values()) == sorted(buckets.values())
        assert math.inf in buckets
    assert sum(page.counters[pod_metrics.ANSWERS].values()) == 25
    assert page.started is not None


def test_series_of_several_engines_and_models_stay_apart() -> None:
    """Data parallelism: one page, several engines."""
    page = vllm.parse(
        'vllm:num_requests_waiting{engine="0",model_name="a"} 1.0\n'
        'vllm:num_requests_waiting{engine="1",model_name="a"} 2.0\n'
        'vllm:num_requests_waiting_by_reason{engine="0",model_name="a",reason="capacity"} 99.0\n'
        'vllm:time_to_first_token_seconds_bucket{engine="0",le="1.0",model_name="a"} 3.0\n'
        'vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="a"} 4.0\n'
        'vllm:time_to_first_token_seconds_bucket{engine="1",le="+Inf",model_name="a \\"b\\""} 5e0\n',
        pages.NEEDED,
    )
    assert page.gauges == {pod_metrics.WAITING: (1.0, 2.0)}
    histogram = page.histograms[pod_metrics.FIRST_TOKEN]
    assert histogram[("engine", "0"), ("model_name", "a")] == {1.0: 3.0, math.inf: 4.0}
    assert histogram[("engine", "1"), ("model_name", 'a "b"')] == {math.inf: 5.0}


@pytest.mark.parametrize(
    "text",
    [
        "vllm:num_requests_waiting{engine= 1.0",
        "vllm:num_requests_waiting many",
        'vllm:time_to_first_token_seconds_bucket{engine="0"} 1.0',
        'vllm:time_to_first_token_seconds_bucket{engine="0",le="x"} 1.0',
        'vllm:time_to_first_token_seconds_bucket{engine="0",le="1.0"} 1.0',
    ],
)
def test_a_damaged_page_is_an_error(text: str) -> None:
    """Not a page with less on it."""
    with pytest.raises(vllm.PageError, match="Prometheus"):
        vllm.parse(text, pages.NEEDED)


def test_other_pages_have_nothing_that_is_needed() -> None:
    """HTML of a proxy, say: what is missing is found out by who needs it."""
    page = vllm.parse("<html>502 Bad Gateway</html>", pages.NEEDED)
    assert page == vllm.Page({}, {}, {})
    assert page.total(pod_metrics.WAITING) is None
