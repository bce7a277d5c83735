"""What Envoy starts with: how to reach the operator, and the two ports that are not for clients.

Everything else comes by ADS. A change here restarts proxies, so nothing that users change belongs here.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Final

from sluice.gates import grid

BOOTSTRAP_FILE: Final = "envoy.yaml"
CERTIFICATE_FILE: Final = "certificate.json"
AUTHORITY_FILE: Final = "authority.json"

XDS_CLUSTER: Final = "sluice-xds"
ADMIN_CLUSTER: Final = "sluice-admin"
_LOOPBACK: Final = "127.0.0.1"
_TYPE: Final = "type.googleapis.com/"
_TLS: Final = _TYPE + "envoy.extensions.transport_sockets.tls.v3."
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_MANAGER: Final = _TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_MAX_CONNECTIONS: Final = 50_000
"""Of clients, all listeners together; the two ports below do not count."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Where things are. The defaults are those of a gateway's pods."""

    namespace: str
    name: str
    operator_namespace: str
    xds_address: str = ""
    """Host name of all operator replicas. Default: their headless Service."""
    xds_port: int = 18000
    admin_port: int = 9901
    stats_port: int = 9902
    probe_port: int = 9903
    bind: str = "0.0.0.0"  # noqa: S104 - the pod's network is its own; admin stays on loopback
    tls_directory: str = "/etc/sluice/tls"
    """Has ca.crt, tls.crt and tls.key, replaced together when they are renewed."""
    files_directory: str = "/etc/sluice/bootstrap"
    """Has what `build_files` gives."""
    operator_uri: str = "sluice://operator"
    """The one identity that is believed, both to configure and to read counters."""

    @property
    def xds_host(self) -> str:
        """Host name of all operator replicas."""
        return self.xds_address or f"sluice-xds.{self.operator_namespace}.svc"


def build_files(settings: Settings) -> dict[str, str]:
    """File name -> content of the bootstrap's directory; JSON, which is YAML too.

    Certificates come by file SDS, because Envoy follows renewed files only where SDS names them.
    """
    watched = {"path": settings.tls_directory}
    certificate = {
        "name": "certificate",
        "tls_certificate": {
            "certificate_chain": {"filename": f"{settings.tls_directory}/tls.crt"},
            "private_key": {"filename": f"{settings.tls_directory}/tls.key"},
            "watched_directory": watched,
        },
    }
    authority = {
        "name": "authority",
        "validation_context": {
            "trusted_ca": {"filename": f"{settings.tls_directory}/ca.crt"},
            "watched_directory": watched,
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": settings.operator_uri}}],
        },
    }
    return {
        BOOTSTRAP_FILE: _text(build_bootstrap(settings)),
        CERTIFICATE_FILE: _text(_secrets(certificate)),
        AUTHORITY_FILE: _text(_secrets(authority)),
    }


def build_bootstrap(settings: Settings) -> dict[str, Any]:
    """The bootstrap as data."""
    gateway = f"{settings.namespace}/{settings.name}"
    return {
        "node": {"id": gateway, "cluster": gateway},
        "admin": {"address": _address(_LOOPBACK, settings.admin_port)},
        "dynamic_resources": _dynamic_resources(),
        "static_resources": {
            "listeners": [_stats_listener(settings), _probe_listener(settings)],
            "clusters": [_xds_cluster(settings), _admin_cluster(settings)],
        },
        "stats_flush_interval": "1s",
        "stats_config": build_stats_config(),
        # Counters of revisions that are gone; those in use keep their count.
        "stats_eviction_interval": "600s",
        "overload_manager": _overload_manager(),
    }


def build_stats_config() -> dict[str, Any]:
    """The buckets of our histograms, which can't change while a proxy runs."""
    return {"histogram_bucket_settings": [{"match": {"prefix": "sluice."}, "buckets": list(grid.ENVOY_BUCKETS)}]}


def _dynamic_resources() -> dict[str, Any]:
    # Without a time limit: a proxy that has no routes yet must not become ready and answer 404.
    everything = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    # Replicas that do not lead refuse the stream; Envoy's default of 0.5-30 s would be felt at a hand-over.
    retry = {"retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"}}
    return {
        "ads_config": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER, "retry_policy": retry}}],
        },
        "cds_config": everything,
        "lds_config": everything,
    }


