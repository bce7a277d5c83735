"""The liveness probe kills an engine that hangs, and no other: not one that is idle, busy, starting or miscounted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.workloads.engine_files import liveness

PERIOD = 10.0
STALL = 120.0
HOST = b"100"


def seen(load: int | None, figures: bytes = b"", *, reported: float = 0.0, container: bytes = HOST) -> liveness.Seen:
    """One look."""
    return liveness.Seen(container, load, reported, figures)


def judge(looks: Sequence[liveness.Seen], *, period: float = PERIOD) -> list[bool]:
    """For each look, one period after the one before: does the probe fail?"""
    state, failed = None, []
    for number, look in enumerate(looks):
        state = liveness.update(state, look, 1000.0 + number * period)
        failed.append(state.busy and state.waited >= STALL)
    return failed


def first_failure(looks: Sequence[liveness.Seen]) -> float | None:
    """Seconds from the first look to the first failure."""
    failed = judge(looks)
    return failed.index(True) * PERIOD if True in failed else None


@pytest.mark.parametrize(
    ("looks", "expected", "reason"),
    [
        ([seen(0)] * 100, None, "idle"),
        ([seen(2, b"frozen", reported=2)] * 100, STALL, "hung with requests that it reports"),
        ([seen(0), *[seen(1)] * 100], STALL + PERIOD, "hung while idle: its own figures say that it has none"),
        ([seen(0, b"frozen", reported=3)] * 100, None, "no client waits: nobody gains by a restart"),
        ([seen(1, b"%d" % n, reported=1) for n in range(100)], None, "a long answer, or a long prefill"),
        ([seen(None)] * 100, STALL, "the API process does not answer"),
        ([seen(1, b"1"), *[seen(1, b"2")] * 100], None, "a request that vLLM forgot to stop counting"),
        ([seen(1, b"1"), seen(1, b"2"), *[seen(2, b"2")] * 100], STALL + 2 * PERIOD, "the same, and then a real hang"),
        ([seen(1, b"1"), seen(1, b"2"), seen(0, b"2"), *[seen(1, b"2")] * 100], STALL + 3 * PERIOD, "no longer miscounted"),
        ([*[seen(1)] * 6, *[seen(None)] * 100], STALL, "hung, and then the API process too"),
        ([*[seen(1, reported=1)] * 12, *[seen(1, b"moved", reported=1)] * 10], None, "just in time"),
        ([*[seen(0), seen(None)] * 50], None, "single looks without an answer do not add up"),
        ([*[seen(0), seen(1)] * 50], None, "neither do single looks at short requests"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_only_a_hang_under_load_fails(looks: list[liveness.Seen], expected: float | None, reason: str) -> None:
    """The first failure comes once requests have waited for the stall time and no figure of the engine has moved."""
    assert first_failure(looks) == expected, reason


def test_clients_that_give_up_do_not_hide_a_hang() -> None:
    """Requests that time out after a minute, with pauses between them, add up."""
    cycle = [*[seen(1, reported=1)] * 7, *[seen(0, reported=1)] * 2]
    assert first_failure(cycle * 10) is not None


def test_restarted_container_starts_anew() -> None:
    """The state file outlives the container: what the one before waited is not held against the new one."""
    hung = [seen(1, reported=1)] * 20
    for look in (seen(1, container=b"200"), seen(None, container=b"200")):
        assert judge([*hung, look, look])[-3:] == [True, False, False]


def test_clock_that_begins_anew_counts_nothing() -> None:
    """After a restart of the machine the state is from a later time than now."""
    state = liveness.update(None, seen(1, reported=1), 5000.0)
    assert liveness.update(state, seen(1, reported=1), 10.0).waited == 0.0


@dataclasses.dataclass(frozen=True)
class Step:
    """What happens in one period of a healthy engine."""

    load: int
    silent: bool


STEPS = st.lists(st.builds(Step, st.integers(0, 5), st.booleans()), max_size=200)


@given(STEPS)
def test_engine_that_moves_whenever_it_has_requests_never_fails(steps: list[Step]) -> None:
    """Whatever the load, and even if every second look gets no answer."""
    looks, moved = list[liveness.Seen](), 0
    for step in steps:
        moved += step.load > 0
        looks.append(seen(step.load, b"%d" % moved, reported=float(step.load)))
        if step.silent:
            looks.append(seen(None))
    assert not any(judge(looks))


@given(STEPS, st.integers(1, 5))
def test_hang_is_found_whatever_came_before(steps: list[Step], load: int) -> None:
    """Once requests stay in flight that the engine reports, the stall time and one period are enough."""
    before = [seen(step.load, b"%d" % number, reported=float(step.load)) for number, step in enumerate(steps)]
    hang = [seen(load, b"hung", reported=float(load))] * (int(STALL / PERIOD) + 2)
    assert any(judge([*before, *hang]))


METRICS = b"""# HELP vllm:num_requests_running Number of requests
vllm:num_requests_running{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting{engine="0",model_name="m"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 1.0
vllm:generation_tokens_total{engine="0",model_name="m"} 17.0
vllm:admission_rejections_total{reason="max_num_queued_reqs"} 4.0
process_start_time_seconds 1.7e+09
"""


def serve(monkeypatch: pytest.MonkeyPatch, answers: dict[str, tuple[int, bytes] | OSError]) -> None:
    """Let the server answer so."""

    def get(port: int, path: str) -> tuple[int, bytes]:
        answer = answers[path]
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(liveness, "get", get)


def test_look_takes_what_only_the_engine_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rejections are counted by the API process: they must not look like progress of a hung engine."""
    serve(monkeypatch, {"/load": (200, b'{"server_load":3}'), "/metrics": (200, METRICS)})
    look = liveness.look(8000)
    assert (look.load, look.reported) == (3, 3.0)
    assert b"generation_tokens" in look.figures
    assert b"admission" not in look.figures


def test_server_without_load_tracking_is_never_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be judged is left alone."""
    serve(monkeypatch, {"/load": (404, b'{"detail":"Not Found"}'), "/metrics": (200, METRICS)})
    assert liveness.look(8000).load == 0


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"server_load":null}', b"[]"])
def test_load_that_is_no_number_is_no_answer(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """It counts as silence, never as progress."""
    serve(monkeypatch, {"/load": (200, body), "/metrics": (200, METRICS)})
    assert liveness.look(8000).load is None


def test_dead_engine_fails_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """vLLM answers 503 on /health once its engine process is gone."""
    serve(monkeypatch, {"/health": (503, b"")})
    assert liveness.main(8000, STALL, str(tmp_path / "state")) == 1


def test_hang_is_remembered_between_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each run is a process of its own; the last says for how long nothing moved."""
    serve(monkeypatch, {"/health": (200, b""), "/load": (200, b'{"server_load":3}'), "/metrics": (200, METRICS)})
    statuses = []
    for now in (10.0, 70.0, 129.0, 130.0):
        monkeypatch.setattr("time.monotonic", lambda now=now: now)
        statuses.append(liveness.main(8000, STALL, str(tmp_path / "state")))
    assert statuses == [0, 0, 0, 1]
    assert "nothing has moved for 120 s" in capsys.readouterr().out


def test_hang_is_left_in_the_termination_message_and_taken_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever reads why the container ended sees that it hung; an engine that moves again leaves the end of its log."""
    log, state = tmp_path / "termination-log", tmp_path / "state"
    log.write_bytes(b"")
    monkeypatch.setattr(liveness, "TERMINATION_LOG", str(log))
    monkeypatch.setattr(liveness, "get", lambda *_: (200, b""))
    hung = liveness.State(b"c", 0.0, STALL, 0, busy=True, figures=b"")
    monkeypatch.setattr(liveness, "look", lambda _: None)
    monkeypatch.setattr(liveness, "update", lambda *_: hung)

    assert liveness.main(8000, STALL, str(state)) == 1
    assert log.read_bytes().startswith(b"Liveness probe failed: the engine hangs: requests are in flight")

    monkeypatch.setattr(liveness, "update", lambda *_: hung._replace(waited=0.0))
    assert liveness.main(8000, STALL, str(state)) == 0
    assert log.read_bytes() == b""


def test_termination_message_of_others_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An engine may write there itself."""
    log = tmp_path / "termination-log"
    log.write_bytes(b"out of memory")
    monkeypatch.setattr(liveness, "TERMINATION_LOG", str(log))

    liveness.tell(b"")

    assert log.read_bytes() == b"out of memory"


def test_silent_server_fails_only_after_the_stall(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An API process that is busy for a while is no dead engine."""
    serve(monkeypatch, {path: TimeoutError() for path in ("/health", "/load", "/metrics")})
    statuses = []
    for now in (10.0, 70.0, 131.0):
        monkeypatch.setattr("time.monotonic", lambda now=now: now)
        statuses.append(liveness.main(8000, STALL, str(tmp_path / "state")))
    assert statuses == [0, 0, 1]


def test_state_that_cannot_be_kept_kills_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full or read-only /tmp is said in the probe's output, and is no reason to restart an engine."""
    serve(monkeypatch, {"/health": (200, b""), "/load": (200, b'{"server_load":3}'), "/metrics": (200, METRICS)})
    assert liveness.main(8000, 0.0, str(tmp_path / "missing" / "state")) == 0
    assert "Cannot judge the engine" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"\n", b"1 2 3\nx", b"a b c d e\nx", b"\xff\xfe"])
def test_broken_state_is_no_state(tmp_path: Path, content: bytes) -> None:
    """What another version, or nobody, wrote there is not trusted."""
    path = tmp_path / "state"
    path.write_bytes(content)
    assert liveness.load_state(str(path)) is None


def test_state_survives_being_written(tmp_path: Path) -> None:
    """What is read is what was written."""
    state = liveness.State(HOST, 12.5, 3.25, 1, True, b"a 1\nb 2")
    liveness.save_state(str(tmp_path / "state"), state)
    assert liveness.load_state(str(tmp_path / "state")) == state
