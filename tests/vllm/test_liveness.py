"""The liveness probe on real vLLM: it finds an engine that hangs, within the time we document, and lets a busy one be.

The kubelet's part, running it every few seconds and restarting the container, is in the end-to-end tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.support import streams, vllm

CHAT = "/v1/chat/completions"
STALL = 4.0
PERIOD = 0.5
LONG_PROMPT = "Paris Rome Doha Lima " * 28


async def probe_until(server: vllm.Server, state: Path, *, fails: bool, seconds: float, stall: float = STALL) -> float:
    """Run the probe each period until it says so; the seconds that it took. Fails when it does not happen in time."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        run = await asyncio.to_thread(server.probe, stall, state)
        assert run.stderr == ""
        if (run.returncode != 0) == fails:
            return time.monotonic() - started
        await asyncio.sleep(PERIOD)
    raise AssertionError(f"the probe did not {'fail' if fails else 'pass'} within {seconds:.0f} s")


async def test_hung_engine_is_found_and_forgiven(server: vllm.Server, client: httpx.AsyncClient, tmp_path: Path) -> None:
    """An engine that stops amid streams fails the probe after the stall time and two looks; one that goes on passes at once."""
    state = tmp_path / "state"
    async with streams.opened(client, CHAT, [vllm.endless("chat", 480)] * 2) as (opened, _):
        await asyncio.gather(*(stream.began.wait() for stream in opened))
        assert server.probe(STALL, state).returncode == 0
        with server.stopped():
            seconds = await probe_until(server, state, fails=True, seconds=STALL + 15)
            assert server.get("/health").status_code == 200, "vLLM itself does not notice"
        assert seconds >= STALL
        await probe_until(server, state, fails=False, seconds=2)


async def test_engine_that_hangs_while_idle_is_found(server: vllm.Server, client: httpx.AsyncClient, tmp_path: Path) -> None:
    """Its own figures then say that it has no request: those of the API process tell."""
    state = tmp_path / "state"
    with server.stopped():
        for _ in range(3):
            assert server.probe(0.0, state).returncode == 0, "nobody waits for it yet"
        async with streams.opened(client, CHAT, [vllm.endless("chat", 5)]):
            await probe_until(server, state, fails=True, seconds=STALL + 15)
            assert server.total("vllm:num_requests_running") == 0


async def test_api_process_that_hangs_is_found(server: vllm.Server, client: httpx.AsyncClient, tmp_path: Path) -> None:
    """No answer is no progress: the probe's own time limits end each look."""
    state = tmp_path / "state"
    assert server.probe(STALL, state).returncode == 0
    with server.stopped(server.api_pid):
        started = time.monotonic()
        assert server.probe(STALL, state).returncode == 0
        assert time.monotonic() - started < 7, "the kubelet's own limit must not be what ends it"
        await probe_until(server, state, fails=True, seconds=STALL + 30)
    await probe_until(server, state, fails=False, seconds=10)


async def test_idle_engine_passes(server: vllm.Server, client: httpx.AsyncClient, tmp_path: Path) -> None:
    """For as long as nobody asks."""
    for _ in range(5):
        assert server.probe(0.0, tmp_path / "state").returncode == 0


@contextlib.contextmanager
def slowed(pid: int, *, on: float, off: float) -> Iterator[None]:
    """Let a process run for `on` seconds, keep it from it for `off`, and so on."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            os.kill(pid, signal.SIGSTOP)
            stop.wait(off)
            os.kill(pid, signal.SIGCONT)
            stop.wait(on)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


async def test_long_prefill_passes(server: vllm.Server, client: httpx.AsyncClient, tmp_path: Path) -> None:
    """A prompt that is read in pieces shows no token for longer than the stall time, and yet is progress."""
    state, tokens = tmp_path / "state", "vllm:prompt_tokens_total"
    before, failed, silent = server.total(tokens), 0, 0.0
    with slowed(server.engine_pid, on=0.004, off=0.3):
        started = time.monotonic()
        request = asyncio.create_task(client.post(CHAT, json=vllm.chat("chat", LONG_PROMPT, max_tokens=1)))
        while not request.done():
            failed += (await asyncio.to_thread(server.probe, STALL, state)).returncode
            if await asyncio.to_thread(server.total, tokens) == before:
                silent = time.monotonic() - started
            await asyncio.sleep(PERIOD)
    assert request.result().status_code == 200
    assert silent > STALL, "the prefill was too quick to show anything"
    assert failed == 0
