"""The keyed queue under virtual time."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.engine import backoff, queue
from tests.support import clock


class Recorder:
    """A run function that notes when each key ran, and does what the test scripts for the key."""

    def __init__(self, time: clock.FakeClock) -> None:
        self.time = time
        self.runs: list[tuple[str, float]] = []
        self.seconds: dict[str, float] = {}
        self.answers: dict[str, list[float | Exception | None]] = {}
        self.active: list[str] = []
        self.overlaps = 0
        self.most_active = 0

    async def __call__(self, key: str) -> float | None:
        self.overlaps += key in self.active
        self.active.append(key)
        self.most_active = max(self.most_active, len(self.active))
        try:
            self.runs.append((key, self.time.monotonic()))
            await self.time.sleep(self.seconds.get(key, 0))
        finally:
            self.active.remove(key)
        answers = self.answers.get(key)
        answer = answers.pop(0) if answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def times(self, key: str) -> list[float]:
        return [at for ran, at in self.runs if ran == key]


class Observed:
    """Collects what the queue reports."""

    def __init__(self) -> None:
        self.depths: list[int] = []
        self.results: list[tuple[str, float, Exception | None]] = []

    def depth(self, waiting: int) -> None:
        self.depths.append(waiting)

    def finished(self, key: str, seconds: float, error: Exception | None) -> None:
        self.results.append((key, seconds, error))


def make(time: clock.FakeClock, run: Recorder, *, workers: int = 2, observer: Observed | None = None) -> queue.KeyedQueue[str]:
    retry = backoff.Backoff(first=1, longest=8, jitter=0.5)
    return queue.KeyedQueue(run, workers=workers, time=time, retry=retry, observer=observer, chance=lambda: 0.0)


async def test_many_adds_of_a_waiting_key_are_one_run() -> None:
    """Adds before a run are deduplicated."""
    time = clock.FakeClock()
    run = Recorder(time)
    keys = make(time, run)
    for _ in range(5):
        keys.add("a")
    keys.start()
    await time.advance(1)
    assert run.times("a") == [0]
    await keys.stop()


async def test_a_key_added_while_it_runs_runs_once_more_afterwards() -> None:
    """A change during a run is seen by a second run that starts after the first."""
    time = clock.FakeClock()
    run = Recorder(time)
    run.seconds["a"] = 5
    keys = make(time, run)
    keys.start()
    keys.add("a")
    await time.advance(2)
    keys.add("a")
    keys.add("a")
    await time.advance(20)
    assert run.times("a") == [0, 5]
    assert run.overlaps == 0
    await keys.stop()


async def test_different_keys_run_side_by_side_up_to_the_number_of_workers() -> None:
    """N workers mean N runs at a time, in the order of their adds."""
    time = clock.FakeClock()
    run = Recorder(time)
    run.seconds = dict.fromkeys("abc", 1)
    keys = make(time, run, workers=2)
    for key in "abc":
        keys.add(key)
    keys.start()
    await time.advance(10)
    assert run.runs == [("a", 0), ("b", 0), ("c", 1)]
    assert run.most_active == 2
    await keys.stop()


async def test_the_delay_that_a_run_returns_is_kept() -> None:
    """A reconcile says when to look again."""
    time = clock.FakeClock()
    run = Recorder(time)
    run.answers["a"] = [10, 0.5, None]
    keys = make(time, run)
    keys.start()
    keys.add("a")
    await time.advance(60)
    assert run.times("a") == [0, 10, 10.5]
    await keys.stop()


async def test_of_several_wake_ups_the_earliest_counts() -> None:
    """add_after never postpones what was asked for sooner, and one wake-up is one run."""
    time = clock.FakeClock()
    run = Recorder(time)
    keys = make(time, run)
    keys.start()
    keys.add_after("a", 10)
    keys.add_after("a", 3)
    keys.add_after("a", 7)
    keys.add_after("b", 1)
    assert keys.wake_up("a") == 3
    await time.advance(60)
    assert run.times("a") == [3]
    assert run.times("b") == [1]
    assert keys.wake_up("a") is None
    await keys.stop()


async def test_a_sooner_wake_up_of_another_key_is_not_missed_by_the_sleeping_timer() -> None:
    """The timer sleeps for the first key, and is woken when an earlier one comes."""
    time = clock.FakeClock()
    run = Recorder(time)
    keys = make(time, run)
    keys.start()
    keys.add_after("late", 100)
    await time.advance(1)
    keys.add_after("soon", 2)
    await time.advance(3)
    assert run.runs == [("soon", 3)]
    await keys.stop()


async def test_failures_back_off_and_a_success_resets_them() -> None:
    """Waits double up to the limit, apart for each key, and begin anew after a success."""
    time = clock.FakeClock()
    run = Recorder(time)
    observed = Observed()
    error = RuntimeError("no")
    run.answers["a"] = [error] * 5 + [20, error, None]
    keys = make(time, run, observer=observed)
    keys.start()
    keys.add("a")
    await time.advance(100)
    assert run.times("a") == [0, 1, 3, 7, 15, 23, 43, 44]
    assert [failed for _, _, failed in observed.results] == [error] * 5 + [None, error, None]
    await keys.stop()


def test_jitter_only_shortens_a_wait() -> None:
    """Keys that failed together do not come back together, nor later than said."""
    retry = backoff.Backoff(first=1, longest=8, jitter=0.5)
    assert retry.delay(3, 0.0) == 4
    assert retry.delay(3, 0.999) == pytest.approx(2, abs=0.01)
    assert retry.delay(10_000, 0.0) == 8


async def test_stop_waits_for_runs_under_way_and_keeps_the_rest() -> None:
    """A stop drains: what runs ends, what waits stays for the next start."""
    time = clock.FakeClock()
    run = Recorder(time)
    run.seconds = dict.fromkeys("ab", 3)
    keys = make(time, run, workers=1)
    keys.start()
    keys.add("a")
    keys.add("b")
    await time.advance(1)
    stopping = asyncio.create_task(keys.stop(grace=10))
    await time.advance(1)
    assert not stopping.done()
    await time.advance(5)
    assert stopping.done()
    assert run.runs == [("a", 0)]
    assert keys.waiting == 1
    keys.start()
    await time.advance(1)
    assert run.runs == [("a", 0), ("b", 7)]
    await time.advance(5)
    await keys.stop()


async def test_a_run_cancelled_at_the_end_of_the_grace_is_not_lost() -> None:
    """Stop ends within its grace, and the cancelled key runs again after the next start."""
    time = clock.FakeClock()
    run = Recorder(time)
    run.seconds["a"] = 100
    keys = make(time, run)
    keys.start()
    keys.add("a")
    await time.advance(1)
    stopping = asyncio.create_task(keys.stop(grace=2))
    await time.advance(2)
    assert stopping.done()
    assert keys.running == frozenset()
    assert keys.waiting == 1
    await keys.stop()


async def test_nothing_runs_before_start_or_after_stop() -> None:
    """A replica that does not lead collects keys and wake-ups but runs none."""
    time = clock.FakeClock()
    run = Recorder(time)
    keys = make(time, run)
    keys.add("a")
    keys.add_after("b", 1)
    await time.advance(5)
    assert run.runs == []
    keys.start()
    await time.advance(0)
    assert sorted(run.runs) == [("a", 5), ("b", 5)]
    await keys.stop()
    keys.add("c")
    await time.advance(5)
    assert run.times("c") == []


async def test_forget_drops_the_wake_up_of_a_key_that_is_gone() -> None:
    """A deleted object's timer does not fire."""
    time = clock.FakeClock()
    run = Recorder(time)
    keys = make(time, run)
    keys.start()
    keys.add_after("a", 5)
    keys.forget("a")
    await time.advance(10)
    assert run.runs == []
    await keys.stop()


