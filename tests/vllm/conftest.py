"""Real vLLM on this machine's CPU, with tiny models and the command line that the operator gives it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hack.vllm import install


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here is marked, may take as long as vLLM's start, and is skipped where vLLM cannot run."""
    reason = install.supported()
    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        item.add_marker(pytest.mark.vllm)
        item.add_marker(pytest.mark.timeout(600))
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))
