"""What the rest of Sluice takes for granted of vLLM, shown on vLLM: answers, streams, usage, metrics, adapters, templates."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from sluice.workloads import pod_metrics
from tests.support import streams, vllm
from tests.vllm import conftest

CHAT = "/v1/chat/completions"
PERU = "What is the capital of Peru?"


async def test_model_answers_under_its_served_name(client: httpx.AsyncClient) -> None:
    """The name of the ModelDeployment is the model's name, whatever the path of its weights."""
    answer = (await client.post(CHAT, json=vllm.chat("chat", PERU))).raise_for_status().json()
    assert answer["choices"][0]["message"]["content"] == "Lima"
    assert answer["model"] == "chat"
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]


async def test_every_chunk_of_a_stream_has_the_usage(client: httpx.AsyncClient) -> None:
    """Without being asked: a stream that is cut has been counted all the same."""
    response = await client.post(CHAT, json=vllm.endless("chat", 20))
    events = vllm.events(response.raise_for_status().text)
    assert all(event["usage"] for event in events)
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["completion_tokens"] == 20


async def test_adapter_is_served_by_its_name(client: httpx.AsyncClient) -> None:
    """It is listed, answers as it was trained to, and leaves the model's own answers alone."""
    listed = {model["id"] for model in (await client.get("/v1/models")).json()["data"]}
    assert listed == {"chat", conftest.ADAPTER}
    answers = {}
    for name in sorted(listed):
        answers[name] = (await client.post(CHAT, json=vllm.chat(name, PERU))).json()["choices"][0]["message"]["content"]
    assert answers == {"chat": "Lima", conftest.ADAPTER: "Paris"}


@pytest.mark.parametrize(
    ("body", "status"),
    [(vllm.chat("other", PERU), 404), ({"model": "chat"}, 400), (vllm.chat("chat", "Lima " * 600), 400)],
    ids=["a model that is not served", "no messages", "a prompt that is too long"],
)
async def test_mistakes_of_clients_are_no_5xx(client: httpx.AsyncClient, body: dict[str, object], status: int) -> None:
    """So that they count neither as errors of a revision nor as reasons to try elsewhere; streams too."""
    for stream in (False, True):
        response = await client.post(CHAT, json={**body, "stream": stream})
        assert (response.status_code, response.json()["error"]["code"]) == (status, status)


def families() -> Iterator[str]:
    """What the metrics of pods are made of."""
    for metric in pod_metrics.ALL.values():
        match metric.source:
            case pod_metrics.Total(names):
                yield from names
            case pod_metrics.Highest(name):
                yield name
            case pod_metrics.Quantile(name, _, pending):
                yield from (f"{name}_bucket", pending)
            case pod_metrics.Share(name):
                yield name


async def test_metrics_that_pods_are_scaled_by_exist(server: vllm.Server, client: httpx.AsyncClient) -> None:
    """A metric that vLLM renames would leave autoscalers without a figure."""
    await client.post(CHAT, json=vllm.endless("chat", 5))
    found = {series.partition("{")[0] for series in server.metrics()}
    assert set(families()) - found == set()


async def test_labels_that_shares_are_split_by_exist(server: vllm.Server, client: httpx.AsyncClient) -> None:
    """Answers are counted by the class of their status: a good and a wrong request show in two series."""
    await client.post(CHAT, json=vllm.chat("chat", PERU))
    await client.post(CHAT, json=vllm.chat("other", PERU))
    shares = [metric.source for metric in pod_metrics.ALL.values() if isinstance(metric.source, pod_metrics.Share)]
    for share in shares:
        only = [f'{name}="{value}"' for name, value in share.only]
        series = [name for name in server.metrics() if name.startswith(f"{share.family}{{") and all(o in name for o in only)]
        assert any(f'{share.label}="{share.rest}"' in name for name in series)
        assert any(f'{share.label}="4xx"' in name for name in series)


async def test_running_and_waiting_show_the_queue(server: vllm.Server, client: httpx.AsyncClient) -> None:
    """Of ten requests eight run and two wait, and /load counts all of them."""
    async with streams.opened(client, CHAT, [vllm.endless("chat", 480)] * 10):
        await asyncio.to_thread(vllm.wait, lambda: server.load() == 10, "ten requests are in flight")
        await asyncio.to_thread(vllm.wait, lambda: server.total(pod_metrics.RUNNING) == 8, "eight run")
        assert server.total(pod_metrics.WAITING) == 2


async def test_chat_template_of_the_revision_is_used(client: httpx.AsyncClient) -> None:
    """The file takes the place of the model's own template."""
    answer = (await client.post(CHAT, json=vllm.chat("chat", conftest.TEMPLATED))).raise_for_status().json()
    assert answer["choices"][0]["message"]["content"] == "Paris"
