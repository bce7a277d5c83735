"""The filter that finds out who calls. Its keys come by ECDS, so that a revoked one changes no listener and drops nothing."""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Iterable
from typing import Final

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2

from sluice.routing import ir
from sluice.xds import protos, snapshot

NAME: Final = "sluice.api_keys"
CLIENT_HEADER: Final = "x-sluice-client"
CLIENT: Final = "%DYNAMIC_METADATA(sluice:client)%"
"""Access-log format of the client's name: the header is gone by then, so that no backend ever sees it."""
_CLOSED: Final = "Closed"


def build_config(clients: ir.Clients) -> snapshot.Message:
    """The filter with its table of hashes, in an `Any`."""
    return _lua(clients.access, "\n".join(f"{digest} {client}" for digest, client in clients.keys))


def match_clients(clients: Iterable[str]) -> snapshot.Message:
    """Matches requests of these clients, by the header that the filter sets."""
    # Names have no other special character than the dot.
    pattern = "|".join(client.replace(".", r"\.") for client in clients)
    matcher = string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=pattern))
    return route_components_pb2.HeaderMatcher(name=CLIENT_HEADER, string_match=matcher)


def build_closed_config() -> snapshot.Message:
    """What applies while the configuration is missing: nobody may call."""
    return _lua(_CLOSED, "")


def _lua(access: str, keys: str) -> snapshot.Message:
    # Hashes and names are checked by the translation, so the quotes here can't be escaped from.
    source = f'local ACCESS = "{access}"\nlocal KEYS = [==[{keys}]==]\n{_program()}'
    return protos.any_of(lua_pb2.Lua(default_source_code=base_pb2.DataSource(inline_string=source)))


@functools.cache
def _program() -> str:
    return importlib.resources.files(__package__).joinpath("api_keys.lua").read_text()
