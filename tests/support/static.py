"""xDS resources as one static bootstrap, for `envoy --mode validate`, which fetches nothing.

What would be fetched is put where it would be used. Messages stay messages, so that fields unknown to xds-protos stay too.
"""

from __future__ import annotations

from typing import Any

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf import json_format

from sluice.xds import listener, protos, routes, snapshot
from tests.support import gateway


def build_bootstrap(resources: snapshot.Resources) -> bytes:
    """A serialised bootstrap that has all of the resources. Secrets are left to ADS, which validation never asks."""
    bootstrap = json_format.ParseDict(gateway.bootstrap(ads_port=1, admin_port=0), bootstrap_pb2.Bootstrap())
    bootstrap.static_resources.listeners.append(_listener(resources))
    bootstrap.static_resources.clusters.extend(_cluster(cluster, resources) for cluster in resources[snapshot.CLUSTER].values())
    return bytes(bootstrap.SerializeToString())


def connection_manager(front: snapshot.Message) -> Any:
    """The HTTP connection manager inside a listener."""
    manager = http_connection_manager_pb2.HttpConnectionManager()
    front.filter_chains[0].filters[0].typed_config.Unpack(manager)
    return manager


def _listener(resources: snapshot.Resources) -> snapshot.Message:
    front = gateway.snapshot_copy(resources[snapshot.LISTENER][listener.NAME])
    manager = connection_manager(front)
    manager.route_config.CopyFrom(resources[snapshot.ROUTE][routes.NAME])
    for entry in manager.http_filters:
        if entry.HasField("config_discovery"):
            entry.typed_config.CopyFrom(resources[snapshot.EXTENSION][entry.name].typed_config)
    front.filter_chains[0].filters[0].typed_config.CopyFrom(protos.any_of(manager))
    return front


def _cluster(cluster: snapshot.Message, resources: snapshot.Resources) -> snapshot.Message:
    copy = gateway.snapshot_copy(cluster)
    if copy.HasField("eds_cluster_config"):
        copy.ClearField("eds_cluster_config")
        copy.type = cluster_pb2.Cluster.DiscoveryType.Value("STATIC")
        copy.load_assignment.CopyFrom(resources[snapshot.ENDPOINTS][copy.name])
    elif copy.type == cluster_pb2.Cluster.DiscoveryType.Value("STRICT_DNS"):
        # Envoy 1.40 crashes when it validates (not when it serves) a name that resolves at once, as an address does.
        del copy.load_assignment.endpoints[1:]
    return copy
