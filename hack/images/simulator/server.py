"""The HTTP side of the simulator: vLLM's OpenAI routes, its probes and its metrics, with its error bodies."""

import contextlib
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import prometheus_client
from aiohttp import web

from hack.images.simulator import engine

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
BUSY = "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance."
VERSION = "simulator"


class Fuse(Protocol):
    """Decides which requests fail on purpose."""

    def fails(self, method: str, path: str) -> bool:
        """Count the request and say whether it has to fail."""


class RequestError(Exception):
    """A request that is answered with an OpenAI error body."""

    def __init__(self, status: int, kind: str, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.status, self.kind, self.parameter = status, kind, parameter

    def response(self) -> web.Response:
        """The answer."""
        error = {"message": str(self), "type": self.kind, "param": self.parameter, "code": self.status}
        return web.json_response({"error": error}, status=self.status)


def build_app(model: engine.Engine, fuses: Sequence[Fuse], *, always_usage: bool, counts_load: bool = True) -> web.Application:
    """Return the application; `always_usage` reports the usage in every chunk of a stream. /load is 0 unless it counts."""
    routes = _Routes(model, always_usage=always_usage, counts_load=counts_load)
    app = web.Application(middlewares=[_counting(model), _failing(fuses)])
    app.router.add_get("/health", routes.health)
    app.router.add_get("/ping", routes.health)
    app.router.add_get("/version", routes.version)
    app.router.add_get("/load", routes.load)
    app.router.add_get("/metrics", routes.metrics)
    app.router.add_get("/v1/models", routes.models)
    app.router.add_post("/v1/chat/completions", routes.chat)
    app.router.add_post("/v1/completions", routes.text)
    return app


def _failing(fuses: Sequence[Fuse]) -> Any:
    @web.middleware
    async def fail(request: web.Request, handler: Handler) -> web.StreamResponse:
        if any(fuse.fails(request.method, request.path) for fuse in fuses):
            return RequestError(500, "InternalServerError", "This revision fails on purpose.").response()
        try:
            return await handler(request)
        except RequestError as error:
            return error.response()
        except engine.BusyError:
            return RequestError(503, "Service Unavailable", BUSY).response()

    return fail


def _counting(model: engine.Engine) -> Any:
    counter = prometheus_client.Counter(
        "http_requests", "Requests by handler", ["handler", "method", "status"], registry=model.metrics.registry
    )

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        counter.labels(request.path, request.method, f"{response.status // 100}xx").inc()
        return response

    return count


class _Routes:
    def __init__(self, model: engine.Engine, *, always_usage: bool, counts_load: bool) -> None:
        self._model = model
        self._always_usage = always_usage
        self._counts_load = counts_load

    async def health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": VERSION})

    async def load(self, _: web.Request) -> web.Response:
        return web.json_response({"server_load": self._model.in_flight if self._counts_load else 0})

    async def metrics(self, _: web.Request) -> web.Response:
        text = prometheus_client.generate_latest(self._model.metrics.registry)
        return web.Response(body=text, headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST})

    async def models(self, _: web.Request) -> web.Response:
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": VERSION} for name in self._model.names]
        return web.json_response({"object": "list", "data": listed})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        return await self._answer(request, body, read_chat_prompt(body), Shape.chat())

    async def text(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        prompt = body.get("prompt")
        if not isinstance(prompt, str):
            raise RequestError(400, "Bad Request", "prompt must be a string", "prompt")
        return await self._answer(request, body, prompt, Shape.text())

    async def _body(self, request: web.Request) -> Mapping[str, Any]:
        body: Any = None
        with contextlib.suppress(ValueError):
            body = await request.json()
        if not isinstance(body, dict):
            raise RequestError(400, "Bad Request", "the body must be a JSON object")
        name = body.get("model", self._model.names[0])
        if name not in self._model.names:
            raise RequestError(404, "NotFoundError", f"The model `{name}` does not exist.", "model")
        return body

    async def _answer(self, request: web.Request, body: Mapping[str, Any], prompt: str, shape: "Shape") -> web.StreamResponse:
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        endless = bool(body.get("ignore_eos"))
        completion = self._model.complete(prompt, limit if isinstance(limit, int) else None, endless=endless)
        head = {"id": f"{shape.prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": self._model.names[0]}
        if body.get("stream"):
            options = body.get("stream_options") or {}
            usage = bool(self._always_usage or options.get("include_usage"))
            return await self._stream(request, completion, head, shape, usage=usage)
        async for _ in self._model.generate(completion):
            pass
        choice = {"index": 0, **shape.whole(completion.text), "logprobs": None, "finish_reason": completion.finish_reason}
        return web.json_response({**head, "object": shape.object, "choices": [choice], "usage": completion.usage()})

    async def _stream(
        self, request: web.Request, completion: engine.Completion, head: Mapping[str, Any], shape: "Shape", *, usage: bool
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        tokens = self._model.generate(completion)
        first = await anext(tokens, None)  # a busy engine says so before any header is sent
        await response.prepare(request)
        sent = 0

        async def send(choices: list[dict[str, Any]]) -> None:
            event = {**head, "object": shape.chunk, "choices": choices}
            await _event(response, event | ({"usage": completion.usage(sent)} if usage else {}))

        if opening := shape.opening:
            await send([{"index": 0, **opening, "finish_reason": None}])
        if first is not None:
            sent = 1
            await send([{"index": 0, **shape.part(first), "finish_reason": None}])
        async for token in tokens:
            sent += 1
            await send([{"index": 0, **shape.part(token), "finish_reason": None}])
        await send([{"index": 0, **shape.part(""), "finish_reason": completion.finish_reason}])
        if usage:
            await send([])
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response


class Shape:
    """How an answer is laid out: as chat messages or as plain text."""

    def __init__(self, prefix: str, name: str, chunk: str, *, is_chat: bool) -> None:
        self.prefix, self.object, self.chunk, self._is_chat = prefix, name, chunk, is_chat

    @classmethod
    def chat(cls) -> "Shape":
        """Of /v1/chat/completions."""
        return cls("chatcmpl", "chat.completion", "chat.completion.chunk", is_chat=True)

    @classmethod
    def text(cls) -> "Shape":
        """Of /v1/completions."""
        return cls("cmpl", "text_completion", "text_completion", is_chat=False)

    @property
    def opening(self) -> dict[str, Any]:
        """What a stream says before its first token."""
        return {"delta": {"role": "assistant", "content": ""}} if self._is_chat else {}

    def whole(self, text: str) -> dict[str, Any]:
        """The whole answer."""
        return {"message": {"role": "assistant", "content": text}} if self._is_chat else {"text": text}

    def part(self, text: str) -> dict[str, Any]:
        """A part of it, in a stream."""
        return {"delta": {"content": text}} if self._is_chat else {"text": text}


def read_chat_prompt(body: Mapping[str, Any]) -> str:
    """Return the text of the last message of a chat request.

    Raises:
        RequestError: there is none.
    """
    messages = body.get("messages")
    content = (
        messages[-1].get("content") if isinstance(messages, list) and messages and isinstance(messages[-1], dict) else None
    )
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    if not isinstance(content, str):
        raise RequestError(400, "Bad Request", "messages must end with a message that has content", "messages")
    return content


async def _event(response: web.StreamResponse, event: Mapping[str, Any]) -> None:
    await response.write(b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n")
