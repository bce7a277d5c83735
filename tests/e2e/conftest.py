"""One cluster for the end-to-end tests of Sluice itself, with what `make demo` installs and applies.

Files that bring up clusters of their own run beside it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any, Final

import pytest
import rich.console
import xdist.scheduler

from hack.cluster import driver
from hack.demo import report, telling
from hack.demo import world as world_

CLUSTER_NAME = "e2e"
STAGED: Final = ("test_stories.py", "test_faults.py", "test_hung_engine.py")
"""Files whose tests share the cluster, so one process runs them."""


class _ByCluster(xdist.scheduler.LoadFileScheduling):  # type: ignore[misc] # it has no types
    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return CLUSTER_NAME if file.endswith(STAGED) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByCluster:
    """By file, and by cluster where files share one."""
    return _ByCluster(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two processes that each bring up the one cluster would take it from each other."""
    files = {item.path.name for item in items if isinstance(item, pytest.Function) and "stage" in item.fixturenames}
    if strangers := files.difference(STAGED):
        raise pytest.UsageError(
            f"Cannot share the cluster with {sorted(strangers)}: add them to STAGED in tests/e2e/conftest.py"
        )


@pytest.fixture(scope="session")
def stage() -> Iterator[telling.Stage]:
    """A cluster on which Sluice runs and a first revision serves; it is gone afterwards unless KEEP is set."""
    cluster = driver.choose(CLUSTER_NAME)
    try:
        yield asyncio.run(telling.prepare(rich.console.Console(), cluster))
    finally:
        if not os.environ.get("KEEP"):
            cluster.down()


@pytest.fixture(scope="session")
def world(stage: telling.Stage) -> world_.World:
    """What tests ask of the cluster."""
    return stage.world


@pytest.fixture(scope="session")
def told(stage: telling.Stage) -> report.Report:
    """The demo's three stories, told once."""
    made = asyncio.run(telling.tell(rich.console.Console(), stage))
    report.write(made, world_.FOLDER.parent / "e2e")
    return made
