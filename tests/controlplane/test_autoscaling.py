"""Who owns a Deployment's size: the spec, the real HPA controller, or whoever scaled it last; and nobody fights over it.

No metrics are served here, so that the HPA moves the size by its bounds alone, and says that it lacks metrics.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
import yaml

from sluice.api import naming
from tests.support import kubelet, operators, world

pytestmark = pytest.mark.usefixtures("operator")

ACCEPTED = pathlib.Path(__file__).resolve().parents[1] / "crd" / "accepted"

Object = dict[str, Any]


def autoscaled(least: int = 2, most: int = 6, *, source: str = "file:///models/one", **autoscaling: Any) -> Object:
    """A ModelDeployment whose size follows the queue."""
    metrics = [{"name": "RequestsWaiting", "target": "10"}]
    settings = {"minReplicas": least, "maxReplicas": most, "metrics": metrics, **autoscaling}
    return world.model(source, replicas=None, autoscaling=settings)


def deployment(namespace: world.World, revision: str) -> Object:
    return namespace.get("deployment", f"chat-{revision}")


def size(namespace: world.World, revision: str) -> int:
    found: int = deployment(namespace, revision)["spec"]["replicas"]
    return found


def owners(namespace: world.World, revision: str) -> set[str]:
    """Field managers that claim the Deployment's size."""
    text = namespace.kubectl("get", "deployment", f"chat-{revision}", "-o", "json", "--show-managed-fields")
    managers = json.loads(text)["metadata"]["managedFields"]
    return {each["manager"] for each in managers if "f:replicas" in each["fieldsV1"].get("f:spec", {})}


def handed_over(namespace: world.World, revision: str) -> None:
    """Waits until our main apply claims the size no more, and the HPA is there."""
    namespace.until(lambda: naming.FIELD_MANAGER not in owners(namespace, revision), "the size is let go")
    namespace.until(lambda: namespace.get("hpa", f"chat-{revision}"), "there is an HPA")


def reconciled(namespace: world.World, obj: Object, seconds: str) -> None:
    """Applies the object with another drainTimeout, which makes no revision, and waits until that is seen."""
    obj["spec"]["drainTimeout"] = seconds
    namespace.apply(obj)
    namespace.status("it is seen", lambda _: True)


def test_size_is_the_hpas(namespace: world.World) -> None:
    """It begins at the floor; what the HPA sets afterwards stays, whatever is applied or reconciled."""
    namespace.apply(autoscaled())
    revision = namespace.ready()["stableRevision"]
    handed_over(namespace, revision)
    assert size(namespace, revision) == 2
    namespace.kubectl("scale", f"deployment/chat-{revision}", "--replicas=4")
    reconciled(namespace, autoscaled(), "10s")
    namespace.status("all four are ready", lambda status: status["readyReplicas"] == 4)
    reconciled(namespace, autoscaled(), "11s")
    assert size(namespace, revision) == 4
    assert owners(namespace, revision) == {"kubectl"}
    assert len(namespace.revisions()) == 1


def test_hpa_keeps_the_size_within_its_bounds(namespace: world.World) -> None:
    """The real controller raises the size to a new floor and lowers it to a new ceiling, and Sluice leaves it there."""
    namespace.apply(autoscaled())
    revision = namespace.ready()["stableRevision"]
    namespace.apply(autoscaled(3))
    namespace.status("three are ready", lambda status: status["readyReplicas"] == 3)
    namespace.apply(autoscaled(1, 2))
    namespace.status("two are left", lambda status: status["replicas"] == 2)
    assert naming.FIELD_MANAGER not in owners(namespace, revision)
    assert world.condition(namespace.ready(), "Ready")["message"] == f"Revision {revision} serves with 2 of 2 pods"


def test_schedule_raises_the_floor(namespace: world.World) -> None:
    """A schedule in force is the HPA's minReplicas at once, and is named."""
    always = {"name": "always", "cron": "* * * * *", "duration": "1h", "minReplicas": 5}
    namespace.apply(autoscaled(schedules=[always]))
    revision = namespace.ready()["stableRevision"]
    assert namespace.get("hpa", f"chat-{revision}")["spec"]["minReplicas"] == 5
    namespace.status("five are ready", lambda status: status["readyReplicas"] == 5)
    namespace.apply(autoscaled())
    namespace.until(lambda: namespace.get("hpa", f"chat-{revision}")["spec"]["minReplicas"] == 2, "the floor is the usual one")
    assert size(namespace, revision) == 5, "an HPA without metrics never lowers a size"


