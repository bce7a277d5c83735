"""Probes of the engine container: when it has started, when it may get requests, and when it hangs.

vLLM opens its port once the model is loaded, so `/health` tells of the start. It tells of nothing else: a hung engine goes on
answering 200 everywhere, with metrics that stand still. So liveness is a script inside the container that compares the
requests in flight, which the API process counts, with the engine's progress.
"""

from __future__ import annotations

import math
from typing import Any, Final

HEALTH_PATH: Final = "/health"
PERIOD_SECONDS: Final = 5
HEALTH_TIMEOUT_SECONDS: Final = 3
LIVENESS_PERIOD_SECONDS: Final = 10
LIVENESS_TIMEOUT_SECONDS: Final = 10
"""The script opens three connections of two seconds each, and Python itself has to start on a busy node."""
LIVENESS_FAILURES: Final = 3
"""On a starved node a look may be cut short without any hang: a needless restart costs minutes, another look ten seconds."""
FAILED_GRACE_SECONDS: Final = 15
"""What a container gets that failed a probe, in place of the pod's grace period: it would not drain, and nobody waits for it
but its clients. More than the preStop sleep, which runs first."""
STALL_SECONDS: Final = 120
"""Seconds of requests in flight without any progress after which an engine hangs. More than the longest single step, such as
a block's worth of the prefill of a long prompt: during that a healthy engine shows no progress either."""
STATE_FILE: Final = "/tmp/sluice-liveness.json"  # noqa: S108 - on an emptyDir of the pod's own


def startup(port: str, seconds: float) -> dict[str, Any]:
    """Holds the other probes back until the engine answers; after `seconds` the container is started again."""
    return {
        **_health(port),
        "failureThreshold": max(1, math.ceil(seconds / PERIOD_SECONDS)),
        "terminationGracePeriodSeconds": FAILED_GRACE_SECONDS,
    }


def readiness(port: str) -> dict[str, Any]:
    """Whether Services send requests here."""
    return {**_health(port), "failureThreshold": 3}


def liveness(script: str, port: int, stall_seconds: int) -> dict[str, Any]:
    """Ends an engine that makes no progress although requests wait for it, and leaves a busy or idle one alone.

    `script` is the path of `engine_files/liveness.py` inside the container.
    """
    return {
        # Without site packages and user settings: the interpreter alone, for it starts every few seconds.
        "exec": {"command": ["python3", "-I", "-S", script, str(port), str(stall_seconds), STATE_FILE]},
        "periodSeconds": LIVENESS_PERIOD_SECONDS,
        "timeoutSeconds": LIVENESS_TIMEOUT_SECONDS,
        "failureThreshold": LIVENESS_FAILURES,
        "terminationGracePeriodSeconds": FAILED_GRACE_SECONDS,
    }


def longest_detection(stall_seconds: int = STALL_SECONDS) -> int:
    """Seconds from the start of a hang under load to the end of the container, at most."""
    # The first look at a stuck request comes up to a period late, and each look may take its whole timeout.
    looks = (LIVENESS_FAILURES + 1) * LIVENESS_PERIOD_SECONDS
    return stall_seconds + looks + LIVENESS_TIMEOUT_SECONDS + FAILED_GRACE_SECONDS


def _health(port: str) -> dict[str, Any]:
    return {
        "httpGet": {"path": HEALTH_PATH, "port": port},
        "periodSeconds": PERIOD_SECONDS,
        "timeoutSeconds": HEALTH_TIMEOUT_SECONDS,
    }
