"""What the API server does with our objects beyond validation: defaults, status, scale, printing, merging by keys."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
import yaml

from sluice.api import crdgen
from tests.support import controlplane

ACCEPTED = pathlib.Path(__file__).parent / "accepted"
PLURALS = {kind.kind: f"{kind.plural}.sluice.dev" for kind in crdgen.KINDS}
MINIMAL = {
    "ModelDeployment": "modeldeployment-minimal",
    "Gateway": "gateway-empty-spec-has-working-defaults",
    "RateLimitPolicy": "ratelimitpolicy-one-shared-bucket",
    "EvalGate": "evalgate-evals-only",
}


def created(cluster: controlplane.ControlPlane, file: str, name: str) -> dict[str, Any]:
    """The stored form of an accepted file, under another name."""
    manifest = yaml.safe_load((ACCEPTED / f"{file}.yaml").read_text())
    manifest["metadata"]["name"] = name
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(manifest))
    return stored(cluster, manifest["kind"], name)


def stored(cluster: controlplane.ControlPlane, kind: str, name: str) -> dict[str, Any]:
    """The object as the API server has it."""
    answer = cluster.kubectl("get", PLURALS[kind], name, "-o", "json")
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def test_template_is_stored_as_it_was_written(cluster: controlplane.ControlPlane) -> None:
    """A default below spec.template would make a revision on the day it changes."""
    for file in sorted(ACCEPTED.glob("modeldeployment-*.yaml")):
        written = yaml.safe_load(file.read_text())["spec"]["template"]
        assert created(cluster, file.stem, "template")["spec"]["template"] == written, file.stem
        cluster.kubectl("delete", PLURALS["ModelDeployment"], "template")


@pytest.mark.parametrize("kind", MINIMAL)
def test_a_new_object_says_that_no_operator_has_seen_it(cluster: controlplane.ControlPlane, kind: str) -> None:
    """kstatus tools then wait, rather than take the absence of conditions for success."""
    assert created(cluster, MINIMAL[kind], "unseen")["status"] == {"observedGeneration": -1}


def test_nested_defaults_are_filled_in_where_their_parents_are_absent(cluster: controlplane.ControlPlane) -> None:
    """So that `kubectl get -o yaml` shows what holds."""
    spec = created(cluster, MINIMAL["Gateway"], "defaults")["spec"]
    assert spec == {
        "replicas": 1,
        "service": {"type": "ClusterIP"},
        "allowedModels": {"namespaces": {"from": "Same"}},
        "listeners": [{"name": "http", "port": 8080}],
        "clients": {"anonymous": False},
    }
    rollout = created(cluster, MINIMAL["ModelDeployment"], "defaults")["spec"]["rollout"]
    assert rollout == {
        "evidence": {"falseRollback": "1%"},
        "onFailure": "Rollback",
        "warmup": {"duration": "30s", "requests": 20},
    }


def test_a_wiped_status_reads_as_never_seen(cluster: controlplane.ControlPlane) -> None:
    """What `kubectl replace --subresource=status` with none leaves."""
    found = created(cluster, MINIMAL["ModelDeployment"], "wiped")
    found["status"] = {"observedGeneration": 1, "stableRevision": "abc"}
    cluster.kubectl("replace", "--subresource=status", "-f", "-", stdin=json.dumps(found))
    found = stored(cluster, "ModelDeployment", "wiped")
    assert found["status"]["stableRevision"] == "abc"
    del found["status"]
    cluster.kubectl("replace", "--subresource=status", "-f", "-", stdin=json.dumps(found))
    assert stored(cluster, "ModelDeployment", "wiped")["status"] == {"observedGeneration": -1}


def test_users_do_not_write_status_with_spec(cluster: controlplane.ControlPlane) -> None:
    """The status subresource is on: a status in an applied file has no effect, and the generation moves with the spec only."""
    found = created(cluster, MINIMAL["ModelDeployment"], "spec-only")
    found["status"] = {"observedGeneration": 1, "stableRevision": "forged"}
    found["spec"]["replicas"] = 2
    cluster.kubectl("replace", "-f", "-", stdin=json.dumps(found))
    found = stored(cluster, "ModelDeployment", "spec-only")
    assert "stableRevision" not in found["status"]
    assert found["metadata"]["generation"] == 2


def test_model_deployments_can_be_scaled(cluster: controlplane.ControlPlane) -> None:
    """`kubectl scale` and an HPA need both counts and the selector."""
    found = created(cluster, MINIMAL["ModelDeployment"], "scaled")
    found["status"] = {"observedGeneration": 1, "replicas": 1, "selector": "sluice.dev/revision=abc"}
    cluster.kubectl("replace", "--subresource=status", "-f", "-", stdin=json.dumps(found))
    cluster.kubectl("scale", PLURALS["ModelDeployment"], "scaled", "--replicas=3")
    path = "/apis/sluice.dev/v1alpha1/namespaces/default/modeldeployments/scaled/scale"
    scale = json.loads(cluster.kubectl("get", "--raw", path).stdout)
    assert scale["spec"] == {"replicas": 3}
    assert scale["status"] == {"replicas": 1, "selector": "sluice.dev/revision=abc"}
    assert stored(cluster, "ModelDeployment", "scaled")["spec"]["replicas"] == 3


def test_columns_show_what_is_asked_first(cluster: controlplane.ControlPlane) -> None:
    """`kubectl get mdep` answers: is it ready, why not, how many, and how far is the canary."""
    found = created(cluster, MINIMAL["ModelDeployment"], "printed")
    ready = {"type": "Ready", "status": "False", "reason": "RolloutInProgress", "message": ""}
    found["status"] = {
        "observedGeneration": 1,
        "model": "chat",
        "stableRevision": "0e24ce70",
        "podsReady": "2/3",
        "url": "http://printed.default.svc:8000",
        "conditions": [{**ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        "rollout": {"revision": "abc", "phase": "Progressing", "weight": "0.5"},
    }
    cluster.kubectl("replace", "--subresource=status", "-f", "-", stdin=json.dumps(found))
    header, row = cluster.kubectl("get", "mdep", "printed").stdout.splitlines()
    assert header.split() == ["NAME", "READY", "REASON", "MODEL", "REVISION", "REPLICAS", "CANARY", "URL", "AGE"]
    assert row.split()[:-1] == [
        "printed",
        "False",
        "RolloutInProgress",
        "chat",
        "0e24ce70",
        "2/3",
        "0.5",
        "http://printed.default.svc:8000",
    ]


@pytest.mark.parametrize("kind", crdgen.KINDS, ids=lambda kind: kind.kind)
def test_short_names_and_category(cluster: controlplane.ControlPlane, kind: crdgen.Kind) -> None:
    """`kubectl get sluice` lists all kinds, each with its short name."""
    listed = cluster.kubectl("api-resources", "--categories=sluice", "--no-headers").stdout
    assert [kind.plural, kind.short_name, "sluice.dev/v1alpha1", "true", kind.kind] in [
        row.split() for row in listed.splitlines()
    ]


def test_two_managers_own_entries_of_one_list(cluster: controlplane.ControlPlane) -> None:
    """Lists with keys merge: two teams each apply a limit of their own to one policy."""
    target = {"group": "sluice.dev", "kind": "Gateway", "name": "edge"}
    for manager in ("team-a", "team-b"):
        limit = {"name": manager, "unit": "Requests", "amount": 1, "per": "1s", "scope": "PerReplica"}
        manifest = {
            "apiVersion": "sluice.dev/v1alpha1",
            "kind": "RateLimitPolicy",
            "metadata": {"name": "merged"},
            "spec": {"targetRefs": [target], "limits": [limit]},
        }
        cluster.kubectl("apply", "--server-side", f"--field-manager={manager}", "-f", "-", stdin=json.dumps(manifest))
    assert [limit["name"] for limit in stored(cluster, "RateLimitPolicy", "merged")["spec"]["limits"]] == ["team-a", "team-b"]


def test_numbers_and_text_are_both_quantities(cluster: controlplane.ControlPlane) -> None:
    """`cpu: 4` is what people write."""
    requests = created(cluster, "modeldeployment-everything", "quantities")["spec"]["template"]["resources"]["requests"]
    assert requests == {"cpu": 4, "memory": "32Gi"}
