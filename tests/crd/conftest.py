"""One real API server with our CRDs for the whole level."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests.support import controlplane

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def cluster() -> Iterator[controlplane.ControlPlane]:
    """An API server that has accepted crds/, and so their CEL costs, with the controllers that aggregate roles."""
    with controlplane.ControlPlane(controller_manager=True) as running:
        for given in ("crds", "manifests/namespace.yaml"):  # an example is for the operator's namespace
            running.kubectl("apply", "--server-side", "-f", str(ROOT / given))
        running.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(ROOT / "crds"))
        yield running
