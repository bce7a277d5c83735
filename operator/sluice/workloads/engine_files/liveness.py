"""Liveness probe of vLLM pods: fails when the engine is dead, or hangs while requests wait for it.

A hung engine still answers 200 on /health and freezes all figures that it reports, the number of requests included. So this
compares requests in flight as the API process counts them (/load, needs --enable-server-load-tracking) with the figures that
only the engine moves. Idle time never counts; a long prefill moves the use of the KV cache.

Runs inside the engine's container, mounted from the revision's files: `python3 -I -S liveness.py PORT STALL STATE_FILE`, the
stall in seconds. Standard library only, Python 3.9 or newer. The state file has what earlier runs saw. Exit 1 is a failure.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from typing import NamedTuple

ENGINE_FIGURES = (
    b"vllm:num_requests_running{",
    b"vllm:num_requests_waiting{",
    b"vllm:kv_cache_usage_perc{",
    b"vllm:prompt_tokens_total{",
    b"vllm:generation_tokens_total{",
    b"vllm:iteration_tokens_total_count{",
    b"vllm:num_preemptions_total{",
    b"vllm:request_success_total{",
    b"process_start_time_seconds",  # of the API process
)
REPORTED_REQUESTS = ENGINE_FIGURES[:2]
REQUEST_SECONDS = 2.0
"""For each of three requests: the probe's own timeout has to be longer than their sum."""
DEAD = 503
TERMINATION_LOG = "/dev/termination-log"
FAILED = b"Liveness probe failed: "
"""How the operator knows a container that a probe ended from one that ended by itself."""


class Seen(NamedTuple):
    """One look at the server. `load` is None when the API process did not answer, which is no progress either."""

    container: bytes
    load: int | None
    reported: float
    figures: bytes


class State(NamedTuple):
    """What is remembered: which container, when, seconds waited, requests counted in error, whether any waited, the figures."""

    container: bytes
    at: float
    waited: float
    floor: int
    busy: bool
    figures: bytes


def update(state: State | None, seen: Seen, now: float) -> State:
    """Return the new state; its `waited` are the seconds for which requests were in flight while no figure moved.

    Time counts only between two looks that both found requests in flight, and is forgotten as fast while there are none:
    clients that give up and come back do not hide a hang, and single bad looks never add up. `floor` takes care of a count
    that vLLM forgot to lower: requests that it counts while its engine moved and had none are no reason to kill it, only
    those that came since.
    """
    if state is None or seen.container != state.container:
        return State(seen.container, now, 0.0, 0, _is_busy(seen, 0), seen.figures)
    if seen.load is not None and seen.figures != state.figures:
        floor = 0 if seen.reported else seen.load
        return State(seen.container, now, 0.0, floor, _is_busy(seen, floor), seen.figures)
    floor = state.floor if seen.load is None else min(state.floor, seen.load)
    busy = _is_busy(seen, floor)
    passed = max(0.0, now - state.at)  # the clock begins anew when the machine does
    waited = state.waited
    if busy:
        waited += passed if state.busy else 0.0
    else:
        waited = max(0.0, waited - passed)
    return State(seen.container, now, waited, floor, busy, state.figures)


def _is_busy(seen: Seen, floor: int) -> bool:
    if seen.load is None:
        return True
    return seen.load > 0 and (seen.reported > 0 or seen.load > floor)


def get(port: int, path: str) -> tuple[int, bytes]:
    """Return status and body of a GET to this container.

    Raises:
        OSError: no answer in time.
        ValueError: the answer is not HTTP.
    """
    deadline = time.monotonic() + REQUEST_SECONDS
    answer = b""
    with socket.create_connection(("127.0.0.1", port), REQUEST_SECONDS) as connection:
        connection.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path.encode())
        while True:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            part = connection.recv(1 << 18)
            if not part:
                break
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(None, 2)  # HTTP/1.1 200 OK
    if len(words) < 2:
        raise ValueError("no status line")
    return int(words[1]), body


def look(port: int) -> Seen:
    """Ask the server for its requests in flight and its engine's figures; a server without /load is never busy."""
    try:
        status, body = get(port, "/load")
        load = int(body.partition(b":")[2].strip(b" }\r\n")) if status == 200 else 0  # {"server_load":1}
        lines = [line for line in get(port, "/metrics")[1].split(b"\n") if line.startswith(ENGINE_FIGURES)]
        reported = sum(float(line.split()[-1]) for line in lines if line.startswith(REPORTED_REQUESTS))
    except (OSError, ValueError):
        return Seen(container(), None, 0.0, b"")
    return Seen(container(), load, reported, b"\n".join(lines))


def container() -> bytes:
    """Return when the container's first process began: the state file outlives a restart of the container."""
    try:
        with open("/proc/1/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19]
    except (OSError, IndexError):
        return b"?"


def load_state(path: str) -> State | None:
    """Return what the last run wrote; None when there is nothing that can be read."""
    try:
        with open(path, "rb") as file:
            head, figures = file.read().split(b"\n", 1)
        name, at, waited, floor, busy = head.split()
        return State(name, float(at), float(waited), int(floor), busy == b"1", figures)
    except (OSError, ValueError):
        return None


def save_state(path: str, state: State) -> None:
    """Write the state so that a run that is killed leaves the old one.

    Raises:
        OSError: it cannot be written.
    """
    with open(path + ".new", "wb") as file:
        file.write(b"%b %f %f %d %d\n" % state[:5] + state.figures)
    os.replace(path + ".new", path)


def tell(text: bytes) -> None:
    """Make this the container's termination message, in place of the end of its log; nothing takes back what was told."""
    try:
        with open(TERMINATION_LOG, "r+b") as file:
            if text or file.read(len(FAILED)) == FAILED:
                file.seek(0)
                file.truncate()
                file.write(text)
    except OSError:
        pass  # not in a container, or not ours: the probe's verdict stands without it


def main(port: int, stall: float, path: str) -> int:
    """Look once; the exit status. What is printed is the message of the pod's event."""
    try:
        if get(port, "/health")[0] == DEAD:
            print("the engine is dead: /health answers 503")
            return 1
    except (OSError, ValueError):
        pass  # the API process may be busy: it has as long as the engine
    state = update(load_state(path), look(port), time.monotonic())
    try:
        save_state(path, state)
    except OSError as failure:
        print(f"Cannot judge the engine: {failure}")
        return 0
    if state.busy and state.waited >= stall:
        why = f"the engine hangs: requests are in flight and nothing has moved for {state.waited:.0f} s"
        print(why)
        tell(FAILED + why.encode())
        return 1
    tell(b"")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]))
