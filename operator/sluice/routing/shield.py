"""How much of a failing canary's load stable takes over: the bound on retries in flight in one proxy.

It follows stable's own load, so that a canary that fails under much traffic does not take stable down with it. The bound is
part of a cluster, and to change a cluster costs its connections: so the number that it is made of moves in steps.
"""

from __future__ import annotations

import math
from typing import Final

from sluice.routing import inputs, ir

FEWEST: Final = 8
"""Retries at once that even a stable with nothing to do takes over."""
ASSUMED_IN_FLIGHT: Final = 500
"""Requests of stable in flight in one proxy, while they are not known: at the default share, a hundred retries at once."""
_STEP: Final = 1.25
_PATIENCE: Final = _STEP**3
"""How far the measured number falls below the held one, about by half, before that follows."""


def build_retries(split: inputs.Split) -> int:
    """Requests of the canary that may be in retry on stable at once.

    Where the canary has all traffic, what stable has in flight is what the shield gave it, and says nothing of what it can
    bear: the assumed number stands in there too.
    """
    known = split.stable_in_flight if split.weight < ir.TOTAL_WEIGHT else None
    in_flight = known if known is not None else ASSUMED_IN_FLIGHT
    return max(FEWEST, math.ceil(round(split.shield.max_extra_load * in_flight, 6)))


def steady(measured: float, held: int | None) -> int:
    """The number to reckon with: `held` as long as it is not too far off, else the next step from `measured` up.

    Args:
        measured: requests in flight, 0 or more.
        held: what this returned last; None at first.
    """
    # Below the fewest retries no share of it makes a difference.
    least = max(measured, FEWEST)
    if held is not None and least <= held <= least * _PATIENCE:
        return held
    return math.ceil(_STEP ** math.ceil(math.log(least, _STEP) - 1e-9))
