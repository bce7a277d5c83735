"""In which order resource types are sent, so that nothing ever refers to what a proxy does not have yet.

Additions go out in `ADD`, removals in `REMOVE`: a route is pointed at a new cluster once the cluster and its endpoints
are there, and a cluster goes only when no route names it any more.
"""

from __future__ import annotations

from typing import Final

from sluice.xds import snapshot

ADD: Final = (
    snapshot.SECRET,
    snapshot.CLUSTER,
    snapshot.ENDPOINTS,
    snapshot.EXTENSION,
    snapshot.LISTENER,
    snapshot.ROUTE,
)
"""Make: a cluster before its endpoints, both before the routes; a filter's configuration before the listener that uses it."""

REMOVE: Final = tuple(reversed(ADD))
"""Break, after what was added is acknowledged: the reverse."""
