"""The init container that downloads a model and its adapters, and what it shares with `sluice prefetch`: exit codes, message.

Here only pods are described; the download is in the package `sluice.prefetch`. The cache is written by this container alone:
the engine sees it read-only, through links of the pod's own.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sluice.workloads import quantities, security, sources

CONTAINER: Final = "prefetch"
COMMAND: Final = ("python", "-m", "sluice.prefetch")
"""`sluice prefetch`, without what the other commands load: it is run at each start of a pod."""
CACHE_PATH: Final = "/var/cache/sluice/models"
CACHE_VOLUME: Final = "sluice-models"
LINKS_VOLUME: Final = "sluice-downloads"
CREDENTIALS_VOLUME: Final = "sluice-credentials"
CREDENTIALS_DIR: Final = "/mnt/sluice/credentials"
CREDENTIALS_FILE: Final = "credentials"
RESOLVED_VOLUME: Final = "sluice-resolved"
RESOLVED_DIR: Final = "/mnt/sluice/resolved"
RESOLVED_KEY: Final = "resolved.json"
"""Key of the ConfigMap `<name>-<hash>-resolved`, and name of its file in RESOLVED_DIR."""
TERMINATION_LOG: Final = "/dev/termination-log"
_RESOLVED: Final = "resolved"

CREDENTIALS_VARIABLE: Final[Mapping[sources.Scheme, str]] = {
    sources.Scheme.HF: "HF_TOKEN_PATH",
    sources.Scheme.S3: "AWS_SHARED_CREDENTIALS_FILE",
    sources.Scheme.GS: "GOOGLE_APPLICATION_CREDENTIALS",
}
"""The variable that tells each library the path of its credentials."""
PASSED_PREFIXES: Final = ("HF_", "AWS_", "GOOGLE_", "GCE_", "CLOUDSDK_", "STORAGE_EMULATOR_")
PASSED_NAMES: Final = frozenset(
    {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"}
)
"""The engine's variables that the download needs too, in any case: how to reach a host. Others could break our own image."""
_OWN_VARIABLES: Final = frozenset({"HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_HOME"})
"""Ours in this container, whatever the engine is told."""
_OTHER_CREDENTIALS: Final[Mapping[sources.Scheme, frozenset[str]]] = {
    sources.Scheme.HF: frozenset({"HF_TOKEN"}),
    sources.Scheme.S3: frozenset({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}),
    sources.Scheme.GS: frozenset(),
}
"""What the libraries would prefer to the file: the Secret that the template names wins."""


class ExitCode(enum.IntEnum):
    """How `sluice prefetch` ends; every end above 0 writes one sentence to the termination message."""

    OK = 0
    """Everything is in the cache."""
    DEFECT = 1
    """A defect of ours: what Python ends with by itself."""
    BAD_INPUT = 2
    """The arguments cannot be used."""
    DENIED = 3
    """The host refuses: 401, 403, a gated model, missing credentials. A Secret or a person there can mend it."""
    NOT_FOUND = 4
    """There is no such repository, revision, bucket or prefix."""
    TRANSIENT = 5
    """The host could not be reached, or failed, for longer than retries last. Trying again may help."""
    NO_SPACE = 6
    """The cache volume is too small or full."""
    CHECKSUM = 7
    """What arrived is not what the source says it has, again and again."""
    CHANGED = 8
    """The source no longer has what the first pod of this revision got."""
    CACHE = 9
    """The cache volume cannot be written or locked."""


@dataclasses.dataclass(frozen=True)
class Secret:
    """A key of a Secret."""

    name: str
    key: str


@dataclasses.dataclass(frozen=True)
class Cache:
    """Where downloads are kept: a claim, or an emptyDir with an optional limit."""

    claim: str | None = None
    size_limit: str | None = None


@dataclasses.dataclass(frozen=True)
class Request:
    """What one pod is to have downloaded for it."""

    items: Sequence[sources.Item]
    """Model and adapters of any scheme; only those that are downloaded count here."""
    image: str
    """The operator's image."""
    resolved_config_map: str
    """Name of the ConfigMap with what the revision's first pod got; it need not exist."""
    cache: Cache = Cache()
    credentials: Secret | None = None
    env: Sequence[Mapping[str, Any]] = ()
    """The engine container's environment, as Kubernetes has it."""
    mounts: Sequence[Mapping[str, Any]] = ()
    """The user's own mounts of the engine container: a CA bundle or a token that the environment names may be there."""

    @property
    def downloads(self) -> tuple[sources.Item, ...]:
        """The items that are downloaded."""
        return tuple(item for item in self.items if item.parsed.is_downloaded)


