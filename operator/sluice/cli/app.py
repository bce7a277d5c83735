"""The commands of kubectl-sluice. Wiring only."""

from __future__ import annotations

import importlib.metadata
import sys
from typing import Annotated, Final

import typer

from sluice.cli import (
    abort,
    approve,
    explain,
    history,
    pause,
    promote,
    render,
    rerender,
    resume,
    retry,
    status,
    undo,
    validate,
    watch,
)

PROGRAM: Final = "kubectl-sluice"

app: Final = typer.Typer(
    name=PROGRAM,
    help="Looks at rollouts of Sluice's ModelDeployments, and orders what is not in Git.",
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 forbidden, 5 refused, 6 timed out, 7 rollout failed, "
    "8 superseded, 9 invalid, 10 unreachable.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"{PROGRAM} {importlib.metadata.version('sluice-operator')}\n")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Options of the program itself."""


for command in (
    status.status,
    watch.watch,
    explain.explain,
    history.history,
    promote.promote,
    approve.approve,
    pause.pause,
    resume.resume,
    abort.abort,
    retry.retry,
    undo.undo,
    rerender.rerender,
    validate.validate,
    render.render,
):
    app.command()(command)
