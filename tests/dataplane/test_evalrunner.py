"""`sluice eval` against a real HTTP server on loopback: answers, faults, retries, exit codes."""

import asyncio
import collections
import hashlib
import json
import pathlib
import threading
from collections.abc import Callable
from typing import Any, Self

import pytest
from aiohttp import web

from sluice.evalrunner import command
from sluice.evals import result as results
from tests.support import ports

Answer = Callable[[dict[str, Any], int], web.StreamResponse]
"""Gets the request's body and how often its prompt was asked before."""


class FakeServer:
    """An OpenAI-compatible server whose answers a test decides, in a thread of its own."""

    def __init__(self, answer: Answer) -> None:
        self.port = ports.free()
        self.bodies: list[dict[str, Any]] = []
        self.probes = 0
        self.models_status = 200
        self.hangs: str | None = None
        """A prompt whose first request gets no answer."""
        self._answer = answer
        self._asked: collections.Counter[str] = collections.Counter()
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        runner = web.AppRunner(app, handler_cancellation=True)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", self.port).start())
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _models(self, _: web.Request) -> web.Response:
        self.probes += 1
        status, self.models_status = self.models_status, 200
        return web.json_response({"data": []}, status=status)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        prompt = body["messages"][-1]["content"]
        self._asked[prompt] += 1
        if prompt == self.hangs and self._asked[prompt] == 1:
            await asyncio.Event().wait()
        return self._answer(body, self._asked[prompt] - 1)


def completion(text: str | None) -> web.Response:
    return web.json_response({"choices": [{"message": {"role": "assistant", "content": text}}]})


def echo(body: dict[str, Any], _: int) -> web.StreamResponse:
    return completion(body["messages"][-1]["content"])


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """A dataset of ten items whose right answer is the prompt."""
    file = tmp_path / "dataset.jsonl"
    file.write_text("".join(json.dumps({"id": i, "prompt": f"word{i}", "reference": f"word{i}"}) + "\n" for i in range(10)))
    return file


def run(server_port: int, path: pathlib.Path, *more: str) -> tuple[int, results.Outcome | None]:
    """Exit code and what the termination message says."""
    result = path.with_name("termination-log")
    code = command.main(
        [
            f"--url=http://127.0.0.1:{server_port}",
            "--model=chat",
            f"--dataset={path}",
            f"--result={result}",
            "--pause=0.01",
            "--wait=10",
            *more,
        ]
    )
    return code, results.from_message(result.read_text()) if result.exists() else None