def containers(request: Request) -> list[dict[str, Any]]:
    """The init container; none when nothing is downloaded."""
    if not request.downloads:
        return []
    mounts = [
        {"name": CACHE_VOLUME, "mountPath": CACHE_PATH},
        {"name": LINKS_VOLUME, "mountPath": sources.LINKS_PATH},
        {"name": RESOLVED_VOLUME, "mountPath": RESOLVED_DIR, "readOnly": True},
        *({**mount, "readOnly": True} for mount in request.mounts),
    ]
    if request.credentials is not None:
        mounts.append({"name": CREDENTIALS_VOLUME, "mountPath": CREDENTIALS_DIR, "readOnly": True})
    return [
        {
            "name": CONTAINER,
            "image": request.image,
            "command": list(COMMAND),
            "args": build_args(request),
            "env": _environment(request),
            "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
            "securityContext": security.container(),
            "terminationMessagePath": TERMINATION_LOG,
            # An end that writes no message, such as being killed, still says something.
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "volumeMounts": mounts,
        }
    ]


def build_args(request: Request) -> list[str]:
    """Arguments of `sluice prefetch`."""
    args = [f"--cache={CACHE_PATH}", f"--links={sources.LINKS_PATH}"]
    args.append(f"--resolved={RESOLVED_DIR}/{RESOLVED_KEY}")
    args.append(f"--result={TERMINATION_LOG}")
    if request.cache.claim is None and request.cache.size_limit is not None:
        args.append(f"--size-limit={int(quantities.parse(request.cache.size_limit))}")
    for item in request.downloads:
        args.append(f"--item={item.name}={item.source}")
        if item.revision is not None:
            args.append(f"--revision={item.name}={item.revision}")
    return args


def volumes(request: Request) -> list[dict[str, Any]]:
    """Pod volumes of the download; none when nothing is downloaded."""
    if not request.downloads:
        return []
    cache = request.cache
    limit = {"sizeLimit": cache.size_limit} if cache.size_limit is not None else {}
    kind = {"persistentVolumeClaim": {"claimName": cache.claim}} if cache.claim is not None else {"emptyDir": limit}
    made: list[dict[str, Any]] = [
        {"name": CACHE_VOLUME, **kind},
        {"name": LINKS_VOLUME, "emptyDir": {}},
        {"name": RESOLVED_VOLUME, "configMap": {"name": request.resolved_config_map, "optional": True}},
    ]
    if request.credentials is not None:
        items = [{"key": request.credentials.key, "path": CREDENTIALS_FILE}]
        made.append({"name": CREDENTIALS_VOLUME, "secret": {"secretName": request.credentials.name, "items": items}})
    return made


def engine_mounts(request: Request) -> list[dict[str, Any]]:
    """Mounts of the engine container: the cache is read-only there, so that no engine harms another's model."""
    if not request.downloads:
        return []
    return [
        {"name": CACHE_VOLUME, "mountPath": CACHE_PATH, "readOnly": True},
        {"name": LINKS_VOLUME, "mountPath": sources.LINKS_PATH, "readOnly": True},
    ]


def engine_environment(request: Request) -> dict[str, str]:
    """Variables of the engine container: what it loads is on its disk, so that it asks no hub."""
    return {"HF_HUB_OFFLINE": "1"} if request.downloads else {}


def resolved_message(resolved: Mapping[str, str]) -> str:
    """The termination message of a success: the version of each item by its name, such as a commit of the hub."""
    return json.dumps({_RESOLVED: dict(sorted(resolved.items()))}, separators=(",", ":"))


def parse_resolved(text: str) -> dict[str, str] | None:
    """The inverse of `resolved_message`; None for any other text."""
    try:
        found = json.loads(text)[_RESOLVED]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(found, Mapping) or not all(isinstance(version, str) for version in found.values()):
        return None
    return {str(name): version for name, version in found.items()}


def _environment(request: Request) -> list[dict[str, Any]]:
    own = {"HOME": CACHE_PATH, "HF_HOME": f"{CACHE_PATH}/.hf", "HF_HUB_DISABLE_TELEMETRY": "1"}
    hidden = _OWN_VARIABLES
    if request.credentials is not None:
        scheme = request.downloads[0].parsed.scheme
        own[CREDENTIALS_VARIABLE[scheme]] = f"{CREDENTIALS_DIR}/{CREDENTIALS_FILE}"
        hidden |= _OTHER_CREDENTIALS[scheme]
    passed = [dict(entry) for entry in request.env if _is_passed(entry["name"]) and entry["name"] not in hidden | own.keys()]
    return [{"name": name, "value": value} for name, value in own.items()] + passed


def _is_passed(name: str) -> bool:
    return name.startswith(PASSED_PREFIXES) or name.upper() in PASSED_NAMES
