"""The simulator is started and asked like vLLM, so that nothing else has to know which of the two it talks to."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import test_utils

from hack.images.simulator import command, engine, server
from hack.models import answers
from hack.vllm.middleware import sluice_demo
from sluice.api import template as template_api  # parameters are named template
from sluice.workloads import pod_metrics, vllm_args
from sluice.workloads.engine_files import liveness

ANSWERS = answers.table(answers.Name.GOOD, answers.load())
QUESTION = "What is the capital of Peru?"
ENGINE_FILES = Path(liveness.__file__).parent


def build_client(fuses: list[server.Fuse] | None = None, max_queued: int | None = None, *, usage: bool = True) -> Any:
    """A client of a simulator that serves the good model as `chat`."""
    app = server.build_app(engine.Engine(ANSWERS, ["chat"], max_queued), fuses or [], always_usage=usage)
    return test_utils.TestClient(test_utils.TestServer(app))


def chat(**more: Any) -> dict[str, Any]:
    """A chat request."""
    return {"model": "chat", "messages": [{"role": "user", "content": QUESTION}], **more}


def test_operator_s_command_line_is_understood() -> None:
    """What the operator passes to vLLM is accepted, and what has a meaning here is taken from it."""
    template = template_api.Template.model_validate(
        {
            "model": {"source": "file:///models/good"},
            "engine": {
                "type": "VLLM",
                "vllm": {
                    "args": {"maxModelLen": 512, "maxQueuedRequests": 4, "prefixCaching": True},
                    "extraArgs": [
                        "--enforce-eager",
                        "--middleware",
                        "sluice_demo.FailAfter",
                        "--num-gpu-blocks-override",
                        "256",
                    ],
                },
            },
        }
    )
    arguments = vllm_args.build_args(template, served_name="chat", port=8000, shutdown_timeout=30)
    options = command.parse([*vllm_args.COMMAND[1:], *arguments])
    assert (options.model, options.served_names, options.port) == ("/models/good", ("chat",), 8000)
    assert options.middleware == ("sluice_demo.FailAfter",)
    assert (options.always_usage, options.shutdown_seconds, options.max_queued) == (True, 30.0, 4)
    assert options.counts_load


def test_other_commands_are_refused() -> None:
    """Only `vllm serve` with a model does anything."""
    for arguments in ([], ["bench"], ["serve"]):
        with pytest.raises(SystemExit):
            command.parse(arguments)


async def test_chat_answers_from_the_table_with_usage() -> None:
    """A question of the table is answered as the model would, with tokens counted in the answer and in the metrics."""
    async with build_client() as client:
        response = await client.post("/v1/chat/completions", json=chat())
        body = await response.json()
        metrics = await (await client.get("/metrics")).text()
    assert body["choices"][0]["message"]["content"] == "Lima"
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"] == {"prompt_tokens": 6, "completion_tokens": 1, "total_tokens": 7}
    assert 'vllm:request_success_total{engine="0",finished_reason="stop",model_name="chat"} 1.0' in metrics
    assert 'vllm:num_requests_running{engine="0",model_name="chat"} 0.0' in metrics


async def test_stream_ends_with_usage_and_done() -> None:
    """A stream's parts make up the answer; its last events are the reason, a usage-only chunk and [DONE]."""
    async with build_client() as client:
        response = await client.post("/v1/chat/completions", json=chat(stream=True))
        lines = (await response.text()).strip().split("\n\n")
    assert lines[-1] == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert "".join(choice["delta"]["content"] for event in events for choice in event["choices"]) == "Lima"
    assert events[-2]["choices"][0]["finish_reason"] == "stop"
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["completion_tokens"] == 1


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (chat(model="other"), 404, "a model that is not served"),
        ({"model": "chat"}, 400, "no messages"),
        ([], 400, "not an object"),
    ],
)
async def test_wrong_requests_get_openai_errors(body: Any, status: int, reason: str) -> None:
    """A request that cannot be answered gets vLLM's status and an OpenAI error body."""
    async with build_client() as client:
        response = await client.post("/v1/chat/completions", json=body)
        assert (response.status, (await response.json())["error"]["code"]) == (status, status), reason


