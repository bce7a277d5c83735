"""The order of the listener's filters, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from envoy.config.core.v3 import config_source_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2

from sluice.xds import protos, snapshot
from sluice.xds.filters import api_keys, attempts, body, limits, model

LUA_TYPE: Final = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"


def _api_keys() -> snapshot.Message:
    return _discovered(api_keys.NAME, LUA_TYPE, default=api_keys.build_closed_config())


def _body() -> snapshot.Message:
    return hcm_pb2.HttpFilter(name=body.NAME, typed_config=body.build_config())


def _model() -> snapshot.Message:
    return hcm_pb2.HttpFilter(name=model.NAME, typed_config=model.build_config())


def _limits() -> snapshot.Message:
    return _discovered(limits.NAME, f"type.googleapis.com/{limits.TYPE}", default=limits.build_config(()))


def _router() -> snapshot.Message:
    return hcm_pb2.HttpFilter(name=attempts.NAME, typed_config=attempts.build_router())


ORDER: Final[tuple[Callable[[], snapshot.Message], ...]] = (
    _api_keys,  # first: a stranger's body is not even read
    _body,  # before the model is read, or a body above Envoy's own bound would be refused
    _model,  # before limits, which go by the route that the model decides
    _limits,  # last before the router: only what would be sent is counted
    _router,
)


def build_filters() -> list[snapshot.Message]:
    """The listener's HTTP filters, in order. They never change: what does comes by ECDS."""
    return [build() for build in ORDER]


def _discovered(name: str, type_url: str, *, default: snapshot.Message) -> snapshot.Message:
    source = config_source_pb2.ExtensionConfigSource(config_source=protos.ads(), default_config=default, type_urls=[type_url])
    return hcm_pb2.HttpFilter(name=name, config_discovery=source)
