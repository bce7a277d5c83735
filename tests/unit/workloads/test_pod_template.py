"""The pods of a revision: what the engine is told, and what production needs of a pod."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sluice.api import template as template_api  # parameters are named template
from sluice.api import volumes as volumes_api  # as the module of workloads
from sluice.workloads import pod_template, prefetch, volumes

DEFAULTS = pod_template.Defaults(engine_image="vllm:default", operator_image="sluice:1")


def render(
    template: dict[str, Any], *, startup: float = 1200, drain: float = 300, defaults: pod_template.Defaults = DEFAULTS
) -> dict[str, Any]:
    """The rendered pod template of the ModelDeployment `chat`."""
    return pod_template.render_pod_template(
        "chat",
        template_api.Template.model_validate(template),
        revision_hash="abc",
        defaults=defaults,
        timing=pod_template.Timing(startup=startup, drain=drain),
    )


def template(source: str = "file:///models/good", **engine: Any) -> dict[str, Any]:
    """A template with this source and these engine settings."""
    return {"model": {"source": source}, "engine": {"type": "VLLM", **engine}}


def engine_of(pod: dict[str, Any]) -> dict[str, Any]:
    """The engine container."""
    engine: dict[str, Any] = pod["spec"]["containers"][0]
    return engine


@pytest.mark.parametrize(
    ("source", "argument"),
    [
        ("file:///models/good", "/models/good"),
        ("hf://meta-llama/Llama-3.1-8B-Instruct", "/mnt/sluice/downloads/model"),
        ("pvc://weights/llama/8b", "/mnt/sluice/model/llama/8b"),
        ("pvc://weights", "/mnt/sluice/model"),
    ],
)
def test_the_engine_is_told_where_the_model_is(source: str, argument: str) -> None:
    """Each source becomes the model argument that vLLM understands."""
    assert engine_of(render(template(source)))["args"][0] == argument


def test_a_claim_is_mounted_read_only() -> None:
    """A serving pod can't change shared weights."""
    pod = render(template("pvc://weights/llama"))
    assert {"name": "model", "persistentVolumeClaim": {"claimName": "weights", "readOnly": True}} in pod["spec"]["volumes"]
    assert {"name": "model", "mountPath": "/mnt/sluice/model", "readOnly": True} in engine_of(pod)["volumeMounts"]


def test_typed_arguments_become_flags_and_unset_ones_do_not() -> None:
    """Only what the template says is passed on."""
    args = engine_of(
        render(
            template(
                vllm={
                    "args": {
                        "maxModelLen": 512,
                        "prefixCaching": False,
                        "toolCallParser": "hermes",
                        "gpuMemoryUtilization": "0.9",
                    },
                    "extraArgs": ["--enforce-eager"],
                }
            )
        )
    )["args"]
    assert args[-1] == "--enforce-eager"
    for flag in (
        "--max-model-len=512",
        "--no-enable-prefix-caching",
        "--tool-call-parser=hermes",
        "--enable-auto-tool-choice",
        "--gpu-memory-utilization=0.9",
        "--served-model-name=chat",
    ):
        assert flag in args
    assert not any(arg.startswith(("--dtype", "--quantization")) for arg in args)


def test_draining_fits_into_the_grace_period() -> None:
    """preStop and the engine's own drain end before the kubelet kills."""
    pod = render(template(), drain=30)
    assert "--shutdown-timeout=30" in engine_of(pod)["args"]
    pre_stop = engine_of(pod)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["spec"]["terminationGracePeriodSeconds"] >= pre_stop + 30 + 10


def test_the_engine_drains_even_when_no_time_is_given() -> None:
    """vLLM freezes cut streams with a shutdown timeout of 0, so it is never 0."""
    assert "--shutdown-timeout=1" in engine_of(render(template(), drain=0))["args"]


