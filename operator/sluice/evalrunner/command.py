"""`sluice eval`: reads the dataset, asks the model, writes counts to the termination message.

Exit codes (the Job's failure policy reads them):

    0  a result was written
    1  a defect of ours
    2  bad input: arguments, dataset, or a dataset that changed; a retry would not help
    3  the model could not be reached in time; a retry may help
    4  the result could not be written

Codes 2 and 3 write the reason to the termination message too, except for bad arguments, which argparse prints. Progress goes
to stdout, one JSON object a line; answers are not logged.
"""

from __future__ import annotations

import argparse
import asyncio
import enum
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp

from sluice.evalrunner import client, run
from sluice.evals import dataset
from sluice.evals import result as results
from sluice.evals.scorers import registry


class ExitCode(enum.IntEnum):
    """How `sluice eval` ends."""

    OK = 0
    """A result was written."""
    BAD_INPUT = 2
    """Arguments or dataset cannot be used."""
    UNREACHABLE = 3
    """The model did not answer in time."""
    UNWRITABLE = 4
    """The result could not be written."""


CODES: Final[Mapping[results.Failure, ExitCode]] = {
    results.Failure.DATASET_INVALID: ExitCode.BAD_INPUT,
    results.Failure.DATASET_CHANGED: ExitCode.BAD_INPUT,
    results.Failure.MODEL_UNREACHABLE: ExitCode.UNREACHABLE,
}


def main(argv: Sequence[str]) -> int:
    """Runs one eval; `argv` without the program's and the command's name. Returns the exit code."""
    try:
        options = build_parser().parse_args(argv)
    except SystemExit as end:
        return int(end.code or 0)
    outcome = asyncio.run(evaluate(options))
    try:
        pathlib.Path(options.result).write_text(results.to_message(outcome), encoding="utf-8")
    except OSError as error:
        report({"event": "failed", "cause": f"Cannot write result to {options.result}: {error}"})
        return ExitCode.UNWRITABLE
    report({"event": "finished", **outcome.to_json()})
    return CODES[outcome.reason] if isinstance(outcome, results.EvalFailure) else ExitCode.OK


async def evaluate(options: argparse.Namespace) -> results.Outcome:
    """The run that the options describe, or why there is none."""
    loaded = load(pathlib.Path(options.dataset), options.dataset_sha256)
    if isinstance(loaded, results.EvalFailure):
        return loaded
    items, sha256 = loaded
    sample = dataset.sample(items, options.sample_size)
    connector = aiohttp.TCPConnector(limit=options.concurrency)
    async with aiohttp.ClientSession(connector=connector) as session:
        model = client.Client(session, settings(options))
        try:
            await model.wait_until_reachable()
        except client.UnreachableError as error:
            return results.EvalFailure(results.Failure.MODEL_UNREACHABLE, str(error))
        report({"event": "started", "n": len(sample), "datasetSha256": sha256})
        scorer = registry.scorer(options.scorer)
        counts = await run.run(model, sample, scorer, concurrency=options.concurrency, report=report)
    return run.result_of(counts, sha256)


def load(path: pathlib.Path, expected_sha256: str | None) -> tuple[tuple[dataset.Item, ...], str] | results.EvalFailure:
    """Items and digest of a dataset file, or why it cannot be used."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return results.EvalFailure(results.Failure.DATASET_INVALID, f"Cannot read dataset {path}: {error.strerror}")
    sha256 = dataset.digest(data)
    if expected_sha256 is not None and sha256 != expected_sha256:
        cause = f"Cannot use dataset {path}: its SHA-256 is {sha256}, but {expected_sha256} was frozen for this rollout"
        return results.EvalFailure(results.Failure.DATASET_CHANGED, cause)
    try:
        return dataset.parse(data), sha256
    except dataset.DatasetError as error:
        return results.EvalFailure(results.Failure.DATASET_INVALID, str(error))


def settings(options: argparse.Namespace) -> client.Settings:
    """How to ask, from the command line."""
    return client.Settings(
        url=options.url,
        model=options.model,
        temperature=options.temperature,
        max_tokens=options.max_tokens,
        seed=options.seed,
        request_timeout=options.request_timeout,
        wait=options.wait,
        retries=options.retries,
        pause=options.pause,
    )


def report(event: Mapping[str, Any]) -> None:
    """One line of progress."""
    sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def build_parser() -> argparse.ArgumentParser:
    """The command line; `evals.builtin.build_args` writes it."""
    parser = argparse.ArgumentParser(
        prog="sluice eval", description="Ask a model the items of a dataset and count right answers."
    )
    add = parser.add_argument
    add("--url", required=True, help="base address of an OpenAI-compatible server")
    add("--model", required=True, help="the model's served name")
    add("--dataset", required=True, help="JSONL file: id, prompt or messages, reference")
    add("--dataset-sha256", help="refuse a dataset with another digest")
    add("--scorer", default="ExactMatch", choices=sorted(registry.SCORERS), help="how answers are scored")
    add("--sample-size", type=positive_int, help="items to use, taken evenly over the dataset (default: all)")
    add("--concurrency", type=positive_int, default=4, help="requests at a time")
    add("--temperature", type=float, default=0.0, help="sampling temperature")
    add("--max-tokens", type=positive_int, default=256, help="longest answer in tokens")
    add("--seed", type=int, default=1, help="seed of the sampling")
    add("--request-timeout", type=positive, default=60.0, help="seconds for one request")
    add("--wait", type=positive, default=120.0, help="seconds the server may take to answer anything")
    add("--retries", type=int, default=3, help="further tries after a connection error, a timeout, a 429 or a 5xx")
    add("--pause", type=positive, default=0.5, help="seconds before the first retry; doubles with each")
    add("--result", default="/dev/termination-log", help="where the result is written")
    return parser


def positive_int(text: str) -> int:
    """An integer of at least 1."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def positive(text: str) -> float:
    """A number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value
