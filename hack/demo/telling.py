"""Prepares the demo's cluster and tells the stories on it. End-to-end tests do the same and assert on the report."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Final

import rich.console
import rich.live

from hack.cluster import driver
from hack.demo import report, stories, traffic, view
from hack.demo import world as world_  # a field is named world

READY_LIMIT: Final = 600.0


class Clock:
    """Says what goes on, and how long it took."""

    def __init__(self, console: rich.console.Console) -> None:
        self.phases: dict[str, float] = {}
        self._console = console

    @contextlib.contextmanager
    def phase(self, text: str) -> Iterator[None]:
        """One phase of the demo."""
        started = time.monotonic()
        self._console.print(f"[bold]==>[/bold] {text}")
        yield
        self.phases[text] = time.monotonic() - started
        self._console.print(f"    {self.phases[text]:.1f} s")


@dataclasses.dataclass(frozen=True)
class Stage:
    """A cluster on which a first revision serves."""

    world: world_.World
    engine: world_.Engine
    seconds: float
    phases: Mapping[str, float]


async def prepare(console: rich.console.Console, cluster: driver.Cluster) -> Stage:
    """Images, cluster, installation and a first revision that serves; what is there already is used."""
    started, clock = time.monotonic(), Clock(console)
    engine, reason = world_.choose_engine()
    if reason is not None:
        console.print(
            f"[yellow]Real vLLM cannot run here: {reason}. A simulator that speaks the same API takes its place.[/yellow]"
        )
    with clock.phase("build images (a first run takes about 4 minutes, later ones find them in the cache)"):
        images = await asyncio.to_thread(world_.build_images, engine)
    with clock.phase("start the cluster (a first run builds Kubernetes, about 8 minutes; later ones take 15 seconds)"):
        await asyncio.to_thread(cluster.up, images.tars)
    here = world_.World(cluster, images)
    with clock.phase("install Sluice from manifests/"):
        await here.install()
    with clock.phase("apply examples/demo and wait until the model serves (a start of vLLM takes about half a minute)"):
        await here.apply_examples()
        await here.wait("the first revision", _is_ready, seconds=READY_LIMIT, tick=lambda _: None)
    return Stage(here, engine, time.monotonic() - started, clock.phases)


async def tell(console: rich.console.Console, stage: Stage) -> report.Report:
    """The three stories, under traffic all along."""
    started = time.monotonic()
    told = []
    async with await stage.world.send(stories.RATE) as load:
        await first_answer(load)
        screen = view.View(load)
        for number, plot in enumerate(stories.PLOTS, start=1):
            title = f"{number}. {plot.title}"
            console.print(f"[bold]==> story {title}[/bold]")
            screen.begin(title)
            async with _shown(console, screen):
                told.append(await stories.play(stage.world, load, plot, screen.see))
            console.print(f"    {told[-1].outcome} after {told[-1].seconds:.0f} s: {told[-1].message}")
    seconds = stage.seconds + time.monotonic() - started
    return report.Report(stage.engine, seconds, tuple(told), stage.seconds, dict(stage.phases))


@contextlib.asynccontextmanager
async def _shown(console: rich.console.Console, screen: view.View) -> AsyncIterator[None]:
    """The live view on a terminal, a line every five seconds elsewhere."""
    if console.is_terminal:
        with rich.live.Live(screen, console=console, refresh_per_second=4, transient=True):
            yield
        return

    async def print_lines() -> None:
        while True:
            await asyncio.sleep(5)
            console.print(screen.line(), highlight=False, soft_wrap=True)

    task = asyncio.create_task(print_lines())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _is_ready(model: Mapping[str, object]) -> bool:
    status = model.get("status")
    conditions = status.get("conditions", ()) if isinstance(status, dict) else ()
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


async def first_answer(load: traffic.Traffic) -> None:
    """Waits until users are answered, so that the stories' counts begin with a gateway that works."""
    limit = time.monotonic() + 30
    while not any(result.error is None for result in load.results):
        if time.monotonic() > limit:
            last = load.results[-1].error if load.results else "no request has ended"
            raise world_.DemoError(f"Cannot send traffic through the gateway: {last}")
        await asyncio.sleep(0.2)
