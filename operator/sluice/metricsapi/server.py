"""One replica of `sluice metrics`: its parts, and the loops that follow the cluster and the mounted files."""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, Final

from sluice.engine import clock as clock_
from sluice.kube import cache as kube_cache
from sluice.kube import client as kube_client
from sluice.kube import errors, resources, retry
from sluice.metricsapi import api, authentication, authorization, listener, readings, scraper
from sluice.metricsapi import delegation as delegation_
from sluice.metricsapi import numbers as numbers_
from sluice.observability import logs
from sluice.workloads import metrics_api

LOOK_SECONDS: Final = 15.0
"""Between two looks at who holds the API and whom to believe."""
FILES_SECONDS: Final = 5.0
"""Between two looks at the mounted certificate."""
_REVIEWS: Final = retry.Policy(timeout=3.0, attempts=2)

_log = logs.get(__name__)


@dataclasses.dataclass(frozen=True)
class Options:
    """What a replica is told."""

    namespace: str
    """The operator's, where our Service is."""
    host: str
    port: int
    certificate: pathlib.Path
    """Directory with `tls.crt` and `tls.key`."""
    interval: float
    """Seconds between two readings of a pod."""


class Reviews:
    """Questions to the API server about users."""

    def __init__(self, client: kube_client.Client) -> None:
        self._client = client

    async def review_token(self, token: str) -> Mapping[str, Any]:
        """The status of a TokenReview. Raises errors.ApiError."""
        return await self._client.review(resources.TOKEN_REVIEWS, {"token": token}, policy=_REVIEWS)

    async def review_access(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """The status of a SubjectAccessReview. Raises errors.ApiError."""
        return await self._client.review(resources.SUBJECT_ACCESS_REVIEWS, dict(spec), policy=_REVIEWS)


class MetricsServer:
    """Serves until cancelled. The cache of pods is filled by whoever made this."""

    def __init__(
        self,
        client: kube_client.Client,
        cache: kube_cache.Cache,
        options: Options,
        *,
        clock: clock_.Clock,
        numbers: numbers_.Numbers,
    ) -> None:
        self._client = client
        self._clock = clock
        self._options = options
        self._store = readings.Readings(options.interval)
        self._scraper = scraper.Scraper(cache, self._store, clock=clock, numbers=numbers, interval=options.interval)
        self._authenticator = authentication.Authenticator(Reviews(client))
        handlers = api.Api(
            self._store,
            self._authenticator,
            authorization.Authorizer(Reviews(client)),
            refusing=lambda: ", ".join(self.missing),
            clock=clock,
            numbers=numbers,
        )
        self.listener = listener.Listener(handlers.app(), options.host, options.port)
        self._delegation_known = False
        self._state: metrics_api.MetricsApiState | None = None
        self._holder = ""
        self._served: tuple[bytes, bytes, str] | None = None
        self._complaints: dict[str, str] = {}

    @property
    def missing(self) -> list[str]:
        """What keeps it from answering, in words; empty when nothing does."""
        found: list[str] = []
        if self._state is metrics_api.MetricsApiState.TAKEN:
            found.append(f"another adapter is registered ({self._holder})")
        if self._state is None or not self._delegation_known:
            found.append("waiting for the API server")
        if not self.listener.open:
            found.append(f"waiting for the certificate in {self._options.certificate}")
        if not self._scraper.started:
            found.append("waiting for the list of pods")
        elif self._store.unread:
            found.append(f"waiting for the second reading of {self._store.unread} pods")
        return found

    def refresh_numbers(self) -> None:
        """Brings the gauges up to date."""
        self._scraper.refresh_numbers()

    async def run(self) -> None:
        """Reads and serves until cancelled; a bug in one of its parts ends it."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._scraper.run(), name="scraper")
                group.create_task(self._keep_looking(), name="look")
                group.create_task(self._keep_serving(), name="certificate")
        finally:
            await self.listener.stop()

    async def _keep_looking(self) -> None:
        while True:
            await self._look_at_delegation()
            await self._look_at_registration()
            known = self._state is not None and self._delegation_known
            await self._clock.sleep(LOOK_SECONDS if known else 1.0)

    async def _look_at_delegation(self) -> None:
        try:
            found = await self._client.get(resources.DELEGATION, delegation_.NAMESPACE, delegation_.NAME)
            self._authenticator.delegation = delegation_.parse(found)
        except (errors.ApiError, delegation_.DelegationError) as error:
            self._complain("delegation", f"{error}; what was known before goes on to count")
            return
        self._complain("delegation", "")
        self._delegation_known = True

    async def _look_at_registration(self) -> None:
        try:
            found = [await self._registration(name) for name in metrics_api.API_SERVICES]
        except errors.ApiError as error:
            self._complain("registration", str(error))
            return
        self._complain("registration", "")
        self._state = metrics_api.metrics_api_state(found, self._options.namespace)
        self._holder = metrics_api.holder(found, self._options.namespace)
        self._complain("adapter", self._refusal() if self._state is metrics_api.MetricsApiState.TAKEN else "")

    def _refusal(self) -> str:
        return (
            f"Cannot serve {metrics_api.GROUP}: another adapter is registered ({self._holder}), and two cannot share it. "
            "Remove that adapter; or remove `sluice metrics` (`kubectl delete -k manifests/metrics`) and let the other adapter "
            "serve the metrics of models: docs/autoscaling-adapters.md has its queries"
        )

    async def _registration(self, name: str) -> Mapping[str, Any] | None:
        try:
            return await self._client.get(resources.API_SERVICES_READ, "", name)
        except errors.NotFound:
            return None

    async def _keep_serving(self) -> None:
        """Opens the port once there is a certificate, and follows the certificate and the clients' CAs."""
        while True:
            if self._delegation_known:
                await self._serve_anew()
            await self._clock.sleep(FILES_SECONDS if self.listener.open else 0.5)

    async def _serve_anew(self) -> None:
        directory, clients = self._options.certificate, self._authenticator.delegation.bundle
        try:
            wanted = ((directory / "tls.crt").read_bytes(), (directory / "tls.key").read_bytes(), clients)
            if wanted == self._served:
                return
            await self.listener.serve(listener.tls_context(directory, clients))
        except (OSError, listener.CertificateError) as error:
            self._complain("certificate", str(error))
            return
        self._complain("certificate", "")
        _log.info("serving", port=self.listener.port, renewed=self._served is not None)
        self._served = wanted

    def _complain(self, about: str, what: str) -> None:
        """Logs a trouble once when it begins or changes, and its end."""
        before = self._complaints.get(about, "")
        if what and what != before:
            _log.error(what, about=about)
        elif before and not what:
            _log.info("the trouble is over", about=about)
        self._complaints[about] = what
