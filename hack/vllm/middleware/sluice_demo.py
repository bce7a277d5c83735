"""Makes a revision turn bad on purpose: `vllm serve … --middleware sluice_demo.FailAfter`.

The demo's third story needs a model server that starts, passes its probes and its first requests, and then fails. Part of our
vLLM and simulator images only; standard library only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

VARIABLE = "SLUICE_DEMO_FAIL_AFTER"
DEFAULT = 20
COUNTED = ("/v1/chat/completions", "/v1/completions")
STATUS = 500
BODY = json.dumps(
    {"error": {"message": "This revision fails on purpose.", "type": "InternalServerError", "param": None, "code": STATUS}}
).encode()

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Fuse:
    """Decides which requests fail: all POSTs below /v1/ once `limit` completions have been let through."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Fuse:
        """Return a fuse for $SLUICE_DEMO_FAIL_AFTER completions, 20 when it is not set.

        Raises:
            ValueError: it is not a number; vLLM then ends with this message.
        """
        given = environment.get(VARIABLE, str(DEFAULT))
        if not given.isdecimal():
            raise ValueError(f"Cannot read {VARIABLE}: {given!r} is not a number of requests")
        return cls(int(given))

    def fails(self, method: str, path: str) -> bool:
        """Count the request and say whether it has to fail; probes, metrics and the list of models never do."""
        if method != "POST" or not path.startswith("/v1/"):
            return False
        if self._left <= 0:
            return True
        self._left -= path in COUNTED
        return False


class FailAfter:
    """ASGI middleware that answers what the fuse fails with an OpenAI-shaped error 500."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._fuse = Fuse.from_environment()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or not self._fuse.fails(scope["method"], scope["path"]):
            await self._app(scope, receive, send)
            return
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
        await send({"type": "http.response.start", "status": STATUS, "headers": headers})
        await send({"type": "http.response.body", "body": BODY})
