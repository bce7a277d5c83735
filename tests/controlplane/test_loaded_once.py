"""What a rollout costs in pods, by the API server's own audit log, while Git applies the same file again and again."""

from __future__ import annotations

import json
import pathlib
import threading
from collections.abc import Iterator

import pytest

from tests.controlplane import test_canary as parts
from tests.support import controlplane, operators, world

REPLICAS = 4
STEPS = [{"name": "ten", "weight": 10, "hold": "1s"}, {"name": "half", "weight": 50, "hold": "5s"}]


@pytest.fixture
def operator(rights: pathlib.Path, tmp_path: pathlib.Path) -> Iterator[operators.Operator]:
    """A replica that gives up proxies soon."""
    with operators.Operator(rights, tmp_path, environment=parts.QUICK) as running:
        running.wait_leading()
        yield running


def writes(cluster: controlplane.ControlPlane, namespace: world.World, resource: str, verb: str) -> list[dict[str, object]]:
    """Writes of a kind that the API server has let through in the namespace."""
    assert cluster.audit_log is not None
    with cluster.audit_log.open() as lines:
        events = [json.loads(line) for line in lines]
    return [
        event
        for event in events
        if (event["verb"], event.get("objectRef", {}).get("resource")) == (verb, resource)
        and event["objectRef"].get("namespace") == namespace.name
        and not event["objectRef"].get("subresource")
        and event["responseStatus"]["code"] < 300
    ]


@pytest.mark.usefixtures("operator")
def test_a_revision_of_four_pods_is_loaded_once(cluster: controlplane.ControlPlane, namespace: world.World) -> None:
    """Exactly four pods of it are ever made, none restarts, and a file that is applied all the time changes nothing."""
    old = parts.serving(namespace, replicas=REPLICAS, steps=STEPS)
    before = len(writes(cluster, namespace, "pods", "create"))
    assert before == REPLICAS + 1, "and the proxy's"
    wish = parts.canary("file:///models/two", replicas=REPLICAS, steps=STEPS)
    namespace.apply(wish)
    over = threading.Event()
    gitops = threading.Thread(target=_apply_until, args=(namespace, wish, over))
    gitops.start()
    try:
        status = namespace.ended("Promoted")
        namespace.until(lambda: not namespace.get("deployment", f"chat-{old}"), "the old pods go")
    finally:
        over.set()
        gitops.join()

    assert parts.weights(namespace) == ["0", "10", "50", "100"]
    assert len(writes(cluster, namespace, "pods", "create")) - before == REPLICAS
    new = namespace.objects("pod", f"sluice.dev/revision={status['stableRevision']}")
    assert len(new) == REPLICAS
    assert {container["restartCount"] for pod in new for container in pod["status"]["containerStatuses"]} == {0}
    assert len(namespace.revisions()) == 2


def _apply_until(namespace: world.World, wish: world.Object, over: threading.Event) -> None:
    """What a GitOps controller does, more often: server-side apply under a manager of its own."""
    while not over.wait(1):
        namespace.kubectl(
            "apply", "--server-side", "--force-conflicts", "--field-manager=gitops", "-f", "-", stdin=json.dumps(wish)
        )
