"""Counters of attempts: parsed exactly, and never counted twice."""

from __future__ import annotations

import collections
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.gates import attempts
from sluice.sources import envoy

LABELS = 'revision="prod/chat-1",route="chat",code="{code}",flags="-",stream="",placeholder=""'
OK, BAD = LABELS.format(code=200), LABELS.format(code=500)
START = 1_000_000.0


def reading(at: float, uptime: int, ok: int = 0, bad: int = 0) -> envoy.Reading:
    series = {OK: ok, BAD: bad}
    return envoy.Reading(START + at, uptime, {labels: value for labels, value in series.items() if value})


def counts(delta: attempts.Counters) -> tuple[int, int]:
    by_code: collections.Counter[int] = collections.Counter()
    for key, count in delta.items():
        by_code[key.code] += count
    return by_code[200], by_code[500]


def test_parse_takes_attempts_and_uptime_and_skips_the_rest() -> None:
    """Only our counter's lines are read, whatever else a proxy exposes."""
    uptime, series = envoy.parse(
        "# TYPE envoy_sluice_attempts counter\n"
        f"envoy_sluice_attempts{{{OK}}} 12\n"
        'envoy_sluice_attempts_other{revision="x"} 5\n'
        'envoy_cluster_upstream_rq{envoy_cluster_name="x"} broken\n'
        "# TYPE envoy_server_uptime gauge\n"
        "envoy_server_uptime{} 34\n"
    )
    assert (uptime, series) == (34, {OK: 12})


def test_large_counts_keep_every_digit() -> None:
    """Envoy writes integers; a float would lose ones above 2**53, long after anyone counts."""
    _, series = envoy.parse(f"envoy_sluice_attempts{{{OK}}} 9007199254740993\n")
    assert series[OK] == 9007199254740993


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (
            'revision="prod/chat-7c9d",route="chat",code="0",flags="UC,UF",stream="true",placeholder="yes"',
            attempts.AttemptKey("prod/chat-7c9d", "chat", 0, "UC,UF", stream=True, placeholder=True),
        ),
        (
            'placeholder="",stream="false",flags="-",code="503",route="",revision="prod/chat-7c9d/shadow"',
            attempts.AttemptKey("prod/chat-7c9d/shadow", "", 503, "-", stream=False, placeholder=False),
        ),
        (
            r'revision="a\"b\\c",route="x} y",code="-",flags="-",stream="",placeholder=""',
            attempts.AttemptKey('a"b\\c', "x} y", 0, "-", stream=False, placeholder=False),
        ),
    ],
)
def test_parse_key_reads_labels_in_any_order_and_with_escapes(labels: str, expected: attempts.AttemptKey) -> None:
    """A name that users choose cannot pass for another."""
    assert envoy.parse_key(labels) == expected
    assert envoy.parse(f"envoy_sluice_attempts{{{labels}}} 1\n")[1] == {labels: 1}


def test_series_of_one_key_are_added() -> None:
    """`stream` absent and `false` are one key and two series."""
    other = OK.replace('stream=""', 'stream="false"')
    (count,) = envoy.Reading(START, 1, {OK: 2, other: 3}).counters().values()
    assert count == 5


def test_a_series_that_envoy_dropped_does_not_look_like_a_restart_of_its_key() -> None:
    """Envoy drops series that were not used for long; the other series of the key goes on as it was."""
    other = OK.replace('stream=""', 'stream="false"')
    accumulator = envoy.Accumulator()
    accumulator.observe({"p": envoy.Reading(START, 1, {OK: 100, other: 50})})
    assert counts(accumulator.observe({"p": envoy.Reading(START + 600, 601, {other: 51})})) == (1, 0)
    assert counts(accumulator.observe({"p": envoy.Reading(START + 601, 602, {OK: 3, other: 51})})) == (3, 0)


def test_a_proxy_from_before_counts_from_its_first_reading() -> None:
    """Its history belongs to a time before the rollout."""
    accumulator = envoy.Accumulator()
    assert counts(accumulator.observe({"p": reading(0, 500, ok=1000)})) == (0, 0)
    assert counts(accumulator.observe({"p": reading(1, 501, ok=1010, bad=2)})) == (10, 2)


