"""One real API server with the controllers, a stand-in for the kubelet, and every status that was ever written.

Operators are real processes with exactly the rights of manifests/rbac.yaml. Each module that shares one gets it from
`operator`; tests that stop, kill or upgrade operators start their own, so they are in other modules.
"""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Iterator

import pytest

from tests.support import controlplane, kubelet, operators, statuses, world

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVICE_ACCOUNT = f"system:serviceaccount:{operators.NAMESPACE}:sluice-operator"

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[controlplane.ControlPlane]:
    """An API server with our CRDs, roles and admission policies."""
    with controlplane.ControlPlane(controller_manager=True, audit=True) as running:
        for folder in ("crds", "manifests/namespace.yaml", "manifests/rbac.yaml", "manifests/admission.yaml"):
            running.kubectl("apply", "--server-side", "-f", str(ROOT / folder))
        running.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(ROOT / "crds"))
        yield running


@pytest.fixture(scope="session")
def rights(cluster: controlplane.ControlPlane) -> pathlib.Path:
    """A kubeconfig with the rights of the operator's ServiceAccount, and no others."""
    return cluster.user(SERVICE_ACCOUNT)


@pytest.fixture(scope="session")
def kubelets(cluster: controlplane.ControlPlane) -> Iterator[kubelet.Kubelet]:
    """Makes pods run."""
    with kubelet.Kubelet(cluster.kubeconfig) as running:
        yield running


@pytest.fixture(scope="session")
def history(cluster: controlplane.ControlPlane) -> Iterator[statuses.History]:
    """Every status that any object of ours had."""
    with statuses.History(cluster.kubeconfig) as running:
        yield running


@pytest.fixture(scope="module")
def operator(rights: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[operators.Operator]:
    """One replica that leads, for tests that leave it running."""
    with operators.Operator(rights, tmp_path_factory.mktemp("operator")) as running:
        running.wait_ready()
        yield running


@pytest.fixture
def namespace(
    cluster: controlplane.ControlPlane, kubelets: kubelet.Kubelet, history: statuses.History
) -> Iterator[world.World]:
    """A namespace of the test's own. At its end no status in it may have broken the rules of kstatus."""
    with world.World(cluster, kubelets, history, f"t{next(_numbers)}") as made:
        yield made
        assert statuses.violations(history.of(made.name)) == []
