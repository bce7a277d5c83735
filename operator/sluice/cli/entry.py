"""Console scripts of the plugin: `kubectl-sluice`, and `kubectl_complete-sluice`, which kubectl asks for completions."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Final

_NO_FILES: Final = ":4"
"""Of kubectl's protocol: what is listed is all there is, so no files are offered beside it."""
_NEEDED: Final = ("typer", "rich", "cel")
_COMPLETE: Final = "_KUBECTL_SLUICE_COMPLETE"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and exits by its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Unicode
    try:
        for name in _NEEDED:
            importlib.import_module(name)
    except ImportError as error:
        sys.stderr.write(f"Cannot start kubectl-sluice: {error}. Install it by: pip install 'sluice-operator[plugin]'\n")
        sys.exit(1)
    # Only now: they import what may be missing.
    from sluice.cli import app, exits, printing

    try:
        app.app(args=list(arguments) if arguments is not None else None, prog_name=app.PROGRAM)
    except exits.Failure as failure:
        printing.say(str(failure))
        sys.exit(int(failure.code))


def complete() -> None:
    """Answers kubectl: one candidate a line, then what to do with them. The last argument is what is being typed."""
    words = ["kubectl-sluice", *sys.argv[1:]]
    os.environ |= {_COMPLETE: "complete_bash", "COMP_WORDS": shlex.join(words), "COMP_CWORD": str(len(words) - 1)}
    found = io.StringIO()
    with contextlib.redirect_stdout(found), contextlib.suppress(SystemExit):
        main([])
    sys.stdout.write("\n".join([*found.getvalue().split(), _NO_FILES]) + "\n")
