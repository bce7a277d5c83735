"""Free loopback ports for the real programs that tests start."""

from __future__ import annotations

import socket
from typing import Final

_taken: Final[set[int]] = set()


def free() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on, different for each call in this process."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in _taken:
            _taken.add(port)
            return port