def digest(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_all_right(path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every item is asked once with the wanted parameters; the counts and the digest are left behind, progress on stdout."""
    with FakeServer(echo) as server:
        code, outcome = run(server.port, path, f"--dataset-sha256={digest(path)}", "--temperature=0.5", "--seed=7")
    assert code == command.ExitCode.OK
    assert outcome == results.EvalResult(10, 10, 0, 0, digest(path))
    assert sorted(body["messages"][0]["content"] for body in server.bodies) == [f"word{i}" for i in range(10)]
    first = {key: value for key, value in server.bodies[0].items() if key != "messages"}
    assert first == {"model": "chat", "temperature": 0.5, "max_tokens": 256, "seed": 7}
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [events[0]["event"], events[-1]["event"]] == ["started", "finished"]


def test_wrong_and_refused_items_are_counted_apart(path: pathlib.Path) -> None:
    """A wrong or empty answer is failed, a 4xx or an answer of another shape an error, neither asked twice."""

    def answer(body: dict[str, Any], before: int) -> web.StreamResponse:
        match body["messages"][0]["content"]:
            case "word1":
                return completion("something else")
            case "word2":
                return completion(None)
            case "word3":
                return web.json_response({"error": {"message": "too long"}}, status=400)
            case "word4":
                return web.json_response({"choices": []})
            case "word5":
                return web.Response(text="<html>")
        return echo(body, before)

    with FakeServer(answer) as server:
        code, outcome = run(server.port, path)
    assert code == command.ExitCode.OK
    assert outcome == results.EvalResult(10, passed=5, failed=2, errors=3, dataset_sha256=digest(path))
    assert len(server.bodies) == 10


def test_transient_faults_are_retried(path: pathlib.Path) -> None:
    """A 500, a 429 and a broken connection are asked again; the item still counts as right."""

    def answer(body: dict[str, Any], before: int) -> web.StreamResponse:
        prompt = body["messages"][0]["content"]
        if prompt in {"word1", "word2"} and before < 2:
            return web.Response(status=500 if prompt == "word1" else 429)
        if prompt == "word3" and before == 0:
            raise ConnectionResetError  # aiohttp answers 500 or cuts the connection: both are transient
        return echo(body, before)

    with FakeServer(answer) as server:
        code, outcome = run(server.port, path)
    assert (code, outcome) == (command.ExitCode.OK, results.EvalResult(10, 10, 0, 0, digest(path)))
    assert len(server.bodies) == 10 + 2 + 2 + 1


def test_retries_are_bounded(path: pathlib.Path) -> None:
    """An item that always fails is an error after its tries; the others go on."""

    def answer(body: dict[str, Any], before: int) -> web.StreamResponse:
        return web.Response(status=503) if body["messages"][0]["content"] == "word1" else echo(body, before)

    with FakeServer(answer) as server:
        code, outcome = run(server.port, path, "--retries=2")
    assert (code, outcome) == (command.ExitCode.OK, results.EvalResult(10, 9, 0, 1, digest(path)))
    assert len(server.bodies) == 9 + 3


def test_a_request_that_hangs_is_given_up_and_asked_again(path: pathlib.Path) -> None:
    """The request's time is bounded; the next try counts."""
    with FakeServer(echo) as server:
        server.hangs = "word4"
        code, outcome = run(server.port, path, "--request-timeout=0.3")
    assert (code, outcome) == (command.ExitCode.OK, results.EvalResult(10, 10, 0, 0, digest(path)))
    assert len(server.bodies) == 11


def test_a_sample_is_taken(path: pathlib.Path) -> None:
    """Only so many items, evenly over the dataset."""
    with FakeServer(echo) as server:
        _, outcome = run(server.port, path, "--sample-size=5")
    assert outcome == results.EvalResult(5, 5, 0, 0, digest(path))
    assert sorted(body["messages"][0]["content"] for body in server.bodies) == [f"word{i}" for i in (1, 3, 5, 7, 9)]


def test_it_waits_for_the_server(path: pathlib.Path) -> None:
    """A Service that answers 503 at first is waited for."""
    with FakeServer(echo) as server:
        server.models_status = 503
        code, _ = run(server.port, path)
    assert (code, server.probes) == (command.ExitCode.OK, 2)


def test_a_server_that_never_answers_is_unreachable(path: pathlib.Path) -> None:
    """The wait is bounded, the exit code allows a retry, and the message says why."""
    code, outcome = run(ports.free(), path, "--wait=0.3")
    assert code == command.ExitCode.UNREACHABLE
    assert isinstance(outcome, results.EvalFailure)
    assert outcome.reason is results.Failure.MODEL_UNREACHABLE
    assert "Cannot reach http://127.0.0.1" in outcome.message


def test_another_dataset_is_refused(path: pathlib.Path) -> None:
    """What was frozen is what is asked, or nothing is."""
    with FakeServer(echo) as server:
        code, outcome = run(server.port, path, f"--dataset-sha256={'0' * 64}")
    assert code == command.ExitCode.BAD_INPUT
    assert isinstance(outcome, results.EvalFailure)
    assert outcome.reason is results.Failure.DATASET_CHANGED
    assert not server.bodies


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"id": "a", "prompt": "x"}\n', "line 1, field reference"), ("", "no items"), (None, "No such file")],
)
def test_a_broken_dataset_is_refused(path: pathlib.Path, text: str | None, message: str) -> None:
    """The reason reaches the termination message; the model is not asked."""
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    code, outcome = run(ports.free(), path)
    assert code == command.ExitCode.BAD_INPUT
    assert isinstance(outcome, results.EvalFailure)
    assert outcome.reason is results.Failure.DATASET_INVALID
    assert message in outcome.message


@pytest.mark.parametrize("flag", ["--scorer=Vibes", "--concurrency=0", "--unknown=1", "--pause=inf"])
def test_bad_arguments_are_bad_input(path: pathlib.Path, flag: str) -> None:
    """Nothing is asked and nothing written."""
    assert run(ports.free(), path, flag) == (command.ExitCode.BAD_INPUT, None)


def test_an_unwritable_result_has_its_own_code(path: pathlib.Path) -> None:
    """A run whose counts are lost is no success."""
    with FakeServer(echo) as server:
        assert run(server.port, path, f"--result={path.parent}/missing/log") == (command.ExitCode.UNWRITABLE, None)
