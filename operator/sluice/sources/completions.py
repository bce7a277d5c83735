"""One small completion of an engine, asked for directly: to warm it up, not to use the answer."""

from __future__ import annotations

from typing import Final

import aiohttp

PATH: Final = "/v1/completions"
TIMEOUT_SECONDS: Final = 60.0
"""Of one request. The first may wait for kernels to be compiled."""
MAX_TOKENS: Final = 8
_SHOWN: Final = 200
"""Letters of an error's body."""


class CompletionError(Exception):
    """The engine gave no completion; the message says why. It may be asked again unless `final`."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


async def complete(session: aiohttp.ClientSession, address: str, port: int, model: str, prompt: str) -> None:
    """Asks for a few tokens and waits for all of them.

    `address` is the pod's IP address, `model` the name that its engine serves.

    Raises:
        CompletionError: no connection, no answer within `TIMEOUT_SECONDS`, or an error; `final` where the engine would refuse
            the same request again.
    """
    host = f"[{address}]" if ":" in address else address
    body = {"model": model, "prompt": prompt, "max_tokens": MAX_TOKENS, "temperature": 0}
    limits = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    try:
        async with session.post(f"http://{host}:{port}{PATH}", json=body, timeout=limits, allow_redirects=False) as answer:
            text = await answer.text(encoding="utf-8", errors="replace")
    except TimeoutError:
        raise CompletionError(f"no answer within {TIMEOUT_SECONDS:g} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise CompletionError(f"no answer: {error}") from error
    if answer.status != 200:
        refused = 400 <= answer.status < 500 and answer.status not in (408, 429)
        raise CompletionError(f"it answered {answer.status}: {text[:_SHOWN]}", final=refused)
