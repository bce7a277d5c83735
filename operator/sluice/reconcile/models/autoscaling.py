"""How many pods each revision gets, and whether its HorizontalPodAutoscaler does its work: pure.

Sluice writes a Deployment's size only where the spec says one. Everywhere else somebody else owns it from the second write on
(the HPA, or whoever scaled it last), so that nothing ever fights over it; Sluice only sees to a good first size.
"""

from __future__ import annotations

import dataclasses
import enum
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from sluice.api import autoscaling, conditions, modeldeployment
from sluice.rollout import model as rollout
from sluice.workloads import hpa, schedules

TYPE: Final = conditions.ConditionType.AUTOSCALING_READY


class Reason(enum.StrEnum):
    """Reasons of `AutoscalingReady`."""

    SCALING = "Scaling"
    """The size follows the metrics between its bounds."""
    NOT_JUDGED = "NotJudged"
    """The HPA's controller has not looked at it yet, or no pod is ready whose load could be known."""
    INVALID_SCHEDULE = "InvalidSchedule"
    """A schedule has a cron expression that never fits or an unknown time zone. The others are followed."""
    METRICS_API_MISSING = "MetricsApiMissing"
    """Nobody serves custom.metrics.k8s.io in this cluster: apply the overlay with `sluice metrics`. The size stays."""
    METRICS_API_TAKEN = "MetricsApiTaken"
    """Another adapter serves custom.metrics.k8s.io, and it does not have Sluice's metrics. The size stays."""
    METRICS_UNAVAILABLE = "MetricsUnavailable"
    """The HPA cannot read a metric. The size stays, or grows by the other metrics; it never shrinks."""
    SCALING_DISABLED = "ScalingDisabled"
    """The HPA does not act, in its own words."""
    CANNOT_SCALE = "CannotScale"
    """The HPA cannot read or change the size of the Deployment, in its own words."""


@dataclasses.dataclass(frozen=True)
class Trouble:
    """Why custom metrics cannot be read at all."""

    reason: Reason
    message: str


@dataclasses.dataclass(frozen=True)
class Scaling:
    """The sizes of a ModelDeployment's revisions at one moment."""

    spec: modeldeployment.ModelDeploymentSpec
    floor: schedules.Floor
    """With the schedules in force; 1 without autoscaling."""
    live: Mapping[str, int]
    """Pods that the Deployments ask for, by hash; revisions without a Deployment are not in it."""
    ready: frozenset[str]
    """Hashes of the revisions with a ready pod."""
    stable: str | None
    sizes: Mapping[str, int]
    """Fewest pods by hash that a rollout needs."""

    def size(self, revision_hash: str) -> int | None:
        """The size to write; None where the Deployment keeps what it has.

        A first size is that of the stable revision within the bounds: who takes over its traffic needs as many. No pods at all
        count as no size where the spec does not ask for that, or an HPA would stay off for ever.
        """
        asked = self.sizes.get(revision_hash)
        if self.spec.replicas is not None:
            return self.spec.replicas if revision_hash == self.stable else asked
        live, bounds = self.live.get(revision_hash), self.spec.autoscaling
        if live:
            return asked if asked is not None and bounds is None and live < asked else None
        if asked is not None:
            return asked
        beside = self.live.get(self.stable or "", 0)
        return max(self.floor.min_replicas, beside if bounds is None else min(beside, bounds.max_replicas))

    def fewest(self, revision_hash: str) -> int:
        """The fewest pods that an autoscaler may leave a revision."""
        asked = self.sizes.get(revision_hash, 0)
        floor = max(self.floor.min_replicas, asked) if revision_hash == self.stable else max(1, asked)
        return min(floor, self.spec.autoscaling.max_replicas) if self.spec.autoscaling is not None else floor

    @property
    def mistakes(self) -> list[str]:
        """What is wrong with schedules, for people."""
        bounds = self.spec.autoscaling
        return [_words(mistake) for mistake in schedules.mistakes(bounds.schedules)] if bounds is not None else []

    def seconds_to_change(self, now: float) -> float | None:
        """Seconds until a schedule begins or ends."""
        at = self.floor.next_change_at
        return None if at is None else max(0.0, at - now)


def decide(
    spec: modeldeployment.ModelDeploymentSpec,
    revisions: Iterable[rollout.Revision],
    stable: str | None,
    now: float,
    *,
    sizes: Mapping[str, int] = types.MappingProxyType({}),
) -> Scaling:
    """The sizes at `now` (epoch seconds) for revisions as they are."""
    bounds = spec.autoscaling
    known = {each.hash: each.health for each in revisions if each.health is not None}
    return Scaling(
        spec=spec,
        floor=schedules.floor(bounds.schedules, bounds.min_replicas, now) if bounds is not None else schedules.Floor(1),
        live={revision_hash: health.desired for revision_hash, health in known.items()},
        ready=frozenset(revision_hash for revision_hash, health in known.items() if health.ready),
        stable=stable,
        sizes=sizes,
    )


def fewest_ready(spec: modeldeployment.ModelDeploymentSpec, size: int) -> int:
    """Pods of a revision of `size` that must be ready for `Ready`.

    With autoscaling the user's minReplicas: a model that grows, or is held larger by a schedule, is not less ready for it.
    """
    if spec.replicas is not None:
        return spec.replicas
    return spec.autoscaling.min_replicas if spec.autoscaling is not None else size


