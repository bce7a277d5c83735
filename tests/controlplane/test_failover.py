"""Two replicas, and an API server that comes and goes: whatever ends in the middle of a rollout, the outcome is the same."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator

import httpx
import pytest

from tests.support import operators, statuses, world

STEPS = [{"name": "one", "weight": 0, "hold": "2s"}, {"name": "two", "weight": 0, "hold": "3s"}]
FAST = {
    "SLUICE_LEASE_DURATION": "3",
    "SLUICE_LEASE_RENEW_DEADLINE": "2",
    "SLUICE_LEASE_RETRY": "0.5",
    "SLUICE_LEASE_REQUEST_TIMEOUT": "0.5",
}


@pytest.fixture
def replicas(rights: pathlib.Path, tmp_path: pathlib.Path) -> Iterator[tuple[operators.Operator, operators.Operator]]:
    """Two replicas, of which the first leads."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(operators.Operator(rights, tmp_path, name="first", environment=FAST))
        first.wait_leading()
        second = stack.enter_context(operators.Operator(rights, tmp_path, name="second", environment=FAST))
        second.wait_ready()
        yield first, second


def begin(namespace: world.World) -> tuple[str, str]:
    """A rollout in the middle of its steps; returns the hashes of the stable and the new revision."""
    namespace.apply(world.model(steps=STEPS))
    old = namespace.ready()["stableRevision"]
    namespace.apply(world.model("file:///models/two", steps=STEPS))
    status = namespace.status("it holds", lambda status: status.get("rollout", {}).get("reason") == "Holding")
    return old, status["rollout"]["revision"]


def ends_promoted(namespace: world.World, old: str, new: str) -> None:
    """The rollout ends as it would have: once, with no revision or pod made twice and no epoch that falls."""
    status = namespace.ended("Promoted", new)
    namespace.ready()
    assert status["stableRevision"] == new
    assert namespace.revisions() == {old: "Previous", new: "Stable"}
    assert len(namespace.created()) == 4
    versions = namespace.history.of(namespace.name, "ModelDeployment")
    epochs = statuses.epochs(versions)
    assert epochs == sorted(epochs)
    starts = {obj["status"]["rollout"]["startedAt"] for obj in versions if obj.get("status", {}).get("rollout", {})}
    assert len(starts) == 2, "each rollout started once"


def leader(namespace: world.World) -> str:
    """Who holds the Lease."""
    lease = namespace.cluster.kubectl(
        "get", "lease", "sluice-operator", "-n", operators.NAMESPACE, "-o=jsonpath={.spec.holderIdentity}"
    )
    return lease.stdout


def test_follower_is_ready_and_does_nothing(
    namespace: world.World, replicas: tuple[operators.Operator, operators.Operator]
) -> None:
    """Only one replica leads and writes; the other is ready all the same."""
    begin(namespace)
    first, second = replicas
    assert leader(namespace) == "first"
    assert first.number("sluice_leader") == 1
    assert second.number("sluice_leader") == 0
    assert '"apply"' not in second.log
    assert httpx.get(f"http://127.0.0.1:{second.http_port}/readyz").status_code == httpx.codes.OK


def test_kill_of_the_leader(namespace: world.World, replicas: tuple[operators.Operator, operators.Operator]) -> None:
    """kill -9 of the leader in the middle of a rollout: the other one leads, and the rollout ends as it would have."""
    old, new = begin(namespace)
    replicas[0].kill()
    namespace.until(lambda: leader(namespace) == "second", "the other replica leads", show=lambda: leader(namespace))
    ends_promoted(namespace, old, new)


def test_graceful_stop_hands_the_lease_over(
    namespace: world.World, replicas: tuple[operators.Operator, operators.Operator]
) -> None:
    """SIGTERM frees the Lease before the process ends, so that nobody waits for its expiry."""
    old, new = begin(namespace)
    assert replicas[0].stop() == 0
    assert leader(namespace) in ("", "second")
    namespace.until(lambda: leader(namespace) == "second", "the other replica leads", show=lambda: leader(namespace))
    assert "Traceback" not in replicas[0].log
    ends_promoted(namespace, old, new)


@pytest.mark.parametrize("attempt", [0, 2, 4])
def test_kill_at_any_moment(namespace: world.World, rights: pathlib.Path, tmp_path: pathlib.Path, attempt: int) -> None:
    """Killed after so many status writes and started again, the operator ends every rollout as it would have."""
    steps = [{"name": "one", "weight": 0, "hold": "200ms"}]
    with operators.Operator(rights, tmp_path, name="killed", environment=FAST) as one:
        one.wait_ready()
        namespace.apply(world.model(steps=steps))
        old = namespace.ready()["stableRevision"]
        namespace.apply(world.model("file:///models/two", steps=steps))
        generation = namespace.model()["metadata"]["generation"]

        def written() -> int:
            versions = namespace.history.of(namespace.name, "ModelDeployment")
            return sum(obj.get("status", {}).get("observedGeneration") == generation for obj in versions)

        namespace.until(lambda: written() > attempt, f"more than {attempt} statuses")
        one.kill()
    with operators.Operator(rights, tmp_path, name="successor", environment=FAST) as two:
        two.wait_leading()
        status = namespace.status("it is promoted", lambda status: status["stableRevision"] != old)
        ends_promoted(namespace, old, status["stableRevision"])


def test_api_server_that_is_away(namespace: world.World, replicas: tuple[operators.Operator, operators.Operator]) -> None:
    """Without its API server the leader only protects, then takes up its work again: the rollout ends promoted."""
    old, new = begin(namespace)
    namespace.cluster.stop_apiserver()
    try:
        namespace.until(
            lambda: replicas[0].number("sluice_protect_only") == 1, "it only protects", show=lambda: replicas[0].log[-2000:]
        )
        assert replicas[0].number("sluice_leader") == 0
    finally:
        namespace.cluster.start_apiserver()
    ends_promoted(namespace, old, new)
    running = [one for one in replicas if one.number("sluice_leader") == 1]
    assert [one.name for one in running] == [leader(namespace)]
