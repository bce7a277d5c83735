"""Which builder speaks which provider type: the one table that a new provider is added to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from sluice.api import gateway
from sluice.routing import ir
from sluice.routing.providers import openai_compatible


class BuildCluster(Protocol):
    """Makes a provider's cluster."""

    def __call__(self, provider: gateway.Provider, *, name: str, max_retries: int) -> ir.ProviderCluster:
        """The cluster, called `name`."""
        ...


PROVIDERS: Final[Mapping[str, BuildCluster]] = {
    "OpenAICompatible": openai_compatible.build_cluster,
}
"""By `spec.providers[].type`; its keys are exactly the API's."""


def cluster_name(provider: str) -> str:
    """Name of a provider's cluster, and its `revision` in the attempt counters. A revision's has a hash, so never this form."""
    return f"provider/{provider}"
