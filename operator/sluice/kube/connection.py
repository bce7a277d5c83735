"""How to reach the API server: from inside a pod, or by a kubeconfig file that somebody named.

Never the user's current context unasked: outside a cluster a path is required.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from typing import Any

import kubernetes.aio.client as aio_client
import kubernetes.aio.config as aio_config

from sluice.kube import errors


class NotConfigured(errors.KubeError):
    """Neither in a cluster nor given a kubeconfig."""


@dataclasses.dataclass(frozen=True)
class Credentials:
    """What another client of the same API server needs: URL, file paths, and the bearer token of this moment."""

    server: str
    ca_path: str | None
    certificate_path: str | None
    private_key_path: str | None
    token: str | None
    insecure: bool


async def load(kubeconfig: pathlib.Path | None = None) -> Any:
    """The `kubernetes.aio` Configuration. Raises NotConfigured, naming what is missing."""
    configuration = aio_client.Configuration()
    try:
        if kubeconfig is not None:
            await aio_config.load_kube_config(
                config_file=str(kubeconfig), client_configuration=configuration, persist_config=False
            )
        elif os.environ.get("KUBERNETES_SERVICE_HOST"):
            aio_config.load_incluster_config(client_configuration=configuration)
        else:
            raise NotConfigured("Cannot reach a cluster: not inside a pod, and no kubeconfig path was given")
    except (aio_config.ConfigException, OSError) as error:
        raise NotConfigured(f"Cannot load the cluster configuration from {kubeconfig or 'the pod'}: {error}") from error
    return configuration


async def credentials(configuration: Any) -> Credentials:
    """The same access for a second client. A pod's token is read from its file again when it is older than a minute."""
    auth = (await configuration.auth_settings()).get("BearerToken") or {}
    header = str(auth.get("value") or "")
    return Credentials(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        token=header.split(" ", 1)[1].strip() if " " in header else None,
        insecure=not configuration.verify_ssl,
    )
