"""What our API admits, Kubernetes admits as pods: bounds and rules of fields that both have may not be wider than its own.

Deployments are created in a dry run: their pod templates meet the same checks as pods, and no object that pods name need exist.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any, Final

import pytest
import yaml

from sluice.api import template as template_api  # parameters are named template
from sluice.workloads import deployment, pod_template
from tests.support import controlplane

HERE: Final = pathlib.Path(__file__).parent
FILES: Final = sorted(
    [*(HERE / "accepted").glob("modeldeployment-*.yaml"), *(HERE.parents[1] / "examples").glob("modeldeployment*.yaml")]
)
DEFAULTS: Final = pod_template.Defaults(engine_image="vllm:1", operator_image="sluice:1", image_volumes=True)
OWNER: Final = {"apiVersion": "sluice.dev/v1alpha1", "kind": "ModelDeployment", "name": "case", "uid": "1"}


def build(path: pathlib.Path) -> dict[str, Any]:
    """The Deployment of the ModelDeployment in a file."""
    found = next(each for each in yaml.safe_load_all(path.read_text()) if each["kind"] == "ModelDeployment")
    name = found["metadata"]["name"]
    template = pod_template.render_pod_template(
        name,
        template_api.Template.model_validate(found["spec"]["template"]),
        revision_hash="0123456789",
        defaults=DEFAULTS,
        timing=pod_template.Timing(startup=1200, drain=300),
    )
    return deployment.build_deployment(
        namespace="default", name=name, revision_hash="0123456789", template=template, replicas=1, owner=OWNER
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_pods_of_an_accepted_file_are_admitted(cluster: controlplane.ControlPlane, path: pathlib.Path) -> None:
    """Without a warning, such as about a field that is unknown or means nothing."""
    done = cluster.kubectl(
        "create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(build(path)), check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
