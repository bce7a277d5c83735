"""Knows processes by more than their number: a pid in a file may long be somebody else's.

Reads /proc only; what is done to a process is decided elsewhere.
"""

import dataclasses
import os
import signal
import time
from pathlib import Path

PROC = Path("/proc")
_STATE, _START_TIME = 0, 19
"""Positions in /proc/<pid>/stat after the command's name."""


@dataclasses.dataclass(frozen=True)
class Process:
    """One process for good: its pid, its start in clock ticks since boot, and which boot."""

    pid: int
    started: int
    boot: str


def identify(pid: int, proc: Path = PROC) -> Process | None:
    """Return who has a pid now, None when no one has or only a zombie does."""
    try:
        stat = (proc / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The name is in parentheses and may hold spaces and parentheses itself.
    fields = stat.rpartition(")")[2].split()
    if fields[_STATE] == "Z":
        return None
    return Process(pid, int(fields[_START_TIME]), (proc / "sys/kernel/random/boot_id").read_text().strip())


def is_alive(process: Process, proc: Path = PROC) -> bool:
    """Tell whether exactly this process still runs."""
    return identify(process.pid, proc) == process


def first_child(pid: int, proc: Path = PROC) -> int | None:
    """Return the first child of a process with one thread, None when it has none."""
    try:
        children = (proc / str(pid) / "task" / str(pid) / "children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None


def kill(process: Process, seconds: float = 30) -> bool:
    """Kill a process and wait until it is gone; False when it outlasts the given seconds."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        if is_alive(process):  # checked after the open: from here on the pid cannot change hands
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        deadline = time.monotonic() + seconds
        while is_alive(process) and time.monotonic() < deadline:
            time.sleep(0.02)
        return not is_alive(process)
    finally:
        os.close(descriptor)
