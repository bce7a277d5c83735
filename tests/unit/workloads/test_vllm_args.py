"""Which version of vLLM a template means, and what that version has not. The command lines themselves are golden files."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.api import template as template_api  # parameters are named template
from sluice.api import vllm as vllm_api  # as template_api
from sluice.workloads import template_checks, vllm_args

DEFAULT: str = "vllm/vllm-openai:v0.33.0"


def template(args: dict[str, Any] | None = None, gpus: int = 0, **engine: Any) -> template_api.Template:
    """A template with these arguments and settings of the engine."""
    vllm = {"vllm": {"args": args}} if args is not None else {}
    resources = {"resources": {"gpu": {"count": gpus}}} if gpus else {}
    engine = {"type": "VLLM", **vllm, **engine}
    return template_api.Template.model_validate({"model": {"source": "file:///models/good"}, "engine": engine, **resources})


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("vllm/vllm-openai:v0.32.0", (0, 32)),
        ("vllm/vllm-openai:v0.32.1-cu129", (0, 32)),
        ("registry.example:5000/mirror/vllm:0.33", (0, 33)),
        ("registry.example/vllm:v0.40.2@sha256:" + "0" * 64, (0, 40)),
        ("registry.example:5000/mirror/vllm", (0, 33)),
        ("vllm/vllm-openai:latest", (0, 33)),
        ("vllm/vllm-openai:20260101", (0, 33)),
        ("vllm/vllm-openai@sha256:" + "0" * 64, (0, 33)),
        ("registry.example/our-engine:0.1.0", (0, 33)),
    ],
)
def test_the_tag_of_the_image_tells_the_version(image: str, version: tuple[int, int]) -> None:
    """Where it does not, or where an image counts versions of its own, the newest known one is assumed."""
    assert vllm_args.version_of(template(image=image), default_image=DEFAULT) == version


def test_the_default_image_tells_the_version_too() -> None:
    """A template without an image runs the operator's."""
    assert vllm_args.version_of(template(), default_image="vllm/vllm-openai:v0.32.0") == vllm_args.V32


def test_a_version_that_is_said_decides() -> None:
    """Only a person knows what an image without a telling tag has."""
    assert vllm_args.version_of(template(image="vllm/vllm-openai:v0.33.0", version="0.32"), default_image="") == vllm_args.V32


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (
            template(image="vllm/vllm-openai:v0.9.2"),
            ("vLLM 0.9", "image vllm/vllm-openai:v0.9.2", "0.32 or newer", "spec.template.engine.version"),
        ),
        (template(version="0.31"), ("vLLM 0.31", "by spec.template.engine.version", "0.32 or newer")),
        (
            template({"kvCacheDtype": "fp16"}, version="0.32"),
            ("spec.template.engine.vllm.args.kvCacheDtype fp16", "vLLM 0.32", "fp8_e4m3", "newer vLLM"),
        ),
        (
            template(env=[{"name": "PYTHONPATH", "value": "/app"}]),
            ("spec.template.engine.env", "/mnt/sluice/files", "holdHeaders: false"),
        ),
        (
            template({"tensorParallelSize": 4, "dataParallelSize": 2}, gpus=4),
            (
                "resources.gpu.count 4",
                "tensorParallelSize 4",
                "dataParallelSize 2",
                "need 8 GPUs",
                "lower a size",
            ),
        ),
    ],
    ids=["older image", "older version", "value", "middleware", "parallel sizes"],
)
def test_what_cannot_work_is_said_with_its_fix(wanted: template_api.Template, words: tuple[str, ...]) -> None:
    """One message that names the field, the version or the value, and what to do."""
    (message,) = template_checks.problems(wanted, default_image=DEFAULT)
    assert [word for word in words if word not in message] == [], message


@pytest.mark.parametrize(
    "wanted",
    [
        template({"kvCacheDtype": "fp16"}, version="0.33"),
        template({"kvCacheDtype": "fp8"}, version="0.32"),
        template(version="0.50"),
        template({"tensorParallelSize": 8}),
        template({"tensorParallelSize": 2, "dataParallelSize": 2}, gpus=4),
        template(env=[{"name": "PYTHONPATH", "value": "/app:/mnt/sluice/files"}]),
        template(env=[{"name": "PYTHONPATH", "value": "/app"}], vllm={"holdHeaders": False}),
    ],
    ids=["registered elsewhere", "known value", "newer", "no GPUs said", "fits", "both paths", "headers not held"],
)
def test_what_may_work_is_left_to_the_engine(wanted: template_api.Template) -> None:
    """A check that refuses what works is worse than none."""
    assert list(template_checks.problems(wanted, default_image=DEFAULT)) == []


def test_an_argument_of_a_later_version_is_refused_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both known versions have all typed arguments today: the table says so for the next one."""
    later = {**vllm_args.ARGUMENTS, "maxModelLen": vllm_args.Argument("max-model-len", since=vllm_args.V33)}
    monkeypatch.setattr(vllm_args, "ARGUMENTS", later)
    (message,) = vllm_args.problems(template({"maxModelLen": 512}, version="0.32"), default_image=DEFAULT)
    assert "args.maxModelLen: vLLM 0.32 (by spec.template.engine.version) has no --max-model-len" in message
    assert "vLLM 0.33 or newer" in message
    assert list(vllm_args.problems(template({"maxModelLen": 512}, version="0.33"), default_image=DEFAULT)) == []


def test_every_typed_argument_is_in_the_table_and_is_owned() -> None:
    """An argument that is not in the table has no flag; a flag that is not owned may be given twice."""
    fields = {field.alias for field in vllm_api.VllmArgs.model_fields.values()}
    assert fields == set(vllm_args.ARGUMENTS)
    assert {f"--{argument.flag}" for argument in vllm_args.ARGUMENTS.values()} <= set(vllm_api.OWNED_FLAGS)


def test_every_flag_that_sluice_passes_is_owned() -> None:
    """`extraArgs` can undo nothing that Sluice relies on, save adding middleware."""
    everything = template_api.Template.model_validate(
        {
            "model": {
                "source": "hf://a/b",
                "chatTemplate": {"configMapKeyRef": {"name": "c", "key": "k"}},
                "adapters": [{"name": "sql", "source": "hf://a/sql"}],
            },
            "engine": {"type": "VLLM"},
        }
    )
    args = vllm_args.build_args(everything, served_name="chat", port=8000, shutdown_timeout=30, hold_headers=True)
    flags = {argument.partition("=")[0] for argument in args if argument.startswith("-")}
    assert flags - set(vllm_api.OWNED_FLAGS) == {"--middleware"}
