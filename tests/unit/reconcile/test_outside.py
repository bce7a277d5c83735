"""Questions to outside sources: at their own pace, only with traffic, and with no Secret that is not meant for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sluice.api import evalgate, rollout_status
from sluice.kube import cache as kube_cache
from sluice.kube import resources
from sluice.reconcile import evidence, outside
from sluice.reconcile.models import store
from sluice.rollout import plan
from sluice.sources import engines, envoy, external
from tests.unit.reconcile import parts

V = rollout_status.Verdict
CONTEXT = external.Context("ml", "chat", "new", "old", "half", 50.0)
PAIR = ("slo", "score")
VALUE = {"limit": {"value": {"min": "0.5"}}, "readings": {"failures": 2, "of": 3}}
WEBHOOK = {"url": "https://hooks.example/score", "credentialsSecretRef": {"name": "hook"}}
SCORE = {"name": "score", "signal": {"type": "Webhook", "webhook": WEBHOOK}, **VALUE}
CACHE = {"name": "cache", "signal": {"type": "KVCacheUsage"}, "limit": {"value": {"max": "0.9"}}}
MIRROR = plan.StepPlan("shadow", 0, 0.0, ("slo",), mirror=1000)
HALF = plan.StepPlan("half", 5000, 0.0, ("slo",))


def opened(*metrics: dict[str, Any], persisted: str | None = None) -> evidence.Family:
    gate = evalgate.EvalGateSpec.model_validate({"metrics": metrics})
    frozen = plan.Plan((MIRROR, HALF), 3600.0, (), {"slo": gate}, {}, 0.02, first=False)
    return evidence.Book().open(parts.KEY, revision="new", stable="old", plan=frozen, persisted=persisted)


def status(family: evidence.Family, metric: str = "score") -> rollout_status.GateStatus:
    return {each.metric: each for each in family.statuses(has_baseline=True)}[metric]


class Stage:
    """Outside sources that answer as a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cache = kube_cache.Cache()
        self.told: list[object] = []
        self.secrets: list[object] = []
        self.answers: asyncio.Queue[float | Exception] = asyncio.Queue()
        nothing: Any = None
        self.outside = outside.Outside(self.cache, lambda: nothing, self.told.append)
        monkeypatch.setattr(external, "call", self._call)

    async def _call(self, _: object, __: object, context: external.Context, secret: object) -> float:
        assert context == CONTEXT
        self.secrets.append(secret)
        value = await self.answers.get()
        if isinstance(value, Exception):
            raise value
        return value

    def ask(self, family: evidence.Family, now: float) -> int:
        """How many questions were due."""
        due = family.due(now, weight=5000, mirror=0)
        self.outside.ask(parts.KEY, family, due, CONTEXT)
        return len(due)

    async def answer(self, value: float | Exception) -> None:
        """The question that is open is answered."""
        self.answers.put_nowait(value)
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


async def test_values_are_read_at_their_pace_and_become_verdicts(stage: Stage) -> None:
    """Every ten seconds by default; the model is told when the verdict changes, and only then."""
    family = opened(SCORE)
    assert [stage.ask(family, now) for now in (0.0, 1.0, 9.9)] == [1, 0, 0]
    await stage.answer(0.9)
    assert (status(family).verdict, stage.told) == (V.INCONCLUSIVE, [parts.KEY]), "from NoData to NeedsMoreReadings"
    for number in range(1, 4):
        assert stage.ask(family, 10.0 * number) == 1
        await stage.answer(0.9)
    assert (status(family).verdict, len(stage.told)) == (V.PASS, 2)
    for number in (4, 5):
        stage.ask(family, 10.0 * number)
        await stage.answer(0.1)
    assert (status(family).verdict, len(stage.told)) == (V.FAIL, 3)


async def test_a_question_without_an_answer_is_not_asked_twice(stage: Stage) -> None:
    """A source that hangs has one question open, and a look never waits for it."""
    family = opened(SCORE)
    for number in range(4):
        stage.ask(family, 10.0 * number)
        await asyncio.sleep(0)
    assert len(stage.secrets) == 1
    await stage.answer(external.SourceError("no answer in 5 s"))
    assert (status(family).verdict, status(family).reason) == (V.ERROR, "SourceUnavailable")
    stage.ask(family, 40.0)
    await stage.answer(ZeroDivisionError("a defect of ours"))
    assert "ZeroDivisionError" in (status(family).message or "")
    stage.ask(family, 50.0)
    await stage.answer(0.9)
    assert status(family).verdict is V.INCONCLUSIVE


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"sluice.dev/secret-type": "metric-source"}, True),
        ({"sluice.dev/secret-type": "api-keys"}, False),
        ({}, False),
    ],
)
async def test_only_a_secret_that_is_meant_for_it_is_sent(stage: Stage, labels: dict[str, str], expected: bool) -> None:
    """Whoever may write an EvalGate must not get hold of other Secrets by it."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hook", "namespace": "ml", "labels": labels}}
    stage.cache.put(resources.SECRETS, secret)
    stage.ask(opened(SCORE), 0.0)
    await stage.answer(0.9)
    assert [found is not None for found in stage.secrets] == [expected]


def test_nothing_is_asked_without_the_traffic_that_it_speaks_of() -> None:
    """While the revision warms up nobody asks; copies and ordinary requests are values of their own."""
    family = opened(SCORE)
    asked = [
        [plan.metric for plan in family.due(now, weight=weight, mirror=mirror)]
        for now, weight, mirror in ((0.0, 0, 0), (10.0, 0, 1000), (20.0, 5000, 0))
    ]
    assert asked == [[], ["score/shadow"], ["score"]]
    assert status(family).reason == "NoData"


def pods(*used: float | None) -> dict[engines.Target, engines.Reading | None]:
    """The revision's pods, None for one that could not be read; stable's is full."""
    found: dict[engines.Target, engines.Reading | None] = {
        engines.Target(f"u{place}", "ml/chat-new", "10.0.0.2", 8000): engines.Reading(envoy.Reading(1.0, 1, {}), {}, value)
        if value is not None
        else None
        for place, value in enumerate(used)
    }
    old = engines.Reading(envoy.Reading(1.0, 1, {}), {}, 1.0)
    return {**found, engines.Target("old", "ml/chat-old", "10.0.0.3", 8000): old}


def test_the_fullest_pod_counts() -> None:
    """Of the revision alone; a pod that cannot be read might be that one."""
    family = opened(CACHE)
    assert family.needs_engines
    assert family.cache_usage(pods(0.2, 0.7)) == 0.7
    for unread in (pods(0.2, None), pods(None), pods()):
        assert isinstance(family.cache_usage(unread), external.SourceError)


def test_a_fail_outlives_the_operator() -> None:
    """It is written with the other evidence."""
    family = opened(SCORE)
    for _ in range(2):
        family.answer(PAIR, 0.1)
    assert status(opened(SCORE, persisted=store.dumps(family.to_json()))).verdict is V.FAIL
