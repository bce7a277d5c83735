"""What is resolved late is resolved once: the commit and the image that a revision's first pod got are what all its pods run.

A branch that moves or a tag that is pushed again would otherwise mix two models in one revision. Pure: the record, what pods
say of themselves, and what to do about those that differ. Writing and deleting is in `reconcile.models.resolved`.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sluice.api import naming
from sluice.rollout import times
from sluice.workloads import pod_template, prefetch

COMPONENT: Final = "resolved"
IMAGES_KEY: Final = "images.json"
"""Key of the record with the digests of images, by container. That of versions is `prefetch.RESOLVED_KEY`."""
PAUSE: Final = 10.0
"""Seconds before a second pod of a revision is replaced; doubles with each."""
LONGEST_PAUSE: Final = 600.0
LEAST_PAUSE: Final = 5.0
"""Seconds between replacements even where a pod that differs is about to get traffic."""
CALM: Final = 3600.0
"""Seconds without any after which pauses start small again."""
_PINNED: Final = "@sha256:"


class Kind(enum.StrEnum):
    """In what a pod differs. The values are the reasons that users read."""

    MODEL_MOVED = "ModelMoved"
    """A pod got another commit of a branch or tag than the revision's first pod."""
    IMAGE_MOVED = "ImageMoved"
    """A pod got another image under the same tag than the revision's first pod."""


@dataclasses.dataclass(frozen=True)
class Record:
    """What a revision's first pod got. Empty where nothing is known yet."""

    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Version by item: a commit of the hub, or the digest of a listing."""
    images: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Digest by container."""

    def with_pod(self, facts: Facts) -> Record:
        """The record with what it lacks and the pod knows. What it has is never changed."""
        return Record(self.versions or facts.versions or {}, self.images or facts.images)


@dataclasses.dataclass(frozen=True)
class Facts:
    """What one pod says of itself."""

    name: str
    uid: str
    created: float
    ready: bool
    versions: Mapping[str, str] | None
    """None until its download is done; empty where nothing is downloaded."""
    images: Mapping[str, str]
    """Without those that the template names by digest: nobody can move them."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """A pod that is not like the record."""

    pod: Facts
    kind: Kind
    what: str
    """Item or container."""
    recorded: str
    found: str

    @property
    def message(self) -> str:
        """For people, with the fix."""
        if self.kind is Kind.MODEL_MOVED:
            return (
                f"Pod {self.pod.name} downloaded {self.what} at {self.found}, but this revision's first pod had "
                f"{self.recorded}: the branch or tag moved meanwhile. The pod is replaced. Name a commit to rule this out"
            )
        return (
            f"Pod {self.pod.name} runs image {self.found} in container {self.what}, but this revision's first pod runs "
            f"{self.recorded} of the same name: the tag was pushed again. The pod is replaced, which helps only where the old "
            "image is still to be had: name the image by its digest in spec.template.engine.image"
        )


@dataclasses.dataclass(frozen=True)
class Replacements:
    """How often pods of a revision were replaced lately."""

    count: int = 0
    last: float = 0.0
    """Epoch seconds."""

    def pause_left(self, now: float, *, urgent: bool) -> float:
        """Seconds until the next one may be."""
        if not self.count or now - self.last > CALM:
            return 0.0
        pause = LEAST_PAUSE if urgent else min(LONGEST_PAUSE, PAUSE * 2 ** (min(self.count, 10) - 1))
        return max(0.0, self.last + pause - now)

    def once_more(self, now: float) -> Replacements:
        """After one more."""
        return Replacements(1 if now - self.last > CALM else self.count + 1, now)


@dataclasses.dataclass(frozen=True)
class Decision:
    """What to do about one revision's pods."""

    record: Record
    """As it should be written; equal to the given one when nothing is new."""
    differences: tuple[Difference, ...] = ()
    delete: tuple[Facts, ...] = ()
    replacements: Replacements = Replacements()
    """To be remembered."""
    wake_after: float | None = None
    """Seconds after which a pod that waits may be deleted."""


def decide(
    record: Record, recorded_at: float | None, pods: Sequence[Facts], replacements: Replacements, now: float
) -> Decision:
    """Completes the record from the oldest pods that know what it lacks, and finds the pods that differ.

    Those that are older than the record raced with its first pod, and are deleted at once: what comes in their place reads the
    record. Others are deleted one at a time with growing pauses, for the next one may well be the same; one that is ready
    waits for the shortest pause only, since it would get traffic.

    Args:
        record: what is written.
        recorded_at: when it was made, in epoch seconds; None when it is not there.
        pods: those of the revision that are not being deleted.
        replacements: what was remembered.
        now: epoch seconds.
    """
    complete = record
    for pod in sorted(pods, key=lambda pod: (not pod.ready, pod.created, pod.name)):
        if not any(True for _ in _differences(complete, pod)):
            complete = complete.with_pod(pod)
    differences = tuple(found for pod in pods for found in _differences(complete, pod))
    raced = [found.pod for found in differences if recorded_at is None or found.pod.created <= recorded_at]
    if complete != record or not differences:  # first what is known is written, so that a new pod can read it
        return Decision(complete, differences, replacements=replacements, wake_after=0.0 if differences else None)
    if raced:
        return Decision(complete, differences, _unique(raced), replacements)
    ordered = sorted(_unique(found.pod for found in differences), key=lambda pod: (not pod.ready, pod.created, pod.name))
    left = replacements.pause_left(now, urgent=ordered[0].ready)
    if left > 0:
        return Decision(complete, differences, replacements=replacements, wake_after=left)
    return Decision(complete, differences, (ordered[0],), replacements.once_more(now))


