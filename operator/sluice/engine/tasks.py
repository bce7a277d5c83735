"""Waiting for tasks, and ending them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any


async def any_ends(*tasks: asyncio.Task[None]) -> None:
    """Returns when one of them ends, and raises what it raised; they are not cancelled with it."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def cancel(task: asyncio.Task[None]) -> None:
    """Ends a task and waits until it has."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(stopping: asyncio.Event, work: Awaitable[Any]) -> bool:
    """Waits for the work or the signal to stop, whichever comes first. Returns whether the work ended."""
    task = asyncio.ensure_future(work)
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return False
    task.result()
    return True
