"""Time as an argument, so that tests decide how it passes."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What code that waits or dates things needs."""

    def now(self) -> float:
        """Seconds since the epoch: for dates that others read. It may jump."""

    def monotonic(self) -> float:
        """Seconds since some start: for durations. It never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Waits so long; at once when not positive."""


class SystemClock:
    """The machine's time."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some start."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Waits so long."""
        await asyncio.sleep(max(0.0, seconds))
