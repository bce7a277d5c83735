"""Requests that are in flight at the proxies, by revision: what a drain waits for, and what the shield's budget is a share of.

Filled by the measurements. Proxies are read only where a rollout is under way or where somebody asked lately: asking keeps a
revision read, also after its rollout has ended, and the first answer is that nothing is known yet. No I/O, no clock.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from sluice.api import naming

INTEREST: Final = 30.0
"""Seconds for which a question keeps a revision's proxies read."""


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """Requests that are answered, or wait for a connection, at one moment; copied ones too."""

    total: int
    """At all proxies."""
    most: int
    """At the proxy that has most of them."""


@dataclasses.dataclass
class InFlight:
    """The latest of all revisions that are of interest, by cluster name."""

    _loads: dict[str, Load | None] = dataclasses.field(default_factory=dict)
    _asked: dict[naming.ObjectKey, dict[str, float]] = dataclasses.field(default_factory=dict)
    """When each cluster of a model was last asked for."""

    def load(self, model: naming.ObjectKey, revision: str, now: float) -> Load | None:
        """What is in flight to a revision (its hash); None while any proxy of the model's gateways could not be read.

        `now`: seconds on the monotonic clock.
        """
        cluster = naming.revision_cluster(model.namespace, model.name, revision)
        self._asked.setdefault(model, {})[cluster] = now
        return self._loads.get(cluster)

    def most(self, _: naming.ObjectKey, cluster: str) -> float | None:
        """At the proxy that has most of them, as far as it is known without asking; for the bound of a shield."""
        load = self._loads.get(cluster)
        return load.most if load is not None else None

    def wanted(self, now: float) -> dict[naming.ObjectKey, frozenset[str]]:
        """The clusters that were asked for lately, by model. What nobody asks for any more is forgotten."""
        for model, clusters in list(self._asked.items()):
            self._asked[model] = {cluster: at for cluster, at in clusters.items() if now - at < INTEREST}
            if not self._asked[model]:
                del self._asked[model]
        return {model: frozenset(clusters) for model, clusters in self._asked.items()}

    def put(self, loads: dict[str, Load | None]) -> set[str]:
        """Takes a look's results in place of all former ones. Returns the clusters that became empty by it."""
        emptied = {
            cluster
            for cluster, load in loads.items()
            if load is not None and not load.total and (before := self._loads.get(cluster)) is not None and before.total
        }
        self._loads = loads
        return emptied
