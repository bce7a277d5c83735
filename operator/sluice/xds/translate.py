"""From the routing table to xDS resources. Pure: equal tables give equal bytes."""

from __future__ import annotations

from sluice.routing import ir
from sluice.xds import clusters, listener, protos, routes, snapshot
from sluice.xds.filters import api_keys, credentials, limits


def build_resources(gateway: ir.Gateway) -> snapshot.Resources:
    """Everything that a Gateway's proxies run. Each kind of change touches as few resources as it can.

    Weights and names change the routes, pods the endpoints of one cluster, keys and limits one filter each, a promotion the
    promoted revision's cluster; the listener changes with its port only.
    """
    revisions = [cluster for cluster in gateway.clusters if not isinstance(cluster, ir.ProviderCluster)]
    return {
        snapshot.SECRET: {credentials.secret_name(key): credentials.build_secret(key) for key in _credentials(gateway)},
        snapshot.CLUSTER: {cluster.name: clusters.build_cluster(cluster) for cluster in gateway.clusters},
        snapshot.ENDPOINTS: {cluster.name: clusters.build_endpoints(cluster) for cluster in revisions},
        snapshot.EXTENSION: {
            api_keys.NAME: protos.extension(api_keys.NAME, api_keys.build_config(gateway.clients)),
            limits.NAME: protos.extension(limits.NAME, limits.build_config(gateway.limits)),
        },
        snapshot.LISTENER: {listener.NAME: listener.build_listener(gateway.port)},
        snapshot.ROUTE: {routes.NAME: routes.build_route_configuration(gateway)},
    }


def _credentials(gateway: ir.Gateway) -> list[str]:
    found = {cluster.credential for cluster in gateway.clusters if isinstance(cluster, ir.ProviderCluster)}
    return sorted(key for key in found if key is not None)