def _differences(record: Record, pod: Facts) -> Iterable[Difference]:
    for item, version in (pod.versions or {}).items():
        if record.versions and record.versions.get(item, version) != version:
            yield Difference(pod, Kind.MODEL_MOVED, item, record.versions[item], version)
    for container, image in pod.images.items():
        known = record.images.get(container, image)
        if known != image and _is_comparable(known, image):
            yield Difference(pod, Kind.IMAGE_MOVED, container, known, image)


def _is_comparable(one: str, other: str) -> bool:
    """Whether both are of one kind: an image that was loaded by hand has no digest of a registry."""
    return ("@" in one) == ("@" in other)


def _unique(pods: Iterable[Facts]) -> tuple[Facts, ...]:
    return tuple({pod.uid: pod for pod in pods}.values())


def facts_of(pod: Mapping[str, Any]) -> Facts | None:
    """What a Pod object says; None for one that is on its way out, which says nothing."""
    metadata, spec, status = pod["metadata"], pod.get("spec", {}), pod.get("status", {})
    if "deletionTimestamp" in metadata or status.get("phase") in ("Failed", "Succeeded"):
        return None
    downloads = any(each.get("name") == prefetch.CONTAINER for each in spec.get("initContainers") or ())
    return Facts(
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        created=times.parse_time(metadata.get("creationTimestamp")) or 0.0,
        ready=any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions") or ()),
        versions=_versions(status.get("initContainerStatuses") or ()) if downloads else {},
        images=_images(spec, status.get("containerStatuses") or ()),
    )


def _versions(statuses: Iterable[Mapping[str, Any]]) -> dict[str, str] | None:
    for status in statuses:
        ended = (status.get("state") or {}).get("terminated")
        if status.get("name") == prefetch.CONTAINER and ended is not None and ended.get("exitCode") == 0:
            return prefetch.parse_resolved(ended.get("message") or "")
    return None


def _images(spec: Mapping[str, Any], statuses: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    movable = {
        each["name"]
        for each in spec.get("containers") or ()
        if each.get("name") == pod_template.CONTAINER and _PINNED not in each.get("image", "")
    }
    found = {status.get("name", ""): status.get("imageID") or "" for status in statuses}
    return {name: _digest(image) for name, image in found.items() if name in movable and image}


def _digest(image_id: str) -> str:
    """`@sha256:…` of a registry's image, whatever registry it came through; `sha256:…` of one loaded by hand."""
    _, at, digest = image_id.rpartition("@")
    return f"@{digest}" if at else digest


def labels(name: str) -> dict[str, str]:
    """Labels of all records of a ModelDeployment's revisions."""
    return {
        naming.LABEL_MANAGED_BY: naming.MANAGED_BY,
        naming.LABEL_MODEL_DEPLOYMENT: name,
        naming.LABEL_COMPONENT: COMPONENT,
    }


def build_config_map(
    record: Record, *, namespace: str, name: str, revision_hash: str, owner: Mapping[str, Any]
) -> dict[str, Any]:
    """The ConfigMap `<name>-<hash>-resolved`."""
    data = {}
    if record.versions:
        data[prefetch.RESOLVED_KEY] = prefetch.resolved_message(record.versions)
    if record.images:
        data[IMAGES_KEY] = json.dumps(dict(sorted(record.images.items())), separators=(",", ":"))
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": naming.resolved_name(name, revision_hash),
            "namespace": namespace,
            "labels": {**labels(name), naming.LABEL_REVISION: revision_hash},
            "ownerReferences": [dict(owner)],
        },
        "data": data,
    }


def parse_config_map(obj: Mapping[str, Any] | None) -> tuple[Record, float | None]:
    """The record and when it was made, in epoch seconds; an empty one and None where there is none."""
    if obj is None:
        return Record(), None
    data = obj.get("data") or {}
    try:
        images = {str(name): str(digest) for name, digest in json.loads(data.get(IMAGES_KEY, "{}")).items()}
    except (ValueError, AttributeError):
        images = {}
    versions = prefetch.parse_resolved(data.get(prefetch.RESOLVED_KEY, "")) or {}
    return Record(versions, images), times.parse_time(obj["metadata"].get("creationTimestamp"))
