"""Per-attempt and per-request counters, written by Envoy itself.

As they appear at `/stats/prometheus` (Envoy puts `envoy_` before the prefix `sluice`; labels are as written here, and
Envoy adds none):

    # TYPE envoy_sluice_attempts counter
    envoy_sluice_attempts{revision="prod/chat-7c9d0f1a",route="chat",code="200",flags="-",stream="",placeholder=""} 12

One sample per upstream attempt, retries included: the evidence of rollouts. `revision` is the Envoy cluster
(`<ns>/<md>-<hash>`, or `provider/<name>`), `route` the route's name (explicit, or `<ns>/<md>`), `code` the attempt's HTTP
status (`0`: none came), `flags` Envoy's response flags joined by commas (`-`: none), `stream` `true`, `false` or empty (not in
the body), `placeholder` `yes` for an attempt on the refusing endpoint that stands in for an empty revision, else empty.

    # TYPE envoy_sluice_requests counter
    envoy_sluice_requests{route="chat",code="200",flags="-",client="team-a"} 12

    # TYPE envoy_sluice_ttft histogram
    envoy_sluice_ttft_bucket{revision="prod/chat-7c9d0f1a",route="chat",le="790"} 11
    # TYPE envoy_sluice_duration histogram
    envoy_sluice_duration_bucket{revision="prod/chat-7c9d0f1a",route="chat",le="790"} 4

One sample per attempt that was answered with a 2xx or 3xx, in milliseconds from when its request was begun upstream: `ttft`
to the first byte of the body, of requests with `"stream": true` (not to the headers, which vLLM sends at once); `duration`
to the end of the answer, of answers that came whole. An attempt that failed is an error, never a latency. Our bootstrap sets
the buckets (`gates.grid`).

One sample per client request, as the client saw it; `client` is empty for an anonymous one, `route` where none matched.
Both have no `_total` suffix. They appear at the first stats flush after the first count (1 s in our bootstrap).

Each attempt is also one line on standard output, for people and for timing, with nothing of its content in it:

    {"sluice_attempt":true,"start":"2026-01-31T12:00:00.123Z","revision":"prod/chat-7c9d0f1a","route":"chat","code":200,…}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import base_pb2, substitution_format_string_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.access_loggers.stream.v3 import stream_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.type.matcher.v3 import string_pb2

from sluice.xds import protos, snapshot
from sluice.xds.filters import api_keys, model

NAME: Final = "envoy.filters.http.router"
PLACEHOLDER_NAMESPACE: Final = "sluice"
PLACEHOLDER_KEY: Final = "placeholder"

_ATTEMPT: Final = {
    "revision": "%UPSTREAM_CLUSTER%",
    "route": "%ROUTE_NAME%",
    "code": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "stream": f"%REQ({model.STREAM_HEADER})%",
    "placeholder": f"%UPSTREAM_METADATA({PLACEHOLDER_NAMESPACE}:{PLACEHOLDER_KEY})%",
}
_HISTOGRAM: Final = {"revision": "%UPSTREAM_CLUSTER%", "route": "%ROUTE_NAME%"}
_LATENCIES: Final = {
    "ttft": "%COMMON_DURATION(US_TX_BEG:US_RX_BODY_BEG:ms)%",
    "duration": "%COMMON_DURATION(US_TX_BEG:US_RX_END:ms)%",
}
_REQUEST: Final = {
    "route": "%ROUTE_NAME%",
    "code": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "client": api_keys.CLIENT,
}
_LINE: Final = {
    "sluice_attempt": True,
    "start": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "revision": "%UPSTREAM_CLUSTER%",
    "route": "%ROUTE_NAME%",
    "code": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "duration_ms": "%DURATION%",
    "upstream": "%UPSTREAM_HOST%",
}


def build_router() -> snapshot.Message:
    """The last filter, which sends attempts and counts each, in an `Any`."""
    logs = [
        _counter("attempts", _ATTEMPT),
        _histogram("ttft", streams_only=True),
        _histogram("duration", streams_only=False),
        _lines(),
    ]
    return protos.any_of(router_pb2.Router(upstream_log=logs, suppress_envoy_headers=True))


def build_request_counter() -> snapshot.Message:
    """The listener's access log that counts client requests."""
    return _counter("requests", _REQUEST)


def _counter(name: str, tags: Mapping[str, str]) -> snapshot.Message:
    return _stats({"counters": [{"stat": _stat(name, tags), "value_fixed": 1}]})


def _histogram(name: str, *, streams_only: bool) -> snapshot.Message:
    config = {"stat": _stat(name, _HISTOGRAM), "unit": "Milliseconds", "value_format": _LATENCIES[name]}
    log = _stats({"histograms": [config]})
    conditions = [_code(accesslog_pb2.ComparisonFilter.GE, 200), _code(accesslog_pb2.ComparisonFilter.LE, 399)]
    if streams_only:
        header = route_components_pb2.HeaderMatcher(
            name=model.STREAM_HEADER, string_match=string_pb2.StringMatcher(exact="true")
        )
        conditions.append(accesslog_pb2.AccessLogFilter(header_filter=accesslog_pb2.HeaderFilter(header=header)))
    log.filter.and_filter.filters.extend(conditions)
    return log


def _code(op: accesslog_pb2.ComparisonFilter.Op.ValueType, code: int) -> accesslog_pb2.AccessLogFilter:
    # Envoy wants a runtime key, which nobody sets.
    value = base_pb2.RuntimeUInt32(default_value=code, runtime_key="sluice.unset")
    comparison = accesslog_pb2.ComparisonFilter(op=op, value=value)
    return accesslog_pb2.AccessLogFilter(status_code_filter=accesslog_pb2.StatusCodeFilter(comparison=comparison))


def _stat(name: str, tags: Mapping[str, str]) -> dict[str, Any]:
    return {"name": name, "tags": [{"name": tag, "value_format": value} for tag, value in tags.items()]}


def _stats(fields: Mapping[str, Any]) -> accesslog_pb2.AccessLog:
    # xds-protos lacks stats_scope. An idle series is dropped after a while; one that is in use keeps its count.
    config = protos.typed_struct(
        "envoy.extensions.access_loggers.stats.v3.Config",
        {"stats_scope": {"prefix": "sluice", "enable_eviction": True}, **fields},
    )
    return accesslog_pb2.AccessLog(name="envoy.access_loggers.stats", typed_config=config)


def _lines() -> snapshot.Message:
    text = substitution_format_string_pb2.SubstitutionFormatString()
    text.json_format.update(_LINE)
    config = protos.any_of(stream_pb2.StdoutAccessLog(log_format=text))
    return accesslog_pb2.AccessLog(name="envoy.access_loggers.stdout", typed_config=config)
