"""An API server, proxies and a namespace in memory, for the reconcilers: what they ask for is done at once and remembered."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from typing import Any

from sluice.api import gateway, modeldeployment, naming
from sluice.kube import cache as kube_cache
from sluice.kube import errors, resources
from sluice.observability import metrics
from sluice.reconcile import evidence, inflight, lookup, objects, platform, programmer, traffic
from sluice.reconcile.models import admission, beside, evals, files, gather, reconcile
from sluice.workloads import files as workload_files
from sluice.workloads import pod_template
from sluice.xds import proxies
from tests.support import clock

Object = dict[str, Any]
KEY = naming.ObjectKey(modeldeployment.KIND, "ml", "chat")
ENGINE_FILES = workload_files.EngineFiles(liveness="probe", hold_headers="middleware")
DEFAULTS = pod_template.Defaults("engine:test")
EDGE = naming.ObjectKey(gateway.KIND, "ml", "edge")


class InFlight(inflight.InFlight):
    """Knows at once what is in flight: nothing, unless a test says otherwise."""

    requests: int | None = 0

    def load(self, model: naming.ObjectKey, revision: str, now: float) -> inflight.Load | None:
        super().load(model, revision, now)
        return inflight.Load(self.requests, self.requests) if self.requests is not None else None


class Api:
    """Takes what the reconcilers write, as an API server with a quick watch would."""

    def __init__(self, cache: kube_cache.Cache) -> None:
        self.cache = cache
        self.statuses: list[Object] = []
        """Every status of a ModelDeployment that was written."""
        self.refuse: errors.ApiError | None = None
        """Raised for every write of an owned object."""
        self.gate = asyncio.Event()
        """Status writes wait for it."""
        self.gate.set()
        self.arrived = asyncio.Event()
        """Set when a status write begins."""
        self.let_go: list[str] = []
        """Deployments whose size was kept by another field manager."""
        self._versions = itertools.count(1000)

    def put(self, obj: Object) -> Object:
        """Stores an object under a new version."""
        resource = resources.for_object(obj)
        metadata = {"uid": f"uid-{obj['metadata']['name']}", **obj["metadata"], "resourceVersion": str(next(self._versions))}
        stored = {**obj, "metadata": metadata}
        self.cache.put(resource, stored)
        return stored

    async def get(self, resource: resources.Resource, namespace: str, name: str, **_: Any) -> Object:
        found = self.cache.get(resource, namespace, name)
        if found is None:
            raise errors.NotFound("get", "not there")
        return found

    async def apply(self, resource: resources.Resource, obj: Object, *, manager: str = naming.FIELD_MANAGER) -> Object:
        if self.refuse is not None:
            raise self.refuse
        live = self.cache.get(resource, obj["metadata"]["namespace"], obj["metadata"]["name"]) or {}
        expected = obj["metadata"].get("resourceVersion")
        if expected is not None and expected != live["metadata"]["resourceVersion"]:
            raise errors.Conflict("apply", "it has changed")
        if manager != naming.FIELD_MANAGER:
            self.let_go.append(live["metadata"]["name"])
            return self.put({**live, "spec": {**live["spec"], **obj["spec"]}})
        if resource is resources.DEPLOYMENTS and "replicas" not in obj["spec"]:
            kept = live["spec"]["replicas"] if obj["metadata"]["name"] in self.let_go else 1
            obj = {**obj, "spec": {**obj["spec"], "replicas": kept}}
        return self.put({**({"status": live["status"]} if "status" in live else {}), **obj})

    async def apply_status(
        self, resource: resources.Resource, namespace: str, name: str, status: Object, *, resource_version: str
    ) -> Object:
        self.arrived.set()
        await self.gate.wait()
        live = self.cache.get(resource, namespace, name)
        assert live is not None
        if live["metadata"]["resourceVersion"] != resource_version:
            raise errors.Conflict("apply status of", "it has changed")
        if resource is resources.MODEL_DEPLOYMENTS:
            self.statuses.append(status)
        return self.put({**live, "status": status})

    async def patch(self, resource: resources.Resource, namespace: str, name: str, patch: Object) -> Object:
        """Merges metadata only."""
        live = self.cache.get(resource, namespace, name)
        assert live is not None
        if patch["metadata"].get("resourceVersion", "") not in ("", live["metadata"]["resourceVersion"]):
            raise errors.Conflict("patch", "it has changed")
        return self.put({**live, "metadata": {**live["metadata"], **patch["metadata"]}})

    def forget(self, obj: Object) -> None:
        """An object is gone, whoever deleted it."""
        metadata = {**obj["metadata"], "resourceVersion": str(next(self._versions))}
        self.cache.remove(resources.for_object(obj), {**obj, "metadata": metadata})

    async def delete(self, resource: resources.Resource, namespace: str, name: str, *, uid: str = "") -> None:
        live = self.cache.get(resource, namespace, name)
        assert live is not None
        assert live["metadata"]["uid"] == uid
        self.forget(live)


class Ads:
    """Proxies that acknowledge when they are told to."""

    def __init__(self) -> None:
        self.versions: dict[tuple[str, str], int] = {}
        self.sent: list[Any] = []
        self.prompt = True
        self._last: dict[tuple[str, str], Any] = {}

    def set_resources(self, owner: tuple[str, str], given: Any) -> int:
        if self._last.get(owner) != given:
            self._last[owner] = given
            self.versions[owner] = self.versions.get(owner, 0) + 1
        return self.versions[owner]

    def acknowledged(self, owner: tuple[str, str], version: int) -> bool:
        return self.prompt and self.versions.get(owner, 0) >= version

    def state(self, _: tuple[str, str]) -> proxies.ProxyState:
        return proxies.ProxyState()


class Recorder:
    """Remembers reasons of events."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def tell(self, event: Any) -> None:
        self.reasons.append(event.reason)


