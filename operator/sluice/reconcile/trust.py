"""The operator's CA as this process uses it: read or made once, turned over in time, and asked for certificates."""

from __future__ import annotations

import dataclasses
import datetime
import ssl
from typing import Final

from sluice.engine import clock as clock_
from sluice.kube import client as kube_client
from sluice.kube import errors, resources
from sluice.pki import authority as pki_authority
from sluice.pki import contexts, identity, secrets
from sluice.workloads import metrics_api

CONTEXT_SECONDS: Final = 3600.0
"""How long one client certificate is used before a new one is issued."""
_ATTEMPTS: Final = 5
"""Replicas that start together race for the Secret; the losers read the winner's."""


@dataclasses.dataclass
class Trust:
    """Issues certificates for gateways and for the operator itself."""

    client: kube_client.Client
    namespace: str
    clock: clock_.Clock
    dns: str
    """Host name of the operators."""
    authority: pki_authority.Authority | None = None
    _contexts: dict[tuple[str, str], tuple[float, ssl.SSLContext]] = dataclasses.field(default_factory=dict)

    async def load(self) -> pki_authority.Authority:
        """Reads the CA's Secret, or makes it. Any replica may: the first to create it wins.

        Raises:
            PkiError: the Secret is damaged.
            errors.ApiError: the API server does not answer.
        """
        for _ in range(_ATTEMPTS):
            try:
                found = await self.client.get(resources.SECRETS, self.namespace, secrets.AUTHORITY_NAME)
                self.authority = secrets.parse_authority(found)
                return self.authority
            except errors.NotFound:
                made = pki_authority.new_authority(self.now())
            try:
                await self.client.create(resources.SECRETS, secrets.build_authority(made, self.namespace))
            except errors.AlreadyExists:
                continue
        raise pki_authority.PkiError(
            f"Cannot make Secret {self.namespace}/{secrets.AUTHORITY_NAME}: it comes and goes. Is something deleting it?"
        )

    async def advance(self) -> bool:
        """Turns the CA over when its time has come; for the leader. Returns whether it changed."""
        current = await self.load()
        later = pki_authority.advance(current, self.now())
        if later == current:
            return False
        found = await self.client.get(resources.SECRETS, self.namespace, secrets.AUTHORITY_NAME)
        wanted = secrets.build_authority(later, self.namespace)
        wanted["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
        await self.client.replace(resources.SECRETS, wanted)
        self.authority = later
        self._contexts.clear()
        return True

    def operator_leaf(self) -> pki_authority.Leaf:
        """A certificate for this replica, as server of ADS and as client of proxies."""
        return pki_authority.issue(self._known(), [identity.OPERATOR_URI], [self.dns], self.now())

    def client_context(self, namespace: str, name: str) -> ssl.SSLContext:
        """What connects to proxies of that gateway and to nobody else."""
        now = self.clock.monotonic()
        known = self._contexts.get((namespace, name))
        if known is None or now - known[0] > CONTEXT_SECONDS:
            known = (now, contexts.client_context(self.operator_leaf(), identity.gateway_uri(namespace, name)))
            self._contexts[namespace, name] = known
        return known[1]

    def gateway_secret(self, namespace: str, name: str) -> dict[str, object]:
        """A Secret with a new certificate of the gateway."""
        leaf = pki_authority.issue(self._known(), [identity.gateway_uri(namespace, name)], [], self.now())
        return secrets.build_gateway(leaf, namespace, name)

    def is_current(self, secret: dict[str, object] | None, namespace: str, name: str) -> bool:
        """Whether the gateway's Secret can stay as it is."""
        return secrets.gateway_secret_is_current(secret, self._known(), (namespace, name), self.now())

    def metrics_secret(self) -> dict[str, object]:
        """A Secret with a new serving certificate of `sluice metrics`."""
        dns = metrics_api.service_dns(self.namespace)
        leaf = pki_authority.issue(self._known(), [identity.METRICS_URI], dns, self.now())
        return secrets.build_metrics(leaf, metrics_api.CERTIFICATE_SECRET, self.namespace)

    def metrics_is_current(self, secret: dict[str, object] | None) -> bool:
        """Whether the Secret of `sluice metrics` can stay as it is."""
        dns = metrics_api.service_dns(self.namespace)
        return secrets.serving_secret_is_current(secret, self._known(), dns, self.now())

    def now(self) -> datetime.datetime:
        """The clock's time, timezone-aware."""
        return datetime.datetime.fromtimestamp(self.clock.now(), tz=datetime.UTC)

    def _known(self) -> pki_authority.Authority:
        if self.authority is None:
            raise pki_authority.PkiError("Cannot issue certificates: the CA has not been loaded")
        return self.authority
