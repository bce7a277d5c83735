"""What a template becomes on vLLM's command line.

`vllm/<case>.in.yaml` is a `spec.template`, `.out.txt` its arguments; vllm/README.md tells the format. `UPDATE_GOLDEN=1 pytest
tests/golden` rewrites the outputs: read the diff. That vLLM takes these lines is shown by its own parsers, on level vllm.
"""

from __future__ import annotations

import os
import pathlib
from typing import Final

import pytest
import yaml

from sluice.api import template as template_api  # parameters are named template
from sluice.workloads import profiles, vllm_args

DIRECTORY: Final = pathlib.Path(__file__).parent / "vllm"
CASES: Final = sorted(path.name.removesuffix(".in.yaml") for path in DIRECTORY.glob("*.in.yaml"))
IMAGE: Final = "vllm/vllm-openai:v0.33.0"


def load(case: str) -> template_api.Template:
    """The template of a case."""
    return template_api.Template.model_validate(yaml.safe_load((DIRECTORY / f"{case}.in.yaml").read_text()))


def render(template: template_api.Template) -> list[str]:
    """The arguments of a template of the ModelDeployment `chat`."""
    return vllm_args.build_args(
        template,
        served_name=template.model.served_name or "chat",
        port=8000,
        shutdown_timeout=300,
        hold_headers=profiles.holds_headers(template),
    )


@pytest.mark.parametrize("case", CASES)
def test_template_becomes_these_arguments(case: str) -> None:
    """The output file is the whole command line after `vllm serve`."""
    path = DIRECTORY / f"{case}.out.txt"
    rendered = "".join(f"{argument}\n" for argument in render(load(case)))
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(rendered)
    assert path.read_text() == rendered


@pytest.mark.parametrize("case", CASES)
def test_versions_of_every_case_have_its_arguments(case: str) -> None:
    """So that every line may be given to every version's parser."""
    assert list(vllm_args.problems(load(case), default_image=IMAGE)) == []


def test_every_typed_argument_is_in_a_case() -> None:
    """An argument that no parser has seen is not known to work."""
    arguments = [argument for case in CASES for argument in render(load(case))]
    flags = {argument.partition("=")[0].removeprefix("--") for argument in arguments}
    assert {argument.flag for argument in vllm_args.ARGUMENTS.values()} - flags == set()


def test_no_output_is_left_without_an_input() -> None:
    """Every file belongs to a case, and no line breaks the format."""
    files = {f"{case}.{kind}" for case in CASES for kind in ("in.yaml", "out.txt")} | {"README.md"}
    assert {path.name for path in DIRECTORY.iterdir()} == files
    assert not any("\n" in argument for case in CASES for argument in render(load(case)))
