"""Who receives requests: the one part of a decision that proxies see, and the rules that it follows for a whole rollout.

How the proxies do it is in `routing` and `xds`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from sluice.routing import inputs

FULL_WEIGHT: Final = 10_000


@dataclasses.dataclass(frozen=True)
class Rules:
    """What stays the same from the first weight of a rollout to its last. Part of the frozen plan."""

    stickiness: str | None = None
    """Header by whose value a user stays with one revision. None: each request is drawn anew."""
    override: inputs.Override | None = None
    shield: inputs.Shield = inputs.DEFAULT_SHIELD

    def to_json(self) -> dict[str, Any]:
        """Plain data; `rules_from_json` reads it back."""
        return dataclasses.asdict(self)


DEFAULT: Final = Rules()


def rules_from_json(data: Mapping[str, Any]) -> Rules:
    """The inverse of `Rules.to_json`.

    Raises:
        KeyError, TypeError, ValueError: the data was not written by `to_json`.
    """
    asked = data["override"]
    override = inputs.Override(asked["header"], asked["value"], tuple(asked["clients"])) if asked is not None else None
    return Rules(
        stickiness=data["stickiness"],
        override=override,
        shield=inputs.Shield(bool(data["shield"]["enabled"]), float(data["shield"]["max_extra_load"])),
    )


@dataclasses.dataclass(frozen=True)
class Traffic:
    """Who receives requests. What no request can reach has no canary, so equal traffic is an equal value."""

    stable: str | None
    canary: str | None = None
    weight: int = 0
    """Basis points for the canary."""
    epoch: int = 0
    mirror: int = 0
    """Basis points of the requests that the canary gets a copy of; its answers to them are dropped."""
    override: bool = False
    """Whether the testers of the rules may ask for the canary."""
    rules: Rules = DEFAULT
    """The default without a canary."""

    def __post_init__(self) -> None:
        reachable = self.weight > 0 or self.mirror > 0 or self.override
        if (self.canary is not None) != reachable:
            raise ValueError(f"Cannot split traffic: canary {self.canary!r} has weight {self.weight}, mirror {self.mirror}")
        if self.canary is None and self.rules != DEFAULT:
            raise ValueError("Cannot split traffic: there are rules for it, but no canary")

    def same_split(self, other: Traffic) -> bool:
        """Whether requests go to the same places."""
        return dataclasses.replace(self, epoch=0) == dataclasses.replace(other, epoch=0)
