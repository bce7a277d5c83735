"""Ends the process when its event loop is stuck: the only case that a task cannot mend.

A thread looks whether the loop still beats. A slow API server, a lost lease or a broken watch are no reasons: they have
their own handling, and the proxies keep their configuration meanwhile.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

EXIT_CODE: Final = 70
"""sysexits' EX_SOFTWARE: the pod's last state says that it was us."""


def end_process() -> None:
    """Writes where every thread stands to standard error, and ends at once: a stuck loop cannot end in good order."""
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    sys.stderr.flush()
    os._exit(EXIT_CODE)


class Watchdog:
    """Watches the running event loop. `beat` it by `run`, as a task; `limit` is in seconds.

    `bite` is called, in the watchdog's thread, when no beat came for that long.
    """

    def __init__(self, *, limit: float = 60.0, bite: Callable[[], None] = end_process) -> None:
        self._limit = limit
        self._bite = bite
        self._last = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    @property
    def silence(self) -> float:
        """Seconds since the last beat."""
        return time.monotonic() - self._last

    @property
    def stuck(self) -> bool:
        """Whether the limit has passed without a beat."""
        return self.silence > self._limit

    async def run(self) -> None:
        """Beats until cancelled."""
        self._last = time.monotonic()
        self._thread.start()
        try:
            while True:
                self._last = time.monotonic()
                await asyncio.sleep(self._limit / 10)
        finally:
            self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(self._limit / 10):
            if self.stuck:
                self._bite()
                return
