"""Rows of the table of causes: what keeps a pod's engine from starting: nodes, devices, volumes, downloads, images."""

from __future__ import annotations

from sluice.rollout import health
from tests.unit.rollout import messages
from tests.unit.rollout import pod_json as k8s

ENVIRONMENT, REVISION, NONE = health.CauseClass.ENVIRONMENT, health.CauseClass.REVISION, health.CauseClass.NONE
CLAIMS = {"resourceClaims": [{"name": "g", "resourceClaimTemplateName": "gpus"}]}
VOLUME = {"volumes": [{"name": "model", "image": {"reference": "r.example/llm/chat:v2"}}]}

ROWS = [
    (k8s.unschedulable(messages.NO_CLASS), 60, "ResourceClaimPending", ENVIRONMENT, "a driver can still be installed"),
    (k8s.unschedulable(messages.NO_DEVICE), 60, "ResourceClaimPending", ENVIRONMENT, "devices can become free"),
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
        k8s.pod(engine=k8s.waiting("ImagePullBackOff", messages.UNKNOWN_TAG), spec=VOLUME),
        1200,
        "ModelNotFound",
        REVISION,
        "an image volume is the model",
    ),
    (
        k8s.pod(
            engine=k8s.waiting("ErrImagePull", messages.RESOLVE + "401 Unauthorized: authentication required"), spec=VOLUME
        ),
        9000,
        "ModelAccessDenied",
        ENVIRONMENT,
        "an image volume that is refused",
    ),
    (
        k8s.pod(engine=k8s.waiting("ErrImagePull", messages.RESOLVE + "connection refused"), spec=VOLUME),
        9000,
        "DownloadFailed",
        ENVIRONMENT,
        "an image volume that does not come",
    ),
    (k8s.unschedulable(messages.NO_GPU), 60, "Unschedulable", ENVIRONMENT, "a fuller cluster is not the revision's fault"),
    (k8s.unschedulable(messages.NO_CLAIM), 60, "VolumePending", ENVIRONMENT, "a claim can still be made"),
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
        k8s.pulling(messages.RESOLVE + "dial tcp 10.0.0.1:443: connect: connection refused"),
        9000,
        "PullFailed",
        ENVIRONMENT,
        "registry down",
    ),
    (
        k8s.pulling(messages.PULL + "429 Too Many Requests - toomanyrequests: unauthenticated"),
        9000,
        "PullFailed",
        ENVIRONMENT,
        "rate limit",
    ),
    (
        k8s.pulling(
            messages.RESOLVE + "pull access denied, repository does not exist or may require authorization: insufficient_scope"
        ),
        9000,
        "ImageAccessDenied",
        ENVIRONMENT,
        "a registry that hides what it has: a Secret can mend it",
    ),
    (
        k8s.pulling(messages.RESOLVE + "unexpected status: 401 Unauthorized"),
        9000,
        "ImageAccessDenied",
        ENVIRONMENT,
        "a Secret can mend it",
    ),
    (k8s.pulling(messages.UNKNOWN_TAG), 60, "ImageNotFound", ENVIRONMENT, "the tag may be pushed any minute"),
    (k8s.pulling(messages.UNKNOWN_TAG), 1200, "ImageNotFound", REVISION, "the tag was not pushed for the startup timeout"),
    (
        k8s.pulling(messages.PULL.replace("chat:v2", "not found") + "unexpected EOF"),
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
]
