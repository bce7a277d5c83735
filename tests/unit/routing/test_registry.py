"""The table of providers."""

from __future__ import annotations

import typing

import pytest

from sluice.api import gateway
from sluice.routing import ir
from sluice.routing.providers import registry


def test_every_provider_type_of_the_api_is_there_and_no_other() -> None:
    """A member added to only one of the two cannot merge."""
    annotation = gateway.Provider.model_fields["type"].annotation
    assert set(typing.get_args(annotation)) == set(registry.PROVIDERS)


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("https://api.openai.com", "api.openai.com", 443, True),
        ("http://models.example", "models.example", 80, False),
        ("https://models.example:8443", "models.example", 8443, True),
    ],
)
def test_a_url_says_host_port_and_tls(url: str, host: str, port: int, tls: bool) -> None:
    """The scheme's port applies where none is given."""
    provider = gateway.Provider(name="p", type="OpenAICompatible", url=url)
    made = registry.PROVIDERS[provider.type](provider, name="provider/p", max_retries=3)
    assert made == ir.ProviderCluster("provider/p", host, port, tls=tls, credential=None, max_retries=3)
