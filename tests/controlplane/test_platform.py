"""The platform's ConfigMap on a real API server: who is stopped, who is left alone, and that it is found without our label."""

from __future__ import annotations

import dataclasses
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


@dataclasses.dataclass
class Rules:
    """The platform team's ConfigMap, as one operator knows it."""

    space: world.World
    operator: operators.Operator

    def configure(self, labels: dict[str, str] | None = None, **data: str) -> None:
        """Applies other content than there was, and waits until the operator has read it."""
        metadata = {"name": CONFIG, "namespace": operators.NAMESPACE, "labels": labels or {}}
        config = world.dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
        said = self._said()
        self.space.cluster.kubectl("apply", "-f", "-", stdin=config)
        self.space.until(lambda: self._said() > said, f"the operator has read {data}")

    def remove(self) -> None:
        """Deletes the ConfigMap, and waits until the operator knows."""
        said = self._said()
        if self.space.cluster.kubectl("-n", operators.NAMESPACE, "delete", "configmap", CONFIG, "--ignore-not-found").stdout:
            self.space.until(lambda: self._said() > said, "the operator knows that the configuration is gone")

    def looks(self) -> float:
        """How often the operator has looked at ModelDeployments."""
        return self.operator.sample('sluice_reconcile_seconds_count{kind="ModelDeployment"}')

    def _said(self) -> int:
        """How often the operator has said that the configuration is another one."""
        return self.operator.log.count('"event": "platform configuration')


@pytest.fixture
def space(namespace: world.World) -> world.World:
    """A namespace with a label that rules can select."""
    namespace.cluster.kubectl("label", "namespace", namespace.name, "env=prod")
    return namespace


@pytest.fixture
def rules(space: world.World, operator: operators.Operator) -> Iterator[Rules]:
    """No configuration before and after."""
    made = Rules(space, operator)
    yield made
    made.remove()


def only(scheme: str) -> str:
    """A rule for namespaces labelled as production."""
    return (
        "- {name: strict, namespaceSelector: {matchLabels: {env: prod}}, "
        f"sources: {{allowedSchemes: [{scheme}]}}, images: {{allowedPrefixes: [localhost/]}}}}"
    )


@pytest.mark.parametrize("labels", [OURS, {}], ids=["labelled", "without our label"])
def test_rule_stops_what_is_new_and_leaves_what_runs(space: world.World, rules: Rules, labels: dict[str, str]) -> None:
    """The message names rule, field, value and fix, and it ends without anybody touching the spec."""
    space.apply(world.model())
    stable = space.ready()["stableRevision"]
    pods = space.pods()
    rules.configure(labels, enforced=only("hf"))
    space.apply(world.model("file:///models/two", name="other"))
    denied = space.reason("mdep", "other", "Stalled", "PolicyDenied")
    for part in ("'strict'", "spec.template.model.source", "file:///models/two", "hf://"):
        assert part in denied["message"]
    space.ready()
    assert (space.pods(), space.revisions()) == (pods, {stable: "Stable"})
    assert space.revisions("other") == {}
    rules.configure(labels, enforced=only("file"))
    space.ready("other")


def test_labels_of_the_namespace_decide(space: world.World, rules: Rules) -> None:
    """A namespace that loses the label is no longer held to the rule."""
    rules.configure(OURS, enforced=only("hf"))
    space.apply(world.model())
    space.reason("mdep", "chat", "Stalled", "PolicyDenied")
    space.cluster.kubectl("label", "namespace", space.name, "env-")
    space.ready()


def test_broken_configuration_lets_nothing_new_through(space: world.World, rules: Rules) -> None:
    """It is a metric, a line of the log and a condition; what runs is left alone, and it ends with the mistake."""
    space.apply(world.model())
    stable = space.ready()["stableRevision"]
    rules.configure(OURS, enforced="- {name: strict, source: {}}")
    assert rules.operator.number("sluice_platform_config_valid") == 0
    assert "platform configuration cannot be used" in rules.operator.log
    space.apply(world.model("file:///models/two"))
    unavailable = space.reason("mdep", "chat", "Stalled", "PolicyUnavailable")
    assert "enforced[0].source" in unavailable["message"]
    assert space.revisions() == {stable: "Stable"}
    rules.configure(OURS, enforced=only("file"))
    space.ready()
    assert len(space.revisions()) == 2


def test_changed_default_makes_no_revision_and_rewrites_nothing(space: world.World, rules: Rules) -> None:
    """The next revision has it, and says so."""
    made = world.model()
    made["spec"]["template"]["engine"].pop("image")
    rules.configure(OURS, defaults="{engineImage: 'localhost/sluice/vllm:test', sharedMemory: 1Gi}")
    space.apply(made)
    stable = space.ready()["stableRevision"]
    before = space.get("deployment", f"chat-{stable}")["metadata"]
    looks = rules.looks()
    rules.configure(OURS, defaults="{engineImage: 'localhost/sluice/vllm:later', sharedMemory: 4Gi}")
    space.until(lambda: rules.looks() > looks, "the operator has looked at the model under the new default")
    after = space.get("deployment", f"chat-{stable}")["metadata"]
    assert (before["generation"], before["uid"]) == (after["generation"], after["uid"])
    assert space.revisions() == {stable: "Stable"}
    made["spec"]["template"]["model"]["source"] = "file:///models/two"
    space.apply(made)
    new = space.status("the next one serves", lambda status: status["stableRevision"] != stable)["stableRevision"]
    recorded = space.get("controllerrevision", f"chat-{new}")["data"]["defaults"]
    assert (recorded["engine_image"], recorded["shared_memory"]) == ("localhost/sluice/vllm:later", "4Gi")
