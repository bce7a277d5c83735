"""The pods of a revision: what the engine is told, and what production needs of a pod."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.api import template as template_api  # parameters are named template
from sluice.workloads import pod_template

DEFAULTS = pod_template.Defaults(engine_image="vllm:default")


def render(template: dict[str, Any], *, startup: float = 1200, drain: float = 300) -> dict[str, Any]:
    """The rendered pod template of the ModelDeployment `chat`."""
    return pod_template.render_pod_template(
        "chat",
        template_api.Template.model_validate(template),
        revision_hash="abc",
        defaults=DEFAULTS,
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


def test_pods_meet_the_restricted_profile() -> None:
    """Non-root, no privileges, default seccomp, no token, nothing writable but its own volumes."""
    pod = render(template())
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["enableServiceLinks"] is False
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert engine_of(pod)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_gpus_are_requested_and_limited_alike() -> None:
    """Extended resources can't be overcommitted."""
    resources = engine_of(render({**template(), "resources": {"gpu": {"count": 2}, "requests": {"cpu": "1"}}}))["resources"]
    assert resources == {"requests": {"cpu": "1", "nvidia.com/gpu": "2"}, "limits": {"nvidia.com/gpu": "2"}}
