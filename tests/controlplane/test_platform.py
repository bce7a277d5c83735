"""The platform's ConfigMap on a real API server: who is stopped, who is left alone, and that it is found without our label."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests.support import operators, world

CONFIG = "sluice-config"
OURS = {"app.kubernetes.io/managed-by": "sluice"}


@pytest.fixture(scope="module")
def operator(rights: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[operators.Operator]:
    """One replica that looks at what it cannot watch every second."""
    environment = {"SLUICE_REFRESH_INTERVAL": "1"}
    with operators.Operator(rights, tmp_path_factory.mktemp("operator"), environment=environment) as running:
        running.wait_leading()
        yield running


@pytest.fixture
def space(namespace: world.World, operator: operators.Operator) -> Iterator[world.World]:
    """A namespace with a label that rules can select, and no configuration before and after."""
    namespace.cluster.kubectl("label", "namespace", namespace.name, "env=prod")
    yield namespace
    namespace.cluster.kubectl("-n", operators.NAMESPACE, "delete", "configmap", CONFIG, "--ignore-not-found")
    namespace.until(lambda: operator.number("sluice_platform_config_valid") == 1, "the configuration is gone")


def configure(space: world.World, labels: dict[str, str] | None = None, **data: str) -> None:
    """The ConfigMap, as the platform team applies it."""
    metadata = {"name": CONFIG, "namespace": operators.NAMESPACE, "labels": labels or {}}
    config = world.dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    space.cluster.kubectl("apply", "-f", "-", stdin=config)


def only(scheme: str) -> str:
    """A rule for namespaces labelled as production."""
    return (
        "- {name: strict, namespaceSelector: {matchLabels: {env: prod}}, "
        f"sources: {{allowedSchemes: [{scheme}]}}, images: {{allowedPrefixes: [localhost/]}}}}"
    )


@pytest.mark.parametrize("labels", [OURS, {}], ids=["labelled", "without our label"])
def test_rule_stops_what_is_new_and_leaves_what_runs(space: world.World, labels: dict[str, str]) -> None:
    """The message names rule, field, value and fix, and it ends without anybody touching the spec."""
    space.apply(world.model())
    stable = space.ready()["stableRevision"]
    pods = space.pods()
    configure(space, labels, enforced=only("hf"))
    space.apply(world.model("file:///models/two", name="other"))
    denied = space.reason("mdep", "other", "Stalled", "PolicyDenied")
    for part in ("'strict'", "spec.template.model.source", "file:///models/two", "hf://"):
        assert part in denied["message"]
    space.ready()
    assert (space.pods(), space.revisions()) == (pods, {stable: "Stable"})
    assert space.revisions("other") == {}
    configure(space, labels, enforced=only("file"))
    space.ready("other")


def test_labels_of_the_namespace_decide(space: world.World) -> None:
    """A namespace that loses the label is no longer held to the rule."""
    configure(space, OURS, enforced=only("hf"))
    space.apply(world.model())
    space.reason("mdep", "chat", "Stalled", "PolicyDenied")
    space.cluster.kubectl("label", "namespace", space.name, "env-")
    space.ready()


def test_broken_configuration_lets_nothing_new_through(space: world.World, operator: operators.Operator) -> None:
    """It is a metric, a line of the log and a condition; what runs is left alone, and it ends with the mistake."""
    space.apply(world.model())
    stable = space.ready()["stableRevision"]
    configure(space, OURS, enforced="- {name: strict, source: {}}")
    space.until(lambda: operator.number("sluice_platform_config_valid") == 0, "the metric says so")
    assert "platform configuration cannot be used" in operator.log
    space.apply(world.model("file:///models/two"))
    unavailable = space.reason("mdep", "chat", "Stalled", "PolicyUnavailable")
    assert "enforced[0].source" in unavailable["message"]
    assert space.revisions() == {stable: "Stable"}
    configure(space, OURS, enforced=only("file"))
    space.ready()
    assert len(space.revisions()) == 2


def test_changed_default_makes_no_revision_and_rewrites_nothing(space: world.World) -> None:
    """The next revision has it, and says so."""
    made = world.model()
    made["spec"]["template"]["engine"].pop("image")
    configure(space, OURS, defaults="{engineImage: 'localhost/sluice/vllm:test', sharedMemory: 1Gi}")
    space.until(lambda: operator_knows(space, made), "the default is in force")
    stable = space.ready()["stableRevision"]
    before = space.get("deployment", f"chat-{stable}")["metadata"]
    configure(space, OURS, defaults="{engineImage: 'localhost/sluice/vllm:later', sharedMemory: 4Gi}")
    made["spec"]["template"]["model"]["source"] = "file:///models/two"
    probe = {**made, "metadata": {"name": "probe"}}
    space.apply({**probe, "spec": {**made["spec"], "replicas": 0}})
    space.until(lambda: image_of(space, "probe").endswith(":later"), "the new default is in force")
    space.ready()
    after = space.get("deployment", f"chat-{stable}")["metadata"]
    assert (before["generation"], before["uid"]) == (after["generation"], after["uid"])
    assert space.revisions() == {stable: "Stable"}
    space.apply(made)
    new = space.status("the next one serves", lambda status: status["stableRevision"] != stable)["stableRevision"]
    recorded = space.get("controllerrevision", f"chat-{new}")["data"]["defaults"]
    assert (recorded["engine_image"], recorded["shared_memory"]) == ("localhost/sluice/vllm:later", "4Gi")


def operator_knows(space: world.World, made: world.Object) -> bool:
    """Applies the model; whether its newest revision has the default. One that was too early is applied anew."""
    if not space.model():
        space.apply(made)
    if image_of(space, "chat") and not image_of(space, "chat").endswith(":test"):
        space.kubectl("delete", "mdep/chat")
    found = space.objects("controllerrevision", "sluice.dev/model-deployment=chat")
    return any(obj["data"]["defaults"].get("shared_memory") == "1Gi" for obj in found)


def image_of(space: world.World, name: str) -> str:
    """The engine's image in the only revision of a model; empty when it has none."""
    found = space.objects("controllerrevision", f"sluice.dev/model-deployment={name}")
    return found[0]["data"]["podTemplate"]["spec"]["containers"][0]["image"] if found else ""
