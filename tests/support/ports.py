"""Free loopback ports for the real programs that tests start."""

from __future__ import annotations

import os
import random
import socket
from typing import Final

_FIRST: Final = 12_000
_EACH: Final = 2_000
"""Ports of each of pytest-xdist's workers: two never look at the same one. All are below those of outgoing connections."""
_WORKERS: Final = 8
_taken: Final[set[int]] = set()


def free() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on, different for each call in this process."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    while True:
        port = _FIRST + worker * _EACH + random.randrange(_EACH)
        if port not in _taken and _is_free(port):
            _taken.add(port)
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
