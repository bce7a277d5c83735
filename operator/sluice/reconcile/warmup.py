"""Warms the pods of a revision in rollout: some small requests to each, straight to the engine, before its first weight.

The first requests of an engine are slow (kernels are compiled, caches are filled), and users should not be the ones to wait.
It runs beside reconciles, which ask how far it is. It never blocks a rollout for ever: tries are bounded, and what failed is
told. Nothing of it passes a gateway, so nothing of it is evidence. Which pods are asked, and when, is the caller's business.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from sluice.api import naming
from sluice.engine import clock as clock_
from sluice.sources import completions
from sluice.workloads import pod_template

CONCURRENCY: Final = 2
"""Requests at once to one pod."""
MOST_FAILURES: Final = 10
"""Of one pod's requests; with the next one it is given up."""
LONGEST_SECONDS: Final = 300.0
"""After that long a request that failed is not tried again."""
PAUSE_SECONDS: Final = 1.0
"""After a failed request."""

Ask = Callable[[str, int, str, str], Awaitable[None]]
"""`completions.complete` without its session: address, port, model and prompt."""


@dataclasses.dataclass(frozen=True, order=True)
class Pod:
    """A pod that is ready."""

    name: str
    uid: str
    address: str


@dataclasses.dataclass(frozen=True)
class Warmth:
    """How far the pods of a revision are."""

    done: bool
    """Every pod answered what it was asked, or was given up."""
    missing: str = ""
    """What is waited for, for people. Empty when nothing is."""
    failed: str = ""
    """Of which pods was given up and why, for people. Empty when of none."""


@dataclasses.dataclass
class _Run:
    """What is known of one pod."""

    wanted: int
    answered: int = 0
    failures: int = 0
    error: str = ""
    over: bool = False

    @property
    def is_cold(self) -> bool:
        return self.over and self.answered < self.wanted


@dataclasses.dataclass
class Warmer:
    """Warms pods, each once. Runs in one event loop."""

    ask: Ask
    clock: clock_.Clock
    on_done: Callable[[naming.ObjectKey], None] = lambda _: None
    """Told of the ModelDeployment each time one of its pods is done with."""
    _runs: dict[naming.ObjectKey, dict[str, _Run]] = dataclasses.field(default_factory=dict)
    """By ModelDeployment and the pods' uid."""
    _tasks: dict[naming.ObjectKey, dict[str, asyncio.Task[None]]] = dataclasses.field(default_factory=dict)

    def look(self, key: naming.ObjectKey, model: str, requests: int, pods: Iterable[Pod]) -> Warmth:
        """Begins with pods that it has not seen, lets go of those that are gone, and says how far it is. Returns at once.

        Args:
            key: the ModelDeployment.
            model: the name that the revision serves.
            requests: to each pod; 0 warms nothing.
            pods: the revision's that are ready.
        """
        ready = {pod.uid: pod for pod in sorted(pods)} if requests > 0 else {}
        runs, tasks = self._runs.setdefault(key, {}), self._tasks.setdefault(key, {})
        for uid in [uid for uid, run in runs.items() if uid not in ready and not run.over]:
            del runs[uid]  # it would answer nothing now; should it come back, it is asked again
            tasks.pop(uid).cancel()
        for uid, pod in ready.items():
            if uid not in runs:
                runs[uid] = _Run(requests)
                tasks[uid] = asyncio.get_running_loop().create_task(self._warm(key, model, pod, runs[uid]))
        told = [(pod, runs[uid]) for uid, pod in ready.items()]
        return Warmth(
            done=all(run.over for _, run in told),
            missing="; ".join(f"pod {pod.name} answered {run.answered} of {run.wanted}" for pod, run in told if not run.over),
            failed="; ".join(_failure(pod, run) for pod, run in told if run.is_cold),
        )

    def forget(self, key: naming.ObjectKey) -> None:
        """The ModelDeployment is gone, or its rollout is over: what still runs is ended."""
        self._runs.pop(key, None)
        for task in self._tasks.pop(key, {}).values():
            task.cancel()

    async def stop(self) -> None:
        """Ends everything, for a process that no longer leads."""
        tasks = [task for own in self._tasks.values() for task in own.values()]
        for key in list(self._tasks):
            self.forget(key)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _warm(self, key: naming.ObjectKey, model: str, pod: Pod, run: _Run) -> None:
        """All requests to one pod."""
        prompts = iter(range(run.wanted))
        until = self.clock.monotonic() + LONGEST_SECONDS
        try:
            await asyncio.gather(*(self._ask_all(prompts, model, pod, run, until) for _ in range(CONCURRENCY)))
        finally:
            run.over = True
            if self._runs.get(key, {}).get(pod.uid) is run:
                self.on_done(key)

    async def _ask_all(self, prompts: Iterator[int], model: str, pod: Pod, run: _Run, until: float) -> None:
        """One request after the other, as long as there are any and it makes sense. What failed is asked again."""
        for number in prompts:
            # Each prompt differs, or a prefix cache would answer all but the first.
            while not await self._answers(f"{number} is a number, and so is", model, pod, run):
                if run.failures <= MOST_FAILURES:
                    await self.clock.sleep(PAUSE_SECONDS)
                if self.clock.monotonic() >= until:
                    run.error, run.failures = f"not within {LONGEST_SECONDS:g} s; at last {run.error}", MOST_FAILURES + 1
                if run.failures > MOST_FAILURES:
                    return

    async def _answers(self, prompt: str, model: str, pod: Pod, run: _Run) -> bool:
        """One request."""
        try:
            await self.ask(pod.address, pod_template.PORT, model, prompt)
        except completions.CompletionError as error:
            run.error = str(error)
            run.failures = MOST_FAILURES + 1 if error.final else run.failures + 1
            return False
        run.answered += 1
        return True


def ready_pods(pods: Iterable[Mapping[str, Any]]) -> Iterator[Pod]:
    """The pods that can be asked: ready, with an address, and not being deleted."""
    for pod in pods:
        metadata, status = pod["metadata"], pod.get("status") or {}
        is_ready = any(
            condition["type"] == "Ready" and condition["status"] == "True" for condition in status.get("conditions") or ()
        )
        if is_ready and status.get("podIP") and not metadata.get("deletionTimestamp"):
            yield Pod(metadata["name"], metadata["uid"], status["podIP"])


def _failure(pod: Pod, run: _Run) -> str:
    return f"pod {pod.name} answered {run.answered} of {run.wanted} warm-up requests: {run.error}"
