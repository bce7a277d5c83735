"""The tables of docs/engine.md are those of the code. `UPDATE_GOLDEN=1 pytest tests/golden` rewrites them: read the diff."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import pytest

from sluice.api import vllm as vllm_api
from sluice.workloads import profiles, vllm_args

PAGE: Final = pathlib.Path(__file__).parents[2] / "docs" / "engine.md"


def _table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    head = list(header)
    lines = [head, ["---"] * len(head), *([str(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def arguments() -> str:
    """Every typed argument with its flag and its description."""
    descriptions = {field.alias: field.description for field in vllm_api.VllmArgs.model_fields.values()}
    rows = ([f"`{name}`", f"`--{argument.flag}`", descriptions[name]] for name, argument in vllm_args.ARGUMENTS.items())
    return _table(("Field", "Flag", "Meaning"), rows)


def gpu_profiles() -> str:
    """Every profile with what it gives."""
    names = list(dict.fromkeys(name for profile in profiles.PROFILES.values() for name in profile.args.to_wire()))
    rows = (
        [f"`{gpu.value}`", f"{profile.memory} GB", *(profile.args.to_wire().get(name, "") for name in names), profile.why]
        for gpu, profile in profiles.PROFILES.items()
    )
    return _table(("Profile", "Memory", *(f"`{name}`" for name in names), "Why"), rows)


@pytest.mark.parametrize(
    ("name", "table"), [("arguments", arguments), ("profiles", gpu_profiles)], ids=["arguments", "profiles"]
)
def test_page_shows_the_table(name: str, table: Callable[[], str]) -> None:
    """Nobody chooses a profile by figures that are out of date."""
    section = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end of {name} -->)", re.DOTALL)
    wanted = f"\n{table()}\n"
    page = PAGE.read_text()
    if os.environ.get("UPDATE_GOLDEN"):
        page = section.sub(lambda _: wanted, page)
        PAGE.write_text(page)
    (found,) = section.findall(page)
    assert found == wanted
