"""The three stories: a better revision is promoted, a wrong one is rejected, one that starts to fail is rolled back."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from hack.demo import attempts, report, traffic
from hack.demo import world as world_

RATE: Final = 20.0
"""Requests a second; a quarter of them reach the canary in its first step."""
FAIL_AFTER: Final = 150
"""Requests that the third revision answers well: the eval's hundred, and some of users."""
LIMIT: Final = 300.0
"""Seconds that a story may take."""

Tick = Callable[[Mapping[str, Any]], None]


@dataclasses.dataclass(frozen=True)
class Plot:
    """One story before it happens."""

    name: Literal["promote", "reject", "rollback"]
    title: str
    template: Mapping[str, Any]


PLOTS: Final = (
    Plot("promote", "a better revision", {"model": {"source": "file:///models/better"}}),
    Plot("reject", "a revision that answers wrongly", {"model": {"source": "file:///models/bad"}}),
    Plot(
        "rollback",
        "a revision that starts to fail under traffic",
        {
            "model": {"source": "file:///models/good"},
            "engine": {
                "vllm": {
                    "extraArgs": [
                        "--enforce-eager",
                        "--num-gpu-blocks-override=256",
                        "--middleware=sluice_demo.FailAfter",
                    ]
                },
                "env": [{"name": "SLUICE_DEMO_FAIL_AFTER", "value": str(FAIL_AFTER)}],
            },
        },
    ),
)


@dataclasses.dataclass
class Recorder:
    """What is seen of one story while it happens."""

    load: traffic.Traffic
    started: float
    weights: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    steps: list[tuple[float, str]] = dataclasses.field(default_factory=list)

    def see(self, model: Mapping[str, Any]) -> None:
        """Takes note of one look at the ModelDeployment."""
        now = time.time()
        rollout = (model.get("status") or {}).get("rollout") or {}
        self.weights.append((now, float(rollout.get("weight", "0"))))
        text = f"{rollout['phase']} {rollout.get('step', '')}".strip() if rollout else "no rollout"
        if not self.steps or self.steps[-1][1] != text:
            self.steps.append((now - self.started, text))

    def samples(self, canary: list[attempts.Attempt]) -> tuple[report.Sample, ...]:
        """One sample a second, from the start to now."""
        results = self.load.since(self.started)
        seconds = range(int(time.time() - self.started) + 1)
        return tuple(
            report.Sample(
                at=float(second),
                weight=max(
                    (w for at, w in self.weights if second <= at - self.started < second + 1), default=self._last(second)
                ),
                requests=sum(second <= r.started - self.started < second + 1 for r in results),
                client_errors=sum(r.error is not None and second <= r.started - self.started < second + 1 for r in results),
                bad_attempts=sum(a.bad and second <= a.at - self.started < second + 1 for a in canary),
            )
            for second in seconds
        )

    def _last(self, second: int) -> float:
        return next((w for at, w in reversed(self.weights) if at - self.started < second), 0.0)


async def play(world: world_.World, load: traffic.Traffic, plot: Plot, tick: Tick) -> report.Story:
    """Plays one story under traffic and returns how it went."""
    before = await world.model()
    template = _merged(before["spec"]["template"], plot.template)
    recorder = Recorder(load, time.time())
    generation = before["metadata"]["generation"]

    def look(model: Mapping[str, Any]) -> None:
        recorder.see(model)
        tick(model)

    await world.change(template)
    ended = await world.wait(
        f"the end of story {plot.name!r}", lambda model: _is_over(model, generation), seconds=LIMIT, tick=look
    )
    finished = time.time()
    last = ended["status"]["lastRollout"]
    canary = attempts.on_revision(await world.attempts(recorder.started), last["revision"])
    before_end = [attempt for attempt in canary if plot.name != "promote" or attempt.at <= finished]
    results = load.since(recorder.started)
    return report.Story(
        name=plot.name,
        outcome=last["outcome"],
        requests=len(results),
        canary_requests=len(before_end),
        client_errors=sum(result.error is not None for result in results),
        seconds=finished - recorder.started,
        bad_to_zero_seconds=attempts.bad_to_zero_seconds(canary) if plot.name == "rollback" else None,
        started_at=recorder.started,
        revision=last["revision"],
        reason=last["reason"],
        message=last.get("message", ""),
        samples=recorder.samples(canary),
        steps=tuple(recorder.steps),
    )


def _is_over(model: Mapping[str, Any], generation: int) -> bool:
    """The operator has seen the change, and no rollout of it is under way or about to start."""
    status = model.get("status") or {}
    if status.get("observedGeneration", -1) <= generation or status.get("rollout"):
        return False
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions") or ()}
    return conditions.get("Ready") == "True" or conditions.get("Stalled") == "True"


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The template with the story's changes; lists are replaced."""
    merged = dict(old)
    for key, value in new.items():
        known = merged.get(key)
        merged[key] = _merged(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return merged
