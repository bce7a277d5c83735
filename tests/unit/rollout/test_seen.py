"""Pods as they were really seen, on Kubernetes 1.36 with containerd 2.4 and vLLM 0.32: what the table of causes says of each.

The files in `seen/` are what the kubelet wrote, shortened to what is read.
"""

from __future__ import annotations

import datetime
import json
import pathlib

import pytest

from sluice.rollout import causes, health, logs

FOLDER = pathlib.Path(__file__).parent / "seen"
ENVIRONMENT, REVISION, NONE = health.CauseClass.ENVIRONMENT, health.CauseClass.REVISION, health.CauseClass.NONE
Cause = health.Cause

EXPECTED = {
    "claim-missing": (Cause.VOLUME_PENDING, 'persistentvolumeclaim "nope" not found'),
    "claim-unbound": (Cause.VOLUME_PENDING, "unbound immediate PersistentVolumeClaims"),
    "claim-without-provisioner": (Cause.VOLUME_PENDING, "persistentvolumeclaim"),
    "command-missing": (Cause.CRASH_LOOP, 'exec: "/nope": stat /nope: no such file or directory'),
    "configmap-missing": (Cause.MOUNTING, "waits for its volumes"),
    "hung": (Cause.ENGINE_HUNG, "its liveness probe failed: hung"),
    "image-401": (Cause.IMAGE_ACCESS_DENIED, "no basic auth credentials"),
    "image-401-token": (Cause.IMAGE_ACCESS_DENIED, "401 Unauthorized"),
    "image-403": (Cause.IMAGE_ACCESS_DENIED, "403 Forbidden"),
    "image-429": (Cause.PULL_FAILED, "429 Too Many Requests"),
    "image-503": (Cause.PULL_FAILED, "503 Service Unavailable"),
    "image-invalid": (Cause.INVALID_IMAGE, "must be lowercase"),
    "image-never-pulled": (Cause.IMAGE_NOT_FOUND, "is not present with pull policy of Never"),
    "image-registry-has-no-address": (Cause.PULL_FAILED, "lookup registry.invalid"),
    "image-registry-refuses-connections": (Cause.PULL_FAILED, "connection refused"),
    "image-unknown": (Cause.IMAGE_NOT_FOUND, "localhost:5000/team/chat:v9: not found"),
    "image-unknown-digest": (Cause.IMAGE_NOT_FOUND, "not found"),
    "image-volume-403": (Cause.MODEL_ACCESS_DENIED, "403 Forbidden"),
    "image-volume-invalid": (Cause.INVALID_ARGUMENTS, "must be lowercase"),
    "image-volume-registry-refuses-connections": (Cause.DOWNLOAD_FAILED, "connection refused"),
    "image-volume-unknown": (Cause.MODEL_NOT_FOUND, "localhost:5000/team/model:v9: not found"),
    "init-image-unknown": (Cause.PULL_FAILED, "its init container prefetch"),
    "killed": (Cause.CRASH_LOOP, "killed from outside"),
    "no-gpu": (Cause.UNSCHEDULABLE, "asks for 8 nvidia.com/gpu; 0/1 nodes have them"),
    "no-node-fits": (Cause.UNSCHEDULABLE, "1 node(s) didn't match Pod's node affinity/selector"),
    "resourceclaim-missing": (Cause.RESOURCE_CLAIM_PENDING, "before ResourceClaim nope is there"),
    "resourceclaim-without-class": (Cause.RESOURCE_CLAIM_PENDING, "device class gpu.example.com does not exist"),
    "resourceclaim-without-device": (Cause.RESOURCE_CLAIM_PENDING, "cannot allocate all claims"),
    "secret-missing": (Cause.CONFIG_MISSING, 'secret "nope" not found'),
    "vllm-adapter-missing": (None, "No adapter found for /models/nolora"),
    "vllm-argument-no-number": (Cause.INVALID_ARGUMENTS, "invalid int value: 'many'"),
    "vllm-argument-value": (Cause.INVALID_ARGUMENTS, "invalid choice: 'float99'"),
    "vllm-batch-too-small": (Cause.INVALID_ARGUMENTS, "must be greater than or equal to max_num_seqs"),
    "vllm-chat-template-missing": (Cause.INVALID_ARGUMENTS, "appears path-like, but doesn't exist"),
    "vllm-context-too-long": (Cause.INVALID_ARGUMENTS, "is greater than the derived max_model_len"),
    "vllm-engine-core-failed": (None, "Engine core initialization failed"),
    "vllm-heads-not-divisible": (Cause.INVALID_ARGUMENTS, "must be divisible by tensor parallel size (3)"),
    "vllm-hub-offline": (Cause.MODEL_NOT_FOUND, "outgoing traffic has been disabled"),
    "vllm-memory-limit": (None, "OOMKilled"),
    "vllm-middleware-missing": (None, "No module named 'nope'"),
    "vllm-model-path-missing": (Cause.MODEL_NOT_FOUND, "'/models/nope'"),
    "vllm-no-model-there": (Cause.MODEL_NOT_FOUND, "local directory specified: '/usr'"),
    "vllm-not-quantized": (Cause.INVALID_ARGUMENTS, "Cannot find the config file for awq"),
    "vllm-speculative-incomplete": (Cause.INVALID_ARGUMENTS, "num_speculative_tokens must be provided"),
    "vllm-tool-parser-unknown": (Cause.INVALID_ARGUMENTS, "invalid tool call parser: nope"),
    "vllm-unknown-argument": (Cause.INVALID_ARGUMENTS, "unrecognized arguments: --enforce-eagr"),
}
"""Cause and words of the message. None: nothing in the words tells, so that ends are counted."""


