"""vLLM's own parsers, of both versions that Sluice knows, take every command line that the operator builds.

The lines are the golden ones. A parser also validates: contradictory flags and values that it does not know are refused.
"""

from __future__ import annotations

import functools
import pathlib
import tempfile
from typing import Final

import pytest
import yaml

from hack.vllm import parsers
from sluice.api import vllm as vllm_api
from sluice.workloads import files, vllm_args

GOLDEN: Final = pathlib.Path(__file__).parents[1] / "golden" / "vllm"
CASES: Final = sorted(path.name.removesuffix(".in.yaml") for path in GOLDEN.glob("*.in.yaml"))
VERSIONS: Final = [str(version) for version in vllm_args.VERSIONS]
BROKEN: Final = ("/models/good", "--no-such-flag")


def line(case: str) -> list[str]:
    """The command line of a case."""
    return (GOLDEN / f"{case}.out.txt").read_text().splitlines()


def versions(case: str) -> list[str]:
    """Versions whose parsers must take it: all, unless the template names one."""
    template = yaml.safe_load((GOLDEN / f"{case}.in.yaml").read_text())
    named = template["engine"].get("version")
    return VERSIONS if named is None else [str(named)]


@functools.cache
def answer(version: str) -> parsers.Answer:
    """What one parser makes of all lines, and of one that must be refused: asked once, since its start is slow."""
    with tempfile.TemporaryDirectory() as folder:
        mounted = pathlib.Path(folder)
        mounted.chmod(0o755)  # the parser's user is another
        (mounted / files.CHAT_TEMPLATE).write_text("{{ messages }}")
        return parsers.parse(version, [*map(line, CASES), BROKEN], {files.MOUNT_PATH: mounted})


def spellings(version: str) -> set[str]:
    """Every flag that the parser knows, in all its forms."""
    return {spelling for flag in answer(version).flags for spelling in flag.spellings}


def test_parsers_of_all_versions_are_at_hand() -> None:
    """A version that the operator writes command lines for has a parser here."""
    assert sorted(parsers.versions()) == sorted(VERSIONS)


@pytest.mark.parametrize(("version", "case"), [(version, case) for case in CASES for version in versions(case)])
def test_vllm_takes_the_command_line(version: str, case: str) -> None:
    """As `vllm serve` would before it loads anything."""
    parsed = answer(version).parsed[CASES.index(case)]
    assert parsed.error is None, f"vllm serve {' '.join(line(case))}"


@pytest.mark.parametrize("version", VERSIONS)
def test_parsers_refuse_what_does_not_exist(version: str) -> None:
    """Otherwise that they take our lines would mean nothing."""
    assert "--no-such-flag" in (answer(version).parsed[-1].error or "")


@pytest.mark.parametrize("version", VERSIONS)
def test_what_draining_and_probing_rely_on_arrives(version: str) -> None:
    """Values reach vLLM under the names that it reads."""
    values = answer(version).parsed[CASES.index("minimal")].values
    assert values["enable_server_load_tracking"] is True
    assert values["enable_force_include_usage"] is True
    assert values["shutdown_timeout"] == 300
    assert values["middleware"] == [vllm_args.MIDDLEWARE]


def test_owned_flags_exist() -> None:
    """A flag that no version knows is a spelling mistake, or one that can go."""
    known = set.union(*map(spellings, VERSIONS))
    assert set(vllm_api.OWNED_FLAGS) - known == set()


@pytest.mark.parametrize("version", VERSIONS)
def test_owned_flags_are_owned_in_every_spelling(version: str) -> None:
    """Short forms and negations set the same value: `-tp` in extraArgs would override the typed argument."""
    owned = set(vllm_api.OWNED_FLAGS)
    partly = [flag.spellings for flag in answer(version).flags if owned & set(flag.spellings) and set(flag.spellings) - owned]
    assert partly == []
