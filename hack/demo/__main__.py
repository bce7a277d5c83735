"""`python -m hack.demo`: cluster, installation, three stories, report. `KEEP=1` leaves the cluster up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Final

import rich.console
import rich.live

from hack import apt
from hack.cluster import driver
from hack.cluster import errors as cluster_errors
from hack.demo import report, stories, traffic, view, world
from hack.images import errors as image_errors

CLUSTER_NAME: Final = "demo"
READY_LIMIT: Final = 240.0


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


async def tell(console: rich.console.Console, cluster: driver.Cluster) -> report.Report:
    """The whole demo on a cluster that is not up yet."""
    started, clock = time.monotonic(), Clock(console)
    engine, reason = world.choose_engine()
    if reason is not None:
        console.print(
            f"[yellow]Real vLLM cannot run here: {reason}. A simulator that speaks the same API takes its place.[/yellow]"
        )
    with clock.phase("build images (a first run takes about 10 minutes, later ones find them in the cache)"):
        images = await asyncio.to_thread(world.build_images, engine)
    with clock.phase("start the cluster"):
        await asyncio.to_thread(cluster.up, images.tars)
    here = world.World(cluster, images)
    with clock.phase("install Sluice from manifests/"):
        await here.install()
    with clock.phase("apply examples/demo and wait until the model serves (a start of vLLM takes about half a minute)"):
        await here.apply_examples()
        await here.wait("the first revision", _is_ready, seconds=READY_LIMIT, tick=lambda _: None)
    setup = time.monotonic() - started
    told = []
    async with await here.send(stories.RATE) as load:
        await _first_answer(load)
        screen = view.View(load)
        for number, plot in enumerate(stories.PLOTS, start=1):
            title = f"{number}. {plot.title}"
            console.print(f"[bold]==> story {title}[/bold]")
            screen.begin(title)
            async with _shown(console, screen):
                told.append(await stories.play(here, load, plot, screen.see))
            console.print(f"    {told[-1].outcome} after {told[-1].seconds:.0f} s: {told[-1].message}")
    return report.Report(engine, time.monotonic() - started, tuple(told), setup, clock.phases)


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


async def _first_answer(load: traffic.Traffic) -> None:
    """Waits until users are answered, so that the stories' counts begin with a gateway that works."""
    limit = time.monotonic() + 30
    while not any(result.error is None for result in load.results):
        if time.monotonic() > limit:
            last = load.results[-1].error if load.results else "no request has ended"
            raise world.DemoError(f"Cannot send traffic through the gateway: {last}")
        await asyncio.sleep(0.2)


def main() -> int:
    """Runs the demo. Returns the exit code: 0 only when all three stories ended as they should."""
    console = rich.console.Console()
    cluster = driver.choose(CLUSTER_NAME)
    try:
        told = asyncio.run(tell(console, cluster))
    except (world.DemoError, cluster_errors.ClusterError, image_errors.ImageError, apt.AptError) as error:
        console.print(f"[red]{error}[/red]")
        console.print(f"The cluster is still up for a look: export KUBECONFIG={cluster.kubeconfig}")
        return 1
    report.write(told, world.FOLDER)
    report.print_table(told, console)
    console.print(f"{told.seconds:.0f} s in all; {world.FOLDER}/report.json and report.html have the details")
    if os.environ.get("KEEP"):
        console.print(
            f"The cluster stays up. Go on by hand:\n  export KUBECONFIG={cluster.kubeconfig}\n  kubectl get sluice -A"
        )
    else:
        cluster.down()
    wanted = ["Promoted", "Rejected", "RolledBack"]
    return 0 if [story.outcome for story in told.stories] == wanted else 1


if __name__ == "__main__":
    sys.exit(main())
