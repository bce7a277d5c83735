"""What a person can do about each cause, for the messages that users read.

Which cause it is, is told in `causes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sluice.rollout import health

_FIXES: Final[Mapping[health.Cause, str]] = {
    health.Cause.UNSCHEDULABLE: "add nodes that fit, free some, or ask for less",
    health.Cause.VOLUME_PENDING: "create the claim, or see why its storage class does not bind it",
    health.Cause.RESOURCE_CLAIM_PENDING: "create the claim or its template, and see that a driver offers such devices",
    health.Cause.QUOTA_EXCEEDED: "raise the namespace's quota, or free some of it",
    health.Cause.PODS_REFUSED: "the policy that it names has to allow the pod",
    health.Cause.EVICTED: "relieve the node of what the message names",
    health.Cause.PREEMPTED: "add room, or give the model a higher priorityClassName",
    health.Cause.NODE_LOST: "bring the node back, or delete it, so that its pods are replaced",
    health.Cause.NODE_REFUSED: "see what is wrong with the node's devices",
    health.Cause.MOUNTING: "if it lasts, `kubectl describe pod` names the volume, ConfigMap or Secret that is missing",
    health.Cause.PULLING: "wait; it is not counted to spec.startupTimeout",
    health.Cause.DOWNLOADING: "wait; it is not counted to spec.startupTimeout",
    health.Cause.PULL_FAILED: "see that nodes reach the registry; it is tried again",
    health.Cause.IMAGE_ACCESS_DENIED: "a Secret with access has to be in spec.template.imagePullSecrets",
    health.Cause.CONFIG_MISSING: "create what it names; it is tried again",
    health.Cause.CONTAINER_NOT_CREATED: "see the node's container runtime and device drivers; it is tried again",
    health.Cause.DOWNLOAD_FAILED: "see that pods reach the model's host; it is tried again",
    health.Cause.MODEL_ACCESS_DENIED: "a Secret with access has to be in spec.template.model.credentialsSecretRef",
    health.Cause.STORAGE_FULL: "enlarge the cache volume or free it; it is tried again",
    health.Cause.CACHE_UNUSABLE: "let the pod's user write the cache volume; it is tried again",
    health.Cause.CHECKSUM_MISMATCH: "see what changes the files on their way, or mend the source; it is tried again",
    health.Cause.MODEL_CHANGED: "restore that version at the source, or change spec.template.model.revision",
    health.Cause.IMAGE_NOT_FOUND: "push the image, or correct spec.template.engine.image",
    health.Cause.MODEL_NOT_FOUND: "upload the model, or correct spec.template.model",
    health.Cause.CRASH_LOOP: "the engine's last lines say what to change in spec.template",
    health.Cause.OOM_KILLED: "raise spec.template.resources.limits.memory, or let the engine use less",
    health.Cause.ENGINE_HUNG: "look for errors of its devices on the node, or change the engine's version or arguments",
    health.Cause.INVALID_ARGUMENTS: "correct spec.template.engine.vllm",
    health.Cause.INVALID_IMAGE: "correct spec.template.engine.image",
    health.Cause.STARTUP_TIMEOUT: "raise spec.startupTimeout, or see in the engine's log what takes so long",
}
_UNTIL: Final = "Environment until spec.startupTimeout is over, Revision then"


def advice(cause: health.Cause, effect: health.CauseClass, *, patient: bool = False) -> str:
    """The class of a cause with what a person can do: "Environment: push the image …". Empty where nobody need do anything.

    `patient`: the class is the environment's only until the startup timeout.
    """
    fix = _FIXES.get(cause)
    if fix is None or effect is health.CauseClass.NONE:
        return ""
    return f"{_UNTIL if patient else effect.value}: {fix}."
