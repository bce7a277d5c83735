"""What of a decision is told beside the status: events, and numbers for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

from sluice.api import base, modeldeployment, rollout_status
from sluice.kube import events as kube_events
from sluice.observability import metrics
from sluice.rollout import model as rollout
from sluice.rollout import traffic as rollout_traffic


def tell(recorder: kube_events.Recorder, model: modeldeployment.ModelDeployment, events: Iterable[rollout.Notice]) -> None:
    """Emits the events about the ModelDeployment."""
    metadata = model.metadata
    regarding = {
        "apiVersion": base.API_VERSION,
        "kind": modeldeployment.KIND,
        "metadata": {"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid},
    }
    for event in events:
        type_ = kube_events.Type.WARNING if event.warning else kube_events.Type.NORMAL
        recorder.tell(kube_events.Event(regarding, type_, event.reason, event.message))


def show(numbers: metrics.Metrics, model: modeldeployment.ModelDeployment, decision: rollout.Decision) -> None:
    """Sets the phase and each revision's share of the traffic."""
    traffic, metadata = decision.traffic, model.metadata
    shares = {traffic.stable: rollout_traffic.FULL_WEIGHT - traffic.weight, traffic.canary: traffic.weight}
    numbers.set_rollout(
        metadata.namespace,
        metadata.name,
        phase=(decision.state.phase if decision.state is not None else rollout_status.Phase.IDLE).value,
        weights={known: share / rollout_traffic.FULL_WEIGHT for known, share in shares.items() if known is not None},
    )
