"""Differences of counters: nothing is counted twice or lost while its process lives."""

from __future__ import annotations

import collections
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.gates import readings
from sluice.sources import accumulator, envoy

LABELS = 'revision="prod/chat-1",route="chat",code="{code}",flags="-",stream="",placeholder=""'
OK, BAD = LABELS.format(code=200), LABELS.format(code=500)
TTFT = 'ttft_bucket{revision="prod/chat-1",route="chat"'
KEY = readings.HistogramKey(readings.Measure.TTFT, "prod/chat-1", "chat")
START = 1_000_000.0


def reading(at: float, uptime: int, ok: int = 0, bad: int = 0) -> envoy.Reading:
    """A proxy whose good attempts took below 800 ms and whose bad ones, oddly, below 2 s."""
    series, bins = {OK: ok, BAD: bad}, {800.0: ok, 2000.0: bad}
    return envoy.Reading(
        START + at,
        uptime,
        {labels: value for labels, value in series.items() if value},
        {TTFT: {bound: value for bound, value in bins.items() if value}},
    )


def counts(delta: readings.Delta) -> tuple[int, int]:
    """Good and bad attempts, by counters and, the same, by histograms."""
    by_code: collections.Counter[int] = collections.Counter()
    for key, count in delta.attempts.items():
        by_code[key.code] += count
    bins = delta.histograms.get(KEY, {})
    assert (by_code[200], by_code[500]) == (bins.get(800.0, 0), bins.get(2000.0, 0)) or not delta.histograms
    return by_code[200], by_code[500]


def test_a_series_that_envoy_dropped_does_not_look_like_a_restart_of_its_key() -> None:
    """Envoy drops series that were not used for long; the other series of the key goes on as it was."""
    other = OK.replace('stream=""', 'stream="false"')
    counted = accumulator.Accumulator()
    counted.observe({"p": envoy.Reading(START, 1, {OK: 100, other: 50})})
    assert counts(counted.observe({"p": envoy.Reading(START + 600, 601, {other: 51})})) == (1, 0)
    assert counts(counted.observe({"p": envoy.Reading(START + 601, 602, {OK: 3, other: 51})})) == (3, 0)


def test_a_proxy_from_before_counts_from_its_first_reading() -> None:
    """Its history belongs to a time before the rollout."""
    counted = accumulator.Accumulator()
    assert counts(counted.observe({"p": reading(0, 500, ok=1000)})) == (0, 0)
    assert counts(counted.observe({"p": reading(1, 501, ok=1010, bad=2)})) == (10, 2)


def test_a_younger_proxy_counts_from_zero() -> None:
    """All it ever did happened during the rollout."""
    counted = accumulator.Accumulator()
    counted.observe({"p": reading(0, 500, ok=1000)})
    assert counts(counted.observe({"p": reading(60, 560, ok=1000), "q": reading(60, 5, ok=7)})) == (7, 0)


def test_an_old_proxy_that_is_met_late_does_not_bring_its_history() -> None:
    """It could not be read before, and was there all along."""
    counted = accumulator.Accumulator()
    counted.observe({"p": reading(0, 500, ok=10), "q": None})
    assert counts(counted.observe({"p": reading(1, 501, ok=10), "q": reading(1, 300, ok=9000)})) == (0, 0)


def test_a_failed_reading_is_not_zero() -> None:
    """The next one covers the time between."""
    counted = accumulator.Accumulator()
    counted.observe({"p": reading(0, 500, ok=1000)})
    assert counts(counted.observe({"p": None})) == (0, 0)
    assert counts(counted.observe({"p": reading(3, 503, ok=1030)})) == (30, 0)


def test_a_restarted_proxy_counts_from_zero_even_past_its_old_value() -> None:
    """A counter alone would say 1200 - 1000; the uptime says that it began again."""
    counted = accumulator.Accumulator()
    counted.observe({"p": reading(0, 500, ok=1000)})
    assert counts(counted.observe({"p": reading(120, 60, ok=1200, bad=1)})) == (1200, 1)