@dataclasses.dataclass
class World:
    """A reconciler of ModelDeployments and everything around it."""

    clock: clock.FakeClock = dataclasses.field(default_factory=clock.FakeClock)
    cache: kube_cache.Cache = dataclasses.field(default_factory=kube_cache.Cache)
    ads: Any = dataclasses.field(default_factory=Ads)
    recorder: Any = dataclasses.field(default_factory=Recorder)

    def __post_init__(self) -> None:
        self.api: Any = Api(self.cache)
        self.lookup = lookup.Lookup(self.cache)
        self.start()

    def start(self) -> None:
        """A new process: what was only in memory is gone."""
        table, numbers = traffic.TrafficTable(), metrics.Metrics()
        self.table = table
        self.files = files.Files(self.api, self.cache, self.clock, ENGINE_FILES, chance=lambda: 0.0)
        self.platform = platform.Platform(self.api, self.cache, "sluice-system", self.clock, numbers, chance=lambda: 0.0)
        admitted = admission.Admission(self.cache, self.platform, DEFAULTS)
        self.programmer = programmer.Programmer(self.cache, self.lookup, table, self.ads)
        self.in_flight = InFlight()
        self.models = reconcile.ModelReconciler(
            client=self.api,
            gatherer=gather.Gatherer(self.cache, self.lookup, self.api, DEFAULTS, self.files, admitted),
            applier=objects.Applier(self.api, self.cache),
            table=table,
            programmer=self.programmer,
            book=evidence.Book(),
            evals=evals.Evals(self.cache, "operator:test", self.clock),
            beside=beside.Beside(self.clock, self.in_flight),
            recorder=self.recorder,
            clock=self.clock,
            numbers=numbers,
        )

    @property
    def status(self) -> Object:
        """The model's status as it was written last."""
        found = self.cache.get(resources.MODEL_DEPLOYMENTS, KEY.namespace, KEY.name)
        assert found is not None
        status: Object = found.get("status", {})
        return status

    def apply(self, obj: Object) -> None:
        """What a user does: the generation rises."""
        live = self.cache.get(resources.for_object(obj), obj["metadata"]["namespace"], obj["metadata"]["name"]) or {}
        generation = live.get("metadata", {}).get("generation", 0) + 1
        kept = {"status": live["status"]} if "status" in live else {}
        self.api.put({**kept, **obj, "metadata": {**obj["metadata"], "generation": generation}})

    def run_pods(self, *, ready: bool = True) -> None:
        """Every Deployment has its pods."""
        for deployment in self.cache.list(resources.DEPLOYMENTS, KEY.namespace):
            for index in range(deployment["spec"]["replicas"]):
                self.api.put(pod(deployment, index, ready=ready))

    def drop_pods(self) -> None:
        """Pods without a Deployment go."""
        names = {deployment["metadata"]["name"] for deployment in self.cache.list(resources.DEPLOYMENTS, KEY.namespace)}
        for each in list(self.cache.list(resources.PODS, KEY.namespace)):
            if each["metadata"]["name"].rpartition("-")[0] not in names:
                self.api.forget(each)

    async def reconcile(self, times: int = 12) -> float | None:
        """Reconciles so often, with pods that follow; returns what the last one asked for."""
        again = None
        for _ in range(times):
            again = await self.models.reconcile(KEY)
            for family in self.models.book.families.values():
                family.was_read = True  # proxies answer
            self.run_pods()
            self.drop_pods()
        return again


def pod(deployment: Object, index: int, *, ready: bool = True) -> Object:
    """A pod of a Deployment."""
    started = "2027-01-15T08:00:00Z"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{deployment['metadata']['name']}-{index}",
            "namespace": deployment["metadata"]["namespace"],
            "labels": deployment["spec"]["template"]["metadata"]["labels"],
        },
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": started},
                {"type": "Ready", "status": str(ready), "lastTransitionTime": started},
            ],
            "containerStatuses": [
                {"name": "engine", "ready": ready, "restartCount": 0, "state": {"running": {"startedAt": started}}}
            ],
        },
    }


def model(source: str = "file:///one", *, steps: Any = None, gated: bool = False, analysis: Any = ()) -> Object:
    """A ModelDeployment as the API server has it."""
    canary = {"steps": steps or [{"name": "start", "weight": 0}]}
    rollout: Object = {"strategy": {"type": "Canary", "canary": canary}}
    if analysis is not None:
        rollout["analysis"] = list(analysis)
    return {
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": modeldeployment.KIND,
        "metadata": {"name": KEY.name, "namespace": KEY.namespace, "creationTimestamp": "2027-01-15T08:00:00Z"},
        "spec": {
            "template": {"model": {"source": source}, "engine": {"type": "VLLM"}},
            "replicas": 2,
            "rollout": rollout,
            **({"gatewayRefs": [{"name": EDGE.name}]} if gated else {}),
        },
    }


def edge(**spec: Any) -> Object:
    """A Gateway as the API server has it."""
    return {
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": gateway.KIND,
        "metadata": {"name": EDGE.name, "namespace": EDGE.namespace, "generation": 1},
        "spec": {"replicas": 1, "clients": {"anonymous": True}, **spec},
    }
