"""The few protobuf shapes that every resource needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from envoy.config.core.v3 import config_source_pb2, extension_pb2
from google.protobuf import any_pb2, duration_pb2
from xds.type.v3 import typed_struct_pb2

from sluice.xds import snapshot

_PREFIX: Final = "type.googleapis.com/"


def any_of(message: snapshot.Message) -> snapshot.Message:
    """The message in an `Any`, with equal bytes for equal content (`Any.Pack` leaves the order of maps open)."""
    url = _PREFIX + message.DESCRIPTOR.full_name
    return any_pb2.Any(type_url=url, value=message.SerializeToString(deterministic=True))


def typed_struct(name: str, fields: Mapping[str, Any]) -> snapshot.Message:
    """The message called `name`, as JSON in an `Any`: for what Envoy knows and xds-protos does not yet."""
    struct = typed_struct_pb2.TypedStruct(type_url=_PREFIX + name)
    struct.value.update(fields)
    return any_of(struct)


def extension(name: str, config: snapshot.Message) -> snapshot.Message:
    """A named extension with its configuration, already in an `Any`."""
    return extension_pb2.TypedExtensionConfig(name=name, typed_config=config)


def milliseconds(value: int) -> snapshot.Message:
    """A duration."""
    return duration_pb2.Duration(seconds=value // 1000, nanos=value % 1000 * 1_000_000)


def ads() -> snapshot.Message:
    """Where a resource comes from: the stream that everything comes from."""
    return config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(), resource_api_version=config_source_pb2.ApiVersion.Value("V3")
    )
