"""The route configuration: models to groups of clusters, and an answer for everything else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Final

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2
from envoy.type.v3 import percent_pb2
from google.protobuf import wrappers_pb2

from sluice.api import traffic_spec
from sluice.routing import ir
from sluice.xds import errors, protos, snapshot
from sluice.xds.filters import api_keys, body, limits, model

NAME: Final = "main"
_MAX_ANSWER_BYTES: Final = 1 << 20
_RETRY_ON: Final = "5xx,connect-failure,reset,retriable-status-codes"
_TOO_MANY_REQUESTS: Final = 429
_REFRESH_CLUSTER_ON_RETRY: Final = b"\x70\x01"
"""`refresh_cluster_on_retry: true`, field 14 of RetryPolicy, which xds-protos lacks: each retry takes the next group."""
OVERRIDE_SUFFIX: Final = "/override"
"""Of the name under which the attempts of testers count, so that they are no evidence."""
_MILLIONTHS: Final = 100
"""In a basis point."""
_PRIORITY_GROUP: Final = "envoy.extensions.router.cluster_specifiers.priority_group.v3.PriorityGroupClusterSpecifier"


def build_route_configuration(gateway: ir.Gateway) -> snapshot.Message:
    """All routes of a Gateway. The first that matches wins."""
    host = route_components_pb2.VirtualHost(
        name="models",
        domains=["*"],
        routes=[
            _answer(_match("/v1/models", exact=True, method="GET"), 200, _model_list(gateway.routes)),
            *(made for route in gateway.routes for made in _model_routes(route, gateway.limits)),
            *_refusals(),
        ],
        request_body_buffer_limit=wrappers_pb2.UInt64Value(value=body.MAX_BYTES),
        # Who calls, and from where, is nobody's business behind the gateway.
        request_headers_to_remove=[
            api_keys.CLIENT_HEADER,
            model.MODEL_HEADER,
            traffic_spec.REVISION_HEADER,
            "x-envoy-external-address",
        ],
    )
    return route_pb2.RouteConfiguration(
        name=NAME,
        virtual_hosts=[host],
        max_direct_response_body_size_bytes=wrappers_pb2.UInt32Value(value=_MAX_ANSWER_BYTES),
    )


def _model_list(routes: Iterable[ir.Route]) -> str:
    data = [{"id": route.model, "object": "model", "created": 0, "owned_by": "sluice"} for route in routes]
    return json.dumps({"object": "list", "data": data}, separators=(",", ":"))


def _refusals() -> Iterator[snapshot.Message]:
    kind = errors.Kind.INVALID_REQUEST
    unknown = errors.build_text(kind, "model_not_found", "The model does not exist or you do not have access to it.")
    missing = errors.build_text(kind, "missing_model", "You must provide a model: a JSON body with the field `model`.")
    nowhere = errors.build_text(kind, "unknown_url", "Unknown request URL. Check the method and the path.")
    yield _answer(_match("/v1/", method="POST", headers=[_header(model.MODEL_HEADER)]), 404, unknown)
    yield _answer(_match("/v1/", method="POST"), 400, missing)
    yield _answer(_match("/"), 404, nowhere)


def _model_routes(route: ir.Route, known_limits: Iterable[ir.Limit]) -> Iterator[snapshot.Message]:
    """Testers first: who may ask for a revision by a header, and does, never comes to the ordinary route."""
    match = [_header(model.MODEL_HEADER, route.model)]
    if not route.groups:
        message = f"No revision of the model {route.model} can serve yet. Try again later."
        answer = errors.build_text(errors.Kind.SERVER, "model_not_ready", message)
        yield _answer(_match("/v1/", headers=match), 503, answer, name=route.name)
        return
    rate_limits = list(limits.build_rate_limits(route, known_limits))
    if route.override is not None:
        asked = [_header(route.override.header, route.override.value), api_keys.match_clients(route.override.clients)]
        action = _action(route, route.override.groups, rate_limits)
        yield from _by_stream(
            f"{route.name}{OVERRIDE_SUFFIX}", [*match, *asked], action, _stream_times(route, route.override.groups)
        )
    action = _action(route, route.groups, rate_limits, hashed=route.stickiness is not None)
    if route.stickiness is not None:
        action.hash_policy.append(_hash_policy(route.stickiness))
    if route.mirror is not None:
        action.request_mirror_policies.append(_mirror(route.mirror))
    yield from _by_stream(route.name, match, action, _stream_times(route, route.groups))


def _stream_times(route: ir.Route, groups: tuple[ir.Group, ...]) -> tuple[int | None, int | None]:
    """Time limits of the first byte and of silence, for streaming requests that take these groups."""
    limited = route.times.always_first_byte or len(groups) > 1
    return route.times.first_byte if limited else None, route.times.idle


def _by_stream(
    name: str, match: list[snapshot.Message], action: snapshot.Message, times: tuple[int | None, int | None]
) -> Iterator[snapshot.Message]:
    """The route; before it the one of streaming requests, where other times apply to them.

    An answer that is no stream begins when it is complete: how long that takes says nothing of the engine's health.
    """
    first_byte, idle = times
    if first_byte is not None or idle is not None:
        streaming = route_components_pb2.RouteAction()
        streaming.CopyFrom(action)
        if first_byte is not None:
            streaming.retry_policy.per_try_timeout.CopyFrom(protos.milliseconds(first_byte))
        if idle is not None:
            streaming.idle_timeout.CopyFrom(protos.milliseconds(idle))
        headers = [*match, _header(model.STREAM_HEADER, "true")]
        yield route_components_pb2.Route(name=name, match=_match("/v1/", headers=headers), route=streaming)
    yield route_components_pb2.Route(name=name, match=_match("/v1/", headers=match), route=action)


def _action(
    route: ir.Route, groups: tuple[ir.Group, ...], rate_limits: Iterable[snapshot.Message], *, hashed: bool = False
) -> snapshot.Message:
    timeout = protos.milliseconds(route.times.request)
    action = route_components_pb2.RouteAction(
        timeout=timeout,
        # A long prefill is silence, not idleness: the request's own timeout ends it.
        idle_timeout=timeout,
        # To a provider's own host name; a revision's endpoints have none, and leave the client's.
        auto_host_rewrite=wrappers_pb2.BoolValue(value=True),
        rate_limits=rate_limits,
    )
    if len(groups) == len(groups[0].members) == 1:
        action.cluster = groups[0].members[0].cluster
    else:
        action.inline_cluster_specifier_plugin.CopyFrom(_specifier(groups, hashed=hashed))
    if len(groups) > 1:
        action.retry_policy.CopyFrom(_retry_policy(len(groups) - 1))
        action.retry_policy.per_try_timeout.CopyFrom(protos.milliseconds(route.times.attempt))
    return action


def _hash_policy(stickiness: ir.Stickiness) -> snapshot.Message:
    policy = route_components_pb2.RouteAction.HashPolicy
    salted = regex_pb2.RegexMatchAndSubstitute(
        pattern=regex_pb2.RegexMatcher(regex="^(.*)$"), substitution=rf"\1/{stickiness.salt}"
    )
    return policy(header=policy.Header(header_name=stickiness.header, regex_rewrite=salted))


def _specifier(groups: Iterable[ir.Group], *, hashed: bool) -> snapshot.Message:
    # xds-protos lacks this extension.
    config = protos.typed_struct(
        _PRIORITY_GROUP,
        {
            "priority_groups": [
                {"name": f"group-{index}", "clusters": [{"cluster_name": m.cluster, "weight": m.weight} for m in group.members]}
                for index, group in enumerate(groups)
            ],
            **({"use_hash_policy": True} if hashed else {}),
        },
    )
    return route_components_pb2.ClusterSpecifierPlugin(
        extension=protos.extension("envoy.router.cluster_specifier_plugin.priority_group", config)
    )


def _retry_policy(retries: int) -> snapshot.Message:
    policy = route_components_pb2.RetryPolicy(
        retry_on=_RETRY_ON,
        retriable_status_codes=[_TOO_MANY_REQUESTS],
        num_retries=wrappers_pb2.UInt32Value(value=retries),
        # The next group is another place: there is nothing to wait for.
        retry_back_off=route_components_pb2.RetryPolicy.RetryBackOff(
            base_interval=protos.milliseconds(1), max_interval=protos.milliseconds(5)
        ),
    )
    policy.MergeFromString(_REFRESH_CLUSTER_ON_RETRY)
    return policy


def _mirror(mirror: ir.Mirror) -> snapshot.Message:
    fraction = percent_pb2.FractionalPercent
    share = fraction(numerator=mirror.share * _MILLIONTHS, denominator=fraction.DenominatorType.Value("MILLION"))
    return route_components_pb2.RouteAction.RequestMirrorPolicy(
        cluster=mirror.cluster,
        runtime_fraction=base_pb2.RuntimeFractionalPercent(default_value=share),
        # The engine sees the very same request, host name included, and a copy is no part of the client's trace.
        disable_shadow_host_suffix_append=True,
        trace_sampled=wrappers_pb2.BoolValue(value=False),
    )


def _match(path: str, *, exact: bool = False, method: str = "", headers: Iterable[snapshot.Message] = ()) -> snapshot.Message:
    wanted = ([_header(":method", method)] if method else []) + list(headers)
    place = {"path": path} if exact else {"prefix": path}
    return route_components_pb2.RouteMatch(**place, headers=wanted)


def _header(name: str, value: str | None = None) -> snapshot.Message:
    if value is None:
        return route_components_pb2.HeaderMatcher(name=name, present_match=True)
    return route_components_pb2.HeaderMatcher(name=name, string_match=string_pb2.StringMatcher(exact=value))


def _answer(match: snapshot.Message, status: int, text: str, *, name: str = "") -> snapshot.Message:
    action = base_pb2.HeaderValueOption.HeaderAppendAction.Value("OVERWRITE_IF_EXISTS_OR_ADD")
    content_type = base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key="content-type", value="application/json"), append_action=action
    )
    return route_components_pb2.Route(
        name=name,
        match=match,
        direct_response=route_components_pb2.DirectResponseAction(status=status, body=base_pb2.DataSource(inline_string=text)),
        response_headers_to_add=[content_type],
    )
