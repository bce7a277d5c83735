"""A proxy's page: parsed exactly, and nothing else of it."""

from __future__ import annotations

import re

import pytest

from sluice.gates import attempts, grid, readings
from sluice.sources import envoy

LABELS = 'revision="prod/chat-1",route="chat",code="{code}",flags="-",stream="",placeholder=""'
OK, BAD = LABELS.format(code=200), LABELS.format(code=500)
START = 1_000_000.0


def test_parse_takes_attempts_and_uptime_and_skips_the_rest() -> None:
    """Only our counter's lines are read, whatever else a proxy exposes."""
    page = envoy.parse(
        "# TYPE envoy_sluice_attempts counter\n"
        f"envoy_sluice_attempts{{{OK}}} 12\n"
        'envoy_sluice_attempts_other{revision="x"} 5\n'
        'envoy_cluster_upstream_rq{envoy_cluster_name="x"} broken\n'
        "# TYPE envoy_server_uptime gauge\n"
        "envoy_server_uptime{} 34\n"
    )
    assert (page.uptime, page.series, page.histograms) == (34, {OK: 12}, {})


def test_large_counts_keep_every_digit() -> None:
    """Envoy writes integers; a float would lose ones above 2**53, long after anyone counts."""
    page = envoy.parse(f"envoy_sluice_attempts{{{OK}}} 9007199254740993\n")
    assert page.series[OK] == 9007199254740993


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
    assert envoy.parse(f"envoy_sluice_attempts{{{labels}}} 1\n").series == {labels: 1}


def test_series_of_one_key_are_added() -> None:
    """`stream` absent and `false` are one key and two series."""
    other = OK.replace('stream=""', 'stream="false"')
    (count,) = envoy.Reading(START, 1, {OK: 2, other: 3}).counters().values()
    assert count == 5


def histogram(counts: list[int], labels: str = 'revision="prod/chat-1",route="chat"', measure: str = "ttft") -> str:
    """The lines of a histogram, as Envoy writes them."""
    bounds = [f"{bound:.31g}" for bound in grid.ENVOY_BUCKETS] + ["+Inf"]
    return "".join(
        f'envoy_sluice_{measure}_bucket{{{labels},le="{bound}"}} {count}\n'
        for bound, count in zip(bounds, counts, strict=False)
    )


def test_a_histogram_is_read_as_bins_between_our_bounds() -> None:
    """The bucket that Envoy calls 790 holds all below 800 ms; what is above every bound has the infinite one."""
    place = grid.BOUNDS.index(800)
    counts = [0] * place + [3] * (len(grid.BOUNDS) - place) + [5]
    page = envoy.parse(histogram(counts) + 'envoy_sluice_ttft_sum{revision="prod/chat-1",route="chat"} 12\n')
    ((key, bins),) = page.histograms.items()
    assert bins == {800: 3, float("inf"): 2}
    assert envoy.parse_histogram(key) == readings.HistogramKey(readings.Measure.TTFT, "prod/chat-1", "chat")


def test_a_histogram_with_other_buckets_is_no_measurement() -> None:
    """A proxy that still runs an older bootstrap counts by bounds that mean something else."""
    assert envoy.parse(histogram([0, 1, 2])).histograms == {}


def test_requests_in_flight_are_those_that_wait_for_a_connection_too() -> None:
    """Both gauges of a cluster are added; counters with similar names are not read."""
    page = envoy.parse(
        'envoy_cluster_upstream_rq_active{envoy_cluster_name="prod/chat-1"} 3\n'
        'envoy_cluster_upstream_rq_pending_active{envoy_cluster_name="prod/chat-1"} 2\n'
        'envoy_cluster_upstream_rq_active_overflow{envoy_cluster_name="prod/chat-1"} 9\n'
        'envoy_cluster_upstream_rq_active{envoy_cluster_name="prod/chat-1/shadow"} 1\n'
    )
    assert page.active == {"prod/chat-1": 5, "prod/chat-1/shadow": 1}


@pytest.mark.parametrize("line", ['envoy_sluice_attempts{a="b"} x', 'envoy_sluice_ttft_bucket{le="1"} 1.5'])
def test_a_number_that_is_none_is_an_error(line: str) -> None:
    """Half a page is no measurement."""
    with pytest.raises(ValueError, match="invalid literal"):
        envoy.parse(line)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("server.uptime", True),
        ("sluice.attempts.revision.prod/chat-1.route.chat.code.200.flags.-.stream..placeholder.", True),
        ("sluice.ttft.revision.prod/chat-1/shadow.route.", True),
        ("sluice.ttft.revision.prod/chat-12.route.chat", False),
        ("cluster.prod/chat-1.upstream_rq_active", True),
        ("cluster.prod/chat-1/shadow.upstream_rq_pending_active", True),
        ("cluster.prod/chat-1.upstream_rq_total", False),
        ("sluice.requests.route.chat.code.200.flags.-.client.", False),
    ],
)
def test_the_filter_asks_for_the_revisions_alone(name: str, expected: bool) -> None:
    """Envoy writes what the filter matches: our series of these revisions and of their shadows."""
    assert bool(re.search(envoy.filter_for({"prod/chat-1"}), name)) is expected


def test_many_revisions_are_read_by_one_short_filter() -> None:
    """A filter goes into a URL, which has a limit."""
    many = {f"prod/model-{index}" for index in range(1000)}
    assert len(envoy.filter_for(many)) < 200
    assert re.search(envoy.filter_for(many), "sluice.ttft.revision.prod/model-7.route.chat")
