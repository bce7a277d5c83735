"""One run over a dataset: every item is asked once, `concurrency` at a time, and counted."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from sluice.evalrunner import client
from sluice.evals import dataset
from sluice.evals import result as results
from sluice.evals.scorers import registry

Report = Callable[[Mapping[str, Any]], None]
"""Is given one JSON-compatible event of the run's progress."""
PROGRESS_STEPS: Final = 20


class Model(Protocol):
    """Answers items."""

    async def answer(self, item: dataset.Item) -> str:
        """The answer; raises `client.RequestError` when there is none."""
        ...


@dataclasses.dataclass
class Counts:
    """How far a run is."""

    n: int
    passed: int = 0
    failed: int = 0
    errors: int = 0

    @property
    def done(self) -> int:
        """Items that were asked."""
        return self.passed + self.failed + self.errors


async def run(
    model: Model, items: Sequence[dataset.Item], scorer: registry.Scorer, *, concurrency: int, report: Report
) -> Counts:
    """Asks all items and counts. A request without an answer is an error, and does not end the run.

    `report` gets an event for each item that was not right, and for progress.
    """
    counts = Counts(n=len(items))
    left = iter(items)
    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, len(items))):
            group.create_task(_work(model, left, scorer, counts, report))
    return counts


async def _work(model: Model, left: Iterator[dataset.Item], scorer: registry.Scorer, counts: Counts, report: Report) -> None:
    for item in left:
        await _judge(model, item, scorer, counts, report)
        every = max(1, counts.n // PROGRESS_STEPS)
        if counts.done % every == 0 or counts.done == counts.n:
            report({"event": "progress", "done": counts.done, **dataclasses.asdict(counts)})


async def _judge(model: Model, item: dataset.Item, scorer: registry.Scorer, counts: Counts, report: Report) -> None:
    try:
        answer = await model.answer(item)
    except client.RequestError as error:
        counts.errors += 1
        report({"event": "error", "id": item.id, "cause": str(error)})
        return
    if scorer.is_right(answer, item.reference):
        counts.passed += 1
    else:
        counts.failed += 1
        report({"event": "wrong", "id": item.id})


def result_of(counts: Counts, dataset_sha256: str) -> results.EvalResult:
    """The counts as the operator reads them."""
    return results.EvalResult(counts.n, counts.passed, counts.failed, counts.errors, dataset_sha256)
