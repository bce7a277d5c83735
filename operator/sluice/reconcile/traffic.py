"""The traffic of every ModelDeployment as proxies are to have it: the one table that gateways are programmed from.

A weight reaches the table either before its status (a decrease) or after it (an increase). Nothing older is ever sent:
an epoch that is not above the one in force is refused.
"""

from __future__ import annotations

import dataclasses

from sluice.api import naming
from sluice.rollout import model as rollout
from sluice.rollout import traffic as rollout_traffic


class StaleTrafficError(Exception):
    """An older epoch than the one in force was to be sent: a defect of ours, and never done."""


@dataclasses.dataclass
class _Entry:
    sent: rollout.Sent
    versions: dict[naming.ObjectKey, int] = dataclasses.field(default_factory=dict)
    """At which version of its resources each gateway was first told."""


class TrafficTable:
    """What proxies are to do, by ModelDeployment."""

    def __init__(self) -> None:
        self._entries: dict[naming.ObjectKey, _Entry] = {}

    def sent(self, model: naming.ObjectKey) -> rollout.Sent | None:
        """What was last put in force, with the rollout's state of that moment."""
        entry = self._entries.get(model)
        return entry.sent if entry is not None else None

    def traffic(self, model: naming.ObjectKey) -> rollout_traffic.Traffic | None:
        """The traffic in force, if any."""
        entry = self._entries.get(model)
        return entry.sent.traffic if entry is not None else None

    def put(self, model: naming.ObjectKey, sent: rollout.Sent) -> bool:
        """Puts traffic in force. Returns whether it changed.

        Raises:
            StaleTrafficError: its epoch is below the one in force, or the same with other contents.
        """
        entry = self._entries.get(model)
        if entry is not None:
            if entry.sent.traffic == sent.traffic:
                entry.sent = sent
                return False
            if sent.traffic.epoch <= entry.sent.traffic.epoch:
                raise StaleTrafficError(
                    f"Cannot send traffic of {model}: epoch {sent.traffic.epoch} is not above {entry.sent.traffic.epoch}"
                )
        self._entries[model] = _Entry(sent)
        return True

    def told(self, model: naming.ObjectKey, gateway: naming.ObjectKey, version: int) -> None:
        """Records that a gateway's resources of that version carry the traffic in force; the first such version counts."""
        entry = self._entries.get(model)
        if entry is not None:
            entry.versions.setdefault(gateway, version)

    def version(self, model: naming.ObjectKey, gateway: naming.ObjectKey) -> int | None:
        """The version of the gateway's resources that first carried the traffic in force."""
        entry = self._entries.get(model)
        return entry.versions.get(gateway) if entry is not None else None

    def forget(self, model: naming.ObjectKey) -> None:
        """The ModelDeployment is gone."""
        self._entries.pop(model, None)

    def clear(self) -> None:
        """This process no longer leads: what the next leader persists is the truth."""
        self._entries.clear()
