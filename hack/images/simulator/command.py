"""Reads the command line of `vllm serve` as far as the simulator has a use for it, and serves."""

import argparse
import dataclasses
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from hack.images.simulator import engine, server

ANSWERS = "answers.json"
"""In a model's directory: prompt -> answer. It takes the place of the weights."""

HOLD_HEADERS = "hold_headers.HoldHeaders"


INHERENT = ("HoldHeaders",)
"""Middleware whose effect the simulator has anyway: it sends no headers before the first token."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What `vllm serve` was told; flags without a meaning here are accepted and ignored."""

    model: str
    served_names: tuple[str, ...]
    host: str
    port: int
    middleware: tuple[str, ...]
    always_usage: bool
    shutdown_seconds: float
    max_queued: int | None
    max_running: int
    counts_load: bool


def parse(arguments: Sequence[str]) -> Options:
    """Return the options of `vllm <arguments>`. Ends the program with status 2 when the command is not `serve`."""
    parser = argparse.ArgumentParser(prog="vllm", allow_abbrev=False)
    serve = parser.add_subparsers(dest="command", required=True).add_parser("serve", allow_abbrev=False)
    serve.add_argument("model", nargs="?")
    serve.add_argument("--model", dest="model_flag")
    serve.add_argument("--served-model-name", nargs="+", default=[])
    serve.add_argument("--host", default="0.0.0.0")
    serve.add_argument("--port", type=int, default=8000)
    serve.add_argument("--middleware", action="append", default=[])
    serve.add_argument("--enable-force-include-usage", action="store_true")
    serve.add_argument("--shutdown-timeout", type=float, default=0)
    serve.add_argument("--max-num-queued-reqs", type=int)
    serve.add_argument("--max-num-seqs", type=int, default=engine.MAX_RUNNING)
    serve.add_argument("--enable-server-load-tracking", action="store_true")
    serve.add_argument("--lora-modules", nargs="+", default=[])
    given, _ = parser.parse_known_args(arguments)
    model = given.model or given.model_flag
    if not model:
        parser.error("no model is given")
    return Options(
        model=model,
        served_names=(
            *(given.served_model_name or (model,)),
            *(adapter.partition("=")[0] for adapter in given.lora_modules),
        ),
        host=given.host,
        port=given.port,
        middleware=tuple(given.middleware),
        always_usage=given.enable_force_include_usage,
        shutdown_seconds=given.shutdown_timeout,
        max_queued=given.max_num_queued_reqs,
        max_running=given.max_num_seqs,
        counts_load=given.enable_server_load_tracking,
    )


def load_answers(model: str) -> dict[str, str]:
    """Return the answers of the model in a directory of the image.

    Raises:
        OSError: there is no such model.
    """
    answers: dict[str, str] = json.loads((Path(model) / ANSWERS).read_text(encoding="utf-8"))
    return answers


def load_fuses(middleware: Sequence[str]) -> list[server.Fuse]:
    """Return what decides which requests fail, for each `--middleware`: only modules with a `Fuse` have a meaning here.

    Raises:
        ImportError: there is no such module, or nothing in it that the simulator can run.
    """
    fuses = []
    for path in middleware:
        if path == HOLD_HEADERS:
            continue  # answers begin with their first token here anyhow
        module = importlib.import_module(path.rpartition(".")[0])
        if not hasattr(module, "Fuse"):
            raise ImportError(f"Cannot run middleware {path}: the simulator knows sluice_demo only")
        fuses.append(module.Fuse.from_environment())
    return fuses


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM; the exit status."""
    options = parse(arguments)
    try:
        model = engine.Engine(
            load_answers(options.model), options.served_names, options.max_queued, max_running=options.max_running
        )
        fuses = load_fuses(options.middleware)
    except (OSError, ImportError, ValueError) as failure:
        print(f"Cannot serve {options.model}: {failure}", file=sys.stderr)
        return 1
    app = server.build_app(model, fuses, always_usage=options.always_usage, counts_load=options.counts_load)
    web.run_app(app, host=options.host, port=options.port, shutdown_timeout=options.shutdown_seconds, access_log=None)
    return 0
