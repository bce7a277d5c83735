"""What the API keeps free of users is what pods of ours really use: names of volumes, paths and files."""

from __future__ import annotations

from typing import Any

from sluice.api import model_source, volumes
from sluice.api import template as template_api  # parameters are named template
from sluice.workloads import files, pod_template

TEMPLATE: dict[str, Any] = {
    "model": {
        "source": "hf://a/b",
        "credentialsSecretRef": {"name": "hub", "key": "token"},
        "chatTemplate": {"configMapKeyRef": {"name": "c", "key": "k"}},
        "adapters": [{"name": "sql", "source": "pvc://a/sql"}, {"name": "sum", "source": "oci://r.example/a/b:1"}],
    },
    "engine": {"type": "VLLM"},
}


def pod(**changes: Any) -> dict[str, Any]:
    """The rendered pod of a template that uses all that brings volumes."""
    spec: dict[str, Any] = pod_template.render_pod_template(
        "chat",
        template_api.Template.model_validate({**TEMPLATE, **changes}),
        revision_hash="abc",
        defaults=pod_template.Defaults(engine_image="vllm:1", operator_image="sluice:1", image_volumes=True),
        timing=pod_template.Timing(startup=60, drain=30),
    )["spec"]
    return spec


def test_names_of_our_volumes_are_kept_free() -> None:
    """A user's volume of the same name would make a pod that the API server refuses."""
    for source in ("hf://a/b", "pvc://weights/llama", "oci://r.example/m/llama:1"):
        names = [volume["name"] for volume in pod(model={**TEMPLATE["model"], "source": source})["volumes"]]
        taken = [name for name in names if name not in volumes.OWN_VOLUMES and not name.startswith(volumes.OWN_VOLUME_PREFIXES)]
        assert taken == [], source


def test_paths_of_our_mounts_are_kept_free() -> None:
    """A user's mount below one of ours could hide the model or the middleware."""
    rendered = pod()
    for container in (*rendered["containers"], *rendered["initContainers"]):
        for mount in container["volumeMounts"]:
            path = mount["mountPath"]
            assert any(path == own or path.startswith(f"{own}/") for own in volumes.OWN_PATHS), path


def test_names_of_our_files_are_kept_free() -> None:
    """A user's file of that name would replace the probe, the middleware or the chat template."""
    assert set(model_source.FILES_OF_SLUICE) == {*files.OWN, files.CHAT_TEMPLATE}
