"""A run counts every item once, whatever the model does."""

import asyncio
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sluice.evalrunner import client, run
from sluice.evals import dataset
from sluice.evals.scorers import registry

RIGHT, WRONG, BROKEN = "right", "wrong", "broken"


class FakeModel:
    """Answers by the reference of each item, and remembers how many requests were open at once."""

    def __init__(self) -> None:
        self.open = self.most = 0

    async def answer(self, item: dataset.Item) -> str:
        self.open += 1
        self.most = max(self.most, self.open)
        await asyncio.sleep(0)
        self.open -= 1
        if item.messages[0].content == BROKEN:
            raise client.RequestError("status 500: no", transient=True)
        return item.reference if item.messages[0].content == RIGHT else "else"


def items(kinds: list[str]) -> list[dataset.Item]:
    return [dataset.Item(str(i), (dataset.Message("user", kind),), "answer") for i, kind in enumerate(kinds)]


def ask(kinds: list[str], concurrency: int) -> tuple[run.Counts, FakeModel, list[Mapping[str, Any]]]:
    model, events = FakeModel(), list[Mapping[str, Any]]()
    scorer = registry.scorer("ExactMatch")
    counts = asyncio.run(run.run(model, items(kinds), scorer, concurrency=concurrency, report=events.append))
    return counts, model, events


@given(st.lists(st.sampled_from([RIGHT, WRONG, BROKEN]), min_size=1, max_size=60), st.integers(1, 8))
def test_every_item_is_counted_once(kinds: list[str], concurrency: int) -> None:
    """Right, wrong and broken sum to n, and no more requests are open than allowed."""
    counts, model, events = ask(kinds, concurrency)
    assert (counts.passed, counts.failed, counts.errors) == (kinds.count(RIGHT), kinds.count(WRONG), kinds.count(BROKEN))
    assert counts.done == counts.n == len(kinds)
    assert model.most <= concurrency
    assert events[-1] == {"event": "progress", "done": counts.n, "n": counts.n, **_of(counts)}


def test_as_many_requests_are_open_as_allowed() -> None:
    """Concurrency is used."""
    assert ask([RIGHT] * 20, 4)[1].most == 4


def test_items_that_were_not_right_are_named() -> None:
    """By id only: answers are not logged."""
    events = [event for event in ask([RIGHT, WRONG, BROKEN], 1)[2] if event["event"] != "progress"]
    assert events == [{"event": "wrong", "id": "1"}, {"event": "error", "id": "2", "cause": "status 500: no"}]


def test_counts_become_a_result() -> None:
    """The result carries the digest of what was asked."""
    result = run.result_of(run.Counts(n=3, passed=1, failed=1, errors=1), "ab" * 32)
    assert (result.n, result.passed, result.failed, result.errors, result.dataset_sha256) == (3, 1, 1, 1, "ab" * 32)


def _of(counts: run.Counts) -> dict[str, int]:
    return {"passed": counts.passed, "failed": counts.failed, "errors": counts.errors}
