"""The client against a real API server: what a fake can only pretend."""

from __future__ import annotations

import copy
import json
import pathlib
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from sluice.kube import client, drift, errors, resources, retry
from tests.support import controlplane

OPERATOR = "sluice-system"
CRDS = pathlib.Path(__file__).parents[2] / "crds"
METRIC = {"name": "errors", "signal": {"type": "ErrorRate"}, "limit": {"ratio": "0.01"}}


@pytest.fixture(scope="module")
def plane() -> Iterator[controlplane.ControlPlane]:
    with controlplane.ControlPlane() as made:
        made.kubectl("create", "namespace", OPERATOR)
        yield made


@pytest.fixture
async def api(plane: controlplane.ControlPlane) -> AsyncIterator[client.Client]:
    async with await client.Client.connect(plane.kubeconfig, operator_namespace=OPERATOR) as made:
        yield made


@pytest.fixture
def namespace(plane: controlplane.ControlPlane) -> str:
    name = f"t-{uuid.uuid4().hex[:8]}"
    plane.kubectl("create", "namespace", name)
    return name


def config(namespace: str, name: str = "c", **data: str) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": name, "labels": {"app": name}}, "data": data}


def deployment(namespace: str, image: str = "engine:1") -> dict[str, Any]:
    labels = {"app": "engine"}
    container = {
        "name": "engine",
        "image": image,
        "args": ["--port", "8000"],
        "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}],
        "ports": [{"containerPort": 8000, "name": "http"}],
        "resources": {"requests": {"cpu": "1500m", "memory": "2048Mi"}, "limits": {"memory": "2048Mi"}},
        "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}},
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
    }
    pod = {
        "containers": [container],
        "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1024Mi"}}],
        "nodeSelector": {},
        "hostNetwork": False,
        "terminationGracePeriodSeconds": 300,
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"namespace": namespace, "name": "engine"}, "spec": spec}


async def test_apply_makes_and_changes_and_takes_over_fields(api: client.Client, namespace: str) -> None:
    """The fields that we name become ours by force, the others stay; what we no longer name goes."""
    made = await api.apply(resources.CONFIG_MAPS, config(namespace, a="1", b="2"))
    await api.patch(resources.CONFIG_MAPS, namespace, "c", {"data": {"a": "theirs", "x": "9"}})
    after = await api.apply(resources.CONFIG_MAPS, config(namespace, a="1"))
    assert after["metadata"]["uid"] == made["metadata"]["uid"]
    assert after["data"] == {"a": "1", "x": "9"}


async def test_apply_of_a_stale_version_is_a_conflict(api: client.Client, namespace: str) -> None:
    """With a resourceVersion, the object must still be the one that was read."""
    made = await api.apply(resources.CONFIG_MAPS, config(namespace, a="1"))
    await api.patch(resources.CONFIG_MAPS, namespace, "c", {"data": {"x": "9"}})
    stale = config(namespace, a="2")
    stale["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]
    with pytest.raises(errors.Conflict):
        await api.apply(resources.CONFIG_MAPS, stale)


async def test_a_status_is_written_only_over_the_version_that_was_read(
    plane: controlplane.ControlPlane, api: client.Client, namespace: str
) -> None:
    """A former leader that comes late gets a Conflict; what the status no longer names goes; the spec is left alone."""
    plane.kubectl("apply", "-f", str(CRDS / "evalgates.yaml"))
    plane.kubectl("wait", "--for=condition=Established", "crd/evalgates.sluice.dev")
    gate = {"apiVersion": "sluice.dev/v1alpha1", "kind": "EvalGate", "metadata": {"name": "g"}, "spec": {"metrics": [METRIC]}}
    plane.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(gate))
    read = await api.get(resources.EVAL_GATES, namespace, "g")
    version = read["metadata"]["resourceVersion"]
    status = {"observedGeneration": 1, "users": 3}
    first = await api.apply_status(resources.EVAL_GATES, namespace, "g", status, resource_version=version)
    assert first["status"] == status
    with pytest.raises(errors.Conflict):
        await api.apply_status(resources.EVAL_GATES, namespace, "g", {"users": 9}, resource_version=version)
    version = first["metadata"]["resourceVersion"]
    second = await api.apply_status(resources.EVAL_GATES, namespace, "g", {"observedGeneration": 1}, resource_version=version)
    assert "users" not in second["status"]
    assert second["spec"] == read["spec"]


async def test_status_of_what_was_deleted_is_a_conflict(api: client.Client, namespace: str) -> None:
    """Whoever decided by it gathers again, and finds it gone: that is no failure."""
    with pytest.raises(errors.Conflict):
        await api.apply_status(resources.EVAL_GATES, namespace, "gone", {"users": 1}, resource_version="1")


