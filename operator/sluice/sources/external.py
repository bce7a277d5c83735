"""Values that others measure: one number of a Prometheus query, or of a webhook.

Whatever the other side does, an answer is one finite number in time or a `SourceError` that says what was wrong with it,
without repeating what it said: an answer may hold secrets of somebody else.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import ssl
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import aiohttp

from sluice.api import external

TIMEOUT_SECONDS: Final = 5.0
ANSWER_LIMIT: Final = 1 << 20
"""Bytes. One number needs some hundred."""
TOKEN, USERNAME, PASSWORD, AUTHORITY = "token", "username", "password", "ca.crt"
"""Keys of a Secret with credentials."""


class SourceError(Exception):
    """There is no value; the message says why."""


@dataclasses.dataclass(frozen=True)
class Context:
    """What is asked about."""

    namespace: str
    model: str
    revision: str
    """Hash."""
    stable: str
    """Hash; empty without a stable revision."""
    step: str
    weight: float
    """Percent of the traffic."""


async def query(
    session: aiohttp.ClientSession, asked: external.Prometheus, context: Context, secret: Mapping[str, Any] | None
) -> float:
    """The value of an instant query. `secret`: the Secret with credentials. Raises SourceError."""
    form = aiohttp.FormData({"query": filled(asked.query, context)})
    return prometheus_value(await _ask(session, f"{asked.url.rstrip('/')}/api/v1/query", asked, secret, form))


async def call(
    session: aiohttp.ClientSession, asked: external.Webhook, context: Context, secret: Mapping[str, Any] | None
) -> float:
    """The value that a webhook answers with. Raises SourceError."""
    body = aiohttp.JsonPayload(dataclasses.asdict(context))
    return webhook_value(await _ask(session, asked.url, asked, secret, body))


def filled(text: str, context: Context) -> str:
    """A query with its placeholders replaced. Names of Kubernetes have no character that means anything in a query."""
    for name in external.PLACEHOLDERS:
        text = text.replace(f"{{{{{name}}}}}", getattr(context, name))
    return text


def prometheus_value(answer: Any) -> float:
    """The one number of an instant query's result."""
    data = answer.get("data") if isinstance(answer, dict) and answer.get("status") == "success" else None
    if not isinstance(data, dict):
        raise SourceError("its answer is no result of a query")
    kind, result = data.get("resultType"), data.get("result")
    if kind == "scalar":
        return _sample(result)
    if kind != "vector" or not isinstance(result, list):
        raise SourceError("the query's result is neither a vector nor a scalar")
    if not result:
        raise SourceError("the query's result is empty")
    if len(result) > 1:
        raise SourceError(f"the query's result has {len(result)} series: aggregate it to one, as by sum()")
    return _sample(result[0].get("value") if isinstance(result[0], dict) else None)


def _sample(pair: Any) -> float:
    if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[1], str):
        raise SourceError("the query's result is no sample")
    try:
        return _finite(float(pair[1]))
    except ValueError:
        raise SourceError("the query's result is no number") from None


def webhook_value(answer: Any) -> float:
    """The number called `value`."""
    value = answer.get("value") if isinstance(answer, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SourceError("its answer has no number called value")
    try:
        return _finite(float(value))
    except OverflowError:
        raise SourceError("its value is too large") from None


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise SourceError(f"its value is {value}, which is no finite number")
    return value


async def _ask(
    session: aiohttp.ClientSession, url: str, asked: external.Endpoint, secret: Mapping[str, Any] | None, body: Any
) -> Any:
    """The JSON that a POST is answered with."""
    keys = _decoded(asked, secret)
    headers = {header.name: header.value for header in asked.headers} | _authorization(keys)
    limits = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    try:
        async with session.post(
            url, data=body, headers=headers, ssl=_trust(keys), timeout=limits, allow_redirects=False
        ) as answer:
            if answer.status != 200:
                raise SourceError(f"it answered {answer.status}")
            text = bytearray()
            async for chunk in answer.content.iter_any():
                text += chunk
                if len(text) > ANSWER_LIMIT:
                    raise SourceError(f"its answer is longer than {ANSWER_LIMIT} bytes")
        return json.loads(bytes(text), parse_constant=_no_constant)
    except TimeoutError:
        raise SourceError(f"no answer in {TIMEOUT_SECONDS:g} s") from None
    except aiohttp.ClientSSLError:
        raise SourceError("its certificate is not trusted") from None
    except (aiohttp.ClientError, OSError) as error:
        raise SourceError(f"it cannot be reached ({type(error).__name__})") from None
    except (ValueError, RecursionError):
        raise SourceError("its answer is no JSON") from None


def _no_constant(name: str) -> NoReturn:
    raise SourceError(f"its value is {name}, which is no finite number")


def _decoded(asked: external.Endpoint, secret: Mapping[str, Any] | None) -> dict[str, str]:
    if asked.credentials_secret_ref is None:
        return {}
    name = asked.credentials_secret_ref.name
    if secret is None:
        raise SourceError(
            f"Secret {name} does not exist or lacks the label sluice.dev/secret-type: metric-source; make it, or label it"
        )
    try:
        return {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}
    except ValueError:
        raise SourceError(f"Secret {name} does not hold text") from None


def _authorization(keys: Mapping[str, str]) -> dict[str, str]:
    if TOKEN in keys:
        return {"Authorization": f"Bearer {_line(keys[TOKEN])}"}
    if USERNAME in keys:
        return {"Authorization": aiohttp.encode_basic_auth(keys[USERNAME], keys.get(PASSWORD, ""))}
    return {}


def _line(text: str) -> str:
    """A header's value: files often end with a line break."""
    text = text.strip()
    if not text.isprintable():
        raise SourceError("the Secret's token is not one line of text")
    return text


def _trust(keys: Mapping[str, str]) -> ssl.SSLContext | bool:
    if AUTHORITY not in keys:
        return True
    try:
        return ssl.create_default_context(cadata=keys[AUTHORITY])
    except ssl.SSLError:
        raise SourceError("the Secret's ca.crt is no certificate") from None
