"""Filters on the way to one cluster: whose key it gets. Run per attempt, after the request left the shared filters.

Attempts of one request share its headers: a key that an earlier attempt put there must not reach the next cluster. So every
cluster either sets its own key over it, or removes it.
"""

from __future__ import annotations

from typing import Final

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.credential_injector.v3 import credential_injector_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.upstream_codec.v3 import upstream_codec_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from sluice.xds import protos, snapshot

DIRECTORY: Final = "/etc/sluice/credentials"
"""Where the proxies' pods have the Secret of `credentialsSecretRef`, one file a key."""


def secret_name(credential: str) -> str:
    """Name of the SDS resource for a key of the Secret."""
    return f"credential/{credential}"


def build_secret(credential: str, directory: str = DIRECTORY) -> snapshot.Message:
    """The SDS resource: a file name, which the proxy reads and watches. The key itself never leaves its pod."""
    return secret_pb2.Secret(
        name=secret_name(credential),
        generic_secret=secret_pb2.GenericSecret(secret=base_pb2.DataSource(filename=f"{directory}/{credential}")),
    )


def build_filters(credential: str | None) -> list[snapshot.Message]:
    """Filters of a cluster that gets this credential, or none."""
    first = _remove_authorization() if credential is None else _inject(credential)
    return [first, _filter("envoy.filters.http.upstream_codec", protos.any_of(upstream_codec_pb2.UpstreamCodec()))]


def _filter(name: str, config: snapshot.Message) -> snapshot.Message:
    return http_connection_manager_pb2.HttpFilter(name=name, typed_config=config)


def _remove_authorization() -> snapshot.Message:
    config = header_mutation_pb2.HeaderMutation(
        mutations=header_mutation_pb2.Mutations(request_mutations=[mutation_rules_pb2.HeaderMutation(remove="authorization")])
    )
    return _filter("envoy.filters.http.header_mutation", protos.any_of(config))


def _inject(credential: str) -> snapshot.Message:
    source = {"ads": {}, "resource_api_version": "V3"}
    # xds-protos lacks header_value_prefix.
    generic = protos.typed_struct(
        "envoy.extensions.http.injected_credentials.generic.v3.Generic",
        {
            "credential": {"name": secret_name(credential), "sds_config": source},
            "header": "Authorization",
            "header_value_prefix": "Bearer ",
        },
    )
    config = credential_injector_pb2.CredentialInjector(
        overwrite=True, credential=protos.extension("envoy.http.injected_credentials.generic", generic)
    )
    return _filter("envoy.filters.http.credential_injector", protos.any_of(config))