@pytest.mark.parametrize("how", [("apply",), ("apply", "--server-side", "--field-manager=argocd"), ("replace",)], ids=" ".join)
def test_gitops_does_not_fight_the_hpa(namespace: world.World, how: tuple[str, ...]) -> None:
    """The same file again, by whichever way, changes no size."""
    file = json.dumps(autoscaled())
    namespace.kubectl(*(("create",) if how == ("replace",) else how), "-f", "-", stdin=file)
    revision = namespace.ready()["stableRevision"]
    handed_over(namespace, revision)
    namespace.kubectl("scale", f"deployment/chat-{revision}", "--replicas=4")
    namespace.status("four are ready", lambda status: status["readyReplicas"] == 4)
    before = deployment(namespace, revision)["metadata"]["generation"]
    for _ in range(3):
        namespace.kubectl(*how, "-f", "-", stdin=file)
    reconciled(namespace, autoscaled(), "12s")
    after = deployment(namespace, revision)
    assert (after["spec"]["replicas"], after["metadata"]["generation"]) == (4, before)


def test_switching_keeps_the_size(namespace: world.World) -> None:
    """On and off again: what is there stays until the HPA or the spec says otherwise. No pod is restarted for it."""
    namespace.apply(world.model(replicas=3))
    revision = namespace.ready()["stableRevision"]
    pods = namespace.pods()
    namespace.apply(autoscaled())
    handed_over(namespace, revision)
    assert size(namespace, revision) == 3
    namespace.apply(world.model(replicas=None))
    namespace.until(lambda: not namespace.get("hpa", f"chat-{revision}"), "the HPA is gone")
    assert world.condition(namespace.ready(), "AutoscalingReady")["status"] == ""
    assert size(namespace, revision) == 3
    assert namespace.pods() == pods
    namespace.apply(world.model(replicas=1))
    namespace.status("one is left", lambda status: (status["replicas"], status["readyReplicas"]) == (1, 1))


def test_kubectl_scale_is_refused_while_autoscaling_is_on(namespace: world.World) -> None:
    """Through the real /scale, with the reason and what to do instead; nothing changes."""
    namespace.apply(autoscaled())
    revision = namespace.ready()["stableRevision"]
    done = namespace.cluster.kubectl("-n", namespace.name, "scale", "mdep/chat", "--replicas=3", check=False)
    assert done.returncode != 0
    assert "replicas excludes autoscaling" in done.stderr
    assert "Change those, or remove spec.autoscaling to scale by hand" in done.stderr
    assert "replicas" not in namespace.model()["spec"]
    assert size(namespace, revision) == 2


def test_kubectl_scale_works_where_the_spec_had_no_size(namespace: world.World) -> None:
    """One pod at first; `kubectl scale` puts a number into the spec, and from then on that holds."""
    namespace.apply(world.model(replicas=None))
    revision = namespace.ready()["stableRevision"]
    assert size(namespace, revision) == 1
    namespace.kubectl("scale", "mdep/chat", "--replicas=3")
    namespace.status("three are ready", lambda status: status["readyReplicas"] == 3)
    namespace.kubectl("scale", f"deployment/chat-{revision}", "--replicas=5")
    namespace.until(lambda: size(namespace, revision) == 3, "the Deployment is scaled back")
    namespace.kubectl("scale", "mdep/chat", "--replicas=0")
    namespace.status("none is left", lambda status: status["replicas"] == 0)


def test_from_zero_to_autoscaling(namespace: world.World) -> None:
    """An HPA stays off while there are no pods: so it begins at the floor."""
    namespace.apply(world.model())
    revision = namespace.ready()["stableRevision"]
    namespace.kubectl("scale", "mdep/chat", "--replicas=0")
    namespace.status("none is left", lambda status: status["replicas"] == 0)
    namespace.kubectl("patch", "mdep/chat", "--type=merge", "-p", json.dumps({"spec": {"replicas": None}}))
    namespace.apply(autoscaled(2))
    namespace.status("two are ready", lambda status: status["readyReplicas"] == 2)
    handed_over(namespace, revision)
    namespace.kubectl("scale", f"deployment/chat-{revision}", "--replicas=0")
    namespace.until(lambda: size(namespace, revision) == 2, "it is at its floor again")


