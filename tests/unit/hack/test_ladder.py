"""The test ladder never calls a level passed that did not run, and says what it left out."""

from __future__ import annotations

import pytest

from hack import ladder
from hack.vllm import install

UNIT, CRD, VLLM, E2E = (next(level for level in ladder.LEVELS if level.name == name) for name in ("unit", "crd", "vllm", "e2e"))


def test_levels_above_a_failed_one_do_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """They stand on it: their failures would hide the cause."""
    monkeypatch.setattr(ladder, "run_level", lambda level: ladder.Result(level, problem="tests failed"))
    results = ladder.run_ladder(["unit", "crd"])
    assert [(result.level.name, result.problem, result.not_run) for result in results] == [
        ("unit", "tests failed", None),
        ("crd", None, "unit failed"),
    ]


def test_a_level_that_cannot_run_does_not_stop_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a machine lacks is no failure."""
    monkeypatch.setattr(ladder, "run_level", lambda level: ladder.Result(level, not_run="it needs Linux"))
    assert [result.not_run for result in ladder.run_ladder(["unit", "crd"])] == ["it needs Linux", "it needs Linux"]


def test_the_summary_names_every_level_and_adds_up() -> None:
    """The closing line counts what ran; reasons for what did not are above it."""
    text = ladder.summarise(
        [
            ladder.Result(UNIT, ladder.Counts(10, 0, 1), 2.0),
            ladder.Result(CRD, ladder.Counts(5, 2, 0), 3.0, problem="tests failed"),
            ladder.Result(E2E, not_run="the embedded cluster needs root"),
        ]
    )
    lines = text.splitlines()
    assert any("crd" in line and "FAILED: tests failed (5 passed, 2 failed, 0 skipped)" in line for line in lines)
    assert any("e2e" in line and "not run: the embedded cluster needs root" in line for line in lines)
    assert lines[-1] == "Total: 15 passed, 2 failed, 1 skipped"


def test_what_a_level_needs_is_made_before_its_tests() -> None:
    """Builds and downloads of a first run must not count against the time limit of a test."""
    made = {level.name: [module for module, _ in ladder.preparations(level)] for level in (UNIT, CRD, VLLM)}
    assert made == {"unit": [], "crd": [("hack.cluster", "build")], "vllm": [("hack.vllm",)]}


def test_real_vllm_comes_before_the_cluster_that_runs_it() -> None:
    """What it shows in minutes is not looked for in pods."""
    names = [level.name for level in ladder.LEVELS]
    assert names.index("dataplane") < names.index("vllm") < names.index("e2e")


def test_machine_that_cannot_run_vllm_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """The level is left out with the reason, and is no failure."""
    monkeypatch.setattr(install, "supported", lambda: "vLLM's CPU kernels need AVX2")
    assert VLLM.missing() == "vLLM's CPU kernels need AVX2"


def test_unknown_levels_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt level would otherwise pass by running nothing."""
    assert ladder.main(["units"]) == 2
    assert "the levels are check, unit, golden" in capsys.readouterr().err
