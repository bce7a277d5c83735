"""Revisions as ControllerRevisions: the durable facts that everything else is computed from.

A revision stores the template as it was admitted, the digests of its files, the defaults in force and the rendered pod
template. Its outcome label is the one durable fact of what became of it. Two wishes are the same revision when their templates
are equal after normalising quantities and order, and the contents of the files that they refer to are; the hash is only a name.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sluice.api import naming
from sluice.api import template as template_api  # parameters are named template
from sluice.workloads import files as files_  # parameters are named files
from sluice.workloads import outcome as outcome_  # a field is named outcome
from sluice.workloads import platform_config, platform_rules, pod_template, profiles, quantities

_MAX_COLLISIONS: Final = 1000
_QUANTITIES: Final = frozenset({"sharedMemory", "sizeLimit"})
_AMOUNTS: Final = frozenset({"requests", "limits"})
"""Maps of quantities."""
_SETS_OF_TEXT: Final = frozenset({"values", "namespaces", "accessModes", "matchLabelKeys"})
_SAY_SOMETHING_EMPTY: Final = frozenset({"topologySpreadConstraints", "labelSelector", "namespaceSelector"})
"""Members whose absence means something else than their being empty."""
_OPAQUE: Final = frozenset({"nodeSelector", "matchLabels", "labels", "annotations"})
"""Maps whose keys are the user's own words."""


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
    """Digest by file name, our own scripts included. Empty: made by a version that knew no files."""
    outcome: OutcomeLabel | None = None
    object_name: str = ""
    result: outcome_.Result | None = None
    """How its latest rollout ended."""
    created_at: str = ""

    @property
    def typed_template(self) -> template_api.Template:
        """The template as a model."""
        return template_api.Template.model_validate(self.template)

    @functools.cached_property
    def normal(self) -> dict[str, Any]:
        """The template in its normal form."""
        return normalise(self.template)


def normalise(template: Mapping[str, Any]) -> dict[str, Any]:
    """A form in which equal templates are equal data: canonical quantities, sorted sets, no empty members."""
    normal = _normal(template)
    return normal if isinstance(normal, dict) else {}


def _normal(value: Any, path: tuple[str, ...] = ()) -> Any:
    field = path[-1] if path else ""
    if field in _OPAQUE:
        return value
    if isinstance(value, Mapping):
        members = {key: _normal(member, (*path, key)) for key, member in value.items()}
        return {key: member for key, member in members.items() if not _says_nothing(key, member)}
    if isinstance(value, list | tuple):
        normal = [_normal(member, path) for member in value]
        return sorted(normal, key=_order) if _is_set(field, value) else normal
    if value is not None and (field in _QUANTITIES or (len(path) > 1 and path[-2] in _AMOUNTS)):
        return str(quantities.parse(str(value)).normalize())
    return value


def _says_nothing(field: str, value: Any) -> bool:
    """`vllm: {}` and no `vllm` are the same wish."""
    return value is None or (value in ({}, []) and field not in _SAY_SOMETHING_EMPTY)


def _is_set(field: str, value: Iterable[Any]) -> bool:
    """Objects in a list have keys that tell them apart; texts have an order, as arguments do, unless it means nothing."""
    return field in _SETS_OF_TEXT or all(isinstance(member, Mapping) for member in value)


def _order(member: Any) -> str:
    return json.dumps(member, sort_keys=True)


def find_same(revisions: Iterable[Revision], template: Mapping[str, Any], files: Mapping[str, str]) -> Revision | None:
    """The newest revision with this template and these files, given as digests by name; None when there is none."""
    wanted = files_.of_user(files)
    return newest((known for known in revisions if files_.of_user(known.files) == wanted), template)


def newest(revisions: Iterable[Revision], template: Mapping[str, Any]) -> Revision | None:
    """The newest revision with this template, whatever its files hold.

    One that was rendered anew has the same template; should it have been rejected, the one before it is meant again.
    """
    ordered = sorted(revisions, key=lambda known: known.number, reverse=True)
    if ordered and ordered[0].template == template and ordered[0].outcome is not OutcomeLabel.REJECTED:
        return ordered[0]  # nearly always, and equal data needs no normal form
    wanted = normalise(template)
    same = [known for known in ordered if known.normal == wanted]
    return next((known for known in same if known.outcome is not OutcomeLabel.REJECTED), same[0] if same else None)


def make_revision(
    name: str,
    template: Mapping[str, Any],
    *,
    files: Mapping[str, str],
    known: Iterable[Revision],
    defaults: pod_template.Defaults,
    platform: platform_config.Defaults,
    timing: pod_template.Timing,
) -> Revision:
    """A new revision of the ModelDeployment `name`, numbered after the known ones, under a hash none of them has.

    `files` are the digests of all its files, our own scripts included; `platform`'s defaults go before the operator's.
    """
    known = tuple(known)
    taken = {revision.hash for revision in known}
    of_user = files_.of_user(files)
    normal = {"template": normalise(template), "files": of_user} if of_user else normalise(template)
    revision_hash = next(
        candidate
        for collision in range(_MAX_COLLISIONS)
        if (candidate := naming.content_hash([normal, collision] if collision else normal)) not in taken
    )
    filled = platform_rules.fill(template_api.Template.model_validate(template), platform, defaults)
    return Revision(
        hash=revision_hash,
        number=max((revision.number for revision in known), default=0) + 1,
        template=template,
        pod_template=pod_template.render_pod_template(
            name,
            filled.template,
            revision_hash=revision_hash,
            defaults=filled.defaults,
            timing=timing,
        ),
        defaults={**filled.defaults.to_json(), **profiles.record(filled.template), **filled.record},
        files=dict(files),
        outcome=OutcomeLabel.CANDIDATE,
        object_name=naming.revision_name(name, revision_hash),
    )


def render(
    name: str,
    known: Revision,
    *,
    defaults: pod_template.Defaults,
    platform: platform_config.Defaults,
    timing: pod_template.Timing,
) -> dict[str, Any]:
    """The pod template that this version of Sluice makes of a revision, under its hash: what is stored may be older."""
    filled = platform_rules.fill(known.typed_template, platform, defaults)
    return pod_template.render_pod_template(
        name, filled.template, revision_hash=known.hash, defaults=filled.defaults, timing=timing
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
            "annotations": outcome_.to_annotations(revision.result),
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
        result=outcome_.from_annotations(metadata.get("annotations")),
        created_at=metadata.get("creationTimestamp", ""),
    )
