"""Clients that hold streams of an OpenAI API open, and say how each of them ended."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import httpx

DONE: Final = "data: [DONE]"


@dataclasses.dataclass
class Stream:
    """One streamed request. `began` is set by the first event, `status` by the headers."""

    began: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    status: int | None = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    events: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    done: bool = False
    """[DONE] came."""
    error: str | None = None
    """What went wrong with the connection."""

    @property
    def finish_reason(self) -> str | None:
        """What the last choice said, such as `length`."""
        reasons = [choice.get("finish_reason") for event in self.events for choice in event.get("choices", ())]
        return reasons[-1] if reasons else None

    @property
    def completion_tokens(self) -> int:
        """As the last usage said."""
        counts = [event["usage"]["completion_tokens"] for event in self.events if event.get("usage")]
        return int(counts[-1]) if counts else 0

    @property
    def whole(self) -> bool:
        """It was answered from the first event to the last, and nothing in it is an error."""
        return self.status == httpx.codes.OK and self.done and self.error is None and self.finish_reason in ("stop", "length")


async def read(client: httpx.AsyncClient, path: str, body: Mapping[str, Any], stream: Stream) -> None:
    """Send the request and read its events into `stream`, to the end."""
    try:
        async with client.stream("POST", path, json=body) as response:
            stream.status, stream.headers = response.status_code, dict(response.headers)
            async for line in response.aiter_lines():
                if line == DONE:
                    stream.done = True
                elif line.startswith("data: "):
                    stream.events.append(json.loads(line.removeprefix("data: ")))
                    stream.began.set()
    except (httpx.HTTPError, ValueError) as failure:
        stream.error = f"{type(failure).__name__}: {failure}"
    finally:
        stream.began.set()  # nobody waits for what will not come


@contextlib.asynccontextmanager
async def opened(
    client: httpx.AsyncClient, path: str, bodies: Sequence[Mapping[str, Any]]
) -> AsyncIterator[tuple[list[Stream], list[asyncio.Task[None]]]]:
    """Streams that are being read, and the tasks that end with them; what is still open at the end is aborted."""
    streams = [Stream() for _ in bodies]
    tasks = [asyncio.create_task(read(client, path, body, stream)) for body, stream in zip(bodies, streams, strict=True)]
    try:
        yield streams, tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
