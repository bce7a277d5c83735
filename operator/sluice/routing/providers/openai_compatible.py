"""Providers that speak the OpenAI API as it is: requests pass unchanged, with the provider's own key."""

from __future__ import annotations

from sluice.api import gateway
from sluice.routing import ir

_PORTS = {"https": 443, "http": 80}


def build_cluster(provider: gateway.Provider, *, name: str, max_retries: int) -> ir.ProviderCluster:
    """The provider as a cluster called `name`. Its url has passed the CRD's pattern: scheme, host and port."""
    scheme, _, rest = provider.url.partition("://")
    host, _, port = rest.partition(":")
    return ir.ProviderCluster(
        name=name,
        host=host,
        port=int(port) if port else _PORTS[scheme],
        tls=scheme == "https",
        credential=provider.credentials.key if provider.credentials is not None else None,
        max_retries=max_retries,
    )
