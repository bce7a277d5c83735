"""Resources as messages -> resources as versions and bytes, doing again only what changed.

A version is a hash of the content: equal in every process and after every restart, so that a new leader sends a proxy
nothing that it has already. Which proxy gets it is `delta.py`'s and `server.py`'s business.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from envoy.config.cluster.v3 import cluster_pb2

from sluice.xds import delta, snapshot

_DIGEST_BYTES: Final = 12


class Versioner:
    """Makes the snapshots of one gateway, in the order of their versions, which begin at 1."""

    def __init__(self) -> None:
        self.latest: delta.Snapshot | None = None
        self._messages: snapshot.Resources = {}

    def update(self, resources: snapshot.Resources) -> bool:
        """Makes `latest` hold these resources. Returns whether anything changed.

        A message that is the same object as the last time is taken as unchanged: messages must not be altered in place.
        """
        before = self.latest
        entries = {
            type_url: {name: self._entry(type_url, name, message) for name, message in sorted(messages.items())}
            for type_url, messages in resources.items()
            if messages
        }
        self._messages = {type_url: dict(messages) for type_url, messages in resources.items()}
        if before is not None and before.entries == entries:
            return False
        endpoints = _endpoints(resources.get(snapshot.CLUSTER, {}))
        self.latest = delta.Snapshot(before.version + 1 if before is not None else 1, entries, endpoints)
        return True

    def _entry(self, type_url: str, name: str, message: snapshot.Message) -> delta.Entry:
        known = self.latest.of(type_url).get(name) if self.latest is not None else None
        if known is not None and self._messages.get(type_url, {}).get(name) is message:
            return known
        body: bytes = message.SerializeToString(deterministic=True)
        if known is not None and known.body == body:
            return known
        return delta.Entry(hashlib.blake2b(body, digest_size=_DIGEST_BYTES).hexdigest(), body)


def _endpoints(clusters: Mapping[str, snapshot.Message]) -> dict[str, str]:
    """Cluster -> name under which Envoy asks for its endpoints, for clusters that have them from ADS."""
    return {
        name: cluster.eds_cluster_config.service_name or cluster.name
        for name, cluster in clusters.items()
        if cluster.type == cluster_pb2.Cluster.EDS and cluster.eds_cluster_config.eds_config.HasField("ads")
    }
