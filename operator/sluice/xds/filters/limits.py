"""Rate limits inside the proxy. Buckets come by ECDS and live until limits change; which route uses which is in the route.

A bucket must survive what changes often (weights, endpoints, keys): so neither listener nor routes hold any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from envoy.config.route.v3 import route_components_pb2

from sluice.ratelimit import registry
from sluice.routing import ir
from sluice.routing import limits as routing_limits
from sluice.xds import protos, snapshot
from sluice.xds.filters import api_keys

NAME: Final = "sluice.limits"
TYPE: Final = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
_LIMIT, _CLIENT, _MODEL, _MATCH = "limit", "client", "model", "match"
_ALWAYS: Final = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
_UNLIMITED: Final = {"max_tokens": 4294967295, "tokens_per_fill": 4294967295, "fill_interval": "1s"}


def build_config(limits: Iterable[ir.Limit]) -> snapshot.Message:
    """The filter with one descriptor per limit, in an `Any`. Without limits it lets all pass."""
    descriptors = [_descriptor(limit) for limit in limits]
    # xds-protos lacks enable_retry_after_header.
    return protos.typed_struct(
        TYPE,
        {
            "stat_prefix": "limits",
            # Required; for requests that no limit counts.
            "token_bucket": _UNLIMITED,
            "always_consume_default_token_bucket": False,
            "filter_enabled": _ALWAYS,
            "filter_enforced": _ALWAYS,
            "descriptors": descriptors,
            # Envoy's default of 20 would let the 21st client throw another one's bucket away.
            "max_dynamic_descriptors": routing_limits.MAX_KEYS,
            "enable_x_ratelimit_headers": "DRAFT_VERSION_03" if descriptors else "OFF",
            "enable_retry_after_header": True,
        },
    )


def _descriptor(limit: ir.Limit) -> dict[str, Any]:
    bucket = registry.ALGORITHMS[limit.algorithm](amount=limit.amount, per_ms=limit.per_ms, burst=limit.burst)
    entries = [{"key": _LIMIT, "value": limit.name}]
    if limit.clients:
        entries.append({"key": _MATCH, "value": "yes"})
    # A blank value stands for any: each one seen gets a bucket of its own.
    entries.extend({"key": key} for key, wanted in ((_CLIENT, limit.per_client), (_MODEL, limit.per_model)) if wanted)
    return {
        "entries": entries,
        "token_bucket": {
            "max_tokens": bucket.max_tokens,
            "tokens_per_fill": bucket.tokens_per_fill,
            "fill_interval": f"{bucket.fill_interval_ms / 1000:.3f}s",
        },
    }


def build_rate_limits(route: ir.Route, limits: Iterable[ir.Limit]) -> Iterator[snapshot.Message]:
    """What a request of this route is counted as: one descriptor per limit, with the same entries as the limit's own."""
    for limit in limits:
        if limit.name not in route.limits:
            continue
        actions = [_generic(_LIMIT, limit.name)]
        if limit.clients:
            actions.append(_client_among(limit.clients))
        if limit.per_client:
            actions.append(_client())
        if limit.per_model:
            # Of the route, not of the request: a stranger's model name must not take a bucket.
            actions.append(_generic(_MODEL, route.model))
        yield route_components_pb2.RateLimit(actions=actions)


def _generic(key: str, value: str) -> snapshot.Message:
    action = route_components_pb2.RateLimit.Action
    return action(generic_key=action.GenericKey(descriptor_key=key, descriptor_value=value))


def _client() -> snapshot.Message:
    action = route_components_pb2.RateLimit.Action
    return action(request_headers=action.RequestHeaders(header_name=api_keys.CLIENT_HEADER, descriptor_key=_CLIENT))


def _client_among(clients: tuple[str, ...]) -> snapshot.Message:
    action = route_components_pb2.RateLimit.Action
    header = api_keys.match_clients(clients)
    return action(header_value_match=action.HeaderValueMatch(descriptor_key=_MATCH, descriptor_value="yes", headers=[header]))