def judge(scaling: Scaling, hpas: Mapping[str, Mapping[str, Any]], trouble: Trouble | None) -> conditions.Condition | None:
    """The condition; None without autoscaling.

    Args:
        scaling: what was decided.
        hpas: the HPAs by revision's hash, as JSON objects.
        trouble: what keeps custom metrics from being read at all, if anything does.
    """
    bounds = scaling.spec.autoscaling
    if bounds is None:
        return None
    if scaling.mistakes:
        return conditions.make(TYPE, False, Reason.INVALID_SCHEDULE, ". ".join(scaling.mistakes))
    # An HPA whose pods still load has nothing to go by: it is not judged yet.
    judged = [_judge_one(bounds, hpas[each]) for each in sorted(hpas) if each in scaling.ready]
    for reason, words in judged:
        if reason is Reason.METRICS_UNAVAILABLE and trouble is not None and any(map(hpa.pod_metric, bounds.metrics)):
            return conditions.make(TYPE, False, trouble.reason, trouble.message)
        if reason is not None and reason is not Reason.NOT_JUDGED:
            return conditions.make(TYPE, False, reason, words)
    if not judged or any(reason is Reason.NOT_JUDGED for reason, _ in judged):
        return conditions.make(TYPE, None, Reason.NOT_JUDGED, "No HorizontalPodAutoscaler has looked at ready pods yet")
    return conditions.make(TYPE, True, Reason.SCALING, "; ".join(_summary(bounds, scaling, hpas)))


def gist(obj: Mapping[str, Any]) -> str:
    """What of an HPA matters here: neither readings nor times. Equal for two versions that say the same."""
    status = obj.get("status") or {}
    said = [(each["type"], each["status"], each.get("reason"), each.get("message")) for each in status.get("conditions") or ()]
    read = [entry.get("type") for entry in status.get("currentMetrics") or ()]
    return repr((obj["metadata"].get("deletionTimestamp"), obj.get("spec"), said, read))


def _words(mistake: schedules.Mistake) -> str:
    return (
        f"Cannot follow spec.autoscaling.schedules[{mistake.schedule}].{mistake.field}: {mistake.value}: {mistake.cause}. "
        "Correct it; the other schedules are followed"
    )


def _judge_one(bounds: autoscaling.Autoscaling, obj: Mapping[str, Any]) -> tuple[Reason | None, str]:
    """What is wrong with one HPA, in its own words; None when nothing is."""
    name, status = obj["metadata"]["name"], obj.get("status") or {}
    said = {each["type"]: each for each in status.get("conditions") or ()}
    if "ScalingActive" not in said and "AbleToScale" not in said:
        return Reason.NOT_JUDGED, ""
    if (able := said.get("AbleToScale")) and able["status"] == "False":
        return Reason.CANNOT_SCALE, _quote(name, able)
    if (active := said.get("ScalingActive")) and active["status"] == "False":
        is_off = active.get("reason") == "ScalingDisabled"
        return Reason.SCALING_DISABLED if is_off else Reason.METRICS_UNAVAILABLE, _quote(name, active)
    if "ScalingActive" not in said:
        return Reason.NOT_JUDGED, ""
    unread = _unread(bounds.metrics, status.get("currentMetrics") or ())
    if unread:
        listed = ", ".join(unread)
        return Reason.METRICS_UNAVAILABLE, f"HorizontalPodAutoscaler {name} cannot read {listed}: kubectl describe hpa {name}"
    return None, ""


def _unread(metrics: Sequence[autoscaling.Metric], current: Sequence[Mapping[str, Any]]) -> list[str]:
    """Metrics without a value: the controller leaves the entry of one that it could not read empty."""
    if len(current) != len(metrics):
        return []  # of an earlier spec
    return [metric.name.value for metric, entry in zip(metrics, current, strict=True) if not entry.get("type")]


def _quote(name: str, condition: Mapping[str, Any]) -> str:
    return f"HorizontalPodAutoscaler {name}: {condition.get('reason', '')}: {condition.get('message', '')}"


def _summary(bounds: autoscaling.Autoscaling, scaling: Scaling, hpas: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    names = ", ".join(metric.name.value for metric in bounds.metrics)
    yield f"Between {bounds.min_replicas} and {bounds.max_replicas} pods by {names}"
    for held in scaling.floor.in_force:
        yield f"schedule {held} holds at least {scaling.floor.min_replicas}"
    if any(_is_at_maximum(obj) for obj in hpas.values()):
        yield "the metrics ask for more than maxReplicas: raise it if there are GPUs"
    for direction in ("scaleUp", "scaleDown"):
        if any(_lost_tolerance(bounds, obj, direction) for obj in hpas.values()):
            yield f"this API server ignores behavior.{direction}.tolerance: it needs Kubernetes 1.35 or newer"


def _is_at_maximum(obj: Mapping[str, Any]) -> bool:
    said = (obj.get("status") or {}).get("conditions") or ()
    return any(
        each["type"] == "ScalingLimited" and each["status"] == "True" and each.get("reason") == "TooManyReplicas"
        for each in said
    )


def _lost_tolerance(bounds: autoscaling.Autoscaling, obj: Mapping[str, Any], direction: str) -> bool:
    given = (bounds.behavior or autoscaling.Behavior()).to_wire().get(direction) or {}
    kept = (obj["spec"].get("behavior") or {}).get(direction) or {}
    return "tolerance" in given and "tolerance" not in kept