def judge(name: str, *, after: float = 120) -> health.Health:
    """The health of a revision with this pod alone."""
    pod = json.loads((FOLDER / f"{name}.json").read_text())
    pod["status"]["phase"] = "Pending" if pod["status"]["phase"] == "Pending" else "Running"  # those of vLLM ran once
    created = datetime.datetime.fromisoformat(pod["metadata"]["creationTimestamp"]).timestamp()
    return causes.health_of({"spec": {"replicas": 1}}, [pod], startup_timeout=1200, now=created + after)


@pytest.mark.parametrize("name", EXPECTED)
def test_each_pod_is_told_by_its_own_words(name: str) -> None:
    """The cause, and in the message what containerd, the scheduler or the engine said."""
    cause, words = EXPECTED[name]

    found = judge(name)

    assert found.cause is (cause or Cause.STARTING)
    assert words in found.message


@pytest.mark.parametrize("name", EXPECTED)
def test_what_may_be_mended_is_never_the_revisions_fault(name: str) -> None:
    """Within the startup timeout only what can never get better rejects a revision."""
    at_once = {Cause.CRASH_LOOP, Cause.ENGINE_HUNG, Cause.INVALID_IMAGE, Cause.INVALID_ARGUMENTS}

    found = judge(name)

    assert (found.effect is REVISION) is (found.cause in at_once)


def test_every_file_is_judged() -> None:
    """A pod that was seen and that no row names is no test."""
    assert {path.stem for path in FOLDER.glob("*.json")} == set(EXPECTED)


def test_the_names_of_images_are_not_what_a_registry_says() -> None:
    """containerd repeats the reference without quotes: a repository may be called as an error is."""
    found = judge("image-503")
    pod = json.loads((FOLDER / "image-503.json").read_text().replace("broken/chat", "unauthorized/manifest-unknown"))
    again = causes.health_of({"spec": {"replicas": 1}}, [pod], startup_timeout=1200, now=0)

    assert again.cause is found.cause


def test_the_root_cause_is_found_above_the_last_lines() -> None:
    """vLLM's API process ends with a traceback that says nothing; what its child said is in the log."""
    log = (FOLDER / "vllm-engine-core-failed.log").read_text()
    pod = json.loads((FOLDER / "vllm-engine-core-failed.json").read_text())
    pod["metadata"]["uid"] = "u1"
    pod["status"]["phase"] = "Running"

    root = logs.root_cause(log)
    told = causes.health_of({"spec": {"replicas": 1}}, [pod], startup_timeout=1e9, now=0, words={"u1": root})

    assert root.startswith("RuntimeError: Insufficient space in /dev/shm for shared-memory allocation: 160 MiB required")
    assert "Insufficient space in /dev/shm" in told.message
    assert told.message.endswith(
        "Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}"
    )


@pytest.mark.parametrize(
    ("log", "root"),
    [
        ("", ""),
        ("(APIServer pid=1) ERROR 11-21 14:37:00 [x.py:1] ValueError: not a child", ""),
        ("(EngineCore pid=20) ERROR 11-21 14:37:00 [core.py:1] EngineCore failed to start.", ""),
        (
            "(Worker_TP1 pid=30) ERROR 11-21 14:37:00 [x.py:1] torch.OutOfMemoryError: CUDA out of memory.\nINFO bye\n",
            "torch.OutOfMemoryError: CUDA out of memory.",
        ),
    ],
    ids=["nothing", "the API process", "no exception", "a worker"],
)
def test_only_a_childs_exception_is_a_root_cause(log: str, root: str) -> None:
    """Nothing is said where nothing was found."""
    assert logs.root_cause(log) == root