async def test_busy_engine_refuses() -> None:
    """Beyond --max-num-queued-reqs a request gets 503, as a stream too, while probes go on."""
    async with build_client(max_queued=0) as client:
        for stream in (False, True):
            assert (await client.post("/v1/chat/completions", json=chat(stream=stream))).status == 503
        assert (await client.get("/health")).status == 200


async def test_probe_and_autoscaler_find_what_they_find_in_vllm() -> None:
    """All figures of the liveness probe and all metrics that pods are scaled by have their names here too."""
    async with build_client() as client:
        await client.post("/v1/chat/completions", json=chat(stream=True))
        text = await (await client.get("/metrics")).text()
        load = await (await client.get("/load")).json()
    lines = text.encode().split(b"\n")
    assert [figure for figure in liveness.ENGINE_FIGURES if not any(line.startswith(figure) for line in lines)] == []
    names = {line.partition("{")[0] for line in text.splitlines()}
    scaled_by = {pod_metrics.RUNNING, pod_metrics.WAITING, pod_metrics.KV_CACHE, pod_metrics.ANSWERS}
    assert scaled_by | {f"{name}_bucket" for name in (pod_metrics.FIRST_TOKEN, pod_metrics.INTER_TOKEN)} <= names
    assert load == {"server_load": 0}


async def test_requests_beyond_the_batch_wait() -> None:
    """As with --max-num-seqs: what runs and what waits is told apart, and both end."""
    model = engine.Engine(ANSWERS, ["chat"], max_running=1)
    first, second = (model.generate(model.complete(QUESTION, 50, endless=True)) for _ in range(2))
    await anext(first)
    waiting = asyncio.ensure_future(anext(second))
    await asyncio.sleep(0)
    assert (gauge(model, "running"), gauge(model, "waiting"), model.in_flight) == (1, 1, 2)
    await first.aclose()
    await waiting
    await second.aclose()
    assert (gauge(model, "running"), gauge(model, "waiting"), model.in_flight) == (0, 0, 0)


def gauge(model: engine.Engine, name: str) -> float | None:
    """The number of requests that run or wait."""
    return model.metrics.registry.get_sample_value(f"vllm:num_requests_{name}", {"engine": "0", "model_name": "chat"})


def test_held_headers_need_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The middleware of the operator is accepted: the simulator sends its headers with the first token anyway."""
    monkeypatch.syspath_prepend(str(ENGINE_FILES))
    assert command.load_fuses(["hold_headers.HoldHeaders"]) == []


def test_adapters_are_served_by_their_names() -> None:
    """Beside the model's own name, and after it."""
    options = command.parse(
        ["serve", "/models/good", "--served-model-name=chat", "--lora-modules", "a=/a", "b=/b", "--enable-lora"]
    )
    assert options.served_names == ("chat", "a", "b")


def test_endless_answers_have_the_length_that_is_asked_for() -> None:
    """`ignore_eos` is how tests keep a stream open."""
    completion = engine.Engine({"q": "one two"}, ["m"]).complete("q", 5, endless=True)
    assert (len(completion.tokens), completion.finish_reason) == (5, "length")


async def test_fuse_fails_completions_and_leaves_probes_alone() -> None:
    """With --middleware sluice_demo.FailAfter completions fail after the limit; health, models and metrics answer."""
    async with build_client([sluice_demo.Fuse(1)]) as client:
        statuses = [(await client.post("/v1/chat/completions", json=chat())).status for _ in range(3)]
        others = [(await client.get(path)).status for path in ("/health", "/v1/models", "/metrics")]
    assert statuses == [200, 500, 500]
    assert others == [200, 200, 200]


def test_unknown_middleware_ends_the_program() -> None:
    """A middleware that does not exist, or that the simulator cannot run, is an error and not ignored."""
    for path in ("no_such_module.Thing", "json.JSONDecoder"):
        with pytest.raises(ImportError):
            command.load_fuses([path])


def test_long_answers_are_cut() -> None:
    """`max_tokens` cuts an answer off and says so; prompts beyond the table have an answer too."""
    model = engine.Engine({"q": "one two three"}, ["m"])
    cut = model.complete("q", 2)
    assert (cut.text, cut.finish_reason) == ("one two", "length")
    assert model.complete("else", None).text == engine.UNKNOWN
