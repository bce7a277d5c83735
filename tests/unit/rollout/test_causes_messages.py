"""What users read of pods that are not ready: the engine's own words, amounts, and what to do."""

from __future__ import annotations

import pytest

from sluice.rollout import fixes, health
from tests.unit.rollout import judging, messages
from tests.unit.rollout import pod_json as k8s


def test_last_lines_reach_the_message() -> None:
    """A rejected revision says what its engine said last."""
    found = judging.judge(
        k8s.pod(
            phase="Running", engine=k8s.back_off("\n".join(f"line {n}" for n in range(99)) + "\n" + messages.TRACE, restarts=2)
        )
    )

    assert "Engine core initialization failed" in found.message
    assert "line 50" not in found.message
    assert len(found.message) < 1500


@pytest.mark.parametrize(
    ("message", "amounts", "says"),
    [
        (messages.NO_GPU, {"nvidia.com/gpu": "8", "cpu": "4"}, "asks for 8 nvidia.com/gpu; 0/3 nodes have them"),
        (
            "0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) didn't match Pod's node affinity/selector.",
            {"nvidia.com/gpu": "1"},
            "asks for 1 nvidia.com/gpu; 1 of 3 nodes lack them",
        ),
        (
            "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory. no new claims to deallocate, preemption: …",
            {"cpu": "500", "memory": "9000Gi"},
            "asks for 500 cpu, 9000Gi memory; 0/1 nodes have them",
        ),
    ],
)
def test_what_is_short_is_named_with_the_amount_asked(message: str, amounts: dict[str, str], says: str) -> None:
    """Which resource, how much of it, how many nodes; the scheduler's thoughts about preemption are left out."""
    spec = {"containers": [{"name": "engine", "resources": {"limits": amounts}}]}

    found = judging.judge(k8s.unschedulable(message, spec))

    assert says in found.message
    assert "Environment: add nodes that fit" in found.message
    assert "preemption" not in found.message


def test_a_hang_says_what_it_counts_as() -> None:
    """The probe's own words, and that a hang is an end like any other."""
    found = judging.judge(k8s.pod(phase="Running", engine=k8s.back_off(messages.HUNG, restarts=1, code=137)))

    assert "nothing has moved for 131 s" in found.message
    assert "counts as an end like any other: 3 of them reject" in found.message


def test_a_download_says_what_it_downloads_and_why_it_failed() -> None:
    """The source while it runs; the container's sentence with URL and status when it failed."""
    spec = {"initContainers": [{"name": "prefetch", "args": ["prefetch", "--item=model=hf://org/chat"]}]}
    running = k8s.downloading(state={"running": {"startedAt": k8s.stamp(5)}}) | {"spec": spec}
    said = "Cannot download hf://org/chat: https://huggingface.co/api/models/org/chat answered 403"

    assert "downloads hf://org/chat." in judging.judge(running).message
    assert said in judging.judge(k8s.download_ended(3, said)).message


def test_a_native_sidecar_is_no_download() -> None:
    """An init container that restarts always runs beside the engine, once it has started."""
    spec = {"initContainers": [{"name": "proxy", "restartPolicy": "Always"}]}
    proxy = k8s.prefetch({"running": {"startedAt": k8s.stamp(1)}}, name="proxy") | {"started": True}

    found = judging.judge(k8s.pod(phase="Running", engine=k8s.running(20), init=proxy, spec=spec))

    assert "loads its model" in found.message


def test_every_cause_that_a_person_can_mend_says_how() -> None:
    """Only what needs nobody is without advice."""
    silent = {cause for cause in health.Cause if not fixes.advice(cause, health.class_of(cause))}

    assert silent == {health.Cause.STARTING, health.Cause.LEAVING}
