"""Clusters and their endpoints: revisions by EDS, providers by DNS."""

from __future__ import annotations

from typing import Final

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, protocol_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf import wrappers_pb2

from sluice.routing import inputs, ir
from sluice.xds import protos, snapshot
from sluice.xds.filters import attempts, credentials

PLACEHOLDER_PATH: Final = "/nonexistent/sluice-placeholder.sock"
_REFUSING_PORT: Final = 1
CONNECT_TIMEOUT_MS: Final = 1000
"""A pod whose node is gone answers nothing: the shield waits this long before it tries the next group."""
REVISION_IDLE_MS: Final = 3000
"""vLLM closes a connection that is idle for 5 s. Envoy must be first, or a request meets a closed connection and fails."""
PROVIDER_IDLE_MS: Final = 30_000
MAX_CONCURRENT: Final = 100_000
"""Connections and requests of one cluster: not a limit of ours. Envoy's default of 1024 would cut long streams off."""
AUTHORITIES: Final = "/etc/ssl/certs/ca-certificates.crt"
"""Public certificate authorities in the proxies' image; this build of Envoy knows no other way to the system's."""
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def build_cluster(cluster: ir.Cluster) -> snapshot.Message:
    """The cluster. Its endpoints come by `build_endpoints` if it is a revision's."""
    match cluster:
        case ir.RevisionCluster():
            most = cluster.max_requests if cluster.max_requests is not None else MAX_CONCURRENT
            message = _base(cluster.name, cluster.max_retries, REVISION_IDLE_MS, credential=None, max_requests=most)
            message.type = cluster_pb2.Cluster.DiscoveryType.Value("EDS")
            message.eds_cluster_config.eds_config.CopyFrom(protos.ads())
        case ir.ProviderCluster():
            message = _base(cluster.name, cluster.max_retries, PROVIDER_IDLE_MS, credential=cluster.credential)
            message.type = cluster_pb2.Cluster.DiscoveryType.Value("STATIC" if _is_address(cluster.host) else "STRICT_DNS")
            message.dns_lookup_family = cluster_pb2.Cluster.DnsLookupFamily.Value("V4_PREFERRED")
            message.load_assignment.CopyFrom(_provider_endpoints(cluster))
            if cluster.tls:
                message.transport_socket.CopyFrom(_tls(cluster.host))
    return message


def build_endpoints(cluster: ir.RevisionCluster) -> snapshot.Message:
    """The endpoints of a revision, or one that refuses at once.

    An empty cluster would answer 503 with no retry, and so pass by the next group.
    """
    hosts = [_endpoint(endpoint) for endpoint in cluster.endpoints] or [_placeholder(_refusing_pipe())]
    return endpoint_pb2.ClusterLoadAssignment(
        cluster_name=cluster.name, endpoints=[endpoint_components_pb2.LocalityLbEndpoints(lb_endpoints=hosts)]
    )


def _base(
    name: str, max_retries: int, idle_ms: int, *, credential: str | None, max_requests: int = MAX_CONCURRENT
) -> snapshot.Message:
    def number(value: int) -> snapshot.Message:
        return wrappers_pb2.UInt32Value(value=value)

    thresholds = circuit_breaker_pb2.CircuitBreakers.Thresholds(
        max_connections=number(MAX_CONCURRENT),
        max_pending_requests=number(max_requests),
        max_requests=number(max_requests),
        max_retries=number(max_retries),
    )
    message = cluster_pb2.Cluster(
        name=name,
        connect_timeout=protos.milliseconds(CONNECT_TIMEOUT_MS),
        # Requests differ by orders of magnitude in cost: fewest in flight beats taking turns.
        lb_policy=cluster_pb2.Cluster.LbPolicy.Value("LEAST_REQUEST"),
        circuit_breakers=circuit_breaker_pb2.CircuitBreakers(thresholds=[thresholds]),
    )
    message.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(protos.any_of(_http(idle_ms, credential)))
    return message


def _http(idle_ms: int, credential: str | None) -> snapshot.Message:
    options = http_protocol_options_pb2.HttpProtocolOptions
    return options(
        explicit_http_config=options.ExplicitHttpConfig(http_protocol_options=protocol_pb2.Http1ProtocolOptions()),
        common_http_protocol_options=protocol_pb2.HttpProtocolOptions(idle_timeout=protos.milliseconds(idle_ms)),
        http_filters=credentials.build_filters(credential),
    )


def _host(address: str, port: int) -> snapshot.Message:
    socket = address_pb2.SocketAddress(address=address, port_value=port)
    return endpoint_components_pb2.Endpoint(address=address_pb2.Address(socket_address=socket))


def _endpoint(endpoint: inputs.Endpoint) -> snapshot.Message:
    return endpoint_components_pb2.LbEndpoint(endpoint=_host(endpoint.address, endpoint.port))


def _placeholder(endpoint: snapshot.Message) -> snapshot.Message:
    metadata = base_pb2.Metadata()
    metadata.filter_metadata[attempts.PLACEHOLDER_NAMESPACE].update({attempts.PLACEHOLDER_KEY: "yes"})
    return endpoint_components_pb2.LbEndpoint(endpoint=endpoint, metadata=metadata)


def _refusing_pipe() -> snapshot.Message:
    return endpoint_components_pb2.Endpoint(address=address_pb2.Address(pipe=address_pb2.Pipe(path=PLACEHOLDER_PATH)))


def _is_address(host: str) -> bool:
    return host.replace(".", "").isdigit()


def _provider_endpoints(cluster: ir.ProviderCluster) -> snapshot.Message:
    """The provider, and behind a name what refuses while it has no address."""
    places = endpoint_components_pb2.LocalityLbEndpoints
    endpoint = _host(cluster.host, cluster.port)
    endpoint.hostname = cluster.host
    found = [places(lb_endpoints=[endpoint_components_pb2.LbEndpoint(endpoint=endpoint)])]
    if not _is_address(cluster.host):
        # A cluster by DNS takes no pipe.
        found.append(places(lb_endpoints=[_placeholder(_host("127.0.0.1", _REFUSING_PORT))], priority=1))
    return endpoint_pb2.ClusterLoadAssignment(cluster_name=cluster.name, endpoints=found)


def _tls(host: str) -> snapshot.Message:
    authorities = base_pb2.DataSource(filename=AUTHORITIES)
    validation = common_pb2.CertificateValidationContext(trusted_ca=authorities)
    context = tls_pb2.UpstreamTlsContext(
        sni=host,
        auto_sni_san_validation=True,
        common_tls_context=tls_pb2.CommonTlsContext(validation_context=validation),
    )
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=protos.any_of(context))