def test_new_revision_is_as_large_as_the_stable_one_before_it_takes_over(namespace: world.World) -> None:
    """It takes over traffic that the floor is too small for. Each revision has its HPA while both have pods."""
    namespace.apply(autoscaled())
    old = namespace.ready()["stableRevision"]
    handed_over(namespace, old)
    namespace.kubectl("scale", f"deployment/chat-{old}", "--replicas=5")
    namespace.status("five are ready", lambda status: status["readyReplicas"] == 5)
    namespace.behave("slow", kubelet.loading)
    changed = autoscaled()
    changed["spec"]["template"]["engine"]["image"] = "slow"
    namespace.apply(changed)
    status = namespace.status("it warms up", lambda status: status.get("rollout", {}).get("phase") == "WarmingUp")
    new = status["rollout"]["revision"]
    namespace.until(lambda: size(namespace, new) == 1, "it begins with one pod, to be judged")
    handed_over(namespace, new)
    assert {obj["metadata"]["name"] for obj in namespace.objects("hpa")} == {f"chat-{old}", f"chat-{new}"}
    namespace.behave("slow", kubelet.ready)
    namespace.until(lambda: size(namespace, new) == 5, "it has five before it takes over")
    namespace.ended("Promoted")
    namespace.until(lambda: [obj["metadata"]["name"] for obj in namespace.objects("hpa")] == [f"chat-{new}"], "one HPA is left")
    assert size(namespace, new) == 5


def test_trouble_is_said_in_the_hpas_own_words(namespace: world.World, operator: operators.Operator) -> None:
    """Without metrics the model is Ready and Available, and AutoscalingReady says why the size stays."""
    namespace.apply(autoscaled(metrics=[{"name": "CPU", "target": "80%"}]))
    revision = namespace.ready()["stableRevision"]
    found = namespace.reason("mdep", "chat", "AutoscalingReady", "MetricsUnavailable")
    assert f"HorizontalPodAutoscaler chat-{revision}: FailedGetResourceMetric: " in found["message"]
    assert "failed to get cpu utilization" in found["message"]
    status = namespace.model()["status"]
    assert world.condition(status, "Ready")["status"] == "True"
    assert world.condition(status, "Available")["status"] == "True"
    failed = [line for line in operator.log.splitlines() if "reconcile failed" in line and f"/{namespace.name}/" in line]
    assert failed == []


def test_missing_metrics_api_is_said_with_the_overlay_that_mends_it(namespace: world.World) -> None:
    """A cluster without custom.metrics.k8s.io is the first thing that a new user meets."""
    namespace.apply(autoscaled())
    found = namespace.reason("mdep", "chat", "AutoscalingReady", "MetricsApiMissing")
    assert "kubectl apply --server-side -k manifests/metrics" in found["message"]


def test_invalid_schedule_is_a_mistake(namespace: world.World) -> None:
    """What the API server cannot see of a schedule stalls the object and names the field; the model goes on serving."""
    wrong = {"name": "x", "cron": "0 7 * * *", "timeZone": "Europe/Berln", "duration": "1h", "minReplicas": 5}
    namespace.apply(autoscaled(schedules=[wrong]))
    found = namespace.reason("mdep", "chat", "Stalled", "InvalidSchedule")
    assert "spec.autoscaling.schedules[x].timeZone: Europe/Berln" in found["message"]
    assert world.condition(namespace.model()["status"], "ResolvedRefs")["status"] == "True"
    namespace.apply(autoscaled())
    namespace.ready()


def test_hpa_with_everything_is_written_once(namespace: world.World, operator: operators.Operator) -> None:
    """The API server rewrites quantities and fills in defaults: none of that is a difference, or each reconcile would write."""
    everything = yaml.safe_load((ACCEPTED / "modeldeployment-autoscaling-everything.yaml").read_text())["spec"]["autoscaling"]
    namespace.apply(world.model(replicas=None, autoscaling=everything))
    revision = namespace.ready()["stableRevision"]
    handed_over(namespace, revision)
    stored = namespace.get("hpa", f"chat-{revision}")["spec"]
    assert stored["behavior"]["scaleUp"]["tolerance"] == "50m"
    assert len(stored["metrics"]) == len(everything["metrics"])
    for seconds in ("10s", "11s"):
        reconciled(namespace, world.model(replicas=None, autoscaling=everything), seconds)
    line = f'"object": "horizontalpodautoscalers.autoscaling/{namespace.name}/chat-{revision}"'
    assert operator.log.count(line) == 1
