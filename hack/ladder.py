"""`make test`: the test ladder, level by level, and an honest account of what did not run on this machine and why.

Each level is a pytest process of its own, cheapest first; the first that fails ends the run, for those above stand on it.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from hack.vllm import install

ROOT: Final = Path(__file__).resolve().parent.parent
RESULTS: Final = ROOT / "build" / "test"


@dataclasses.dataclass(frozen=True)
class Counts:
    """How the tests of a level ended."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


@dataclasses.dataclass(frozen=True)
class Level:
    """One rung. `missing` says in one sentence what this machine lacks, or None."""

    name: str
    parts: str
    missing: Callable[[], str | None] = lambda: None
    needs_kubernetes: bool = False
    """Whether its tests start Kubernetes' programs, which a first run has to build: no test's time limit covers that."""
    needs_vllm: bool = False
    """Whether its tests start vLLM, which a first run has to download: the same."""
    workers: int = 1
    """Processes that share its tests, no more than there are CPUs but for two. Tests of one file stay together."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of a level: `problem` is why it failed, `not_run` why it was left out."""

    level: Level
    counts: Counts = Counts()
    seconds: float = 0.0
    problem: str | None = None
    not_run: str | None = None


def _needs_linux() -> str | None:
    return None if sys.platform == "linux" else "it needs Linux, where the real API server and Envoy of the tests run"


def _needs_cluster() -> str | None:
    if os.environ.get("CLUSTER", "embedded") != "embedded":
        return None
    if sys.platform != "linux":
        return "the embedded cluster needs Linux; with Docker, try CLUSTER=kind"
    if os.geteuid() != 0:
        return "the embedded cluster needs root; with Docker, try CLUSTER=kind"
    if shutil.which("apt-get") is None:
        return "the embedded cluster installs its packages by apt-get, which this machine does not have"
    return None


def _needs_vllm() -> str | None:
    if (lack := install.supported()) is not None:
        return lack
    if os.geteuid() != 0:
        return "vLLM's packages are laid over Debian's by mounts, which need root"
    if shutil.which("apt-get") is None:
        return "Debian's packages are installed by apt-get, which this machine does not have"
    return None


LEVELS: Final = (
    Level("unit", "pure functions, virtual clock, property tests", workers=8),
    Level("golden", "real envoy --mode validate", _needs_linux),
    Level("crd", "real API server", _needs_linux, needs_kubernetes=True, workers=2),
    Level("controlplane", "real API server and controller manager", _needs_linux, needs_kubernetes=True, workers=2),
    Level("dataplane", "real Envoy", _needs_linux, workers=2),
    Level("vllm", "real vLLM on a CPU, and the parsers of its versions", _needs_vllm, needs_vllm=True),
    Level("e2e", "real cluster, real Envoy, real engine", _needs_cluster, needs_kubernetes=True, workers=2),
)


def run_level(level: Level) -> Result:
    """Runs the level's tests; their output goes straight to the terminal."""
    folder = ROOT / "tests" / level.name
    if not any(folder.rglob("test_*.py")):
        return Result(level, not_run="it has no tests")
    if (lack := level.missing()) is not None:
        return Result(level, not_run=lack)
    report = RESULTS / f"{level.name}.xml"
    report.unlink(missing_ok=True)
    print(f"\n==> {level.name}: {level.parts}", flush=True)
    started = time.monotonic()
    for module, what in preparations(level):
        if subprocess.run([sys.executable, "-m", *module], cwd=ROOT, check=False).returncode:
            return Result(level, seconds=time.monotonic() - started, problem=f"{what} could not be prepared")
    command = [sys.executable, "-m", "pytest", str(folder), f"--junitxml={report}", *_shared(level)]
    done = subprocess.run(command, cwd=ROOT, check=False)
    seconds = time.monotonic() - started
    counts = read_counts(report) if report.is_file() else Counts()
    # pytest ends with 5 when it collected nothing: files without tests are a mistake, not a success.
    problem = {0: None, 1: "tests failed", 5: "its files hold no test"}.get(
        done.returncode, f"pytest ended with {done.returncode}"
    )
    return Result(level, counts, seconds, problem=problem)


def _shared(level: Level) -> tuple[str, ...]:
    """Options by which processes share the tests. Two at least, or a single CPU would have other tests than all others."""
    workers = min(level.workers, max(2, os.cpu_count() or 1))
    return (f"--numprocesses={workers}", "--dist=loadfile") if workers > 1 else ()


def preparations(level: Level) -> Iterator[tuple[tuple[str, ...], str]]:
    """What has to be there before the level's tests: a program of ours that makes it, and its name."""
    if level.needs_kubernetes:
        yield ("hack.cluster", "build"), "Kubernetes"
    if level.needs_vllm:
        yield ("hack.vllm",), "vLLM"


def run_check() -> Result:
    """Runs `hack/check` as the first rung."""
    level = Level("check", "lint, types, layers, generated files, conventions")
    print(f"\n==> {level.name}: {level.parts}", flush=True)
    started = time.monotonic()
    done = subprocess.run([str(ROOT / "hack" / "check")], cwd=ROOT, check=False)
    return Result(level, seconds=time.monotonic() - started, problem="checks failed" if done.returncode else None)


def read_counts(report: Path) -> Counts:
    """Counts of a JUnit report."""
    total = Counts()
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        tests, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        total += Counts(tests - failed - skipped, failed, skipped)
    return total


def run_ladder(names: list[str]) -> list[Result]:
    """Runs `check` and the named levels (all when none is named) up to the first that fails."""
    wanted = [level for level in LEVELS if not names or level.name in names]
    results = [run_check()] if not names or "check" in names else []
    for level in wanted:
        failed = next((result.level.name for result in results if result.problem), None)
        results.append(Result(level, not_run=f"{failed} failed") if failed else run_level(level))
    return results


def summarise(results: list[Result]) -> str:
    """The table at the end, and a closing line that adds all levels up."""
    lines = ["", "==> Test ladder"]
    for result in results:
        outcome = str(result.counts) if result.counts != Counts() else "ok"
        if result.problem:
            outcome = f"FAILED: {result.problem}" + (f" ({result.counts})" if result.counts != Counts() else "")
        lines.append(
            f"  {result.level.name:<13} not run: {result.not_run}"
            if result.not_run
            else f"  {result.level.name:<13} {result.seconds:6.0f} s  {outcome}"
        )
    total = sum((result.counts for result in results), Counts())
    return "\n".join([*lines, "", f"Total: {total}"])


def main(names: list[str]) -> int:
    """Entry point; `names` are levels, none for all."""
    unknown = sorted(set(names) - {"check", *(level.name for level in LEVELS)})
    if unknown:
        known = ", ".join(["check", *(level.name for level in LEVELS)])
        print(f"Cannot run {', '.join(unknown)}: the levels are {known}", file=sys.stderr)
        return 2
    RESULTS.mkdir(parents=True, exist_ok=True)
    results = run_ladder(names)
    print(summarise(results), flush=True)
    return 1 if any(result.problem for result in results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
