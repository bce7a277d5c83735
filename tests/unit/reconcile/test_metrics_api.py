"""What the operator does for `sluice metrics`: a certificate, the CA's bundle, and the truth about who holds the API."""

from __future__ import annotations

import asyncio
import base64
import copy
import dataclasses
import datetime
from typing import Any, cast

import pytest

from sluice.kube import client as kube_client
from sluice.kube import errors, resources
from sluice.pki import authority, identity, secrets
from sluice.reconcile import metrics_api, trust
from sluice.reconcile.models import autoscaling
from sluice.workloads import metrics_api as names
from tests.support import clock

NAMESPACE = "sluice-system"
START = datetime.datetime.fromtimestamp(clock.START, tz=datetime.UTC)
CA = authority.new_authority(START)


@dataclasses.dataclass
class Api:
    """An API server with objects by kind and name, that counts what is written."""

    objects: dict[tuple[str, str], dict[str, Any]] = dataclasses.field(default_factory=dict)
    writes: list[str] = dataclasses.field(default_factory=list)

    async def get(self, resource: resources.Resource, namespace: str, name: str) -> dict[str, Any]:
        try:
            return copy.deepcopy(self.objects[resource.kind, name])
        except KeyError:
            raise errors.NotFound("get", "no such object", status=404) from None

    async def apply(self, resource: resources.Resource, obj: dict[str, Any]) -> dict[str, Any]:
        self.writes.append(f"apply {resource.kind}/{obj['metadata']['name']}")
        self.objects[resource.kind, obj["metadata"]["name"]] = obj
        return obj

    async def patch(self, resource: resources.Resource, namespace: str, name: str, patch: dict[str, Any]) -> dict[str, Any]:
        self.writes.append(f"patch {resource.kind}/{name}")
        found = self.objects[resource.kind, name]
        if patch["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
            raise errors.Conflict("patch", "it has changed", status=409)
        found["spec"] |= patch["spec"]
        return found

    def register(self, service: str = names.SERVICE, *, version: str = "v1beta2", **spec: Any) -> None:
        name = f"{version}.{names.GROUP}"
        self.objects["APIService", name] = {
            "metadata": {"name": name, "resourceVersion": "1"},
            "spec": {"service": {"namespace": NAMESPACE, "name": service}, **spec},
            "status": {"conditions": [{"type": "Available", "status": "True"}]},
        }


def looking(api: Api, *, leads: bool = True) -> metrics_api.MetricsApi:
    client = cast("kube_client.Client", api)
    time = clock.FakeClock()
    trusted = trust.Trust(client, NAMESPACE, time, "xds.example", authority=CA)
    return metrics_api.MetricsApi(client, trusted, time, NAMESPACE, leads=lambda: leads)


def bundle(api: Api) -> bytes | None:
    text = api.objects["APIService", names.API_SERVICE]["spec"].get("caBundle")
    return base64.b64decode(text) if text else None


async def test_the_leader_issues_the_certificate_and_lets_the_api_server_trust_it() -> None:
    """Once: a second look writes nothing."""
    api = Api()
    api.register()
    looker = looking(api)
    await looker.look()
    leaf = secrets.parse_leaf(api.objects["Secret", names.CERTIFICATE_SECRET])
    assert leaf is not None
    assert identity.dns_names(leaf.certificate) == names.service_dns(NAMESPACE)
    assert authority.issued_by(leaf.certificate, CA)
    assert identity.gateway_of(leaf.certificate) is None
    assert bundle(api) == CA.bundle
    await looker.look()
    assert len(api.writes) == 2


async def test_only_the_leader_writes() -> None:
    """The others know the state, for when they lead."""
    api = Api()
    api.register()
    looker = looking(api, leads=False)
    await looker.look()
    assert api.writes == []
    assert looker.state is names.MetricsApiState.OURS


@pytest.mark.parametrize(
    ("reason", "service", "spec"),
    [
        ("another's", "prometheus-adapter", {}),
        ("told not to check", names.SERVICE, {"insecureSkipTLSVerify": True}),
    ],
)
async def test_other_registrations_are_left_alone(reason: str, service: str, spec: dict[str, Any]) -> None:
    """Only what leads to us, and asks for a CA, gets ours."""
    api = Api()
    api.register(service, **spec)
    await looking(api).look()
    assert bundle(api) is None, reason


async def test_a_registration_that_changed_meanwhile_is_looked_at_again() -> None:
    """It may lead to somebody else by now."""
    api = Api()
    api.register()
    looker = looking(api)
    stale = copy.deepcopy(api.objects["APIService", names.API_SERVICE])
    stale["metadata"]["resourceVersion"] = "0"
    await looker._keep_certificate()
    with pytest.raises(errors.Conflict):
        await looker._keep_bundle(stale)
    assert bundle(api) is None
    await looker.look()
    assert bundle(api) == CA.bundle


@pytest.mark.parametrize(
    ("reason", "damage"),
    [
        ("another CA", lambda: authority.issue(authority.new_authority(START), [], names.service_dns(NAMESPACE), START)),
        ("another name", lambda: authority.issue(CA, [], ["elsewhere.example"], START)),
        ("due for renewal", lambda: authority.issue(CA, [], names.service_dns(NAMESPACE), START - datetime.timedelta(days=61))),
    ],
)
async def test_a_certificate_that_does_not_fit_is_replaced(reason: str, damage: Any) -> None:
    """And the one that does stays."""
    api = Api()
    api.objects["Secret", names.CERTIFICATE_SECRET] = secrets.build_metrics(damage(), names.CERTIFICATE_SECRET, NAMESPACE)
    looker = looking(api)
    await looker.look()
    await looker.look()
    assert api.writes == [f"apply Secret/{names.CERTIFICATE_SECRET}"], reason


async def test_a_changed_state_has_models_judged_anew() -> None:
    """Each trouble has its reason, and what to do; whatever else is wrong the HPAs say themselves."""
    api = Api()
    looker = looking(api)
    calls: list[autoscaling.Reason | None] = []

    def judge() -> None:
        trouble = looker.trouble()
        calls.append(trouble.reason if trouble is not None else None)

    looker.on_change = judge
    assert looker.trouble() is None
    await looker.look()
    api.register()
    await looker.look()
    await looker.look()
    api.register("prometheus-adapter", version="v1beta1")
    await looker.look()
    assert calls == [autoscaling.Reason.METRICS_API_MISSING, None, autoscaling.Reason.METRICS_API_TAKEN]
    trouble = looker.trouble()
    assert trouble is not None
    assert "v1beta1.custom.metrics.k8s.io → sluice-system/prometheus-adapter" in trouble.message


async def test_it_looks_every_15_seconds_and_at_once_when_it_leads() -> None:
    """Whatever fails is tried again; what was known stays."""
    api = Api()
    time = clock.FakeClock()
    leading = False
    client = cast("kube_client.Client", api)
    trusted = trust.Trust(client, NAMESPACE, time, "xds.example", authority=CA)
    looker = metrics_api.MetricsApi(client, trusted, time, NAMESPACE, leads=lambda: leading)
    task = asyncio.create_task(looker.run())
    await time.advance(3)
    assert api.writes == []
    leading = True
    await time.advance(1)
    assert api.writes == [f"apply Secret/{names.CERTIFICATE_SECRET}"]
    api.register()
    await time.advance(metrics_api.LOOK_SECONDS)
    assert bundle(api) == CA.bundle
    del api.objects["APIService", names.API_SERVICE]
    await time.advance(metrics_api.LOOK_SECONDS)
    assert looker.state is names.MetricsApiState.ABSENT
    task.cancel()
