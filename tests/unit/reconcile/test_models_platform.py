"""The platform's configuration at work: it holds for what is new, and leaves alone what runs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sluice.kube import errors, resources
from tests.unit.reconcile import parts

Object = dict[str, Any]
DENY_TWO = "- {name: strict, namespaceSelector: {matchLabels: {env: prod}}, sources: {allowedSchemes: [hf]}}"


@pytest.fixture
def world() -> parts.World:
    made = parts.World()
    label(made, env="prod")
    return made


def label(world: parts.World, **labels: str) -> None:
    """The namespace has these labels."""
    world.api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ml", "namespace": "", "labels": labels}})


async def configure(world: parts.World, **data: str) -> None:
    """The ConfigMap as the platform team writes it, and read."""
    metadata = {"name": "sluice-config", "namespace": "sluice-system"}
    world.api.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    await world.platform.load()


def stalled(world: parts.World) -> Object:
    """The condition Stalled; empty when there is none."""
    return next((c for c in world.status["conditions"] if c["type"] == "Stalled"), {})


def revisions(world: parts.World) -> dict[str, str]:
    """Outcome label by hash."""
    found = [obj["metadata"]["labels"] for obj in world.cache.list(resources.CONTROLLER_REVISIONS, "ml")]
    return {labels["sluice.dev/revision"]: labels["sluice.dev/outcome"] for labels in found}


async def serving(world: parts.World, source: str = "file:///one") -> str:
    """A model that serves; returns its revision."""
    world.apply(parts.model(source))
    await world.reconcile()
    stable: str = world.status["stableRevision"]
    assert not stalled(world)
    return stable


async def test_violation_stalls_and_makes_no_revision(world: parts.World) -> None:
    """It names rule, field, value and fix; allowed again, the revision is rolled out without anybody touching the spec."""
    await configure(world, enforced=DENY_TWO)
    world.apply(parts.model())
    await world.reconcile()
    assert stalled(world)["reason"] == "PolicyDenied"
    for part in ("'strict'", "spec.template.model.source", "file:///one", "hf://"):
        assert part in stalled(world)["message"]
    assert revisions(world) == {}
    await configure(world, enforced="[]")
    await world.reconcile()
    assert not stalled(world)
    assert list(revisions(world).values()) == ["Stable"]


async def test_rule_that_is_added_later_leaves_what_runs_alone(world: parts.World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written for a model whose revision breaks it, and its next revision is refused beside it."""
    stable = await serving(world)
    await configure(world, enforced=DENY_TWO)
    with monkeypatch.context() as patched:
        for verb in ("apply", "apply_status", "patch", "delete"):
            patched.setattr(world.api, verb, refuse)
        await world.reconcile()
    world.apply(parts.model("file:///two"))
    await world.reconcile()
    assert stalled(world)["reason"] == "PolicyDenied"
    assert world.status["stableRevision"] == stable
    assert revisions(world) == {stable: "Stable"}
    world.apply(parts.model("file:///one"))
    await world.reconcile()
    assert not stalled(world), "going back to what serves is never denied"


async def refuse(*_: Any, **__: Any) -> Object:
    """Fails the test on any write."""
    raise AssertionError("something was written")


async def test_rollout_that_has_begun_goes_on(world: parts.World) -> None:
    """A rule that is added in its middle counts from the next one on."""
    stable = await serving(world)
    world.apply(parts.model("file:///two"))
    await world.reconcile(3)
    new = world.status["rollout"]["revision"]
    await configure(world, enforced=DENY_TWO)
    world.start()  # also under another operator
    await configure(world, enforced=DENY_TWO)
    await world.reconcile()
    assert revisions(world) == {stable: "Previous", new: "Stable"}
    assert not stalled(world)


async def test_old_revision_is_new_again_to_the_rules(world: parts.World) -> None:
    """Going back to one that served before is a rollout like any other."""
    old = await serving(world)
    await serving(world, "hf://org/model")
    new = world.status["stableRevision"]
    await configure(world, enforced=DENY_TWO)
    world.apply(parts.model())
    await world.reconcile()
    assert stalled(world)["reason"] == "PolicyDenied"
    assert revisions(world) == {old: "Previous", new: "Stable"}


async def test_labels_of_the_namespace_decide(world: parts.World) -> None:
    """Where the selector does not match, the rule does not hold; a label that is added later brings it in for what is new."""
    label(world, env="dev")
    await configure(world, enforced=DENY_TWO)
    stable = await serving(world)
    label(world, env="prod")
    await world.reconcile()
    assert not stalled(world)
    world.apply(parts.model("file:///two"))
    await world.reconcile()
    assert stalled(world)["reason"] == "PolicyDenied"
    assert world.status["stableRevision"] == stable


async def test_namespace_that_is_not_known_yet_is_waited_for(world: parts.World) -> None:
    """Without its labels no rule can be told to hold or not: a namespace made together with its model is no way round."""
    found = world.cache.get(resources.NAMESPACES, "", "ml")
    assert found is not None
    world.api.forget(found)
    await configure(world, enforced=DENY_TWO)
    world.apply(parts.model())
    await world.reconcile()
    assert stalled(world)["reason"] == "PolicyUnavailable"
    assert revisions(world) == {}