def _xds_cluster(settings: Settings) -> dict[str, Any]:
    http2 = {"connection_keepalive": {"interval": "5s", "timeout": "3s"}}
    tls = {"@type": _TLS + "UpstreamTlsContext", "sni": settings.xds_host, "common_tls_context": _tls_context(settings)}
    return {
        "name": XDS_CLUSTER,
        "type": "STRICT_DNS",
        "connect_timeout": "1s",
        "dns_refresh_rate": "2s",
        "dns_failure_refresh_rate": {"base_interval": "0.5s", "max_interval": "2s"},
        "dns_lookup_family": "V4_PREFERRED",
        "load_assignment": _one_host(XDS_CLUSTER, settings.xds_host, settings.xds_port),
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": _TYPE + _HTTP_OPTIONS,
                "explicit_http_config": {"http2_protocol_options": http2},
            }
        },
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
    }


def _admin_cluster(settings: Settings) -> dict[str, Any]:
    return {
        "name": ADMIN_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": _one_host(ADMIN_CLUSTER, _LOOPBACK, settings.admin_port),
    }


def _stats_listener(settings: Settings) -> dict[str, Any]:
    tls = {
        "@type": _TLS + "DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": _tls_context(settings),
    }
    listener = _forwarding_listener("sluice-stats", settings.bind, settings.stats_port, "/stats/prometheus")
    listener["filter_chains"][0]["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": tls}
    return listener


def _probe_listener(settings: Settings) -> dict[str, Any]:
    return _forwarding_listener("sluice-probe", settings.bind, settings.probe_port, "/ready")


def _forwarding_listener(name: str, bind: str, port: int, path: str) -> dict[str, Any]:
    """A listener that passes `GET path` on to admin, and nothing else: admin can also stop the proxy."""
    match = {"path": path, "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]}
    forward = {"match": match, "route": {"cluster": ADMIN_CLUSTER, "timeout": "5s"}}
    refuse = {"match": {"prefix": "/"}, "direct_response": {"status": 404}}
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": _TYPE + "envoy.extensions.filters.http.router.v3.Router"},
    }
    manager = {
        "@type": _MANAGER,
        "stat_prefix": name,
        "route_config": {"virtual_hosts": [{"name": name, "domains": ["*"], "routes": [forward, refuse]}]},
        "http_filters": [router],
    }
    return {
        "name": name,
        "address": _address(bind, port),
        # Under overload the operator must see most, and the kubelet must not restart what is merely busy.
        "ignore_global_conn_limit": True,
        "bypass_overload_manager": True,
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
    }


def _tls_context(settings: Settings) -> dict[str, Any]:
    def secret(name: str, file: str) -> dict[str, Any]:
        # The directory is watched, because a mounted ConfigMap or Secret changes by a link beside the file.
        path = {"path": f"{settings.files_directory}/{file}", "watched_directory": {"path": settings.files_directory}}
        return {"name": name, "sds_config": {"path_config_source": path, "resource_api_version": "V3"}}

    return {
        # As a client Envoy stops at TLS 1.2 unless told.
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificate_sds_secret_configs": [secret("certificate", CERTIFICATE_FILE)],
        "validation_context_sds_secret_config": secret("authority", AUTHORITY_FILE),
    }


def _overload_manager() -> dict[str, Any]:
    name = "envoy.resource_monitors.global_downstream_max_connections"
    config = {
        "@type": _TYPE + "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": _MAX_CONNECTIONS,
    }
    return {"resource_monitors": [{"name": name, "typed_config": config}]}


def _one_host(cluster: str, address: str, port: int) -> dict[str, Any]:
    host = {"endpoint": {"address": _address(address, port)}}
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": [host]}]}


def _address(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": port}}


def _secrets(*secrets: Mapping[str, Any]) -> dict[str, Any]:
    return {"resources": [{"@type": _TLS + "Secret", **secret} for secret in secrets]}


def _text(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=1) + "\n"
