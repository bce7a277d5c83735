"""Relations between our objects: who may use a gateway, who refers to whom, and which keys a change wakes."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.api import naming
from sluice.kube import resources
from sluice.reconcile import lookup as lookup_
from sluice.reconcile import triggers
from tests.unit.reconcile import parts

ROUTE = {
    "name": "named",
    "match": {"models": ["chat"]},
    "chain": [{"backends": [{"type": "ModelDeployment", "modelDeployment": {"name": "chat"}}]}],
}


@pytest.fixture
def world() -> parts.World:
    return parts.World()


def namespace(name: str, **labels: str) -> parts.Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


@pytest.mark.parametrize(
    ("allowed", "other", "own", "reason"),
    [
        ({"from": "Same"}, False, True, "the Gateway's own only"),
        ({"from": "All"}, True, True, "every one"),
        ({"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}, True, False, "labelled ones, its own is not"),
        ({"from": "Selector", "selector": {"matchLabels": {"team": "b"}}}, False, False, "another label"),
    ],
)
def test_allowed_namespaces(world: parts.World, allowed: dict[str, Any], other: bool, own: bool, reason: str) -> None:
    """spec.allowedModels decides by the labels that namespaces have now."""
    world.api.put(namespace("other", team="a"))
    world.api.put(namespace("ml"))
    world.apply(parts.edge(allowedModels={"namespaces": allowed}))
    owner = world.lookup.gateway("ml", "edge")
    assert owner is not None
    assert world.lookup.allows(owner, "other") is other, reason
    assert world.lookup.allows(owner, "ml") is own, reason


def test_object_that_does_not_parse_is_left_out(world: parts.World) -> None:
    """One object that an older CRD admitted does not hide the others."""
    world.apply(parts.model())
    broken = parts.model()
    broken["metadata"] = {**broken["metadata"], "name": "broken"}
    broken["spec"] = {"template": 3}
    world.apply(broken)
    assert [model.metadata.name for model in world.lookup.models()] == ["chat"]
    assert world.lookup.model("ml", "broken") is None


def test_parsed_objects_follow_their_versions(world: parts.World) -> None:
    """What is parsed once is used again, until the object changes."""
    world.apply(parts.model())
    first = world.lookup.model("ml", "chat")
    assert world.lookup.model("ml", "chat") is first
    world.apply(parts.model("file:///two"))
    second = world.lookup.model("ml", "chat")
    assert second is not None
    assert second.spec.template.model.source == "file:///two"


def keys(world: parts.World, resource: resources.Resource, *versions: parts.Object | None) -> set[str]:
    """Kind and name of what is looked at again."""
    return {f"{key.kind}/{key.name}" for key in triggers.Triggers(world.lookup).keys(resource, *versions)}


def owned(kind: str, **labels: str) -> parts.Object:
    return {"kind": kind, "metadata": {"name": "x", "namespace": "ml", "labels": labels}}


def test_model_wakes_its_gateways_old_and_new(world: parts.World) -> None:
    """A model that leaves a gateway is looked at there, too."""
    world.apply(parts.edge())
    before, after = parts.model(gated=True), generation(2, parts.model())
    found = keys(world, resources.MODEL_DEPLOYMENTS, before, after)
    assert found == {"ModelDeployment/chat", "Gateway/edge"}


def test_a_status_wakes_only_its_object(world: parts.World) -> None:
    """What others go by is the spec and which revision serves; all else that a status says is for people."""
    world.apply(parts.edge())
    world.apply(parts.model(gated=True))
    for resource, obj, other in (
        (resources.MODEL_DEPLOYMENTS, parts.model(gated=True), "Gateway/edge"),
        (resources.GATEWAYS, parts.edge(), "ModelDeployment/chat"),
    ):
        said = {**obj, "status": {"observedGeneration": 1}}
        assert keys(world, resource, obj, said) == {f"{obj['kind']}/{obj['metadata']['name']}"}
        assert other in keys(world, resource, obj, {**said, "status": {"stableRevision": "a"}})
        assert other in keys(world, resource, obj, generation(2, said))
        assert other in keys(world, resource, obj, {**said, "metadata": {**obj["metadata"], "uid": "another"}})


def generation(number: int, obj: parts.Object) -> parts.Object:
    """The object after a change of its spec."""
    return {**obj, "metadata": {**obj["metadata"], "generation": number}}


def test_deleted_model_wakes_gateways_whose_routes_name_it(world: parts.World) -> None:
    """A route that names a model hears of its end, though the model is in no cache any more."""
    world.apply(parts.edge(routes=[ROUTE]))
    assert "Gateway/edge" in keys(world, resources.MODEL_DEPLOYMENTS, parts.model(), None)


def test_gateway_wakes_models_and_policies_even_when_it_goes(world: parts.World) -> None:
    """Those that refer to a gateway hear of its coming and of its end."""
    world.apply(parts.model(gated=True))
    world.apply(
        {
            "apiVersion": "sluice.dev/v1alpha1",
            "kind": "RateLimitPolicy",
            "metadata": {"name": "limits", "namespace": "ml"},
            "spec": {
                "targetRefs": [{"group": "sluice.dev", "kind": "Gateway", "name": "edge"}],
                "limits": [{"name": "all", "key": [], "unit": "Requests", "amount": 1, "per": "1m", "scope": "PerReplica"}],
            },
        }
    )
    for versions in ((None, parts.edge()), (parts.edge(), None)):
        assert keys(world, resources.GATEWAYS, *versions) == {"Gateway/edge", "ModelDeployment/chat", "RateLimitPolicy/limits"}


@pytest.mark.parametrize(
    ("resource", "obj", "wanted"),
    [
        (resources.PODS, owned("Pod", **{naming.LABEL_MODEL_DEPLOYMENT: "chat"}), {"ModelDeployment/chat"}),
        (resources.PODS, owned("Pod", **{naming.LABEL_GATEWAY: "edge"}), {"Gateway/edge"}),
        (resources.CONFIG_MAPS, owned("ConfigMap", **{naming.LABEL_MODEL_DEPLOYMENT: "chat"}), {"ModelDeployment/chat"}),
        (resources.SECRETS, owned("Secret"), {"Gateway/edge"}),
        (resources.PODS, owned("Pod"), set()),
        (
            resources.ENDPOINT_SLICES, owned("EndpointSlice", **{naming.LABEL_MODEL_DEPLOYMENT: "chat"}),
            {"ModelDeployment/chat", "Gateway/edge"},
        ),
        (resources.NAMESPACES, namespace("ml"), {"ModelDeployment/chat"}),
    ],
)  # fmt: skip
def test_owned_objects_wake_their_owners(
    world: parts.World, resource: resources.Resource, obj: parts.Object, wanted: set[str]
) -> None:
    """Whatever changes, who depends on it is looked at again: before and after."""
    world.apply(parts.edge())
    world.apply(parts.model(gated=True))
    assert keys(world, resource, None, obj) == keys(world, resource, obj, None) == wanted


def test_readings_of_an_hpa_wake_nobody(world: parts.World) -> None:
    """Its controller writes them every 15 s; what it says in conditions wakes the model."""
    labels = {naming.LABEL_MODEL_DEPLOYMENT: "chat"}
    before = {**owned("HorizontalPodAutoscaler", **labels), "status": {"currentMetrics": [{"type": "Pods", "pods": 1}]}}
    after = {**before, "status": {"currentMetrics": [{"type": "Pods", "pods": 2}]}}
    limited = {"type": "ScalingLimited", "status": "True"}
    resource = resources.HORIZONTAL_POD_AUTOSCALERS
    assert keys(world, resource, before, after) == set()
    assert keys(world, resource, before, {**after, "status": {"conditions": [limited]}}) == {"ModelDeployment/chat"}
    assert keys(world, resource, None, before) == keys(world, resource, before, None) == {"ModelDeployment/chat"}


def test_pods_of_evals_wake_models_in_a_rollout(world: parts.World) -> None:
    """Pods of eval Jobs carry no revision, so that no Service selects them: every model in a rollout is looked at."""
    world.apply(parts.model())
    pod = owned("Pod", **{naming.LABEL_EVAL: "golden"})
    assert keys(world, resources.PODS, pod) == set()
    obj = parts.model()
    obj["status"] = {"rollout": {"revision": "a", "phase": "WarmingUp"}}
    world.apply(obj)
    assert keys(world, resources.PODS, pod) == {"ModelDeployment/chat"}


def test_references_have_the_models_namespace_by_default(world: parts.World) -> None:
    """A gatewayRef without a namespace means that of the model."""
    obj = parts.model()
    obj["spec"]["gatewayRefs"] = [{"name": "edge"}, {"name": "edge", "namespace": "platform"}]
    world.apply(obj)
    model = world.lookup.model("ml", "chat")
    assert model is not None
    assert lookup_.gateway_refs(model) == {("ml", "edge"), ("platform", "edge")}