async def test_the_observer_hears_of_depth_and_of_every_run() -> None:
    """Depth counts waiting keys; a finished run tells its key, seconds and error."""
    time = clock.FakeClock()
    run = Recorder(time)
    run.seconds["a"] = 2
    observed = Observed()
    keys = make(time, run, workers=1, observer=observed)
    keys.add("a")
    keys.add("b")
    assert observed.depths[-1] == 2
    keys.start()
    await time.advance(5)
    assert observed.depths[-1] == 0
    assert observed.results == [("a", 2, None), ("b", 0, None)]
    await keys.stop()


_ACTIONS = st.one_of(
    st.tuples(st.just("add"), st.sampled_from("ab"), st.just(0.0)),
    st.tuples(st.just("after"), st.sampled_from("ab"), st.sampled_from([0.0, 0.5, 3.0, 20.0])),
    st.tuples(st.just("advance"), st.just(""), st.sampled_from([0.0, 0.5, 1.0, 4.0])),
    st.tuples(st.just("restart"), st.just(""), st.sampled_from([0.0, 1.0, 30.0])),
)
_BEHAVIOUR = st.fixed_dictionaries(
    {
        key: st.tuples(st.sampled_from([0.5, 2.0, 0.0]), st.lists(st.sampled_from(["fail", "again", "done"]), max_size=4))
        for key in "ab"
    }
)


