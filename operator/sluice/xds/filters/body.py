"""The filter that holds a request's body up to our bound: the next one reads it whole, and retries send it again."""

from __future__ import annotations

from typing import Final

from envoy.extensions.filters.http.buffer.v3 import buffer_pb2
from google.protobuf import wrappers_pb2

from sluice.xds import protos, snapshot

NAME: Final = "sluice.body"
MAX_BYTES: Final = 16 << 20
"""Of one request. Envoy's own bound is that of a connection, 1 MiB."""


def build_config() -> snapshot.Message:
    """The filter, in an `Any`. More than the bound is answered with 413."""
    return protos.any_of(buffer_pb2.Buffer(max_request_bytes=wrappers_pb2.UInt32Value(value=MAX_BYTES)))
