"""Runner `Builtin`: Sluice's own `sluice eval` in a Job, one request an item.

The Job runs under the restricted Pod Security profile, without API access, and asks the revision's Service directly. Its
only result is the termination message; the exit codes are those of `evalrunner`, which this layer may not import.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sluice.api import durations, naming
from sluice.evals import request
from sluice.evals import result as results

CONTAINER: Final = "eval"
COMPONENT: Final = "eval"
UID: Final = 65532
EXIT_BAD_INPUT: Final = 2
"""`sluice eval` cannot succeed with this input: a retry would not help."""
BACKOFF_LIMIT: Final = 2
TTL_SECONDS: Final = 3600
"""How long a finished Job stays for a look; its counts are in a ConfigMap by then."""
DATASET_DIR: Final = "/etc/sluice/dataset"
DATASET_FILE: Final = "dataset.jsonl"
TERMINATION_LOG: Final = "/dev/termination-log"


class Builtin:
    """The runner of type `Builtin`."""

    def build_job(self, wanted: request.Request) -> dict[str, Any]:
        """The Job's manifest; the same request always gives the same name.

        Raises:
            ValueError: the dataset is not a ConfigMap, which the CRD refuses.
        """
        spec = wanted.spec
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": build_metadata(wanted),
            "spec": {
                "backoffLimit": BACKOFF_LIMIT,
                "activeDeadlineSeconds": max(1, math.ceil(durations.seconds(spec.timeout))),
                "ttlSecondsAfterFinished": TTL_SECONDS,
                "podFailurePolicy": {
                    "rules": [
                        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                        {
                            "action": "FailJob",
                            "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [EXIT_BAD_INPUT]},
                        },
                    ]
                },
                "template": {"metadata": {"labels": pod_labels(wanted)}, "spec": _pod_spec(wanted)},
            },
        }

    def parse_job(self, job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> results.Outcome | None:
        """What the Job came to, from it and its pods; None while it runs.

        A run that ended without a readable result is a failure with the last thing it said, never a verdict.
        """
        conditions = {c["type"]: c for c in (job.get("status") or {}).get("conditions") or [] if c.get("status") == "True"}
        if "Complete" in conditions:
            return _completed(pods)
        if "Failed" in conditions:
            return _failed(conditions["Failed"], pods)
        return None


def build_metadata(wanted: request.Request) -> dict[str, Any]:
    """Name, namespace, labels and owner of the Job, and of the ConfigMap that caches its counts."""
    return {
        "name": wanted.name,
        "namespace": wanted.namespace,
        "labels": {
            **pod_labels(wanted),
            naming.LABEL_MODEL_DEPLOYMENT: wanted.deployment,
            naming.LABEL_REVISION: wanted.revision,
        },
        "ownerReferences": [dict(wanted.owner)],
    }


def pod_labels(wanted: request.Request) -> dict[str, str]:
    """Labels of the eval's pods: without the revision's own, which would make them endpoints of its Service."""
    return {
        naming.LABEL_MANAGED_BY: naming.MANAGED_BY,
        naming.LABEL_COMPONENT: COMPONENT,
        naming.LABEL_EVAL: wanted.spec.name,
    }


def _pod_spec(wanted: request.Request) -> dict[str, Any]:
    source = wanted.spec.dataset.config_map
    if source is None:
        raise ValueError(f"Cannot build Job of eval {wanted.spec.name!r}: its dataset is not a ConfigMap")
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "runAsGroup": UID,
            "fsGroup": UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(wanted)],
        "volumes": [
            {
                "name": "dataset",
                "configMap": {"name": source.name, "items": [{"key": source.key, "path": DATASET_FILE}]},
            }
        ],
    }


def _container(wanted: request.Request) -> dict[str, Any]:
    return {
        "name": CONTAINER,
        "image": wanted.image,
        "args": build_args(wanted),
        "env": [{"name": "PYTHONDONTWRITEBYTECODE", "value": "1"}, {"name": "PYTHONUNBUFFERED", "value": "1"}],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePath": TERMINATION_LOG,
        # A crash before the message is written still says something.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "dataset", "mountPath": DATASET_DIR, "readOnly": True}],
    }


def build_args(wanted: request.Request) -> list[str]:
    """Arguments for the image's entry point, `sluice`."""
    spec = wanted.spec
    flags = {
        "--url": wanted.url,
        "--model": wanted.served_name,
        "--dataset": f"{DATASET_DIR}/{DATASET_FILE}",
        "--dataset-sha256": wanted.dataset_sha256,
        "--scorer": spec.scorer.type,
        "--temperature": spec.generation.temperature,
        "--max-tokens": str(spec.generation.max_tokens),
        "--seed": str(spec.generation.seed),
        "--concurrency": str(spec.concurrency),
        "--result": TERMINATION_LOG,
    }
    if spec.sample_size is not None:
        flags["--sample-size"] = str(spec.sample_size)
    return ["eval", *(f"{flag}={value}" for flag, value in flags.items())]


def _completed(pods: Sequence[Mapping[str, Any]]) -> results.Outcome:
    for text, exit_code in _terminations(pods):
        if exit_code == 0:
            return _read(text)
    return results.EvalFailure(results.Failure.RESULT_MISSING, "The Job completed, but its pod is gone")


def _failed(condition: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> results.Outcome:
    why = f"{condition.get('reason', 'Failed')}: {condition.get('message', '')}"
    if condition.get("reason") == "DeadlineExceeded":
        return results.EvalFailure(results.Failure.TIMED_OUT, "The eval took longer than its timeout")
    for text, exit_code in _terminations(pods):
        if exit_code == 0:
            continue
        outcome = _read(text)
        if isinstance(outcome, results.EvalFailure) and outcome.reason is not results.Failure.RESULT_MISSING:
            return outcome
        return results.EvalFailure(results.Failure.RUNNER_FAILED, f"Exit code {exit_code}: {text[-600:]} ({why})")
    return results.EvalFailure(results.Failure.RUNNER_FAILED, why)


def _read(text: str) -> results.Outcome:
    try:
        return results.from_message(text)
    except results.ResultError as error:
        return results.EvalFailure(results.Failure.RESULT_MISSING, str(error))


def _terminations(pods: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """(message, exit code) of the eval containers that ended, latest first."""
    found = []
    for pod in pods:
        for container in (pod.get("status") or {}).get("containerStatuses") or []:
            ended = (container.get("state") or {}).get("terminated")
            if container.get("name") == CONTAINER and ended:
                when = ended.get("finishedAt") or ""
                found.append((str(when), str(ended.get("message") or ""), int(ended.get("exitCode", -1))))
    return [(message, code) for _, message, code in sorted(found, key=lambda each: each[0], reverse=True)]
