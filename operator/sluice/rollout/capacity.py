"""How many pods each side of a rollout needs, so that neither users nor a way back ever wait for a model to load.

Until the rollout ends, the side that is losing traffic keeps the `base`: what carries all of it. The side that is gaining
has its share of that ready before its share rises. The base comes from the load that was measured over both sides, never
from what an autoscaler wants of one: a floor that we raise would raise that in turn, and so on. Constant load gives a
constant base.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from sluice.workloads import quantities

_FULL: Final = 10_000


@dataclasses.dataclass(frozen=True)
class Rules:
    """The part of the frozen plan that is about sizes."""

    full: bool = False
    """Whether the new revision has all its pods before its first weight."""
    max_extra: int | None = None
    """Most pods that the new revision may have while the other one keeps its own. None: as many as it takes."""
    at_start: int = 1
    """Pods that served when the rollout started."""


DEFAULT: Final = Rules()


@dataclasses.dataclass(frozen=True)
class Load:
    """What decides the base at one moment."""

    replicas: int | None = None
    """`spec.replicas`: it alone decides where it is set."""
    max_replicas: int | None = None
    """The autoscaling's."""
    wanted: int = 0
    """Pods that the measured load needs on both sides together; 0 where nothing is measured."""


def base(rules: Rules, load: Load) -> int:
    """Pods that carry all of the traffic."""
    if load.replicas is not None:
        return load.replicas
    needed = max(rules.at_start, load.wanted)
    return needed if load.max_replicas is None else min(needed, load.max_replicas)


def needed(rules: Rules, load: Load, share: int) -> int:
    """Pods that the new revision needs for a share (basis points, copies included) of the traffic: at least one to judge."""
    whole = base(rules, load)
    if rules.full or not whole:
        return whole
    return min(whole, max(1, math.ceil(whole * share / _FULL)))


@dataclasses.dataclass(frozen=True)
class Side:
    """One revision's HorizontalPodAutoscaler, as a JSON object, and how many of its pods are ready."""

    hpa: Mapping[str, Any]
    ready: int


def wanted(sides: Sequence[Side]) -> int:
    """Pods that the measured load of both sides needs together; 0 where nothing is measured.

    The largest, over the metrics, of ceil(sum over the sides of (average x ready pods) / target), from
    `status.currentMetrics`. A metric of something outside is the same for both sides, and counts once.
    """
    amounts = [_amounts(side) for side in sides]
    names = {name for side in amounts for name in side}
    most = 0
    for name in names:
        found = [side[name] for side in amounts if name in side]
        load = max(found) if name[0] == "External" else sum(found, Decimal(0))
        most = max(most, math.ceil(load))
    return most


def _amounts(side: Side) -> dict[tuple[str, int], Decimal]:
    """Pods that each metric needs for this side's load, by its type and place."""
    spec = side.hpa.get("spec", {}).get("metrics") or ()
    current = (side.hpa.get("status") or {}).get("currentMetrics") or ()
    if len(spec) != len(current):
        return {}  # of an earlier spec
    found = {}
    for place, (target, seen) in enumerate(zip(spec, current, strict=True)):
        amount = _amount(target, seen, side.ready)
        if amount is not None:
            found[str(target.get("type")), place] = amount
    return found


def _amount(target: Mapping[str, Any], seen: Mapping[str, Any], ready: int) -> Decimal | None:
    kind = str(target.get("type"))
    member = kind[:1].lower() + kind[1:]
    asked, now = (each.get(member) or {} for each in (target, seen))
    asked, now = asked.get("target") or {}, now.get("current") or {}
    for field in ("averageValue", "averageUtilization", "value"):
        if field not in asked or field not in now:
            continue
        try:
            limit, value = (quantities.parse(str(each[field])) for each in (asked, now))
        except ValueError:
            return None
        return value * ready / limit if limit > 0 else None
    return None


def peak_gpus(rules: Rules, load: Load, gpus: Iterable[int]) -> int:
    """GPUs that a rollout needs at its height, when both sides are whole. `gpus`: those of a pod, by side."""
    return base(rules, load) * sum(gpus)
