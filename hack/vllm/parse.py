"""Asks vLLM's own parser, inside the images' base: `python3 -m hack.vllm.parse FOLDER`; `parsers.py` starts it.

Reads FOLDER/lines.json, a list of command lines after `vllm serve`, and writes FOLDER/answer.json. Nothing is loaded or served.
"""

import argparse
import contextlib
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import vllm
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.cli import serve
from vllm.utils.argparse_utils import FlexibleArgumentParser


def build() -> tuple[Any, argparse.ArgumentParser, Any]:
    """Return the parser of `vllm`, that of its command `serve`, and the command."""
    parser = FlexibleArgumentParser(prog="vllm")
    command = serve.cmd_init()[0]
    return parser, command.subparser_init(parser.add_subparsers(required=True, dest="subparser")), command


def parse(parser: Any, command: Any, line: Sequence[str]) -> dict[str, Any]:
    """Return the values of one command line, or why vLLM refuses it."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            arguments = parser.parse_args(["serve", *line])
            command.validate(arguments)
            AsyncEngineArgs.from_cli_args(arguments)
    except SystemExit:
        return {"values": {}, "error": said.getvalue().strip().splitlines()[-1]}
    except Exception as refusal:  # noqa: BLE001 - whatever vLLM raises is its answer
        return {"values": {}, "error": f"{type(refusal).__name__}: {refusal}"}
    return {"values": vars(arguments), "error": None}


def flags(parser: argparse.ArgumentParser) -> Iterator[list[str]]:
    """Yield the spellings of each option."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to list them
        if action.option_strings:
            yield list(action.option_strings)


def main(folder: Path) -> int:
    """Answer what is asked in a folder; the exit status."""
    parser, of_serve, command = build()
    lines = json.loads((folder / "lines.json").read_text())
    answer = {
        "version": vllm.__version__,
        "flags": list(flags(of_serve)),
        "parsed": [parse(parser, command, line) for line in lines],
    }
    (folder / "answer.json").write_text(json.dumps(answer, default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
