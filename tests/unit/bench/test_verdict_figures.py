"""Published figures follow their definitions."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from tests.bench import verdict_engine as engine
from tests.bench import verdict_figures as figures
from tests.bench import verdict_quality as quality
from tests.bench import verdict_traces as traces


def case(effect: str | None, stops: list[float | None], *, rps: float = 10, passed: tuple[int, int] = (1, 10)) -> figures.Case:
    return figures.Case("sluice", effect, rps, stops, figures.Share(*passed))


def test_median_delay_counts_runs_that_were_not_stopped() -> None:
    """As if they were stopped last: else a rule that finds only the easiest would look fast."""
    assert case("e", [1.0, 2.0, None]).median_delay == 2
    assert case("e", [1.0, None, None]).median_delay is None


def test_an_identical_canary_has_no_power_and_another_no_false_rollback() -> None:
    """What does not apply is null."""
    identical, harmful = case(None, [None, 3.0]).to_json(), case("errors+5", [None, 3.0]).to_json()
    assert (identical["false_rollback"], identical["power"], identical["median_delay_s"]) == (0.5, None, None)
    assert (harmful["false_rollback"], harmful["power"], harmful["median_delay_s"]) == (None, 0.5, None)
    assert identical["false_rollback_95"][0] < 0.5 < identical["false_rollback_95"][1]


def test_goals_are_judged_by_the_worst_case() -> None:
    """One case beyond a goal is enough to miss it."""
    cases = [
        case(None, [None] * 10, passed=(9, 10)),
        case(None, [None] * 9 + [1.0], rps=1, passed=(7, 10)),
        case("errors+5", [20.0] * 10),
        case("errors+1", [None] * 10, passed=(3, 10)),
        case("p95+20%", [None] * 10, passed=(2, 10)),
    ]
    found = figures.goals(cases, "sluice")
    assert [goal["measured"] for goal in found] == [0.05, 1.0, 20.0, 0.3, 0.7]
    assert [goal["met"] for goal in found] == [False, True, True, False, False]


def test_table_and_picture_show_every_case() -> None:
    """A row for a rule, a column for an effect, a line for a rule."""
    cases = [case(None, [None] * 4), case("errors+5", [20.0, 30.0, 40.0, None])]
    text = figures.table(cases, [None, "errors+5"])
    assert "| sluice | 0 % (0 to 49) | 75 % (30 to 95), 40 s |" in text
    root = ET.fromstring(figures.picture(cases, ["sluice"], ["errors+5"], 10, 600))
    assert len(root.findall("{http://www.w3.org/2000/svg}path")) == 1


@pytest.mark.parametrize(
    ("passed", "counted", "kept", "reason"),
    [
        (90, 90, True, "earlier than shown"),
        (110, 110, False, "later than shown"),
        (None, 90, None, "not known yet"),
        (None, 100, False, "as many as shown, and no Pass"),
    ],
)
def test_when_a_shown_number_is_kept(passed: int | None, counted: int, kept: bool | None, reason: str) -> None:
    """100 requests were shown."""
    judged = engine.Judged(shown={("errors", 1): 100}, counted={"errors": counted})
    if passed is not None:
        judged.passed["errors"] = passed
    assert judged.kept_needs("errors", 1) is kept, reason
    assert judged.kept_needs("ttft", 1) is None, "never shown"


def test_the_engine_stops_a_broken_canary_and_not_an_identical_one() -> None:
    """The operator's own code is what runs: its verdicts reach the benchmark."""
    steps = (traces.Step(0.25, 60),)
    broken, same = (
        engine.judge(traces.generate(np.random.default_rng(1), steps, 40, effect))
        for effect in (traces.Effect("errors+50", errors=0.5), traces.Effect())
    )
    assert broken.failed is not None
    assert broken.failed < 30
    assert same.failed is None
    assert set(same.counted) == {"errors", "ttft", "e2e"}


def test_every_case_has_its_own_seed() -> None:
    """Two cases on the same random numbers would look more alike than they are."""
    drawn = {
        quality._random(effect, rps, number, purpose).random()
        for effect in quality.EFFECTS
        for rps in quality.RATES
        for number in range(3)
        for purpose in range(2)
    }
    assert len(drawn) == len(quality.EFFECTS) * len(quality.RATES) * 6
