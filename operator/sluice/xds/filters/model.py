"""The filter that reads `model` and `stream` from the body into headers, which routes and counters go by."""

from __future__ import annotations

from typing import Final

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.transform.v3 import transform_pb2

from sluice.xds import protos, snapshot

NAME: Final = "sluice.model"
MODEL_HEADER: Final = "x-sluice-model"
STREAM_HEADER: Final = "x-sluice-stream"


def build_config() -> snapshot.Message:
    """The filter, in an `Any`. What is not in the body sets no header."""
    return protos.any_of(
        transform_pb2.TransformConfig(
            request_transformation=transform_pb2.Transformation(
                headers_mutations=[
                    _copy(MODEL_HEADER, "%REQUEST_BODY(model)%"),
                    _copy(STREAM_HEADER, "%REQUEST_BODY(stream)%"),
                ]
            ),
            # The route was chosen before the model was known.
            clear_route_cache=True,
        )
    )


def _copy(header: str, value: str) -> snapshot.Message:
    action = base_pb2.HeaderValueOption.HeaderAppendAction.Value("OVERWRITE_IF_EXISTS_OR_ADD")
    option = base_pb2.HeaderValueOption(header=base_pb2.HeaderValue(key=header, value=value), append_action=action)
    return mutation_rules_pb2.HeaderMutation(append=option)
