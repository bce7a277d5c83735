"""Revisions as ControllerRevisions: the durable facts that everything else is computed from.

A revision stores the template as it was admitted, the digests of the files it refers to, the defaults in force and the
rendered pod template. Its outcome label is the one durable fact of what became of it. Two templates are the same revision
when they are equal after normalising quantities and order; the hash is only a name.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sluice.api import naming
from sluice.api import template as template_api  # parameters are named template
from sluice.workloads import pod_template, quantities

_MAX_COLLISIONS: Final = 1000


class OutcomeLabel(enum.StrEnum):
    """Values of the label `sluice.dev/outcome`."""

    CANDIDATE = "Candidate"
    """Being rolled out."""
    STABLE = "Stable"
    """Serves."""
    PREVIOUS = "Previous"
    """Served before."""
    REJECTED = "Rejected"
    """Failed, and is not tried again while the template stays."""
    SUPERSEDED = "Superseded"
    """Another revision was asked for before this one was judged."""


@dataclasses.dataclass(frozen=True)
class Revision:
    """One stored revision of a ModelDeployment."""

    hash: str
    number: int
    template: Mapping[str, Any]
    """As admitted by the API server."""
    pod_template: Mapping[str, Any]
    defaults: Mapping[str, str]
    files: Mapping[str, str]
    """Digest by file name."""
    outcome: OutcomeLabel | None = None
    object_name: str = ""

    @property
    def typed_template(self) -> template_api.Template:
        """The template as a model."""
        return template_api.Template.model_validate(self.template)


def normalise(template: Mapping[str, Any]) -> dict[str, Any]:
    """A form in which equal templates are equal data: canonical quantities, sorted environment, no empty members."""
    resources = template.get("resources", {})
    normal = {
        **template,
        "engine": {**template["engine"], "env": sorted(template["engine"].get("env", []), key=lambda entry: entry["name"])},
        "resources": {
            **resources,
            **{
                side: {name: str(quantities.parse(str(amount)).normalize()) for name, amount in resources[side].items()}
                for side in ("requests", "limits")
                if resources.get(side)
            },
            **(
                {"sharedMemory": str(quantities.parse(resources["sharedMemory"]).normalize())}
                if resources.get("sharedMemory")
                else {}
            ),
        },
    }
    pruned = _prune(normal)
    return pruned if isinstance(pruned, dict) else {}


def _prune(value: Any) -> Any:
    """Drops members that say nothing: `vllm: {}` and no `vllm` are the same wish."""
    if isinstance(value, Mapping):
        pruned = {key: _prune(member) for key, member in value.items()}
        return {key: member for key, member in pruned.items() if member not in (None, {}, [])}
    if isinstance(value, list | tuple):
        return [_prune(member) for member in value]
    return value


def find_same(revisions: Iterable[Revision], template: Mapping[str, Any]) -> Revision | None:
    """The newest revision with this template, if there is one."""
    wanted = normalise(template)
    same = [revision for revision in revisions if normalise(revision.template) == wanted]
    return max(same, key=lambda revision: revision.number, default=None)


def make_revision(
    name: str,
    template: Mapping[str, Any],
    *,
    known: Iterable[Revision],
    defaults: pod_template.Defaults,
    timing: pod_template.Timing,
) -> Revision:
    """A new revision of the ModelDeployment `name`, numbered after the known ones, under a hash none of them has."""
    known = tuple(known)
    taken = {revision.hash for revision in known}
    normal = normalise(template)
    revision_hash = next(
        candidate
        for collision in range(_MAX_COLLISIONS)
        if (candidate := naming.content_hash([normal, collision] if collision else normal)) not in taken
    )
    return Revision(
        hash=revision_hash,
        number=max((revision.number for revision in known), default=0) + 1,
        template=template,
        pod_template=pod_template.render_pod_template(
            name,
            template_api.Template.model_validate(template),
            revision_hash=revision_hash,
            defaults=defaults,
            timing=timing,
        ),
        defaults=defaults.to_json(),
        files={},
        outcome=OutcomeLabel.CANDIDATE,
        object_name=naming.revision_name(name, revision_hash),
    )


def build_controller_revision(revision: Revision, *, namespace: str, name: str, owner: Mapping[str, Any]) -> dict[str, Any]:
    """The ControllerRevision that stores the revision. `data` never changes afterwards; labels and number may."""
    labels = pod_template.revision_labels(name, revision.hash)
    if revision.outcome is not None:
        labels[naming.LABEL_OUTCOME] = revision.outcome.value
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": naming.revision_name(name, revision.hash),
            "namespace": namespace,
            "labels": labels,
            "ownerReferences": [dict(owner)],
        },
        "revision": revision.number,
        "data": {
            "template": dict(revision.template),
            "files": dict(revision.files),
            "defaults": dict(revision.defaults),
            "podTemplate": dict(revision.pod_template),
        },
    }


def parse_controller_revision(obj: Mapping[str, Any]) -> Revision:
    """The inverse of `build_controller_revision`."""
    metadata, data = obj["metadata"], obj["data"]
    label = metadata.get("labels", {}).get(naming.LABEL_OUTCOME)
    return Revision(
        hash=metadata["labels"][naming.LABEL_REVISION],
        number=int(obj.get("revision", 0)),
        template=data["template"],
        pod_template=data["podTemplate"],
        defaults=data.get("defaults", {}),
        files=data.get("files", {}),
        outcome=OutcomeLabel(label) if label in list(OutcomeLabel) else None,
        object_name=metadata["name"],
    )
