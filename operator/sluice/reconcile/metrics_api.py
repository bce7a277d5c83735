"""What `sluice metrics` needs of the operator, and what HPAs are to know of it.

It needs a serving certificate of our CA, and the CA's bundle in its registration, so that the API server trusts it; the leader
sees to both. Nothing else of a registration is touched, and another adapter's not at all.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

from sluice.engine import clock as clock_
from sluice.kube import client as kube_client
from sluice.kube import errors, resources
from sluice.observability import logs
from sluice.pki import authority, secrets
from sluice.reconcile import trust as trust_
from sluice.reconcile.models import autoscaling
from sluice.workloads import metrics_api

LOOK_SECONDS: Final = 15.0

_log = logs.get(__name__)


@dataclasses.dataclass
class MetricsApi:
    """Looks every `LOOK_SECONDS`. `leads` says whether this replica may write."""

    client: kube_client.Client
    trust: trust_.Trust
    clock: clock_.Clock
    namespace: str
    leads: Callable[[], bool]
    on_change: Callable[[], None] = lambda: None
    """Called when HPAs are to be judged anew."""
    state: metrics_api.MetricsApiState | None = None
    """None: not known yet."""
    holder: str = ""
    """Who else is registered, when another is."""

    async def run(self) -> None:
        """Looks until cancelled; what fails is tried again the next time."""
        failed = ""
        while True:
            try:
                await self.look()
                failed = ""
            except (errors.ApiError, authority.PkiError) as error:
                if str(error) != failed:
                    _log.warning("metrics API not looked after", cause=str(error))
                failed = str(error)
            await self._pause()

    async def _pause(self) -> None:
        """A new leader has what its predecessor may have left undone to do, so it looks at once."""
        led, until = self.leads(), self.clock.monotonic() + LOOK_SECONDS
        while self.clock.monotonic() < until and self.leads() == led:
            await self.clock.sleep(1.0)

    async def look(self) -> None:
        """One look, and what follows from it.

        Raises:
            errors.ApiError: the API server refuses or does not answer; what was known stays.
            PkiError: the CA cannot be used.
        """
        found = [await self._get(resources.API_SERVICES, "", name) for name in metrics_api.API_SERVICES]
        state = metrics_api.metrics_api_state(found, self.namespace)
        holder = metrics_api.holder(found, self.namespace)
        changed = (state, holder) != (self.state, self.holder)
        self.state, self.holder = state, holder
        if changed:
            _log.info("metrics API", state=state.value, holder=holder or None)
            self.on_change()
        if self.leads():
            await self._keep_certificate()
            await self._keep_bundle(found[0])

    def trouble(self) -> autoscaling.Trouble | None:
        """What keeps every HPA from reading our metrics; None when nothing does, or nothing is known."""
        match self.state:
            case metrics_api.MetricsApiState.ABSENT:
                text = "no API of custom metrics is registered: kubectl apply --server-side -k manifests/metrics"
                return autoscaling.Trouble(autoscaling.Reason.METRICS_API_MISSING, f"Cannot read metrics: {text}")
            case metrics_api.MetricsApiState.TAKEN:
                text = f"another adapter is registered ({self.holder}); give it the queries of docs/autoscaling-adapters.md"
                return autoscaling.Trouble(autoscaling.Reason.METRICS_API_TAKEN, f"Cannot read metrics from Sluice: {text}")
            case _:
                return None  # an HPA that can't reach it says so itself, in the API server's words

    async def _keep_certificate(self) -> None:
        """Issued whether or not `sluice metrics` is installed: its pods wait for it before they can say anything."""
        secret = await self._get(resources.SECRETS, self.namespace, metrics_api.CERTIFICATE_SECRET)
        if not self.trust.metrics_is_current(secret):
            await self.client.apply(resources.SECRETS, self.trust.metrics_secret())
            _log.info("issued the certificate of sluice metrics", renewed=secret is not None)

    async def _keep_bundle(self, api_service: Mapping[str, Any] | None) -> None:
        if api_service is None or not metrics_api.is_ours(api_service, self.namespace):
            return
        spec = api_service["spec"]
        secret = await self._get(resources.SECRETS, self.namespace, metrics_api.CERTIFICATE_SECRET)
        leaf = secrets.parse_leaf(secret) if secret is not None else None
        if leaf is None or spec.get("insecureSkipTLSVerify"):
            return
        wanted = base64.b64encode(leaf.bundle).decode()
        if spec.get("caBundle") == wanted:
            return
        # Only if it is still the registration that was looked at: it may lead elsewhere by now.
        metadata = {"resourceVersion": api_service["metadata"]["resourceVersion"]}
        patch = {"metadata": metadata, "spec": {"caBundle": wanted}}
        await self.client.patch(resources.API_SERVICES, "", metrics_api.API_SERVICE, patch)
        _log.info("put the CA's bundle into the registration", api_service=metrics_api.API_SERVICE)

    async def _get(self, resource: resources.Resource, namespace: str, name: str) -> dict[str, Any] | None:
        try:
            return await self.client.get(resource, namespace, name)
        except errors.NotFound:
            return None
