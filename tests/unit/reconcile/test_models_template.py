"""Templates that the API server admits and that cannot work: said in the status, and nothing that runs is touched."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.kube import resources
from tests.unit.reconcile import parts

Object = dict[str, Any]


@pytest.fixture
def world() -> parts.World:
    return parts.World()


def model(source: str = "file:///one", **engine: Any) -> Object:
    """A ModelDeployment with these settings of its engine."""
    made = parts.model(source)
    made["spec"]["template"]["engine"].update(engine)
    return made


def stalled(world: parts.World) -> Object:
    """The condition Stalled; empty when there is none."""
    return next((c for c in world.status["conditions"] if c["type"] == "Stalled"), {})


def deployments(world: parts.World) -> list[Object]:
    """All Deployments, as they are."""
    return list(world.cache.list(resources.DEPLOYMENTS, parts.KEY.namespace))


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (model("file:///two", version="0.31"), ("vLLM 0.31", "spec.template.engine.version")),
        (
            model("file:///two", version="0.32", vllm={"args": {"kvCacheDtype": "fp16"}}),
            ("spec.template.engine.vllm.args.kvCacheDtype fp16",),
        ),
        (model("oci://registry.example/models/llama:1"), ("image volumes", "1.35")),
    ],
    ids=["version", "value", "source"],
)
async def test_what_cannot_work_stalls_and_leaves_what_runs_alone(
    world: parts.World, wanted: Object, words: tuple[str, ...]
) -> None:
    """No revision is stored and no pod made for it, and the old one serves on."""
    world.apply(model())
    await world.reconcile()
    stable, before = world.status["stableRevision"], deployments(world)
    world.apply(wanted)
    await world.reconcile()
    condition = stalled(world)
    assert condition["reason"] in ("InvalidTemplate", "SourceUnsupported")
    assert [word for word in (*words, "What runs is left alone") if word not in condition["message"]] == []
    assert world.status["stableRevision"] == stable
    assert deployments(world) == before


async def test_a_mended_template_is_rolled_out(world: parts.World) -> None:
    """The stall ends with the mistake."""
    world.apply(model(version="0.31"))
    await world.reconcile()
    assert stalled(world)["reason"] == "InvalidTemplate"
    assert deployments(world) == []
    world.apply(model(version="0.33"))
    await world.reconcile()
    assert stalled(world) == {}
    assert len(deployments(world)) == 1


async def test_what_a_revision_was_given_is_recorded_with_it(world: parts.World) -> None:
    """So that another table of profiles changes no revision."""
    wanted = model()
    wanted["spec"]["template"]["resources"] = {"gpu": {"count": 2, "profile": "L4"}}
    world.apply(wanted)
    await world.reconcile()
    (stored,) = world.cache.list(resources.CONTROLLER_REVISIONS, parts.KEY.namespace)
    assert stored["data"]["defaults"]["engine.vllm.args.tensorParallelSize"] == "2"
    assert stored["data"]["defaults"]["engine.vllm.args.maxNumSeqs"] == "128"
    assert "maxNumSeqs" not in str(stored["data"]["template"])
