"""What an engine's page says of its requests: bins by vLLM's own bounds, and which answers were cut."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from typing import Any

import pytest

from sluice.gates import readings
from sluice.sources import accumulator, engines, vllm

RECORDED = pathlib.Path(__file__).resolve().parents[2] / "golden" / "metrics" / "vllm-0.32-busy.txt"
CLUSTER = "ml/chat-new"
NOW = 1_795_273_400.0


def page(text: str) -> vllm.Page:
    return vllm.parse(text, engines.FAMILIES)


def bins(reading: engines.Reading) -> dict[readings.Measure, readings.Bins]:
    """What a young pod counted."""
    counted = accumulator.Accumulator()
    counted.observe({"other": envoy_reading(reading)})
    delta = counted.observe({"other": envoy_reading(reading), "pod": dataclasses.replace(reading.counted, uptime=0)})
    return {key.measure: found for key, found in delta.histograms.items()}


def envoy_reading(reading: engines.Reading) -> Any:
    """Another pod, that was there before."""
    return dataclasses.replace(reading.counted, uptime=9999, histograms={})


def test_a_page_of_real_vllm() -> None:
    """Recorded: 24 answers, all cut at their limit; times are in milliseconds, lengths in tokens."""
    reading = engines.reading_of(page(RECORDED.read_text()), CLUSTER, NOW)
    found = bins(reading)
    assert found[readings.Measure.TRUNCATED] == {math.inf: 24}
    assert found[readings.Measure.ITL] == {10: 9, 25: 7, 50: 8}
    assert found[readings.Measure.QUEUE] == {300: 8, 800: 8, 1000: 4, 1500: 4}
    assert found[readings.Measure.TOKENS] == {50: 11, 100: 13}
    assert list(reading.bounds[readings.Measure.QUEUE])[:5] == [300, 500, 800, 1000, 1500]


def test_engines_of_one_pod_are_added() -> None:
    """Data parallelism: several series, one revision; aborted requests did not end by themselves."""
    lines = [f'vllm:request_generation_tokens_bucket{{engine="{engine}",le="{le}"}} {count}' for engine in (0, 1)
             for le, count in (("1.0", 1), ("2.0", 3), ("+Inf", 4))]  # fmt: skip
    lines += [f'vllm:request_success_total{{engine="{engine}",finished_reason="{why}"}} {count}' for engine in (0, 1)
              for why, count in (("stop", 5), ("length", 2), ("abort", 7), ("error", 1), ("repetition", 1))]  # fmt: skip
    found = bins(engines.reading_of(page("\n".join([*lines, f"process_start_time_seconds {NOW - 5}"])), CLUSTER, NOW))
    assert found == {readings.Measure.TOKENS: {1: 2, 2: 4, math.inf: 2}, readings.Measure.TRUNCATED: {1.0: 12, math.inf: 4}}


def test_a_page_that_does_not_say_since_when_is_refused() -> None:
    """A process that restarted could not be told from one that counted on."""
    with pytest.raises(vllm.PageError, match="process_start_time_seconds"):
        engines.reading_of(page('vllm:request_generation_tokens_bucket{le="+Inf"} 1\n'), CLUSTER, NOW)


def test_only_bounds_that_all_engines_have_are_compared_at() -> None:
    """An engine with buckets of its own narrows what can be said."""
    usual = engines.reading_of(page(RECORDED.read_text()), CLUSTER, NOW)
    own = dataclasses.replace(usual, bounds={readings.Measure.ITL: (10, 33, 50)})
    assert engines.common_bounds([usual, own])[readings.Measure.ITL] == [10, 50]
    assert engines.common_bounds([]) == {}


def pod(**changes: Any) -> dict[str, Any]:
    """A pod of the revision."""
    made: dict[str, Any] = {
        "metadata": {
            "uid": "u1", "namespace": "ml", "name": "p",
            "labels": {"sluice.dev/model-deployment": "chat", "sluice.dev/revision": "new"},
        },
        "spec": {"containers": [{"name": "engine", "ports": [{"name": "http", "containerPort": 8000}]}]},
        "status": {"phase": "Running", "podIP": "10.0.0.2"},
    }  # fmt: skip
    return {**made, **changes}


def test_pods_of_revisions_are_targets() -> None:
    """Ready or not: what an engine answered counts; without an address, or of something else, it is none."""
    assert engines.target_of(pod()) == engines.Target("u1", CLUSTER, "10.0.0.2", 8000)
    assert engines.Target("u1", CLUSTER, "fd00::2", 8000).url == "http://[fd00::2]:8000/metrics"
    for changes in (
        {"status": {"phase": "Pending"}},
        {"status": {"phase": "Running"}},
        {"spec": {"containers": [{"name": "eval"}]}},
        {"metadata": {"uid": "u1", "namespace": "ml", "name": "p"}},
    ):
        assert engines.target_of(pod(**changes)) is None
