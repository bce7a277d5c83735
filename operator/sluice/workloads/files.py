"""The files of one revision: what its template takes from ConfigMaps, and our own scripts that run beside the engine.

Their contents are copied into one immutable ConfigMap of the revision, so that editing a source changes no pod. Which revision
is wanted depends on the contents of the user's files, never on our scripts. Reading sources stays outside.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sluice.api import naming
from sluice.workloads import volumes

MOUNT_PATH: Final = "/mnt/sluice/files"
"""Where the engine container finds them."""
VOLUME: Final = "files"
LIVENESS: Final = "liveness.py"
HOLD_HEADERS: Final = "hold_headers.py"
CHAT_TEMPLATE: Final = "chat_template.jinja"
CHAT_TEMPLATE_PATH: Final = f"{MOUNT_PATH}/{CHAT_TEMPLATE}"
OWN: Final = frozenset({LIVENESS, HOLD_HEADERS})
"""Files of ours: they are recorded with a revision, and make none."""
MAX_BYTES: Final = 1 << 20
"""What Kubernetes lets the values of one ConfigMap hold."""


@dataclasses.dataclass(frozen=True)
class EngineFiles:
    """Contents of our own scripts, as of this operator."""

    liveness: str
    hold_headers: str

    def contents(self) -> dict[str, str]:
        """By file name."""
        return {LIVENESS: self.liveness, HOLD_HEADERS: self.hold_headers}


@dataclasses.dataclass(frozen=True)
class Reference:
    """A file of the user's, and where its content comes from: a key of a ConfigMap in the same namespace."""

    file: str
    """Its name below MOUNT_PATH."""
    field: str
    """Path in the ModelDeployment, for messages."""
    config_map: str
    key: str


def references(template: Mapping[str, Any]) -> tuple[Reference, ...]:
    """The files that an admitted template refers to."""
    return tuple(_references(template["model"]))


def _references(model: Mapping[str, Any]) -> Iterator[Reference]:
    prefix = "spec.template.model"
    chat_template = model.get("chatTemplate")
    if chat_template:
        yield _reference(CHAT_TEMPLATE, f"{prefix}.chatTemplate.configMapKeyRef", chat_template)
    for entry in model.get("files") or ():
        yield _reference(entry["name"], f"{prefix}.files[{entry['name']}].configMapKeyRef", entry)


def _reference(file: str, field: str, entry: Mapping[str, Any]) -> Reference:
    source = entry["configMapKeyRef"]
    return Reference(file, field, source["name"], source["key"])


def digests(contents: Mapping[str, str]) -> dict[str, str]:
    """SHA-256 in hex, by file name."""
    return {name: hashlib.sha256(content.encode()).hexdigest() for name, content in sorted(contents.items())}


def of_user(recorded: Mapping[str, str]) -> dict[str, str]:
    """The digests that make a revision: without those of our own scripts."""
    return {name: digest for name, digest in recorded.items() if name not in OWN}


def contents_of(recorded: Mapping[str, str], present: Mapping[str, str], engine: EngineFiles) -> dict[str, str] | None:
    """All files of a revision with these digests, where the user's are what they were; None where they are not.

    Our own scripts may be newer than those it was made with: they keep their command lines.
    """
    wanted = of_user(recorded)
    texts = {name: text for name, text in present.items() if name in wanted}
    return {**texts, **engine.contents()} if digests(texts) == wanted else None


def size(contents: Mapping[str, str]) -> int:
    """Bytes that count towards MAX_BYTES."""
    return sum(len(content.encode()) for content in contents.values())


def pod_parts(name: str, revision_hash: str) -> volumes.PodParts:
    """What the files add to a pod of the revision."""
    return volumes.PodParts(
        volumes=({"name": VOLUME, "configMap": {"name": naming.files_name(name, revision_hash)}},),
        engine_mounts=({"name": VOLUME, "mountPath": MOUNT_PATH, "readOnly": True},),
    )


def labels(name: str) -> dict[str, str]:
    """Labels of all ConfigMaps with files of a ModelDeployment's revisions."""
    return {
        naming.LABEL_MANAGED_BY: naming.MANAGED_BY,
        naming.LABEL_MODEL_DEPLOYMENT: name,
        naming.LABEL_COMPONENT: naming.COMPONENT_FILES,
    }


def build_config_map(
    *, namespace: str, name: str, revision_hash: str, contents: Mapping[str, str], owner: Mapping[str, Any]
) -> dict[str, Any]:
    """The immutable ConfigMap `<name>-<hash>-files`."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": naming.files_name(name, revision_hash),
            "namespace": namespace,
            "labels": {**labels(name), naming.LABEL_REVISION: revision_hash},
            "ownerReferences": [dict(owner)],
        },
        "immutable": True,
        "data": dict(contents),
    }
