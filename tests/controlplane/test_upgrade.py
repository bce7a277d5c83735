"""A new version of the operator with other defaults and another renderer: what runs stays as it is."""

from __future__ import annotations

import pathlib

import pytest

from tests.support import operators, world

LATER = {
    "SLUICE_ENGINE_IMAGE": "localhost/sluice/vllm:later",
    "SLUICE_SHARED_MEMORY": "4Gi",
    "SLUICE_RENDERER_MARK": "later",
}


FLEET = 100


def without_image(source: str = "file:///models/one") -> world.Object:
    """A ModelDeployment that leaves to the defaults what it can."""
    made = world.model(source)
    made["spec"]["template"]["engine"].pop("image")
    return made


def test_upgrade_touches_no_revision(namespace: world.World, rights: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Changed defaults and a changed renderer rewrite no pod template and make no revision, nor does `kubectl replace`.

    A new template then is rendered by the new version.
    """
    with operators.Operator(rights, tmp_path, name="before") as before:
        before.wait_ready()
        namespace.apply(without_image())
        stable = namespace.ready()["stableRevision"]
    pods, template = namespace.pods(), deployment_template(namespace, stable)
    stored = namespace.get("controllerrevision", f"chat-{stable}")["data"]

    with operators.Operator(rights, tmp_path, name="after", environment=LATER) as after:
        after.wait_ready()
        namespace.apply(world.model(name="probe", replicas=0))
        namespace.status("the new version works", lambda _: True, "probe")
        namespace.kubectl("replace", "-f", "-", stdin=world.dump(without_image()))
        namespace.kubectl("scale", "mdep/chat", "--replicas=3")
        namespace.status("it is scaled", lambda status: status["readyReplicas"] == 3)
        assert list(namespace.revisions()) == [stable]
        assert deployment_template(namespace, stable) == template
        assert pods.items() <= namespace.pods().items()
        assert namespace.get("controllerrevision", f"chat-{stable}")["data"] == stored

        namespace.apply(without_image("file:///models/two"))
        new = namespace.status("it is promoted", lambda status: status["stableRevision"] != stable)["stableRevision"]
        rendered = deployment_template(namespace, new)
        assert rendered["spec"]["containers"][0]["image"] == "localhost/sluice/vllm:later"
        assert rendered["metadata"]["annotations"]["sluice.dev/renderer-mark"] == "later"


@pytest.mark.timeout(300)
def test_upgrade_touches_nothing_of_a_whole_fleet(namespace: world.World, rights: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Over a hundred ModelDeployments: no pod template is written, no revision is made, no pod is lost."""
    names = [f"model-{number}" for number in range(FLEET)]
    with operators.Operator(rights, tmp_path, name="before") as before:
        before.wait_ready()
        namespace.apply(*({**without_image(), "metadata": {"name": name}} for name in names))
        namespace.until(lambda: all_ready(namespace), "the fleet is ready", patience=200)
    known = fleet(namespace)
    with operators.Operator(rights, tmp_path, name="after", environment=LATER) as after:
        after.wait_ready()
        namespace.until(lambda: after.has_seen(FLEET), "the new version has seen the fleet")
        assert fleet(namespace) == known


def all_ready(namespace: world.World) -> bool:
    """Whether every ModelDeployment is."""
    found = namespace.objects("modeldeployment")
    return len(found) == FLEET and all(world.condition(obj.get("status", {}), "Ready")["status"] == "True" for obj in found)


def fleet(namespace: world.World) -> dict[str, object]:
    """What an upgrade must leave alone: every Deployment and its generation, every revision, every pod."""
    return {
        f"{obj['kind']}/{obj['metadata']['name']}": (
            obj["metadata"]["uid"],
            obj["metadata"].get("generation"),
            obj.get("spec", {}).get("template"),
            obj.get("data"),
        )
        for obj in namespace.objects("deployment,controllerrevision,pod")
    }


def deployment_template(namespace: world.World, revision: str) -> world.Object:
    """The pod template of a revision's Deployment."""
    template: world.Object = namespace.get("deployment", f"chat-{revision}")["spec"]["template"]
    return template
