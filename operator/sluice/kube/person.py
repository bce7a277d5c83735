"""What kubectl-sluice asks the API server for, with the rights of the person who runs it, and the kubeconfig it does so by.

No role is made from this table: each person has the rights that somebody gave them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any, Final

import kubernetes.aio.client as aio_client
import kubernetes.aio.config as aio_config
import yaml

from sluice.kube import connection, resources

MANAGER: Final = "kubectl-sluice"
"""Field manager of orders."""
_NAMESPACE_FILE: Final = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_DEFAULT_NAMESPACE: Final = "default"

Verb = resources.Verb


def _asked(resource: resources.Resource, *verbs: Verb) -> resources.Resource:
    return dataclasses.replace(resource, rules=(resources.Rule(resources.Reach.WATCHED, frozenset(verbs)),))


def _review(group: str, kind: str) -> resources.Resource:
    rules = (resources.Rule(resources.Reach.CLUSTER, frozenset({Verb.CREATE})),)
    return resources.Resource(group, "v1", f"{kind.lower()}s", kind, rules, namespaced=False)


MODEL_DEPLOYMENTS: Final = _asked(resources.MODEL_DEPLOYMENTS, Verb.GET, Verb.LIST, Verb.WATCH, Verb.PATCH)
CONTROLLER_REVISIONS: Final = _asked(resources.CONTROLLER_REVISIONS, Verb.GET)
DEPLOYMENTS: Final = _asked(resources.DEPLOYMENTS, Verb.GET)
PODS: Final = _asked(resources.PODS, Verb.LIST)
SELF_SUBJECT_REVIEWS: Final = _review("authentication.k8s.io", "SelfSubjectReview")
SELF_SUBJECT_ACCESS_REVIEWS: Final = _review("authorization.k8s.io", "SelfSubjectAccessReview")


@dataclasses.dataclass(frozen=True)
class Access:
    """How a person reaches a cluster."""

    configuration: Any
    """For `client.Client`."""
    namespace: str
    """Where they are, if they do not say otherwise."""


async def load(kubeconfig: pathlib.Path | None = None, context: str | None = None) -> Access:
    """The access that kubectl would have: the named file, $KUBECONFIG, ~/.kube/config, or the pod's own account.

    Raises:
        connection.NotConfigured: there is no such file or context, or it cannot be used.
    """
    files = _files(kubeconfig)
    if not files and context is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return Access(await connection.load(), _own_namespace())
    if not files:
        raise connection.NotConfigured(
            f"Cannot find a kubeconfig at {_wanted(kubeconfig)}: name one by --kubeconfig or $KUBECONFIG"
        )
    configuration, named = aio_client.Configuration(), os.pathsep.join(map(str, files))
    try:
        # Several files are joined as kubectl joins them. Nothing is written back: a renewed token is this run's.
        loader = await aio_config.load_kube_config(
            config_file=named,
            context=context or _current_context(files),
            client_configuration=configuration,
            persist_config=False,
        )
        chosen = loader.current_context["context"]
    except (aio_config.ConfigException, OSError, yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise connection.NotConfigured(f"Cannot use kubeconfig {named}: {error}") from error
    if _is_program(files, chosen.get("user")) and not (configuration.cert_file or await configuration.auth_settings()):
        # The library goes on without any credentials then, and the API server would speak of `system:anonymous`.
        raise connection.NotConfigured(
            f"Cannot use kubeconfig {named}: the exec plugin of user {chosen['user']!r} gave no credentials"
        )
    return Access(configuration, chosen.get("namespace") or _DEFAULT_NAMESPACE)


def contexts(kubeconfig: pathlib.Path | None = None) -> list[str]:
    """Names of the contexts there are, for shell completion; none of files that cannot be read."""
    listed = [each for content in map(_read, _files(kubeconfig)) for each in content.get("contexts") or ()]
    return [str(each["name"]) for each in listed if isinstance(each, dict) and "name" in each]


def _current_context(files: list[pathlib.Path]) -> str | None:
    """That of the first file that has one, as with kubectl."""
    return next((str(found) for content in map(_read, files) if (found := content.get("current-context"))), None)


def _is_program(files: list[pathlib.Path], name: object) -> bool:
    """Whether the credentials of this user come from a program. The first file that has the user counts."""
    listed = [each for content in map(_read, files) for each in content.get("users") or () if isinstance(each, dict)]
    return "exec" in next((each.get("user") or {} for each in listed if each.get("name") == name), {})


def _read(file: pathlib.Path) -> Mapping[str, Any]:
    with contextlib.suppress(OSError, yaml.YAMLError):
        content = yaml.safe_load(file.read_text())
        if isinstance(content, dict):
            return content
    return {}


def _wanted(kubeconfig: pathlib.Path | None) -> str:
    return str(kubeconfig) if kubeconfig is not None else os.environ.get("KUBECONFIG") or "~/.kube/config"


def _files(kubeconfig: pathlib.Path | None) -> list[pathlib.Path]:
    """The files that exist, of those that count."""
    listed = [str(kubeconfig)] if kubeconfig is not None else _wanted(None).split(os.pathsep)
    paths = [pathlib.Path(each).expanduser() for each in listed if each]
    return [path for path in paths if path.is_file()]


def _own_namespace() -> str:
    with contextlib.suppress(OSError):
        return _NAMESPACE_FILE.read_text().strip()
    return _DEFAULT_NAMESPACE