def test_a_restart_while_nobody_looked_is_seen_even_when_the_new_process_is_older_than_the_old_one_was() -> None:
    """The process is younger than the gap."""
    counted = accumulator.Accumulator()
    counted.observe({"q": reading(0, 1, ok=1)})
    counted.observe({"q": reading(0, 1, ok=1), "p": reading(20, 15, ok=10)})
    assert counts(counted.observe({"q": reading(0, 1, ok=1), "p": reading(1020, 900, ok=700)})) == (700, 0)


def test_a_slow_uptime_is_no_restart() -> None:
    """Envoy brings its uptime up to date once a second: it lags behind the counters."""
    counted = accumulator.Accumulator()
    counted.observe({"p": reading(0, 500, ok=1000)})
    assert counts(counted.observe({"p": reading(1.9, 500, ok=1001)})) == (1, 0)


def test_a_vanished_proxy_is_forgotten() -> None:
    """Its name may come back as another process."""
    counted = accumulator.Accumulator()
    counted.observe({"p": reading(0, 500, ok=1000)})
    counted.observe({})
    assert counted.to_json()["proxies"] == {}


def test_only_the_revisions_of_the_rollout_are_counted_and_kept() -> None:
    """The state goes into a ConfigMap of one rollout."""
    counted = accumulator.Accumulator(revisions={"prod/other-1"})
    counted.observe({"p": reading(0, 500, ok=1)})
    assert counts(counted.observe({"p": reading(1, 501, ok=2)})) == (0, 0)
    assert counted.to_json()["proxies"]["p"]["series"] == {}


@pytest.mark.parametrize("data", [None, {}, {"since": "x", "proxies": {}}, {"since": 1, "proxies": {"p": {"at": 1}}}, []])
def test_damaged_state_starts_afresh(data: object) -> None:
    """Late is better than wrong."""
    counted = accumulator.Accumulator.from_json(data)
    assert counts(counted.observe({"p": reading(0, 500, ok=1000)})) == (0, 0)


KINDS = ["traffic"] * 6 + ["restart proxy", "lose reading", "restart operator", "operator away", "new proxy", "remove proxy"]


class World:
    """Proxies, an operator that reads them once a second, and what is true."""

    def __init__(self) -> None:
        self.now = 100
        self.born = {0: -1000}
        self.counted = {0: [500, 7]}
        """What each process shows."""
        self.unread = {0: [0, 0]}
        self.truth = [0, 0]
        self.seen = [0, 0]
        self.source = accumulator.Accumulator()
        self.look()

    def do(self, kind: str, index: int, good: int, bad: int) -> None:
        self.now += 300 if kind == "operator away" else 1
        if kind == "restart operator":
            self.source = accumulator.Accumulator.from_json(json.loads(json.dumps(self.source.to_json())))
        elif kind == "remove proxy":
            for kept in (self.born, self.counted, self.unread):
                kept.pop(index, None)
        elif (kind == "new proxy" and index not in self.born) or (
            # A process of a few seconds that is replaced within seconds cannot be told from its successor.
            kind == "restart proxy" and self.now - self.born.get(index, self.now) > 5
        ):
            self.born[index], self.counted[index], self.unread[index] = self.now, [0, 0], [0, 0]
        for place, count in enumerate((good, bad)):
            if index in self.born:
                self.counted[index][place] += count
                self.unread[index][place] += count
        self.look(lost=index if kind == "lose reading" else None)

    def look(self, lost: int | None = None) -> None:
        readings: dict[str, envoy.Reading | None] = {}
        for index, born in self.born.items():
            readings[str(index)] = None if index == lost else reading(self.now, self.now - born, *self.counted[index])
            if index != lost:
                self.truth = [total + new for total, new in zip(self.truth, self.unread[index], strict=True)]
                self.unread[index] = [0, 0]
        self.seen = [total + new for total, new in zip(self.seen, counts(self.source.observe(readings)), strict=True)]


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 2), st.integers(0, 50), st.integers(0, 5)), max_size=60))
def test_differences_add_up_to_the_truth(history: list[tuple[str, int, int, int]]) -> None:
    """Under restarts, gaps and new proxies: all that happened while its process lived on to the next reading, once."""
    world = World()
    for step in history:
        world.do(*step)
    world.now += 1
    world.look()
    assert world.seen == world.truth
