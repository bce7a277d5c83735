"""The Dockerfile is the only description of the operator's image: our own builder reads it and refuses what it would ignore."""

from __future__ import annotations

import re

import pytest

from hack.cluster import paths
from hack.images import catalogue, dockerfile, errors, rootfs, uv

DOCKERFILE = (paths.REPOSITORY / "Dockerfile").read_text()


def test_last_stage_is_read_and_others_are_not() -> None:
    """Copies, user, environment, directory and entrypoint come from the last stage; copies between stages do not count."""
    stage = dockerfile.parse(
        'FROM a AS b\nRUN make\nFROM c\nCOPY --from=b /x /y\nCOPY src \\\n  /app/src\nENV A=1 B="2 3"\n# no\n'
        'WORKDIR /app\nUSER 1:1\nENTRYPOINT ["x", "y"]\n'
    )
    assert stage.copies == (dockerfile.Copy("src", "app/src"),)
    assert (stage.config.entrypoint, stage.config.user, stage.config.workdir) == (("x", "y"), "1:1", "/app")
    assert stage.config.env == {"A": "1", "B": "2 3"}


@pytest.mark.parametrize("line", ["RUN rm -rf /x", "COPY --chown=1:1 a b", "COPY a b c", "EXPOSE 80"])
def test_unknown_instruction_is_refused(line: str) -> None:
    """An instruction that the image without Docker would lack is an error, never left out."""
    with pytest.raises(errors.ImageError):
        dockerfile.parse(f'FROM a\n{line}\nWORKDIR /\nUSER 1\nENTRYPOINT ["a"]\n')


def test_operator_runs_as_a_user_without_rights() -> None:
    """The operator's image starts `python -m sluice` as UID 65532 with sluice on its path."""
    stage = dockerfile.parse(DOCKERFILE)
    assert stage.config.entrypoint == ("python", "-m", "sluice")
    assert stage.config.user == "65532:65532"
    assert stage.config.env["PYTHONPATH"].split(":") == ["/app", f"/{catalogue.PACKAGES}"]
    assert [copied.source for copied in stage.copies] == ["operator/sluice"]


def test_docker_uses_the_same_python_uv_and_lock() -> None:
    """Both ways install the same locked packages, by the same uv, for the same Python and Debian."""
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {f"python:{rootfs.PYTHON}-slim-{rootfs.SUITE}"}
    assert f"uv=={uv.version()}" in DOCKERFILE
    exported = re.search(r"uv (export [^>]+)>", DOCKERFILE)
    assert exported is not None
    assert exported.group(1).split() == [part for part in uv.EXPORT if part != "--quiet"]


def test_docker_context_has_what_the_dockerfile_copies() -> None:
    """.dockerignore lets through each path that a COPY names, and nothing that none does."""
    ignored = (paths.REPOSITORY / ".dockerignore").read_text().splitlines()
    admitted = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copies = [line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY ") and "--from" not in line]
    assert admitted == {source for sources in copies for source in sources}
