"""The queries of docs/autoscaling-adapters.md, run by a real Prometheus on pages of real vLLM, say what `sluice metrics` says.

The pages were recorded from vLLM 0.32 on a CPU: idle, after 24 requests, under load, and after it. It had no queue and made no
error, so those are written into them.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
import yaml

from sluice.metricsapi import pages, windows
from sluice.sources import vllm
from sluice.workloads import pod_metrics
from tests.support import prometheus

pytestmark = pytest.mark.skipif(prometheus.unavailable() is not None, reason=str(prometheus.unavailable()))

ROOT = pathlib.Path(__file__).resolve().parents[2]
RECORDED = ROOT / "tests" / "golden" / "metrics"
POD: Final = ("prod", "chat-abc-1")
LABELS: Final = {
    "namespace": "prod",
    "pod": "chat-abc-1",
    "sluice_dev_model_deployment": "chat",
    "sluice_dev_revision": "abc",
}
SEQUENCE: Final = ("idle", "first", "first", "busy", "second", "second")
"""What was read every 15 s."""
INTERVAL: Final = 15
BEGIN: Final = 1_700_000_000 // INTERVAL * INTERVAL


def documented(kind: str) -> Any:
    """The YAML block of the page that begins like that, or is of that kind."""
    text = (ROOT / "docs" / "autoscaling-adapters.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    return yaml.safe_load(next(block for block in blocks if kind in block))


def page(name: str) -> str:
    """As recorded, but for the queue and the errors. Prometheus sees no increase in a series' first value, hence the zeros."""
    text = (RECORDED / f"vllm-0.32-{name}.txt").read_text()
    queue = 'vllm:num_requests_waiting{engine="0",model_name="chat"} '
    answers = 'http_requests_total{handler="/v1/chat/completions",method="POST",status='
    errors = {"idle": 0, "first": 0, "busy": 2, "second": 6}[name]
    assert f"{queue}0.0" in text
    text = text.replace(f"{queue}0.0", f"{queue}{6.0 if name == 'busy' else 0.0}")
    first = f'{answers}"2xx"}} 0.0\n' if name == "idle" else ""
    return f'{text}{first}{answers}"5xx"}} {errors}.0\n'


RULES: Final = {rule["name"]["as"]: rule for rule in documented("# prometheus-adapter")["rules"]}
MOMENTS: Final = [pytest.param(number, id=f"{number * INTERVAL}s-{SEQUENCE[number]}") for number in range(1, len(SEQUENCE))]


@pytest.fixture(scope="module")
def scraped() -> Iterator[httpx.Client]:
    """Prometheus, after it has read all pages."""
    scrapes = [prometheus.Scrape(BEGIN + n * INTERVAL, page(name), LABELS) for n, name in enumerate(SEQUENCE)]
    with prometheus.holding(scrapes) as client:
        yield client


def ours(metric: str, moment: int) -> float:
    """What `sluice metrics` says after the same readings."""
    window = windows.Window()
    for number, name in enumerate(SEQUENCE[: moment + 1]):
        window.add(vllm.parse(page(name), pages.NEEDED), float(number * INTERVAL))
    found = window.value(pod_metrics.ALL[metric])
    assert found is not None
    return found.value


def adapted(rule: dict[str, Any]) -> str:
    """The query as prometheus-adapter fills it in for pods of a namespace."""
    series = re.match(r"[\w:]+", rule["seriesQuery"])
    assert series is not None
    filled = {
        "<<.Series>>": series[0],
        "<<.LabelMatchers>>": 'namespace="prod",pod=~"chat-abc-1"',
        "<<.GroupBy>>": "namespace,pod",
    }
    text: str = rule["metricsQuery"]
    for template, value in filled.items():
        text = text.replace(template, value)
    return text


def test_rules_have_the_names_that_hpas_ask_for() -> None:
    """So `spec.autoscaling` works with them as it stands; of each percentile one is shown."""
    shown = {name for name in pod_metrics.ALL if not re.search(r"_p(50|90|99)$", name)}
    assert RULES.keys() == shown


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("metric", sorted(RULES))
def test_prometheus_adapter_gets_the_same_values(scraped: httpx.Client, metric: str, moment: int) -> None:
    """Prometheus extrapolates rates to the edges of its window, the same way for all buckets: percentiles agree closely."""
    found = prometheus.query(scraped, adapted(RULES[metric]), BEGIN + moment * INTERVAL)
    assert found == {POD: pytest.approx(ours(metric, moment), rel=0.02, abs=1e-6)}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(("trigger", "metric"), [(0, pod_metrics.REQUESTS_WAITING), (1, pod_metrics.ttft(95))])
def test_keda_gets_the_same_values(scraped: httpx.Client, trigger: int, metric: str, moment: int) -> None:
    """One value for the whole model, as a scaler wants it."""
    text = documented("ScaledObject")["spec"]["triggers"][trigger]["metadata"]["query"]
    found = prometheus.query(scraped, text, BEGIN + moment * INTERVAL)
    assert found == {(): pytest.approx(ours(metric, moment), rel=0.02, abs=1e-6)}


def test_the_pages_are_of_an_engine_that_worked() -> None:
    """Or all of this would compare zeros."""
    busy, last = SEQUENCE.index("busy"), len(SEQUENCE) - 1
    assert ours(pod_metrics.REQUESTS_WAITING, busy) > 0
    assert ours(pod_metrics.REQUESTS_RUNNING, busy) > 0
    assert ours(pod_metrics.KV_CACHE_USAGE, busy) > 0
    assert ours(pod_metrics.ttft(95), last) > 0
    assert ours(pod_metrics.itl(95), last) > 0
    assert ours(pod_metrics.ERROR_RATIO, last) > 0
