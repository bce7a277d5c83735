"""The listener that clients call. It changes with the port only: what changes more often comes by RDS and ECDS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, substitution_format_string_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2
from google.protobuf import wrappers_pb2

from sluice.api import traffic_spec
from sluice.xds import errors, protos, routes, snapshot
from sluice.xds.filters import attempts, body, chain

NAME: Final = "http"


def all_but(prefix: str, name: str) -> str:
    """A regular expression for every name with this prefix except `name`, which has it too. RE2 cannot look ahead.

    Both are made of letters, digits and dashes.
    """
    rest = name.removeprefix(prefix)
    others = [f"{rest[:end]}([^{character}].*)?" for end, character in enumerate(rest)]
    return f"{prefix}({'|'.join([*others, f'{rest}.+'])})"


_OWN_PREFIX: Final = "x-sluice-"
_INTERNAL: Final = (
    string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=all_but(_OWN_PREFIX, traffic_spec.REVISION_HEADER))),
    string_pb2.StringMatcher(prefix="x-envoy-"),
)
"""Headers that steer this proxy: none is taken from a client, but the one by which testers ask for a revision."""
_HEADERS_TIMEOUT_MS: Final = 10_000
_REQUEST_TIMEOUT_MS: Final = 120_000
"""For a client to send its whole request."""


def build_listener(port: int) -> snapshot.Message:
    """The listener on all addresses."""
    address = address_pb2.SocketAddress(address="0.0.0.0", port_value=port)  # noqa: S104 - a pod serves on all of its addresses
    manager = listener_components_pb2.Filter(
        name="envoy.filters.network.http_connection_manager", typed_config=protos.any_of(_connection_manager())
    )
    return listener_pb2.Listener(
        name=NAME,
        address=address_pb2.Address(socket_address=address),
        filter_chains=[listener_components_pb2.FilterChain(filters=[manager])],
    )


def _connection_manager() -> snapshot.Message:
    manager = hcm_pb2.HttpConnectionManager
    return manager(
        stat_prefix="gateway",
        rds=hcm_pb2.Rds(route_config_name=routes.NAME, config_source=protos.ads()),
        http_filters=chain.build_filters(),
        access_log=[attempts.build_request_counter()],
        early_header_mutation_extensions=[_strip_internal_headers()],
        local_reply_config=hcm_pb2.LocalReplyConfig(mappers=list(_reply_mappers())),
        use_remote_address=wrappers_pb2.BoolValue(value=True),
        skip_xff_append=True,
        normalize_path=wrappers_pb2.BoolValue(value=True),
        merge_slashes=True,
        server_name="sluice",
        request_headers_timeout=protos.milliseconds(_HEADERS_TIMEOUT_MS),
        request_timeout=protos.milliseconds(_REQUEST_TIMEOUT_MS),
        # Envoy's second of patience would hold back the end of a stream that broke.
        delayed_close_timeout=protos.milliseconds(100),
    )


def _strip_internal_headers() -> snapshot.Message:
    mutation = mutation_rules_pb2.HeaderMutation
    removals = [mutation(remove_on_match=mutation.RemoveOnMatch(key_matcher=matcher)) for matcher in _INTERNAL]
    return protos.extension(
        "envoy.http.early_header_mutation.header_mutation",
        protos.any_of(header_mutation_pb2.HeaderMutation(mutations=removals)),
    )


def _reply_mappers() -> Iterator[snapshot.Message]:
    """OpenAI error bodies for what Envoy answers by itself; the answers of routes and filters of ours have theirs."""
    kinds = errors.Kind
    limited = errors.build_body(
        kinds.RATE_LIMIT, "rate_limit_exceeded", "Rate limit reached. Wait as long as Retry-After says."
    )
    too_large = f"The request is larger than {body.MAX_BYTES >> 20} MiB."
    yield _mapper(_status(429), limited)
    yield _mapper(_status(413), errors.build_body(kinds.INVALID_REQUEST, "request_too_large", too_large))
    yield _mapper(_status(504), errors.build_body(kinds.SERVER, "timeout", "The model did not answer in time."))
    unavailable = errors.build_body(kinds.SERVER, "backend_unavailable", "No backend of the model answered. Try again.")
    yield _mapper(_flags("UF", "UH", "UC", "UO", "UR", "LR", "URX", "NC", "UPE"), unavailable)


def _mapper(condition: snapshot.Message, answer: dict[str, Any]) -> snapshot.Message:
    text = substitution_format_string_pb2.SubstitutionFormatString()
    text.json_format.update(answer)
    return hcm_pb2.ResponseMapper(filter=condition, body_format_override=text)


def _flags(*flags: str) -> snapshot.Message:
    return accesslog_pb2.AccessLogFilter(response_flag_filter=accesslog_pb2.ResponseFlagFilter(flags=flags))


def _status(code: int) -> snapshot.Message:
    comparison = accesslog_pb2.ComparisonFilter(
        op=accesslog_pb2.ComparisonFilter.Op.Value("EQ"),
        value=base_pb2.RuntimeUInt32(default_value=code, runtime_key="sluice.unused"),
    )
    return accesslog_pb2.AccessLogFilter(status_code_filter=accesslog_pb2.StatusCodeFilter(comparison=comparison))
