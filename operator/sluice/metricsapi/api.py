"""The custom metrics API over HTTP: who asks, may they, and what is answered. Nothing is answered before the first two.

Decisions and documents are made elsewhere; TLS and the port are `listener`'s.
"""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from sluice.engine import clock as clock_
from sluice.kube import errors
from sluice.metricsapi import authentication, authorization, documents, readings, selectors
from sluice.metricsapi import numbers as numbers_
from sluice.workloads import metrics_api, pod_metrics

ROOT: Final = f"/apis/{documents.GROUP_VERSION}"
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RefusedError(Exception):
    """The request ends with this HTTP code; the message is for whoever asked."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Api:
    """The handlers. `refusing` gives the reason why nothing is served at present, or an empty text."""

    def __init__(
        self,
        store: readings.Readings,
        authenticator: authentication.Authenticator,
        authorizer: authorization.Authorizer,
        *,
        refusing: Callable[[], str],
        clock: clock_.Clock,
        numbers: numbers_.Numbers,
    ) -> None:
        self._store = store
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._refusing = refusing
        self._clock = clock
        self._numbers = numbers

    def app(self) -> web.Application:
        """The application to serve."""
        app = web.Application(middlewares=[self._answer_for_sure, self._guard])
        app.add_routes(
            [
                web.get("/apis", _document(documents.groups())),
                web.get(f"/apis/{metrics_api.GROUP}", _document(documents.group())),
                web.get(ROOT, _document(documents.metrics())),
                web.get(f"{ROOT}/namespaces/{{namespace}}/pods/{{name}}/{{metric}}", self._values),
            ]
        )
        return app

    @web.middleware
    async def _answer_for_sure(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Every refusal as a Status, and every answer counted."""
        try:
            answer = await handler(request)
        except RefusedError as error:
            answer = _json(documents.status(error.code, str(error)), error.code)
        except errors.ApiError as error:
            answer = _json(documents.status(503, f"Cannot find out whether you may ask: {error}"), 503)
        except web.HTTPException as error:
            answer = _json(documents.status(error.status, f"{error.reason}: {request.method} {request.path}"), error.status)
        self._numbers.requests.labels(str(answer.status)).inc()
        return answer

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Lets nobody pass who is not known and allowed."""
        monotonic = self._clock.monotonic()
        try:
            user = await self._authenticator.authenticate(
                _certificate(request), request.headers, now=self._now(), monotonic=monotonic
            )
        except authentication.UnauthenticatedError as error:
            raise RefusedError(401, f"Cannot answer: {error}") from error
        if request.match_info.http_exception is not None:
            raise request.match_info.http_exception
        access = _access(request)
        verdict = await self._authorizer.authorize(user, access, monotonic=monotonic)
        if not verdict.allowed:
            where = f" in namespace {access.namespace}" if access.namespace else ""
            what = f"{access.resource}/{access.subresource}.{access.group}" if access.resource else access.path
            raise RefusedError(403, f"{user.name} cannot {access.verb} {what}{where}: {verdict.reason or 'no role allows it'}")
        if reason := self._refusing():
            raise RefusedError(503, f"Cannot serve {metrics_api.GROUP}: {reason}")
        return await handler(request)

    async def _values(self, request: web.Request) -> web.Response:
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        metric = pod_metrics.ALL.get(request.match_info["metric"])
        if metric is None:
            known = ", ".join(pod_metrics.ALL)
            raise RefusedError(404, f"Cannot find metric {request.match_info['metric']} of pods: there are {known}")
        if request.query.get("metricLabelSelector"):
            raise RefusedError(400, f"Cannot select by metricLabelSelector: {metric.name} has no labels of its own; remove it")
        try:
            answers = self._ask(metric, namespace, name, request.query.get("labelSelector", ""))
        except selectors.SelectorError as error:
            raise RefusedError(400, str(error)) from error
        except readings.NotFreshError as error:
            raise RefusedError(503, f"Cannot tell {metric.name}: {error}") from error
        return _json(documents.values(metric, namespace, answers, self._now()))

    def _ask(self, metric: pod_metrics.PodMetric, namespace: str, name: str, selector: str) -> list[readings.Answer]:
        now = self._clock.monotonic()
        if name == "*":
            return self._store.ask(metric, namespace, selectors.parse(selector), now)
        answer = self._store.ask_one(metric, namespace, name, now)
        if answer is None:
            raise RefusedError(
                404, f"Cannot tell {metric.name} of pod {namespace}/{name}: it is no ready pod of a ModelDeployment"
            )
        return [answer]

    def _now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self._clock.now(), tz=datetime.UTC)


def _access(request: web.Request) -> authorization.Access:
    """What is asked for, as the API server itself would read the path."""
    found = request.match_info
    if "metric" not in found:
        return authorization.Access(request.path)
    return authorization.Access(
        request.path,
        group=metrics_api.GROUP,
        version=metrics_api.VERSION,
        namespace=found["namespace"],
        resource="pods",
        subresource=found["metric"],
        name=found["name"],
    )


def _certificate(request: web.Request) -> bytes | None:
    """What the client proved to own in the handshake, as DER."""
    tls = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
    encoded: bytes | None = tls.getpeercert(binary_form=True) if tls is not None else None
    return encoded


def _document(content: dict[str, Any]) -> _Handler:
    async def answer(_: web.Request) -> web.Response:
        return _json(content)

    return answer


def _json(content: dict[str, Any], code: int = 200) -> web.Response:
    return web.json_response(content, status=code)
