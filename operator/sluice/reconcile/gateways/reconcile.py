"""One reconcile of one Gateway: its certificate, its pods, what they run, and its status."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any, Final

from sluice.api import gateway as api
from sluice.api import naming
from sluice.engine import clock as clock_
from sluice.kube import cache as kube_cache
from sluice.kube import client as kube_client
from sluice.kube import resources
from sluice.observability import metrics
from sluice.reconcile import lookup as lookup_
from sluice.reconcile import objects
from sluice.reconcile import programmer as programmer_
from sluice.reconcile import trust as trust_
from sluice.reconcile.gateways import status
from sluice.rollout import times
from sluice.workloads import gateway as gateway_objects
from sluice.workloads import owners
from sluice.xds import bootstrap, server

SECRET_TYPE_TLS: Final = "gateway-tls"
RESYNC_SECONDS: Final = 300.0
"""Certificates are looked at so often at least; they are renewed with a month to spare."""


@dataclasses.dataclass
class GatewayReconciler:
    """Reconciles Gateways."""

    client: kube_client.Client
    cache: kube_cache.Cache
    lookup: lookup_.Lookup
    applier: objects.Applier
    programmer: programmer_.Programmer
    ads: server.AdsServer
    trust: trust_.Trust
    clock: clock_.Clock
    numbers: metrics.Metrics
    image: str
    xds_host: str
    xds_port: int

    async def reconcile(self, key: naming.ObjectKey) -> float | None:
        """Returns the seconds after which to look again whatever happens, or None."""
        raw = self.cache.get(resources.GATEWAYS, key.namespace, key.name)
        owner = self.lookup.gateway(key.namespace, key.name)
        if raw is None or owner is None or owner.metadata.deletion_timestamp:
            self.forget(key)
            return None
        self.expect(owner)
        programmed = self.programmer.program(owner)
        await self._apply_certificate(owner)
        await self.applier.apply_all(self._objects(owner))
        new = status.build_status(self._view(owner, programmed), now=times.time_text(self.clock.now())[:-5] + "Z")
        self.numbers.xds_streams.labels(_label(key)).set(new.proxies.connected)
        self.numbers.xds_rejected.labels(_label(key)).set(new.proxies.rejected)
        if new != owner.status:
            written = await self.client.apply_status(
                resources.GATEWAYS,
                key.namespace,
                key.name,
                new.to_wire(),
                resource_version=raw["metadata"]["resourceVersion"],
            )
            self.cache.put(resources.GATEWAYS, written)
        return RESYNC_SECONDS

    def expect(self, owner: api.Gateway) -> None:
        """Tells the ADS server which proxies there are; those that leave still serve, so they count."""
        namespace, name = owner.metadata.namespace, owner.metadata.name
        pods = self.cache.list(resources.PODS, namespace, labels=gateway_objects.labels(name))
        addresses = [pod["status"]["podIP"] for pod in pods if (pod.get("status") or {}).get("podIP")]
        self.ads.expect((namespace, name), addresses)

    def forget(self, key: naming.ObjectKey) -> None:
        """The Gateway is gone; its objects are collected by their owner references."""
        self.ads.forget((key.namespace, key.name))
        with contextlib.suppress(KeyError):  # it may never have been shown
            self.numbers.xds_streams.remove(_label(key))
            self.numbers.xds_rejected.remove(_label(key))

    async def _apply_certificate(self, owner: api.Gateway) -> None:
        namespace, name = owner.metadata.namespace, owner.metadata.name
        secret = self.cache.get(resources.SECRETS, namespace, gateway_objects.tls_secret_name(name))
        if self.trust.is_current(secret, namespace, name):
            return
        wanted: dict[str, Any] = self.trust.gateway_secret(namespace, name)
        wanted["metadata"]["labels"][naming.LABEL_SECRET_TYPE] = SECRET_TYPE_TLS  # so that the watch shows it to us
        wanted["metadata"]["ownerReferences"] = [owners.owner_reference(api.KIND, owner.metadata)]
        await self.applier.apply(wanted)

    def _objects(self, owner: api.Gateway) -> list[dict[str, Any]]:
        files = bootstrap.build_files(
            bootstrap.Settings(
                namespace=owner.metadata.namespace,
                name=owner.metadata.name,
                operator_namespace=self.trust.namespace,
                xds_address=self.xds_host,
                xds_port=self.xds_port,
            )
        )
        return [
            gateway_objects.build_bootstrap_config_map(owner, files),
            gateway_objects.build_service(owner),
            gateway_objects.build_deployment(owner, image=owner.spec.image or self.image, files=files),
        ]

    def _view(self, owner: api.Gateway, programmed: programmer_.Programmed) -> status.View:
        namespace, name = owner.metadata.namespace, owner.metadata.name
        proxies = self.ads.state((namespace, name))
        deployment = self.cache.get(resources.DEPLOYMENTS, namespace, gateway_objects.object_name(name)) or {}
        return status.View(
            gateway=owner,
            routes=programmed.translation.routes,
            connected=proxies.connected,
            in_sync=proxies.in_sync,
            rejected=proxies.rejected,
            errors=tuple(str(error) for error in proxies.errors),
            ready_pods=(deployment.get("status") or {}).get("readyReplicas") or 0,
            problems=programmed.problems,
        )


def _label(key: naming.ObjectKey) -> str:
    return f"{key.namespace}/{key.name}"