async def test_a_name_that_is_taken_and_one_that_is_not_there(api: client.Client, namespace: str) -> None:
    """Both 409s are told apart."""
    await api.create(resources.CONFIG_MAPS, config(namespace))
    with pytest.raises(errors.AlreadyExists):
        await api.create(resources.CONFIG_MAPS, config(namespace))
    with pytest.raises(errors.NotFound):
        await api.get(resources.CONFIG_MAPS, namespace, "absent")
    with pytest.raises(errors.NotFound):
        await api.delete(resources.CONFIG_MAPS, namespace, "absent")


async def test_an_invalid_object_names_its_fields(api: client.Client, namespace: str) -> None:
    """Both a schema's and a validation's findings carry a path."""
    wrong = deployment(namespace)
    wrong["spec"]["replicas"] = -1
    with pytest.raises(errors.Invalid) as caught:
        await api.apply(resources.DEPLOYMENTS, wrong)
    assert [cause.field for cause in caught.value.causes] == ["spec.replicas"]


async def test_delete_spares_another_object_of_the_same_name(api: client.Client, namespace: str) -> None:
    """The uid says which one was meant."""
    made = await api.create(resources.CONFIG_MAPS, config(namespace))
    with pytest.raises(errors.Conflict):
        await api.delete(resources.CONFIG_MAPS, namespace, "c", uid=str(uuid.uuid4()))
    await api.delete(resources.CONFIG_MAPS, namespace, "c", uid=made["metadata"]["uid"])
    with pytest.raises(errors.NotFound):
        await api.get(resources.CONFIG_MAPS, namespace, "c")


async def test_lists_are_complete_over_pages_and_select_by_label(api: client.Client, namespace: str) -> None:
    """Small pages give the same as one."""
    for index in range(7):
        await api.create(resources.CONFIG_MAPS, config(namespace, f"c{index}"))
    everything = await api.list(resources.CONFIG_MAPS, namespace)
    paged = await api.list(resources.CONFIG_MAPS, namespace, limit=2)
    one = await api.list(resources.CONFIG_MAPS, namespace, labels="app=c3")
    assert [item["metadata"]["name"] for item in paged.items] == [item["metadata"]["name"] for item in everything.items]
    assert [item["metadata"]["name"] for item in one.items] == ["c3"]
    assert int(paged.resource_version) >= int(max(item["metadata"]["resourceVersion"] for item in paged.items))


async def test_what_was_applied_does_not_differ_from_what_is_live(api: client.Client, namespace: str) -> None:
    """The API server defaults fields, drops empty ones and rewrites quantities; none of it is drift, a real change is."""
    desired = drift.stamp(deployment(namespace))
    live = await api.apply(resources.DEPLOYMENTS, desired)
    assert drift.differs(desired, live) is None
    again = await api.apply(resources.DEPLOYMENTS, desired)
    assert again["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"], "applying it again changes nothing"
    edited = copy.deepcopy(live)
    edited["spec"]["template"]["spec"]["containers"][0]["image"] = "engine:2"
    assert drift.differs(desired, edited) == "spec.template.spec.containers[engine].image"


async def test_rbac_is_told_apart_from_the_rest(plane: controlplane.ControlPlane, namespace: str) -> None:
    """A user without rights is known, and refused."""
    async with await client.Client.connect(plane.user("nobody")) as nobody:
        with pytest.raises(errors.Forbidden):
            await nobody.list(resources.CONFIG_MAPS, namespace)


async def test_a_watch_tells_of_changes_of_the_one_object(api: client.Client) -> None:
    """From the version that was read, in order, until the deletion; an ancient version has expired."""
    name = {"namespace": OPERATOR, "name": resources.LEASE_NAME}
    made = await api.create(resources.LEASES, {"metadata": name, "spec": {"holderIdentity": "a"}})
    changed = await api.replace(
        resources.LEASES,
        {"metadata": {**name, "resourceVersion": made["metadata"]["resourceVersion"]}, "spec": {"holderIdentity": "b"}},
    )
    start = made["metadata"]["resourceVersion"]
    async for event in api.watch(resources.LEASES, *name.values(), resource_version=start, idle=10):
        assert event.type == "MODIFIED"
        assert event.object["metadata"]["resourceVersion"] == changed["metadata"]["resourceVersion"]
        break
    with pytest.raises(errors.Conflict):
        await api.replace(resources.LEASES, {"metadata": {**name, "resourceVersion": start}, "spec": {"holderIdentity": "c"}})


async def test_a_stopped_api_server_is_unreachable_and_comes_back(plane: controlplane.ControlPlane) -> None:
    """The same client goes on when it is there again."""
    policy = retry.Policy(timeout=2, attempts=2)
    async with await client.Client.connect(plane.kubeconfig, policy=policy) as api:
        await api.list(resources.NAMESPACES)
        plane.stop_apiserver()
        with pytest.raises(errors.Unreachable):
            await api.list(resources.NAMESPACES)
        plane.start_apiserver()
        assert (await api.list(resources.NAMESPACES)).items