async def test_broken_configuration_stops_what_is_new_only(world: parts.World) -> None:
    """It says what is wrong, keeps the last good one, shows in a metric, and ends with the mistake."""
    stable = await serving(world)
    await configure(world, enforced=DENY_TWO)
    await configure(world, enforced="- {name: strict, source: {}}")
    assert world.platform.config.enforced[0].sources.allowed_schemes == ("hf",)
    assert b"sluice_platform_config_valid 0.0" in world.models.numbers.render()
    await world.reconcile()
    assert not stalled(world)
    world.apply(parts.model("hf://org/model"))
    await world.reconcile()
    assert stalled(world)["reason"] == "PolicyUnavailable"
    assert "enforced[0].source" in stalled(world)["message"]
    assert revisions(world) == {stable: "Stable"}
    await configure(world, enforced=DENY_TWO)
    await world.reconcile()
    assert not stalled(world)
    assert b"sluice_platform_config_valid 1.0" in world.models.numbers.render()
    assert len(revisions(world)) == 2


async def test_broken_configuration_at_the_start_of_an_operator_lets_nothing_new_through(world: parts.World) -> None:
    """There is no last good one then."""
    await configure(world, enforced="[}")
    world.start()
    await world.platform.load()
    world.apply(parts.model())
    await world.reconcile()
    assert stalled(world)["reason"] == "PolicyUnavailable"
    assert "key enforced is no YAML" in stalled(world)["message"]
    assert revisions(world) == {}


async def test_changed_default_makes_no_revision_and_rewrites_nothing(
    world: parts.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs keeps the defaults that it was made with; the next revision gets the new ones."""
    await configure(world, defaults="{engineImage: 'engine:1', sharedMemory: 1Gi}")
    stable = await serving(world)
    with monkeypatch.context() as patched:
        for verb in ("apply", "apply_status", "patch", "delete"):
            patched.setattr(world.api, verb, refuse)
        await configure(world, defaults="{engineImage: 'engine:2', priorityClassName: high}")
        await world.reconcile()
    world.apply(parts.model("file:///two"))
    await world.reconcile()
    images = {}
    for obj in world.cache.list(resources.CONTROLLER_REVISIONS, "ml"):
        pod = obj["data"]["podTemplate"]["spec"]
        images[obj["metadata"]["labels"]["sluice.dev/revision"]] = (pod["containers"][0]["image"], pod.get("priorityClassName"))
    assert images.pop(stable) == ("engine:1", None)
    assert list(images.values()) == [("engine:2", "high")]


async def test_required_gate_that_is_missing_denies(world: parts.World) -> None:
    """And one that is there is part of the frozen plan, beside what the spec asks for."""
    await configure(world, enforced="- {name: strict, requiredGates: [golden]}")
    world.apply(parts.model())
    await world.reconcile()
    assert stalled(world)["reason"] == "PolicyDenied"
    assert "golden" in stalled(world)["message"]
    assert world.cache.list(resources.DEPLOYMENTS, "ml") == []
    metric = {"name": "errors", "signal": {"type": "ErrorRate"}, "limit": {"ratio": "0.01"}}
    metadata = {"name": "golden", "namespace": "ml", "generation": 1}
    gate = {"apiVersion": "sluice.dev/v1alpha1", "kind": "EvalGate", "metadata": metadata, "spec": {"metrics": [metric]}}
    world.api.put(gate)
    world.apply(parts.edge())
    steps = [{"name": "half", "weight": 50}]
    world.apply(parts.model(gated=True, steps=steps))
    await world.reconcile()
    assert not stalled(world)
    world.apply(parts.model("file:///two", gated=True, steps=steps))
    await world.reconcile(6)
    assert {(each["name"], each["metric"]) for each in world.status["rollout"]["gates"]} == {("golden", "errors")}


async def test_configuration_is_read_again_after_a_while_and_at_once_when_told(
    world: parts.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ConfigMap without our label is found by looking, one with it by the watch; a fault keeps what is known."""
    told: list[str] = []
    world.platform.on_change = lambda: told.append("changed")
    running = asyncio.create_task(world.platform.run())
    metadata = {"name": "sluice-config", "namespace": "sluice-system"}
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"enforced": DENY_TWO}}
    get = world.api.get
    seen: Object = {}

    async def get_unlabelled(*_: Any, **__: Any) -> Object:
        if not seen:
            raise errors.NotFound("get", "not there")
        return seen

    monkeypatch.setattr(world.api, "get", get_unlabelled)
    await world.clock.advance(31)
    assert not world.platform.config.enforced
    seen = made
    await world.clock.advance(31)
    assert [rule.name for rule in world.platform.config.enforced] == ["strict"]
    assert told == ["changed"]

    async def fail(*_: Any, **__: Any) -> Object:
        raise errors.Unreachable("get", "no answer")

    monkeypatch.setattr(world.api, "get", fail)
    await world.clock.advance(31)
    assert [rule.name for rule in world.platform.config.enforced] == ["strict"]
    monkeypatch.setattr(world.api, "get", get)
    world.api.put({**made, "data": {}})
    await world.clock.advance(0)
    assert not world.platform.config.enforced
    assert told == ["changed", "changed"]
    running.cancel()
