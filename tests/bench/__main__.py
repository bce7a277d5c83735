"""Runs one benchmark by name: `python -m tests.bench propagation` (`make bench NAME=propagation`)."""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import os
import pathlib
import platform
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import rich.console
import rich.table

from tests.bench import autoscale, drain, operator_scale, propagation, verdict_quality

Benchmark = Callable[[pathlib.Path], Awaitable[Mapping[str, Any]]]
"""Takes an empty directory, gives its figures: names with their unit, such as `p99_ms`."""

BENCHMARKS: Final[Mapping[str, tuple[str, Benchmark]]] = {
    "autoscale": ("load comes and goes -> pods come and go, by the real HPA controller and our metrics", autoscale.run),
    "drain": ("pods are removed while streams are open on them -> nobody notices", drain.run),
    "operator_scale": ("1,000 ModelDeployments on one operator", operator_scale.run),
    "propagation": ("a weight changes -> all traffic has moved at a real Envoy", propagation.run),
    "verdict_quality": (
        "false rollbacks, power and delay of verdicts, ours and other tools', by simulation",
        verdict_quality.run,
    ),
}
RESULTS: Final = pathlib.Path("build/bench")


def main(arguments: list[str]) -> int:
    """Runs, prints and writes one benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="make bench NAME=<name>")
    parser.add_argument("name", choices=sorted(BENCHMARKS))
    parser.add_argument(
        "--runs", type=int, help=f"simulated runs of each case, of verdict_quality (default: {verdict_quality.RUNS})"
    )
    given = parser.parse_args(arguments)
    name = given.name
    title, benchmark = BENCHMARKS[name]
    if given.runs is not None:
        if benchmark is not verdict_quality.run or given.runs < 1:
            parser.error("--runs is a positive number, and of verdict_quality only")
        benchmark = functools.partial(verdict_quality.run, runs=given.runs)
    with tempfile.TemporaryDirectory(prefix=f"sluice-bench-{name}-") as directory:
        figures = dict(asyncio.run(_run(benchmark, pathlib.Path(directory))))
    figures["machine"] = {"cpus": os.cpu_count(), "load": os.getloadavg()[0], "python": platform.python_version()}
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(figures, indent=1) + "\n")
    _print(f"{name}: {title}", figures, path)
    return 0


async def _run(benchmark: Benchmark, directory: pathlib.Path) -> Mapping[str, Any]:
    return await benchmark(directory)


def _print(title: str, figures: Mapping[str, Any], path: pathlib.Path) -> None:
    table = rich.table.Table(title=title)
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        if not isinstance(value, Mapping | list):
            table.add_row(name, f"{value:g}" if isinstance(value, float) else str(value))
    console = rich.console.Console()
    console.print(table)
    console.print(f"written to {path}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