@settings(max_examples=400, deadline=None)
@given(actions=st.lists(_ACTIONS, min_size=4, max_size=25), behaviour=_BEHAVIOUR, workers=st.integers(1, 3))
def test_an_added_key_always_runs_afterwards_and_never_twice_at_once(
    actions: list[tuple[str, str, float]], behaviour: dict[str, tuple[float, list[str]]], workers: int
) -> None:
    """Whatever the order of adds, wake-ups, failures and restarts: each request is followed by a run that began after it."""
    asyncio.run(_play(actions, behaviour, workers))


async def _play(actions: list[tuple[str, str, float]], behaviour: dict[str, tuple[float, list[str]]], workers: int) -> None:
    time = clock.FakeClock()
    run = Recorder(time)
    script: dict[str, float | Exception | None] = {"fail": RuntimeError("no"), "again": 1.0, "done": None}
    for key, (seconds, answers) in behaviour.items():
        run.seconds[key] = seconds
        run.answers[key] = [script[answer] for answer in answers]
    keys = make(time, run, workers=workers)
    keys.start()
    asked: dict[str, tuple[int, float]] = {}  # key -> how many of its runs had begun, and by when the next must have
    for action, key, value in actions:
        if action in {"add", "after"}:
            keys.add(key) if action == "add" else keys.add_after(key, value)
            begun, due = len(run.times(key)), time.monotonic() + value
            asked[key] = (begun, due)
        elif action == "advance":
            await time.advance(value)
        else:
            stopping = asyncio.create_task(keys.stop(grace=value))
            await time.advance(30)
            assert stopping.done()
            keys.start()
    await time.advance(500)
    assert run.overlaps == 0
    assert run.active == []
    assert keys.waiting == 0
    for key, (begun, _) in asked.items():
        assert len(run.times(key)) > begun, f"{key} was asked for and never ran"
    await keys.stop()


async def test_runs_that_never_wait_let_others_run() -> None:
    """A thousand keys with nothing to write must not keep health checks and measurements from running."""
    seen: list[int] = []

    async def run(_: int) -> None:
        seen.append(1)

    keys: queue.KeyedQueue[int] = queue.KeyedQueue(run, workers=4)
    for number in range(1000):
        keys.add(number)
    keys.start()
    for _ in range(5):
        await asyncio.sleep(0)
    assert 0 < len(seen) < 100
    await keys.stop()
