"""What an eval came to: counts that travel through a pod's termination message and a ConfigMap, and never a verdict.

The operator recomputes the verdict from the counts, so a Job cannot pass itself, and a changed threshold needs no new run.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import re
from collections.abc import Mapping
from typing import Any, Final

MESSAGE_MAX: Final = 4096
"""Bytes of a termination message that the kubelet keeps."""
TEXT_MAX: Final = 900
"""Characters of an error's text: even four bytes each stay below MESSAGE_MAX."""
CONFIG_MAP_KEY: Final = "counts"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Failure(enum.StrEnum):
    """Why an eval has no counts."""

    DATASET_INVALID = "DatasetInvalid"
    """A line of the dataset cannot be used."""
    DATASET_CHANGED = "DatasetChanged"
    """The dataset is another than the one that was frozen when the rollout started."""
    MODEL_UNREACHABLE = "ModelUnreachable"
    """The revision's Service did not answer in time."""
    TIMED_OUT = "TimedOut"
    """The eval took longer than its timeout."""
    RUNNER_FAILED = "RunnerFailed"
    """The runner ended without a result."""
    RESULT_MISSING = "ResultMissing"
    """The Job ended, but its result is gone or unreadable."""


class ResultError(ValueError):
    """A text is not a result; the message says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class EvalResult:
    """Counts of a finished run: `passed` and `failed` answers, and `errors`, requests without an answer. They sum to `n`."""

    n: int
    passed: int
    failed: int
    errors: int
    dataset_sha256: str

    def __post_init__(self) -> None:
        counts = (self.passed, self.failed, self.errors)
        if min(counts) < 0 or sum(counts) != self.n:
            raise ResultError(f"Cannot use eval result: {counts} do not sum to n={self.n}")
        if not _SHA256.fullmatch(self.dataset_sha256):
            raise ResultError(f"Cannot use eval result: {self.dataset_sha256!r} is not a SHA-256")

    def to_json(self) -> dict[str, Any]:
        """Counts and digest, camelCase."""
        return {
            "n": self.n,
            "passed": self.passed,
            "failed": self.failed,
            "errors": self.errors,
            "datasetSha256": self.dataset_sha256,
        }


@dataclasses.dataclass(frozen=True, slots=True)
class EvalFailure:
    """A run that has no counts: an Error, never a verdict on the revision."""

    reason: Failure
    message: str

    def to_json(self) -> dict[str, Any]:
        """Reason and text under `error`."""
        return {"error": {"reason": self.reason.value, "message": self.message[:TEXT_MAX]}}


Outcome = EvalResult | EvalFailure


def to_message(outcome: Outcome) -> str:
    """The termination message: one line of JSON, at most MESSAGE_MAX bytes."""
    return json.dumps(outcome.to_json(), separators=(",", ":"), ensure_ascii=False)


def from_message(text: str) -> Outcome:
    """The inverse of `to_message`.

    Raises:
        ResultError: the text was not written by the runner.
    """
    try:
        data = json.loads(text)
        if "error" in data:
            return EvalFailure(Failure(data["error"]["reason"]), str(data["error"]["message"]))
        return _counts(data)
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ResultError(f"Cannot read eval result {text[:80]!r}: {error}") from error


def _counts(data: Mapping[str, Any]) -> EvalResult:
    n, passed, failed, errors = counts = [data[name] for name in ("n", "passed", "failed", "errors")]
    if not all(type(count) is int for count in counts):
        raise ResultError("counts must be integers")
    return EvalResult(n, passed, failed, errors, dataset_sha256=str(data["datasetSha256"]))


def to_config_map(metadata: Mapping[str, Any], result: EvalResult) -> dict[str, Any]:
    """The cache of a run: an immutable ConfigMap with the Job's name, labels and owners, which outlives the Job's TTL."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {key: metadata[key] for key in ("name", "namespace", "labels", "ownerReferences") if key in metadata},
        "immutable": True,
        "data": {CONFIG_MAP_KEY: json.dumps(result.to_json(), sort_keys=True)},
    }


def from_config_map(config_map: Mapping[str, Any]) -> EvalResult:
    """The counts in a ConfigMap of `to_config_map`.

    Raises:
        ResultError: it holds none.
    """
    outcome = from_message((config_map.get("data") or {}).get(CONFIG_MAP_KEY, ""))
    if not isinstance(outcome, EvalResult):
        raise ResultError("Cannot read eval result: the ConfigMap holds a failure")
    return outcome
