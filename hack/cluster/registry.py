"""Records which clusters this machine runs: name, index and processes, under /run, which does not survive a reboot.

What a record means for a cluster (reuse it, clear it away) is decided in `embedded.py`.
"""

import contextlib
import dataclasses
import fcntl
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from hack.cluster import address, errors, processes

DIRECTORY = Path("/run/sluice/cluster")
Lock = contextlib.AbstractContextManager[None]


@dataclasses.dataclass(frozen=True)
class Record:
    """One cluster: `holder` is the process that keeps its namespaces, `init` the node's first, None until it was started."""

    name: str
    index: int
    holder: processes.Process | None = None
    init: processes.Process | None = None

    @property
    def network(self) -> address.Network:
        """Its addresses."""
        return address.Network(self.index)

    def is_running(self) -> bool:
        """Tell whether the node's first process is alive; all others end with it."""
        return self.init is not None and processes.is_alive(self.init)


def read(name: str) -> Record | None:
    """Return the record of a cluster, None when there is none or it is damaged."""
    try:
        raw = json.loads((DIRECTORY / f"{name}.json").read_text())
        holder, init = (processes.Process(**raw[key]) if raw[key] else None for key in ("holder", "init"))
        return Record(raw["name"], raw["index"], holder, init)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(record: Record) -> None:
    """Write a cluster's record in one step."""
    scratch = DIRECTORY / f".{record.name}.part"
    scratch.write_text(json.dumps(dataclasses.asdict(record)))
    scratch.rename(DIRECTORY / f"{record.name}.json")


def remove(name: str) -> None:
    """Remove a cluster's record, which frees its index."""
    (DIRECTORY / f"{name}.json").unlink(missing_ok=True)


def allocate(name: str) -> Record:
    """Return the record of a cluster, written with a free index when there is none.

    Raises:
        ClusterError: all indices are taken by other clusters or by the host's own networks.
    """
    with locked(DIRECTORY / ".lock"):
        if record := read(name):
            return record
        others = [other for path in DIRECTORY.glob("*.json") if (other := read(path.stem))]
        index = address.decide_index({other.index for other in others}, _routed())
        if index is None:
            raise errors.ClusterError(f"Cannot start cluster {name}: no addresses are left for one more")
        record = Record(name, index)
        write(record)
        return record


def _routed() -> list[str]:
    """Return the networks that the host has routes to, leftovers of a cluster without a record included."""
    answer = subprocess.run(["ip", "-json", "route", "show", "table", "all"], capture_output=True, text=True, check=True)
    routes = [route["dst"] for route in json.loads(answer.stdout) if route.get("type", "unicast") == "unicast"]
    return [route for route in routes if route != "default" and ":" not in route]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file lock. The empty file stays: removing it would let two holders in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
