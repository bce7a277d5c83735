"""`python -m hack.demo`: cluster, installation, three stories, report. `KEEP=1` leaves the cluster up."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Final

import rich.console

from hack import apt
from hack.cluster import driver
from hack.cluster import errors as cluster_errors
from hack.demo import report, telling, world
from hack.images import errors as image_errors

CLUSTER_NAME: Final = "demo"


async def run(console: rich.console.Console, cluster: driver.Cluster) -> report.Report:
    """The whole demo."""
    return await telling.tell(console, await telling.prepare(console, cluster))


def main() -> int:
    """Runs the demo. Returns the exit code: 0 only when all three stories ended as they should."""
    # A log file has no width of its own, and a folded table can't be read.
    console = rich.console.Console(soft_wrap=True, width=None if sys.stdout.isatty() else 120)
    cluster = driver.choose(CLUSTER_NAME)
    try:
        told = asyncio.run(run(console, cluster))
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