def test_a_younger_proxy_counts_from_zero() -> None:
    """All it ever did happened during the rollout."""
    accumulator = envoy.Accumulator()
    accumulator.observe({"p": reading(0, 500, ok=1000)})
    assert counts(accumulator.observe({"p": reading(60, 560, ok=1000), "q": reading(60, 5, ok=7)})) == (7, 0)


def test_an_old_proxy_that_is_met_late_does_not_bring_its_history() -> None:
    """It could not be read before, and was there all along."""
    accumulator = envoy.Accumulator()
    accumulator.observe({"p": reading(0, 500, ok=10), "q": None})
    assert counts(accumulator.observe({"p": reading(1, 501, ok=10), "q": reading(1, 300, ok=9000)})) == (0, 0)


def test_a_failed_reading_is_not_zero() -> None:
    """The next one covers the time between."""
    accumulator = envoy.Accumulator()
    accumulator.observe({"p": reading(0, 500, ok=1000)})
    assert counts(accumulator.observe({"p": None})) == (0, 0)
    assert counts(accumulator.observe({"p": reading(3, 503, ok=1030)})) == (30, 0)


def test_a_restarted_proxy_counts_from_zero_even_past_its_old_value() -> None:
    """A counter alone would say 1200 - 1000; the uptime says that it began again."""
    accumulator = envoy.Accumulator()
    accumulator.observe({"p": reading(0, 500, ok=1000)})
    assert counts(accumulator.observe({"p": reading(120, 60, ok=1200, bad=1)})) == (1200, 1)


def test_a_restart_while_nobody_looked_is_seen_even_when_the_new_process_is_older_than_the_old_one_was() -> None:
    """The process is younger than the gap."""
    accumulator = envoy.Accumulator()
    accumulator.observe({"q": reading(0, 1, ok=1)})
    accumulator.observe({"q": reading(0, 1, ok=1), "p": reading(20, 15, ok=10)})
    assert counts(accumulator.observe({"q": reading(0, 1, ok=1), "p": reading(1020, 900, ok=700)})) == (700, 0)


def test_a_slow_uptime_is_no_restart() -> None:
    """Envoy brings its uptime up to date once a second: it lags behind the counters."""
    accumulator = envoy.Accumulator()
    accumulator.observe({"p": reading(0, 500, ok=1000)})
    assert counts(accumulator.observe({"p": reading(1.9, 500, ok=1001)})) == (1, 0)


def test_a_vanished_proxy_is_forgotten() -> None:
    """Its name may come back as another process."""
    accumulator = envoy.Accumulator()
    accumulator.observe({"p": reading(0, 500, ok=1000)})
    accumulator.observe({})
    assert accumulator.to_json()["proxies"] == {}


def test_only_the_revisions_of_the_rollout_are_counted_and_kept() -> None:
    """The state goes into a ConfigMap of one rollout."""
    accumulator = envoy.Accumulator(revisions={"prod/other-1"})
    accumulator.observe({"p": reading(0, 500, ok=1)})
    assert counts(accumulator.observe({"p": reading(1, 501, ok=2)})) == (0, 0)
    assert accumulator.to_json()["proxies"]["p"]["series"] == {}


@pytest.mark.parametrize("data", [None, {}, {"since": "x", "proxies": {}}, {"since": 1, "proxies": {"p": {"at": 1}}}, []])
def test_damaged_state_starts_afresh(data: object) -> None:
    """Late is better than wrong."""
    accumulator = envoy.Accumulator.from_json(data)
    assert counts(accumulator.observe({"p": reading(0, 500, ok=1000)})) == (0, 0)


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
        self.accumulator = envoy.Accumulator()
        self.look()

    def do(self, kind: str, index: int, good: int, bad: int) -> None:
        self.now += 300 if kind == "operator away" else 1
        if kind == "restart operator":
            self.accumulator = envoy.Accumulator.from_json(json.loads(json.dumps(self.accumulator.to_json())))
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
        self.seen = [total + new for total, new in zip(self.seen, counts(self.accumulator.observe(readings)), strict=True)]


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 2), st.integers(0, 50), st.integers(0, 5)), max_size=60))
def test_differences_add_up_to_the_truth(history: list[tuple[str, int, int, int]]) -> None:
    """Under restarts, gaps and new proxies: all that happened while its process lived on to the next reading, once."""
    world = World()
    for step in history:
        world.do(*step)
    world.now += 1
    world.look()
    assert world.seen == world.truth
