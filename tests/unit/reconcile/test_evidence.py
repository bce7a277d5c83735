"""The evidence book: what was persisted goes on, what is damaged starts anew, and a silent source is no pass."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sluice.api import modeldeployment, rollout_status
from sluice.reconcile import evidence
from sluice.reconcile.models import store
from sluice.rollout import planning
from sluice.sources import envoy
from tests.unit.reconcile import parts

SPEC = parts.model(steps=[{"name": "half", "weight": 50}], analysis=None)["spec"]
PLAN = planning.build_plan(modeldeployment.ModelDeploymentSpec.model_validate(SPEC), {}, {}, first=False)
START = 1_000_000.0


def labels(revision: str, code: int) -> str:
    return f'revision="ml/chat-{revision}",route="chat",code="{code}",flags="-",stream="",placeholder=""'


def reading(at: float, *, good: int, bad: int) -> dict[str, envoy.Reading | None]:
    """One proxy that runs for ten minutes, with half of the attempts on stable, all good there."""
    series = {labels("new", 200): good, labels("new", 500): bad, labels("old", 200): good + bad}
    return {"proxy": envoy.Reading(START + at, 600 + int(at), series)}


def opened(book: evidence.Book, persisted: str | None = None, revision: str = "new") -> evidence.Family:
    return book.open(parts.KEY, revision=revision, stable="old", plan=PLAN, persisted=persisted)


def verdict(family: evidence.Family) -> rollout_status.GateStatus:
    (status,) = family.statuses(has_baseline=True)
    return status


def test_harm_is_found() -> None:
    """A canary that fails while stable does not is seen within seconds, as a change of verdict."""
    family = opened(evidence.Book())
    changed = [family.observe(reading(at, good=0, bad=10 * at), seconds=1, settling=False) for at in range(1, 12)]
    assert any(changed)
    assert verdict(family).verdict is rollout_status.Verdict.FAIL


def test_resumes_with_what_happened_meanwhile() -> None:
    """A successor counts every attempt since the evidence was persisted once: those of the gap too."""
    before = opened(evidence.Book())
    for at in range(1, 4):
        before.observe(reading(at, good=100 * at, bad=0), seconds=1, settling=False)
    after = opened(evidence.Book(), store.dumps(before.to_json()))
    assert after.resumed
    after.observe(reading(10, good=300, bad=200), seconds=7, settling=False)
    assert not after.resumed
    assert verdict(after).n == 400
    assert verdict(after).verdict is rollout_status.Verdict.FAIL


def damaged() -> list[Any]:
    """Texts that somebody might have left in the ConfigMap."""
    family = opened(evidence.Book())
    family.observe(reading(1, good=10, bad=0), seconds=1, settling=False)
    whole = json.loads(store.dumps(family.to_json()))
    (name,) = whole["metrics"]
    texts: list[Any] = ["", "{", "[]", "null", "3", '"text"', "{}", '{"metrics": []}', '{"metrics": null}', '{"counters": 1}']
    states: list[Any] = [None, [], 1, "x", {}, {"version": 1}]
    nonsense: list[Any] = [None, [], "x", {}, -1]
    whole_state = whole["metrics"][name]
    states += [{**whole_state, member: value} for member in whole_state for value in nonsense]
    texts += [json.dumps({**whole, "metrics": {name: state}}) for state in states]
    texts += [json.dumps({**whole, "counters": value}) for value in (*nonsense, {"since": "x", "proxies": []})]
    return texts


@pytest.mark.parametrize("text", damaged())
def test_damaged_evidence_is_no_error(text: str) -> None:
    """Whatever is in the ConfigMap, the rollout goes on, and its numbers are those of real attempts."""
    family = opened(evidence.Book(), text)
    for at in range(1, 12):
        family.observe(reading(at, good=0, bad=10 * at), seconds=1, settling=False)
    assert verdict(family).verdict is rollout_status.Verdict.FAIL


def test_silence_is_an_error_and_no_pass() -> None:
    """Five seconds without a reading is a failed measurement, one reading ends that, and one bad look says nothing yet."""
    family = opened(evidence.Book())
    family.observe(reading(1, good=5, bad=0), seconds=1, settling=False)
    family.observe({"proxy": None}, seconds=1, settling=False)
    assert family.source_ok
    changes = [family.observe({"proxy": None}, seconds=1, settling=False) for _ in range(5)]
    assert any(changes)
    assert not family.source_ok
    assert verdict(family).verdict is rollout_status.Verdict.ERROR
    family.observe(reading(9, good=6, bad=0), seconds=1, settling=False)
    assert verdict(family).verdict is rollout_status.Verdict.INCONCLUSIVE


def test_nothing_is_given_before_the_first_reading() -> None:
    """Until a proxy has been read once, weight would be given blind; the verdict is open meanwhile, not an error."""
    family = opened(evidence.Book())
    assert not family.source_ok
    assert verdict(family).verdict is rollout_status.Verdict.INCONCLUSIVE
    family.observe({"proxy": None}, seconds=1, settling=False)
    assert not family.source_ok
    assert family.observe(reading(2, good=1, bad=0), seconds=1, settling=False), "the rollout is woken"
    assert family.source_ok


def test_no_proxy_is_silence() -> None:
    """A gateway without proxies measures nothing."""
    family = opened(evidence.Book())
    for _ in range(6):
        family.observe({}, seconds=1, settling=False)
    assert not family.source_ok


def test_book_keeps_one_family_a_model() -> None:
    """The same revision's family is the same; another revision's takes its place; what is closed is gone."""
    book = evidence.Book()
    first = opened(book)
    assert opened(book) is first
    other = opened(book, revision="newer")
    assert other is not first
    assert book.family(parts.KEY, "new") is None
    book.close(parts.KEY)
    assert book.family(parts.KEY, "newer") is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "1", "{}", '{"steps": []}', store.dumps({**PLAN.to_json(), "gates": []}),
     store.dumps({**PLAN.to_json(), "digests": 1}), store.dumps({**PLAN.to_json(), "steps": [1]}),
     store.dumps({**PLAN.to_json(), "gates": {"default": {"metrics": "x"}}})],
)  # fmt: skip
def test_damaged_plan_is_no_plan(text: str) -> None:
    """A plan that cannot be read is made again, never an error."""
    assert store.read_plan({evidence.PLAN_KEY: text}) is None


def test_plan_round_trip() -> None:
    """A frozen plan is read back as it was."""
    assert store.read_plan(store.plan_data(PLAN)) == PLAN
    assert store.read_plan(None) is None
    assert store.read_plan({}) is None


def test_what_stable_takes_over_is_no_baseline() -> None:
    """With all traffic at the new revision stable only answers retries, all well: that proves no harm of anything."""
    family = opened(evidence.Book())
    for at in range(1, 61):
        settling = family.is_settling((10_000, 0), START + 100 + at)
        assert settling
        # 3 % fail, as they always did; stable's sample is the same number of requests, each a retry.
        family.observe(reading(at, good=97 * at, bad=3 * at), seconds=1, settling=settling)

    assert verdict(family).verdict is not rollout_status.Verdict.FAIL
    assert not family.is_settling((5_000, 0), START + 200)
