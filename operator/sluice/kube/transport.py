"""Sends one HTTP request to the API server and turns whatever comes back into a dict or a typed error.

Which requests there are is the client's business; when to send one again is `retry`'s.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import urllib.parse
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Final

import aiohttp
import kubernetes.aio.client as aio_client
import orjson

from sluice.kube import errors, resources, retry

Object = dict[str, Any]

JSON: Final = "application/json"
APPLY_PATCH: Final = "application/apply-patch+yaml"
MERGE_PATCH: Final = "application/merge-patch+json"


@dataclasses.dataclass(frozen=True)
class Request:
    """One call: `action` names it in errors, `content` is the type of `body`; empty query values are left out."""

    action: str
    method: str
    resource: resources.Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    query: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: Object | None = None
    content: str = JSON

    def url(self) -> str:
        """Path and query. A new object's name stands in its body only."""
        resource = self.resource
        root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
        parts = ["namespaces", self.namespace] if self.namespace else []
        name = "" if self.method == "POST" else self.name
        parts += [part for part in (resource.plural, name, self.subresource) if part]
        path = "/".join([root, *(urllib.parse.quote(part, safe="") for part in parts)])
        query = urllib.parse.urlencode({key: value for key, value in self.query.items() if value})
        return f"{path}?{query}" if query else path

    def __str__(self) -> str:
        where = f"{self.namespace}/{self.name}".strip("/")
        return " ".join(filter(None, (self.action, str(self.resource), where)))


@dataclasses.dataclass(frozen=True)
class Path:
    """A read of something that is no object, such as the server's version."""

    path: str
    method: str = "GET"
    body: Object | None = None
    content: str = JSON

    def url(self) -> str:
        """The path as it is."""
        return self.path

    def __str__(self) -> str:
        return f"get {self.path}"


class Transport:
    """A connection pool to one API server. `chance` gives the jitter of retries."""

    def __init__(self, configuration: Any, policy: retry.Policy, chance: Callable[[], float] = random.random) -> None:
        self._configuration = configuration
        self._api = aio_client.ApiClient(configuration)
        self._api.user_agent = "sluice-operator"
        self._policy = policy
        self._chance = chance

    async def close(self) -> None:
        """Closes all connections."""
        await self._api.close()

    async def send(self, request: Request | Path, policy: retry.Policy | None = None) -> Object:
        """The answer to a request, sent again after transient faults as the policy says. Raises errors.ApiError."""
        policy = policy or self._policy
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._send_once(request, policy.timeout)
            except errors.ApiError as error:
                wait = retry.delay(policy, attempt, error, self._chance())
                if wait is None:
                    raise
            await asyncio.sleep(wait)

    async def stream(self, request: Request, idle: float) -> AsyncGenerator[Object]:
        """The JSON lines of an answer as they come. Raises errors.ApiError, Unreachable after `idle` seconds of silence."""
        limit = aiohttp.ClientTimeout(total=None, sock_connect=self._policy.timeout, sock_read=idle)
        try:
            async with await self._open(request, limit) as response:
                if response.status >= 400:
                    raise errors.from_response(str(request), response.status, await response.read())
                async for line in response.content:
                    yield orjson.loads(line)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise errors.Unreachable(str(request), _cause(error)) from error

    async def text(self, request: Request, seconds: float) -> str:
        """An answer that is text, asked for once. Raises errors.ApiError."""
        return (await self._read(request, seconds)).decode(errors="replace")

    async def _send_once(self, request: Request | Path, seconds: float) -> Object:
        body = await self._read(request, seconds)
        try:
            answer = orjson.loads(body)
        except ValueError as error:
            raise errors.ServerError(str(request), f"the answer is no JSON: {error}", status=200) from error
        return answer if isinstance(answer, dict) else {}

    async def _read(self, request: Request | Path, seconds: float) -> bytes:
        try:
            async with await self._open(request, aiohttp.ClientTimeout(total=seconds)) as response:
                body = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise errors.Unreachable(str(request), _cause(error)) from error
        if response.status >= 400:
            raise errors.from_response(str(request), response.status, body, response.headers.get("Retry-After"))
        return body

    async def _open(self, request: Request | Path, limit: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        headers = {"Accept": f"{JSON}, */*", "Content-Type": request.content, **self._api.default_headers}
        for setting in (await self._configuration.auth_settings()).values():
            headers[setting["key"]] = setting["value"]
        url = self._configuration.host.rstrip("/") + request.url()
        answer = await self._api.call_api(request.method, url, header_params=headers, body=request.body, _request_timeout=limit)
        response = answer.response
        assert isinstance(response, aiohttp.ClientResponse)
        return response


def _cause(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
