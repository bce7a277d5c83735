"""What the pods of a revision say about it, in the closed set of causes that a rollout acts on.

Reading pods is in `causes`; what follows from a cause is in `checks`.
"""

from __future__ import annotations

import dataclasses
import enum


class CauseClass(enum.StrEnum):
    """Whose fault it is, which decides what a rollout does about it."""

    ENVIRONMENT = "Environment"
    """The cluster's, or a person can mend it without a new revision: traffic leaves, and the rollout waits."""
    REVISION = "Revision"
    """The revision's own: it fails."""
    NONE = "None"
    """Nobody's: it starts, or it is being taken away. No evidence of anything."""


class Cause(enum.StrEnum):
    """Why a pod of the revision is not ready. The values are the reasons that users read."""

    UNSCHEDULABLE = "Unschedulable"
    """No node has room, or none fits."""
    VOLUME_PENDING = "VolumePending"
    """A volume claim is missing or not bound."""
    RESOURCE_CLAIM_PENDING = "ResourceClaimPending"
    """A resource claim (DRA) is missing, or no device fits it."""
    QUOTA_EXCEEDED = "QuotaExceeded"
    """The namespace's quota refuses the pod."""
    PODS_REFUSED = "PodsRefused"
    """The API server refuses the pod for another reason, such as a policy."""
    EVICTED = "Evicted"
    """The node or an administrator took the pod away."""
    PREEMPTED = "Preempted"
    """A pod of higher priority took its place."""
    NODE_LOST = "NodeLost"
    """Its node does not answer."""
    NODE_REFUSED = "NodeRefused"
    """The kubelet did not admit the pod, for example because a device was gone."""
    MOUNTING = "Mounting"
    """Volumes are being mounted and the network is being set up. When it lasts, a volume, ConfigMap or Secret is missing."""
    PULLING = "Pulling"
    """The image, or an image volume, is being pulled. Not counted to the startup timeout."""
    DOWNLOADING = "Downloading"
    """The model is being downloaded. Not counted to the startup timeout."""
    PULL_FAILED = "PullFailed"
    """The image could not be pulled for now."""
    IMAGE_ACCESS_DENIED = "ImageAccessDenied"
    """The registry refuses: a Secret can mend it."""
    CONFIG_MISSING = "ConfigMissing"
    """A Secret, ConfigMap or key that the pod names does not exist."""
    CONTAINER_NOT_CREATED = "ContainerNotCreated"
    """The kubelet cannot create or start the container."""
    DOWNLOAD_FAILED = "DownloadFailed"
    """The model could not be downloaded for now."""
    MODEL_ACCESS_DENIED = "ModelAccessDenied"
    """The model's host refuses: a Secret can mend it."""
    STORAGE_FULL = "StorageFull"
    """The volume that models are downloaded to is too small or full."""
    CACHE_UNUSABLE = "CacheUnusable"
    """The volume that models are downloaded to cannot be written or locked."""
    CHECKSUM_MISMATCH = "ChecksumMismatch"
    """What arrived is not what the source says it has, again and again."""
    MODEL_CHANGED = "ModelChanged"
    """The source no longer has the version that the revision's first pod got."""

    IMAGE_NOT_FOUND = "ImageNotFound"
    """The registry does not know the image. Waited for during the startup timeout."""
    MODEL_NOT_FOUND = "ModelNotFound"
    """The model is not where the source says. Waited for during the startup timeout."""
    CRASH_LOOP = "CrashLoop"
    """The engine ended three times."""
    OOM_KILLED = "OOMKilled"
    """The engine was killed twice for using more memory than its limit."""
    ENGINE_HUNG = "EngineHung"
    """The engine ended three times, the last time because it hung and its liveness probe failed."""
    INVALID_ARGUMENTS = "InvalidArguments"
    """The engine refuses its arguments."""
    INVALID_IMAGE = "InvalidImage"
    """The image's name cannot be parsed."""
    STARTUP_TIMEOUT = "StartupTimeout"
    """The engine ran for the startup timeout and was not ready."""

    STARTING = "Starting"
    """The engine runs and loads, or just ended and starts again."""
    LEAVING = "Leaving"
    """The pod is being deleted or disrupted: its failures are not evidence."""


_REVISION = frozenset(
    {
        Cause.IMAGE_NOT_FOUND,
        Cause.MODEL_NOT_FOUND,
        Cause.CRASH_LOOP,
        Cause.OOM_KILLED,
        Cause.ENGINE_HUNG,
        Cause.INVALID_ARGUMENTS,
        Cause.INVALID_IMAGE,
        Cause.STARTUP_TIMEOUT,
    }
)
_NONE = frozenset({Cause.STARTING, Cause.LEAVING})
PROGRESS = frozenset({Cause.PULLING, Cause.DOWNLOADING})
"""The environment's, but nothing is wrong: something large is on its way, however long that takes."""


def class_of(cause: Cause) -> CauseClass:
    """The class of a cause once any patience with it has run out."""
    if cause in _REVISION:
        return CauseClass.REVISION
    return CauseClass.NONE if cause in _NONE else CauseClass.ENVIRONMENT


@dataclasses.dataclass(frozen=True)
class Trouble:
    """The worst of what keeps pods from being ready."""

    cause: Cause
    effect: CauseClass
    message: str
    lasting: bool = False
    """Whether the environment has kept a pod from being ready for longer than an engine may take to start."""


@dataclasses.dataclass(frozen=True)
class Health:
    """The pods of one revision, summed up: the worst cause decides."""

    desired: int
    """Pods that the revision's Deployment asks for."""
    ready: int
    """Pods that are ready and not on their way out."""
    cause: Cause | None = None
    """None while every pod is ready and none has failed."""
    effect: CauseClass = CauseClass.NONE
    """What the cause counts as now: a missing image counts as the environment's until the startup timeout."""
    message: str = ""
    """The same for people: which pod, what Kubernetes or the engine said, what mends it."""
    recheck_after: float | None = None
    """Seconds after which a time limit may change the answer although no pod does."""
    trouble: Trouble | None = None
    """Of pods that are missing or not ready alone: what a ready pod went through before is no trouble now."""

    @property
    def warm(self) -> bool:
        """Whether every pod that is wanted is ready."""
        return self.ready >= self.desired > 0
