"""One cluster for all end-to-end tests of Sluice itself, with what `make demo` installs and applies."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest
import rich.console

from hack.cluster import driver
from hack.demo import report, telling
from hack.demo import world as world_

CLUSTER_NAME = "e2e"


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