def test_startup_budget_and_the_engines_own_limit_go_together() -> None:
    """Neither the probe nor vLLM gives up before startupTimeout."""
    engine = engine_of(render(template(), startup=3600))
    probe = engine["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 3600
    assert {"name": "VLLM_ENGINE_READY_TIMEOUT_S", "value": "3600"} in engine["env"]


def test_the_users_environment_wins() -> None:
    """A variable of ours may be overridden, and appears once."""
    engine = engine_of(render(template(env=[{"name": "HOME", "value": "/elsewhere"}])))
    assert [entry["value"] for entry in engine["env"] if entry["name"] == "HOME"] == ["/elsewhere"]


def test_the_environment_comes_from_secrets_too() -> None:
    """Values and references, each as Kubernetes has it."""
    reference = {"secretKeyRef": {"name": "tracing", "key": "token"}}
    engine = engine_of(render(template(env=[{"name": "TOKEN", "valueFrom": reference}, {"name": "A", "value": "$(HOME)/a"}])))
    assert engine["env"][-2:] == [{"name": "TOKEN", "valueFrom": reference}, {"name": "A", "value": "$(HOME)/a"}]


def test_the_engine_asks_no_hub() -> None:
    """What it loads is on its disk, whatever brought it there."""
    for source in ("file:///models/good", "hf://org/model", "pvc://weights/llama"):
        assert {"name": "HF_HUB_OFFLINE", "value": "1"} in engine_of(render(template(source)))["env"]


def test_a_hang_ends_the_engine_and_a_long_start_does_not() -> None:
    """Liveness is the script of the revision's files; the startup probe holds it back while the model loads."""
    pod = render(template())
    engine = engine_of(pod)
    probe = engine["livenessProbe"]
    assert probe["exec"]["command"] == [
        "python3", "-I", "-S", "/mnt/sluice/files/liveness.py", "8000", "120", "/tmp/sluice-liveness.json",
    ]  # fmt: skip
    assert {"name": "files", "mountPath": "/mnt/sluice/files", "readOnly": True} in engine["volumeMounts"]
    assert {"name": "files", "configMap": {"name": "chat-abc-files"}} in pod["spec"]["volumes"]
    assert "startupProbe" in engine


def test_headers_wait_for_the_first_token_unless_the_template_says_otherwise() -> None:
    """The middleware is passed and found, or neither."""
    held, plain = engine_of(render(template())), engine_of(render(template(vllm={"holdHeaders": False})))
    assert "--middleware=hold_headers.HoldHeaders" in held["args"]
    assert {"name": "PYTHONPATH", "value": "/mnt/sluice/files"} in held["env"]
    assert not any(arg.startswith("--middleware") for arg in plain["args"])
    assert not any(entry["name"] == "PYTHONPATH" for entry in plain["env"])


def test_downloads_come_before_the_engine() -> None:
    """By an init container with the operator's image, for the model and for adapters; what is there already needs none."""
    assert "initContainers" not in render(template())["spec"]
    given = template("pvc://weights/llama")
    given["model"]["adapters"] = [{"name": "sql", "source": "hf://org/sql", "revision": "main"}]
    given["model"]["credentialsSecretRef"] = {"name": "hub", "key": "token"}
    given["model"]["cache"] = {"type": "PersistentVolumeClaim", "persistentVolumeClaim": {"claimName": "models"}}
    pod = render(given)
    (container,) = pod["spec"]["initContainers"]
    assert (container["name"], container["image"]) == ("prefetch", "sluice:1")
    assert "--item=adapters/sql=hf://org/sql" in container["args"]
    assert container["securityContext"] == engine_of(pod)["securityContext"]
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert volumes[prefetch.CACHE_VOLUME]["persistentVolumeClaim"] == {"claimName": "models"}
    assert volumes[prefetch.CREDENTIALS_VOLUME]["secret"]["secretName"] == "hub"
    assert volumes[prefetch.RESOLVED_VOLUME]["configMap"] == {"name": "chat-abc-resolved", "optional": True}
    assert prefetch.CREDENTIALS_VOLUME not in {mount["name"] for mount in engine_of(pod)["volumeMounts"]}


def test_pods_meet_the_restricted_profile() -> None:
    """Non-root, no privileges, default seccomp, nothing writable but its own volumes."""
    pod = render(template("hf://org/model"))
    assert pod["spec"]["enableServiceLinks"] is False
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["securityContext"]["runAsUser"] == 2000
    assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (engine_of(pod), *pod["spec"]["initContainers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_openshift_gives_users_and_groups_itself() -> None:
    """Its admission refuses any other, and fills in the namespace's own."""
    defaults = dataclasses.replace(DEFAULTS, openshift=True)
    context = render(template(), defaults=defaults)["spec"]["securityContext"]
    assert context.keys().isdisjoint({"runAsUser", "runAsGroup", "fsGroup"})
    assert context["runAsNonRoot"] is True


def test_everything_that_is_written_is_on_a_volume() -> None:
    """Home, caches, temporary files and shared memory; the root file system is read-only."""
    engine = engine_of(render(template()))
    writable = [mount["mountPath"] for mount in engine["volumeMounts"] if not mount.get("readOnly")]
    assert set(writable) == {"/tmp", "/dev/shm", "/var/cache/sluice"}
    caches = [entry["value"] for entry in engine["env"] if entry["name"] in volumes.cache_environment()]
    assert len(caches) == len(volumes.cache_environment())
    assert all(path.startswith("/var/cache/sluice") for path in caches)


def test_shared_memory_has_the_size_that_is_asked_for() -> None:
    """Tensor parallelism needs more than the 64 MiB of a container."""
    for given, size in (({}, "2Gi"), ({"sharedMemory": "16Gi"}, "16Gi")):
        pod = render({**template(), "resources": given})
        (shm,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "shm"]
        assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": size}


def test_pods_have_no_token_unless_an_account_is_named() -> None:
    """Then the account says itself whether it gives one: clouds' identities need it."""
    plain, named = render(template())["spec"], render({**template(), "serviceAccountName": "reader"})["spec"]
    assert plain["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in plain
    assert named["serviceAccountName"] == "reader"
    assert "automountServiceAccountToken" not in named


@pytest.mark.parametrize(
    ("given", "istio", "linkerd"),
    [
        ({}, "false", "disabled"),
        ({"labels": {"sidecar.istio.io/inject": "true"}}, "true", "disabled"),
        ({"annotations": {"sidecar.istio.io/inject": "true"}}, None, "disabled"),
        ({"annotations": {"linkerd.io/inject": "enabled"}}, "false", "enabled"),
    ],
)
def test_meshes_stay_out_unless_they_are_asked_for(given: dict[str, Any], istio: str | None, linkerd: str) -> None:
    """Istio goes by a label, and by an annotation where there is no label."""
    metadata = render({**template(), "podMetadata": given})["metadata"]
    assert metadata["labels"].get("sidecar.istio.io/inject") == istio
    assert metadata["annotations"]["linkerd.io/inject"] == linkerd


def test_labels_of_the_users_are_added_and_never_replace_ours() -> None:
    """Ours select the pods."""
    given = {"labels": {"team": "a", "sluice.dev/revision": "forged"}, "annotations": {"note": "b"}}
    metadata = render({**template(), "podMetadata": given})["metadata"]
    assert metadata["labels"].items() >= {**pod_template.revision_labels("chat", "abc"), "team": "a"}.items()
    assert metadata["annotations"]["note"] == "b"


def test_claims_of_devices_are_the_pods_and_the_engine_uses_them() -> None:
    """As dynamic resource allocation has it: the pod claims, the container names claim and request."""
    claims = [
        {"name": "gpu", "resourceClaimTemplateName": "h100", "request": "whole"},
        {"name": "shared", "resourceClaimName": "nic"},
    ]
    pod = render({**template(), "resources": {"claims": claims}})
    assert pod["spec"]["resourceClaims"] == [
        {"name": "gpu", "resourceClaimTemplateName": "h100"},
        {"name": "shared", "resourceClaimName": "nic"},
    ]
    assert engine_of(pod)["resources"] == {"claims": [{"name": "gpu", "request": "whole"}, {"name": "shared"}]}


def test_volumes_and_secrets_of_the_users_are_passed_on() -> None:
    """As they write them, beside ours."""
    given = {
        **template(),
        "imagePullSecrets": [{"name": "registry"}],
        "volumes": [{"name": "ca", "configMap": {"name": "company-ca"}}, {"name": "me", "downwardAPI": {"items": [
            {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}],
        "volumeMounts": [{"name": "ca", "mountPath": "/etc/company", "readOnly": True}],
    }  # fmt: skip
    pod = render(given)
    assert pod["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["spec"]["volumes"][-2:] == given["volumes"]
    assert engine_of(pod)["volumeMounts"][-1] == given["volumeMounts"][0]


def test_names_and_paths_of_ours_are_kept_free_by_the_api() -> None:
    """Or a user's volume could take the place of one of ours, and the pod would be refused."""
    given = template("pvc://weights/llama")
    given["model"]["adapters"] = [{"name": "sql", "source": "hf://org/sql"}, {"name": "law", "source": "pvc://loras/law"}]
    given["model"]["credentialsSecretRef"] = {"name": "hub", "key": "token"}
    pod = render(given)
    names = {volume["name"] for volume in pod["spec"]["volumes"]}
    assert {name for name in names if not name.startswith(volumes_api.OWN_VOLUME_PREFIXES)} <= set(volumes_api.OWN_VOLUMES)
    paths = {mount["mountPath"] for mount in engine_of(pod)["volumeMounts"]}
    assert all(any(path == own or path.startswith(f"{own}/") for own in volumes_api.OWN_PATHS) for path in paths)


def test_gpus_are_requested_and_limited_alike() -> None:
    """Extended resources can't be overcommitted."""
    resources = engine_of(render({**template(), "resources": {"gpu": {"count": 2}, "requests": {"cpu": "1"}}}))["resources"]
    assert resources == {"requests": {"cpu": "1", "nvidia.com/gpu": "2"}, "limits": {"nvidia.com/gpu": "2"}}
