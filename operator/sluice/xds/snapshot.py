"""The set of xDS resources that one Gateway's proxies are to run.

Types only: who makes them is `translate.py`, who sends them is `server.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_PREFIX: Final = "type.googleapis.com/"

LISTENER: Final = _PREFIX + "envoy.config.listener.v3.Listener"
ROUTE: Final = _PREFIX + "envoy.config.route.v3.RouteConfiguration"
CLUSTER: Final = _PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINTS: Final = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
EXTENSION: Final = _PREFIX + "envoy.config.core.v3.TypedExtensionConfig"
"""ECDS: configuration of one HTTP filter."""

SECRET: Final = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
"""SDS: file names of providers' credentials inside the proxy, never their content."""

Message = Any
"""A protobuf message: xds-protos ships no types."""

Resources = Mapping[str, Mapping[str, Message]]
"""type URL -> resource name -> message. Immutable by convention: who needs another state builds another value.

Messages of equal content serialise equally with `SerializeToString(deterministic=True)`: that is how to tell whether one
changed. A type without resources may be missing.
"""
