"""Why pods are not ready: the closed table, over pods as Kubernetes 1.36 writes them.

Longer than other files because it is one table, a row a kind of pod.
"""

from __future__ import annotations

import pytest

from sluice.rollout import causes, fixes, health
from tests.unit.rollout import pod_json as k8s

STARTUP = 1200.0
Json = k8s.Json
ENVIRONMENT, REVISION, NONE = health.CauseClass.ENVIRONMENT, health.CauseClass.REVISION, health.CauseClass.NONE


def deployment(replicas: int = 1, failure: str | None = None) -> Json:
    """The revision's Deployment."""
    conditions = [{"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable"}]
    if failure is not None:
        conditions.append({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": failure})
    return {"spec": {"replicas": replicas}, "status": {"conditions": conditions}}


def judge(*pods: Json, replicas: int = 1, failure: str | None = None, at: float = 60) -> health.Health:
    """The health of these pods, so many seconds after the start."""
    return causes.health_of(deployment(replicas, failure), pods, startup_timeout=STARTUP, now=k8s.START + at)


NO_GPU = (
    "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: 0/3 nodes are available: 3 No preemption victims found"
)
NO_CLAIM = '0/1 nodes are available: persistentvolumeclaim "models" not found. not found'
PULL = 'Back-off pulling image "r.example/llm/chat:v2": ErrImagePull: failed to pull and unpack image "r.example/llm/chat:v2": '
RESOLVE = PULL + 'failed to resolve reference "r.example/llm/chat:v2": '
UNKNOWN_TAG = RESOLVE + "r.example/llm/chat:v2: not found"
USAGE = "usage: vllm serve [model_tag] [options]\nvllm serve: error: unrecognized arguments: --enforce-eagr"
CONFIG = (
    "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
    "  Value error, User-specified max_model_len (9000000) is greater than the derived max_model_len (2048)."
)
NO_MODEL = (
    "1 validation error for ModelConfig\n  Value error, Invalid repository ID or local directory specified: '/models/nope'.\n"
    "Please verify the following requirements:"
)
GATED = "huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: Root=1-66)\n\nCannot access gated repo for url"
HUB_DOWN = (
    "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the cached files.\n"
    "Value error, Invalid repository ID or local directory specified: 'org/chat'"
)
TRACE = "Traceback (most recent call last):\nRuntimeError: Engine core initialization failed. See root cause above."
QUOTA = 'pods "chat-1a2b3c4d-7c9f8-2" is forbidden: exceeded quota: team, requested: requests.nvidia.com/gpu=1'
POLICY = 'pods "chat-1a2b3c4d-7c9f8-2" is forbidden: violates PodSecurity "restricted:latest": seccompProfile'

NO_CLASS = (
    "0/1 nodes are available: request g: device class gpu.example.com does not exist. no new claims to deallocate, "
    "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
)
NO_DEVICE = (
    "0/1 nodes are available: 1 cannot allocate all claims. still not schedulable, preemption: 0/1 nodes are available: "
    "1 Preemption is not helpful for scheduling."
)
CLAIMS = {"resourceClaims": [{"name": "g", "resourceClaimTemplateName": "gpus"}]}
VOLUME = {"volumes": [{"name": "model", "image": {"reference": "r.example/llm/chat:v2"}}]}
HUNG = "Liveness probe failed: the engine hangs: requests are in flight and nothing has moved for 131 s\n"
NO_DRIVER = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to "
    "start container process: error during container init: nvidia-container-cli: initialization error: driver not loaded"
)
NO_COMMAND = 'unable to start container process: exec: "vllm": executable file not found in $PATH'


def start_error(message: str, restarts: int) -> Json:
    """An engine that the runtime could not start."""
    last = k8s.ended(128, reason="StartError", message=message) | {"startedAt": "1970-01-01T00:00:00Z"}
    return k8s.pod(phase="Running", engine=k8s.waiting("CrashLoopBackOff", last=last, restarts=restarts))


TABLE = [
    (k8s.unschedulable(NO_CLASS), 60, "ResourceClaimPending", ENVIRONMENT, "a driver can still be installed"),
    (k8s.unschedulable(NO_DEVICE), 60, "ResourceClaimPending", ENVIRONMENT, "devices can become free"),
    (k8s.unseen(CLAIMS), 60, "ResourceClaimPending", ENVIRONMENT, "without its template the scheduler does not begin"),
    (k8s.unseen(), 60, "Starting", NONE, "the scheduler has not looked yet"),
    (
        k8s.pod(extra=(k8s.condition("PodReadyToStartContainers", "False"),), engine=k8s.waiting("ContainerCreating")),
        9000,
        "Mounting",
        ENVIRONMENT,
        "no volume, no pull",
    ),
    (
        k8s.downloading(state={"running": {"startedAt": k8s.stamp(5)}}),
        90000,
        "Downloading",
        ENVIRONMENT,
        "a large model may take a day",
    ),
    (
        k8s.download_ended(3, "Cannot download hf://org/chat: https://huggingface.co/api/models/org/chat answered 403"),
        90000,
        "ModelAccessDenied",
        ENVIRONMENT,
        "the download is refused: a token can mend it",
    ),
    (k8s.download_ended(4, "Cannot download hf://org/chat: 404"), 60, "ModelNotFound", ENVIRONMENT, "not uploaded yet"),
    (k8s.download_ended(4, "Cannot download hf://org/chat: 404"), 1200, "ModelNotFound", REVISION, "never uploaded"),
    (k8s.download_ended(5, "Cannot download hf://org/chat: 503"), 90000, "DownloadFailed", ENVIRONMENT, "the hub is ill"),
    (k8s.download_ended(6, "Cannot download hf://org/chat: 8 GiB"), 90000, "StorageFull", ENVIRONMENT, "a larger volume helps"),
    (k8s.download_ended(7, "Cannot download hf://org/chat: sha"), 90000, "ChecksumMismatch", ENVIRONMENT, "a proxy's doing"),
    (k8s.download_ended(8, "Cannot download hf://org/chat: gone"), 90000, "ModelChanged", ENVIRONMENT, "history rewritten"),
    (k8s.download_ended(9, "Cannot write the cache"), 90000, "CacheUnusable", ENVIRONMENT, "permissions of a volume"),
    (k8s.download_ended(2, "Cannot read --item"), 60, "InvalidArguments", REVISION, "the template asks for what cannot be"),
    (k8s.download_ended(1, "Traceback"), 90000, "DownloadFailed", ENVIRONMENT, "a defect of ours is not the revision's"),
    (
        k8s.download_ended(137, "", reason="OOMKilled"),
        90000,
        "DownloadFailed",
        ENVIRONMENT,
        "our own container's limit is not the revision's",
    ),
    (
        k8s.downloading(state={"running": {"startedAt": k8s.stamp(100)}}, last=k8s.ended(5, message="503"), restarts=1),
        130,
        "DownloadFailed",
        ENVIRONMENT,
        "tried again, it shows the last failure at first",
    ),
    (
        k8s.downloading(state={"running": {"startedAt": k8s.stamp(100)}}, last=k8s.ended(5, message="503"), restarts=1),
        160,
        "Downloading",
        ENVIRONMENT,
        "and that it is under way when it does not fail again",
    ),
    (
        k8s.downloading(state={"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "op": not found'}}),
        9000,
        "PullFailed",
        ENVIRONMENT,
        "the operator's own image is not the revision's",
    ),
    (
        k8s.downloading(state={"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "aws" not found'}}),
        9000,
        "ConfigMissing",
        ENVIRONMENT,
        "the download takes variables from a Secret",
    ),
    (
        k8s.downloading(name="istio-init", state={"waiting": {"reason": "CrashLoopBackOff"}}, last=k8s.ended(1), restarts=3),
        9000,
        "ContainerNotCreated",
        ENVIRONMENT,
        "a container that somebody put there",
    ),
    (
        k8s.downloading(name="istio-init", state={"running": {"startedAt": k8s.stamp(100)}}),
        160,
        "Starting",
        NONE,
        "the same while it runs",
    ),
    (
        k8s.pod(engine=k8s.waiting("ImagePullBackOff", UNKNOWN_TAG), spec=VOLUME),
        1200,
        "ModelNotFound",
        REVISION,
        "an image volume is the model",
    ),
    (
        k8s.pod(engine=k8s.waiting("ErrImagePull", RESOLVE + "401 Unauthorized: authentication required"), spec=VOLUME),
        9000,
        "ModelAccessDenied",
        ENVIRONMENT,
        "an image volume that is refused",
    ),
    (
        k8s.pod(engine=k8s.waiting("ErrImagePull", RESOLVE + "connection refused"), spec=VOLUME),
        9000,
        "DownloadFailed",
        ENVIRONMENT,
        "an image volume that does not come",
    ),
    (start_error(NO_DRIVER, 9), 9000, "ContainerNotCreated", ENVIRONMENT, "a node without its driver"),
    (start_error(NO_COMMAND, 2), 60, "CrashLoop", REVISION, "an image without the command is the revision's"),
    (
        k8s.pod(phase="Running", engine=k8s.back_off(HUNG, restarts=1, code=137)),
        60,
        "Starting",
        NONE,
        "two hangs count as two ends",
    ),
    (
        k8s.pod(phase="Running", engine=k8s.back_off(HUNG, restarts=2, code=137)),
        60,
        "EngineHung",
        REVISION,
        "three hangs are a crash loop by another name",
    ),
    (
        k8s.pod(phase="Running", engine=k8s.back_off("(APIServer) 200 OK", restarts=2, code=143)),
        60,
        "CrashLoop",
        REVISION,
        "killed from outside three times, nobody knows by whom",
    ),
    (k8s.unschedulable(NO_GPU), 60, "Unschedulable", ENVIRONMENT, "a fuller cluster is not the revision's fault"),
    (k8s.unschedulable(NO_CLAIM), 60, "VolumePending", ENVIRONMENT, "a claim can still be made"),
    (
        k8s.pod(scheduled=k8s.condition("PodScheduled", "False", reason="SchedulingGated", message="gated")),
        9000,
        "Unschedulable",
        ENVIRONMENT,
        "waiting for a node is never timed",
    ),
    (k8s.pod(), 60, "Pulling", ENVIRONMENT, "the kubelet has not reported the container yet"),
    (
        k8s.pod(engine=k8s.waiting("ContainerCreating")),
        9000,
        "Pulling",
        ENVIRONMENT,
        "pulling is not part of the startup budget",
    ),
    (
        k8s.pod(engine=k8s.waiting("PodInitializing")),
        60,
        "Pulling",
        ENVIRONMENT,
        "an injected init container runs first",
    ),
    (
        k8s.pulling(RESOLVE + "dial tcp 10.0.0.1:443: connect: connection refused"),
        9000,
        "PullFailed",
        ENVIRONMENT,
        "registry down",
    ),
    (
        k8s.pulling(PULL + "429 Too Many Requests - toomanyrequests: unauthenticated"),
        9000,
        "PullFailed",
        ENVIRONMENT,
        "rate limit",
    ),
    (
        k8s.pulling(RESOLVE + "pull access denied, repository does not exist or may require authorization: insufficient_scope"),
        9000,
        "ImageAccessDenied",
        ENVIRONMENT,
        "a registry that hides what it has: a Secret can mend it",
    ),
    (
        k8s.pulling(RESOLVE + "unexpected status: 401 Unauthorized"),
        9000,
        "ImageAccessDenied",
        ENVIRONMENT,
        "a Secret can mend it",
    ),
    (k8s.pulling(UNKNOWN_TAG), 60, "ImageNotFound", ENVIRONMENT, "the tag may be pushed any minute"),
    (k8s.pulling(UNKNOWN_TAG), 1200, "ImageNotFound", REVISION, "the tag was not pushed for the startup timeout"),
    (
        k8s.pulling(PULL.replace("chat:v2", "not found") + "unexpected EOF"),
        9000,
        "PullFailed",
        ENVIRONMENT,
        "the image's own name is not what the registry says",
    ),
    (
        k8s.pulling('Failed to apply default image tag "vllm:0:1": couldn\'t parse image name', "InvalidImageName"),
        1,
        "InvalidImage",
        REVISION,
        "a name that cannot be parsed never gets better",
    ),
    (
        k8s.pod(engine=k8s.waiting("CreateContainerConfigError", 'secret "hf-token" not found')),
        9000,
        "ConfigMissing",
        ENVIRONMENT,
        "a Secret can mend it",
    ),
    (
        k8s.pod(engine=k8s.waiting("CreateContainerError", "context deadline exceeded")),
        60,
        "ContainerNotCreated",
        ENVIRONMENT,
        "the runtime's fault",
    ),
    (k8s.pod(phase="Running", engine=k8s.running(20)), 60, "Starting", NONE, "the model loads"),
    (k8s.pod(phase="Running", engine=k8s.running(20)), 1219, "Starting", NONE, "the budget is not used up"),
    (
        k8s.pod(phase="Running", engine=k8s.running(20)),
        1220,
        "StartupTimeout",
        REVISION,
        "the budget counts from the container's start",
    ),
    (
        k8s.pod(phase="Running", engine=k8s.running(2000)),
        3000,
        "Starting",
        NONE,
        "half an hour of pulling before is not counted",
    ),
    (
        k8s.pod(phase="Running", engine=k8s.running(1205, restarts=1, last=k8s.ended(137, start=20, end=1200))),
        1225,
        "StartupTimeout",
        REVISION,
        "a startup probe that kills at the limit does not give a second budget",
    ),
    (
        k8s.pod(
            phase="Running",
            ready=k8s.condition("Ready", "False", reason="ContainersNotReady", at=5000),
            engine=k8s.running(20),
        ),
        5100,
        "Starting",
        NONE,
        "time that it was ready is not counted",
    ),
    (
        k8s.pod(phase="Running", engine=k8s.back_off(TRACE, restarts=1)),
        60,
        "Starting",
        NONE,
        "two ends are no crash loop",
    ),
    (k8s.pod(phase="Running", engine=k8s.back_off(TRACE, restarts=2)), 60, "CrashLoop", REVISION, "the third end is"),
    (
        k8s.pod(
            phase="Running",
            engine=k8s.container({"terminated": k8s.ended(message=TRACE)}, restarts=2, last=k8s.ended()),
        ),
        60,
        "CrashLoop",
        REVISION,
        "the third end, before the kubelet backs off",
    ),
    (
        k8s.pod(phase="Running", engine=k8s.running(50, restarts=3, last=k8s.ended())),
        60,
        "CrashLoop",
        REVISION,
        "runs for the fourth time",
    ),
    (
        k8s.ready_pod(engine=k8s.running(50, restarts=3, last=k8s.ended(), ready=True)),
        60,
        "CrashLoop",
        REVISION,
        "it serves between its crashes",
    ),
    (
        k8s.pod(phase="Running", engine=k8s.running(50, restarts=3, last=k8s.ended(137, reason="ContainerStatusUnknown"))),
        60,
        "Starting",
        NONE,
        "ends that come from a restarted node are not the engine's",
    ),
    (
        k8s.pod(phase="Running", engine=k8s.running(50, restarts=1, last=k8s.ended(137, reason="OOMKilled"))),
        60,
        "Starting",
        NONE,
        "one kill can be bad luck",
    ),
    (
        k8s.pod(phase="Running", engine=k8s.back_off("", restarts=1, code=137, reason="OOMKilled")),
        60,
        "OOMKilled",
        REVISION,
        "killed twice",
    ),
    (
        k8s.pod(
            phase="Running",
            engine=k8s.container({"terminated": k8s.ended(137, reason="OOMKilled")}, restarts=1, last=k8s.ended()),
        ),
        60,
        "Starting",
        NONE,
        "a crash and a kill are not two kills",
    ),
    (
        k8s.pod(phase="Running", engine=k8s.back_off(USAGE, restarts=0, code=2)),
        60,
        "InvalidArguments",
        REVISION,
        "at once",
    ),
    (
        k8s.pod(phase="Running", engine=k8s.back_off(CONFIG, restarts=0)),
        60,
        "InvalidArguments",
        REVISION,
        "refused by its own checks",
    ),
    (
        k8s.pod(phase="Running", engine=k8s.back_off(CONFIG.replace("ModelConfig", "DeviceConfig"), restarts=0)),
        60,
        "Starting",
        NONE,
        "a node without the device is not the arguments' fault",
    ),
    (
        k8s.pod(phase="Running", engine=k8s.back_off(NO_MODEL, restarts=5)),
        60,
        "ModelNotFound",
        ENVIRONMENT,
        "it may be uploaded yet",
    ),
    (
        k8s.pod(phase="Running", engine=k8s.back_off(NO_MODEL, restarts=5)),
        1200,
        "ModelNotFound",
        REVISION,
        "it was not uploaded",
    ),
    (
        k8s.pod(phase="Running", engine=k8s.back_off(GATED, restarts=9)),
        9000,
        "ModelAccessDenied",
        ENVIRONMENT,
        "a Secret can mend it",
    ),
    (
        k8s.pod(phase="Running", engine=k8s.back_off(HUB_DOWN, restarts=9)),
        9000,
        "DownloadFailed",
        ENVIRONMENT,
        "the hub is down",
    ),
    (
        k8s.pod(phase="Running", ready=k8s.condition("Ready", "False", at=90), engine=k8s.running(20, ready=True)),
        100,
        "NodeLost",
        ENVIRONMENT,
        "the node controller took readiness away while the container's stands",
    ),
    (
        k8s.failed("Evicted", "The node was low on resource: memory.", "TerminationByKubelet"),
        60,
        "Evicted",
        ENVIRONMENT,
        "the node",
    ),
    (k8s.failed("", "preempted by a pod", "PreemptionByScheduler"), 60, "Preempted", ENVIRONMENT, "a more important pod"),
    (
        k8s.failed("Terminated", "Pod was terminated in response to imminent node shutdown."),
        60,
        "NodeLost",
        ENVIRONMENT,
        "the node",
    ),
    (
        k8s.failed("UnexpectedAdmissionError", "Allocate failed due to no healthy devices"),
        60,
        "NodeRefused",
        ENVIRONMENT,
        "no device",
    ),
    (
        k8s.failed("OutOfnvidia.com/gpu", "Node didn't have enough resource"),
        60,
        "NodeRefused",
        ENVIRONMENT,
        "a race for the device",
    ),
    (
        k8s.pod(
            phase="Running",
            engine=k8s.back_off(TRACE, restarts=7),
            extra=(k8s.condition("DisruptionTarget", "True", reason="EvictionByEvictionAPI"),),
        ),
        60,
        "Leaving",
        NONE,
        "what a pod does while it is taken away is no evidence",
    ),
]


@pytest.mark.parametrize(("one", "at", "cause", "effect", "reason"), TABLE, ids=[f"{row[2]}: {row[4]}" for row in TABLE])
def test_each_kind_of_pod_has_one_cause_and_class(
    one: Json, at: float, cause: str, effect: health.CauseClass, reason: str
) -> None:
    """The closed table, row by row."""
    found = judge(one, at=at)

    assert (found.cause, found.effect) == (health.Cause(cause), effect), reason
    assert found.message


def test_every_cause_is_in_the_table() -> None:
    """A cause that no row shows is untested."""
    refused = {judge(failure=QUOTA).cause, judge(failure=POLICY).cause}

    assert {health.Cause(row[2]) for row in TABLE} | refused == set(health.Cause)


@pytest.mark.parametrize(
    ("failure", "cause"), [(QUOTA, health.Cause.QUOTA_EXCEEDED), (POLICY, health.Cause.PODS_REFUSED)], ids=["quota", "policy"]
)
def test_pods_that_the_api_server_refuses_are_the_environments(failure: str, cause: health.Cause) -> None:
    """Without a pod the Deployment tells why, and the message reaches the user."""
    found = judge(replicas=2, failure=failure)

    assert (found.cause, found.effect) == (cause, ENVIRONMENT)
    assert found.message.startswith(failure)


def test_pods_that_are_not_made_yet_are_starting() -> None:
    """Between the Deployment and its first pod nothing is wrong."""
    assert judge().effect is NONE


def test_ready_pods_leave_nothing_to_explain() -> None:
    """Garbage of an eviction does not matter once its replacement is ready."""
    found = judge(k8s.ready_pod(), k8s.failed("Evicted", "low on memory", "TerminationByKubelet"))

    assert (found.ready, found.cause, found.warm) == (1, None, True)


def test_a_deleted_pod_is_evidence_of_nothing() -> None:
    """deletionTimestamp: neither its crashes nor its readiness count."""
    going = k8s.ready_pod("chat-old", engine=k8s.back_off(TRACE, restarts=9))
    going["metadata"]["deletionTimestamp"] = k8s.stamp(50)

    found = judge(going, k8s.ready_pod("chat-new"))

    assert (found.ready, found.cause) == (1, None)


def test_the_worst_pod_decides() -> None:
    """One pod that the revision breaks outweighs one that the cluster keeps waiting."""
    found = judge(
        k8s.unschedulable(NO_GPU),
        k8s.pod(name="chat-b", engine=k8s.back_off(USAGE, restarts=0, code=2)),
        k8s.ready_pod(),
        replicas=3,
    )

    assert (found.ready, found.cause) == (1, health.Cause.INVALID_ARGUMENTS)


def test_a_replacement_that_waits_counts_although_others_are_ready() -> None:
    """One of two pods cannot be scheduled: the environment's fault, and not warm."""
    found = judge(k8s.ready_pod(), k8s.unschedulable(NO_GPU), replicas=2)

    assert (found.ready, found.effect, found.warm) == (1, ENVIRONMENT, False)


def test_last_lines_reach_the_message() -> None:
    """A rejected revision says what its engine said last."""
    found = judge(
        k8s.pod(phase="Running", engine=k8s.back_off("\n".join(f"line {n}" for n in range(99)) + "\n" + TRACE, restarts=2))
    )

    assert "Engine core initialization failed" in found.message
    assert "line 50" not in found.message
    assert len(found.message) < 1500


def test_the_next_limit_is_told() -> None:
    """A rollout is woken when the startup budget ends, for no pod changes then."""
    assert judge(k8s.pod(phase="Running", engine=k8s.running(20)), at=100).recheck_after == STARTUP - 80


def test_no_replicas_are_never_warm() -> None:
    """Nothing runs, so nothing was shown to run."""
    assert not judge(replicas=0).warm


@pytest.mark.parametrize(
    ("message", "amounts", "says"),
    [
        (NO_GPU, {"nvidia.com/gpu": "8", "cpu": "4"}, "asks for 8 nvidia.com/gpu; 0/3 nodes have them"),
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

    found = judge(k8s.unschedulable(message, spec))

    assert says in found.message
    assert "Environment: add nodes that fit" in found.message
    assert "preemption" not in found.message


def test_a_hang_says_what_it_counts_as() -> None:
    """The probe's own words, and that a hang is an end like any other."""
    found = judge(k8s.pod(phase="Running", engine=k8s.back_off(HUNG, restarts=1, code=137)))

    assert "nothing has moved for 131 s" in found.message
    assert "counts as an end like any other: 3 of them reject" in found.message


def test_a_download_says_what_it_downloads_and_why_it_failed() -> None:
    """The source while it runs; the container's sentence with URL and status when it failed."""
    spec = {"initContainers": [{"name": "prefetch", "args": ["prefetch", "--item=model=hf://org/chat"]}]}
    running = k8s.downloading(state={"running": {"startedAt": k8s.stamp(5)}}) | {"spec": spec}
    said = "Cannot download hf://org/chat: https://huggingface.co/api/models/org/chat answered 403"

    assert "downloads hf://org/chat." in judge(running).message
    assert said in judge(k8s.download_ended(3, said)).message


def test_what_a_ready_pod_went_through_is_no_trouble() -> None:
    """A rollout counts the crashes of a pod that serves; the status of what serves speaks of the pod that does not."""
    crashed = k8s.ready_pod("chat-a", engine=k8s.running(50, restarts=3, last=k8s.ended(), ready=True))

    found = judge(crashed, k8s.unschedulable(NO_GPU), replicas=2)

    assert found.cause is health.Cause.CRASH_LOOP
    assert found.trouble is not None
    assert found.trouble.cause is health.Cause.UNSCHEDULABLE
    assert judge(crashed).trouble is None


@pytest.mark.parametrize(
    ("one", "at", "lasting"),
    [
        (k8s.unschedulable(NO_GPU), STARTUP - 1, False),
        (k8s.unschedulable(NO_GPU), STARTUP, True),
        (k8s.pod(engine=k8s.waiting("ContainerCreating")), 90000, False),
        (k8s.downloading(state={"running": {"startedAt": k8s.stamp(5)}}), 90000, False),
        (k8s.download_ended(3, "403"), STARTUP, True),
        (k8s.pod(phase="Running", engine=k8s.back_off(TRACE, restarts=2)), 90000, False),
    ],
    ids=["at first", "as long as a start", "pulling", "downloading", "denied", "the revision's own"],
)
def test_what_the_environment_does_not_mend_lasts(one: Json, at: float, lasting: bool) -> None:
    """After spec.startupTimeout a person has to look; large things on their way are no fault. The time is told before."""
    found = judge(one, at=at)

    assert found.trouble is not None
    assert found.trouble.lasting is lasting
    assert found.recheck_after is None or found.recheck_after > 0, "a time that is over is no reason to look again"
    if found.trouble.effect is ENVIRONMENT and found.trouble.cause not in health.PROGRESS and not lasting:
        assert found.recheck_after == STARTUP - at


def test_every_cause_that_a_person_can_mend_says_how() -> None:
    """Only what needs nobody is without advice."""
    silent = {cause for cause in health.Cause if not fixes.advice(cause, health.class_of(cause))}

    assert silent == {health.Cause.STARTING, health.Cause.LEAVING}


def test_a_start_that_never_ran_uses_up_no_budget() -> None:
    """The kubelet gives such an end the year 1970 as its start."""
    assert judge(start_error(NO_COMMAND, 0), at=STARTUP * 2).cause is health.Cause.STARTING


def test_a_native_sidecar_is_no_download() -> None:
    """An init container that restarts always runs beside the engine, once it has started."""
    spec = {"initContainers": [{"name": "proxy", "restartPolicy": "Always"}]}
    proxy = k8s.prefetch({"running": {"startedAt": k8s.stamp(1)}}, name="proxy") | {"started": True}

    found = judge(k8s.pod(phase="Running", engine=k8s.running(20), init=proxy, spec=spec))

    assert "loads its model" in found.message
