"""The installation is admitted under the restricted pod security, and its roles allow what the code declares and no more."""

from __future__ import annotations

import base64
import json
import pathlib
import time
from collections.abc import Iterator

import pytest

from sluice.kube import resources
from sluice.workloads import metrics_api
from tests.support import controlplane

MANIFESTS = pathlib.Path(__file__).resolve().parents[2] / "manifests"
OPERATOR_NAMESPACE = "sluice-system"
SERVICE_ACCOUNT = f"system:serviceaccount:{OPERATOR_NAMESPACE}:sluice-operator"
ROLE_SECONDS = 15


@pytest.fixture(scope="module")
def installed(cluster: controlplane.ControlPlane) -> controlplane.ControlPlane:
    """The API server with manifests/ applied."""
    cluster.kubectl("apply", "--server-side", "-f", str(MANIFESTS / "namespace.yaml"))
    cluster.kubectl("apply", "--server-side", "--validate=strict", "-k", str(MANIFESTS))
    return cluster


@pytest.fixture(scope="module")
def with_metrics(installed: controlplane.ControlPlane) -> Iterator[controlplane.ControlPlane]:
    """With manifests/metrics applied as well. Nobody serves that API here, so its registration goes first again."""
    installed.kubectl("apply", "--server-side", "--validate=strict", "-k", str(MANIFESTS / "metrics"))
    yield installed
    installed.kubectl("delete", "apiservice", metrics_api.API_SERVICE)


def can(cluster: controlplane.ControlPlane, who: str, verb: str, what: str, namespace: str, name: str = "") -> bool:
    """Whether RBAC lets `who` do it; `what` is plural.group or plural.group/subresource."""
    plural, _, subresource = what.partition("/")
    options = [f"--as={who}", "-n", namespace] + ([f"--subresource={subresource}"] if subresource else [])
    if who == SERVICE_ACCOUNT:
        options += ["--as-group=system:serviceaccounts", "--as-group=system:authenticated"]
    done = cluster.kubectl("auth", "can-i", verb, f"{plural}/{name}" if name else plural, *options, check=False)
    assert done.stdout.strip() in ("yes", "no"), done.stderr
    return done.stdout.strip() == "yes"


def test_pods_keep_to_the_restricted_standard(installed: controlplane.ControlPlane) -> None:
    """The API server warns of a Deployment whose pods its namespace would refuse."""
    applied = installed.kubectl("apply", "--server-side", "-f", str(MANIFESTS / "operator.yaml"))
    assert applied.stderr == ""


def test_installing_twice_changes_nothing(installed: controlplane.ControlPlane) -> None:
    """GitOps applies the same files for ever."""
    assert installed.kubectl("diff", "--server-side", "-k", str(MANIFESTS), check=False).stdout == ""


def test_the_metrics_overlay_keeps_to_the_standard_and_changes_nothing_twice(with_metrics: controlplane.ControlPlane) -> None:
    """As the rest of the installation does; what the operator writes into the registration is not taken back."""
    applied = with_metrics.kubectl("apply", "--server-side", "-f", str(MANIFESTS / "metrics" / "metrics.yaml"))
    assert applied.stderr == ""
    bundle = {"spec": {"caBundle": base64.b64encode((with_metrics.pki / "ca.crt").read_bytes()).decode()}}
    patch = ("patch", "apiservice", metrics_api.API_SERVICE, "--field-manager=sluice", "--type=merge", "-p", json.dumps(bundle))
    with_metrics.kubectl(*patch)
    with_metrics.kubectl("apply", "--server-side", "-k", str(MANIFESTS / "metrics"))
    read = ("get", "apiservice", metrics_api.API_SERVICE, "-o", "jsonpath={.spec.caBundle}")
    assert with_metrics.kubectl(*read).stdout == bundle["spec"]["caBundle"]


def test_the_metrics_server_may_do_what_its_table_declares(with_metrics: controlplane.ControlPlane) -> None:
    """By our role and by Kubernetes' own for aggregated API servers; no Secret is among it."""
    account = f"system:serviceaccount:{OPERATOR_NAMESPACE}:sluice-metrics"
    for resource in resources.METRICS:
        for rule in resource.rules:
            namespace = "kube-system" if resource is resources.DELEGATION else "default"
            what = f"{resource.plural}.{resource.group}".rstrip(".")
            name = rule.names[0] if rule.names else ""
            assert can(with_metrics, account, min(rule.verbs), what, namespace, name), what
    assert not can(with_metrics, account, "get", "secrets", OPERATOR_NAMESPACE)


def test_operator_may_do_what_its_table_declares(installed: controlplane.ControlPlane) -> None:
    """One representative call for each rule; each would be a Forbidden in production."""
    denied = []
    for resource in resources.ALL:
        for rule in resource.rules:
            namespace = OPERATOR_NAMESPACE if rule.reach is resources.Reach.OPERATOR else "default"
            what = f"{resource.plural}.{resource.group}".rstrip(".") + (f"/{rule.subresource}" if rule.subresource else "")
            verb = min(rule.verbs)
            if not can(installed, SERVICE_ACCOUNT, verb, what, namespace, rule.names[0] if rule.names else ""):
                denied.append(f"{verb} {what} in {namespace}")
    assert denied == []


@pytest.mark.parametrize(
    ("verb", "what", "namespace"),
    [
        ("update", "modeldeployments.sluice.dev", "default"),
        ("delete", "gateways.sluice.dev", "default"),
        ("create", "pods", "default"),
        ("create", "pods/exec", "default"),
        ("delete", "namespaces", "default"),
        ("get", "leases.coordination.k8s.io", "default"),
        ("list", "leases.coordination.k8s.io", OPERATOR_NAMESPACE),
        ("create", "clusterrolebindings.rbac.authorization.k8s.io", "default"),
        ("impersonate", "users", "default"),
    ],
)
def test_operator_may_do_no_more(installed: controlplane.ControlPlane, verb: str, what: str, namespace: str) -> None:
    """It never writes users' specs, runs commands in pods or widens its own rights."""
    assert not can(installed, SERVICE_ACCOUNT, verb, what, namespace)


def test_editors_of_a_namespace_may_use_our_kinds_but_not_forge_facts(installed: controlplane.ControlPlane) -> None:
    """Outcome labels on ControllerRevisions are the durable facts of rollouts: the built-in roles must not write them."""
    installed.kubectl("create", "rolebinding", "ed", "--clusterrole=edit", "--user=ed", "-n", "default")
    deadline = time.monotonic() + ROLE_SECONDS
    while not can(installed, "ed", "create", "modeldeployments.sluice.dev", "default"):  # aggregation takes a moment
        assert time.monotonic() < deadline, "the edit role was not extended by sluice-edit"
    assert can(installed, "ed", "patch", "modeldeployments.sluice.dev/scale", "default")
    for verb in ("create", "update", "patch", "delete"):
        assert not can(installed, "ed", verb, "controllerrevisions.apps", "default"), verb
        assert not can(installed, "ed", verb, "modeldeployments.sluice.dev/status", "default"), verb
