"""What a log line looks like, whoever wrote it."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from sluice.observability import logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    quiet = {name: logging.getLogger(name).level for name in logs._QUIET}
    made = io.StringIO()
    yield made
    root.handlers[:] = kept
    root.setLevel(level)
    for name, value in quiet.items():
        logging.getLogger(name).setLevel(value)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_our_records_are_json_with_their_values(stream: io.StringIO) -> None:
    """One object a line, machine-readable, with time, level and origin."""
    logs.configure("info", stream=stream)
    logs.get("sluice.x").info("role changed", role="Leader", count=3)
    logs.get("sluice.x").debug("unseen")
    (line,) = lines(stream)
    assert line.pop("time").endswith("Z")
    assert line == {"event": "role changed", "role": "Leader", "count": 3, "level": "info", "logger": "sluice.x"}


def test_records_of_libraries_look_the_same(stream: io.StringIO) -> None:
    """Their arguments are filled in, their exceptions are one line of JSON."""
    logs.configure("INFO", stream=stream)
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        logging.getLogger("aiohttp.server").exception("Cannot handle %s", "it")
    (line,) = lines(stream)
    assert line["event"] == "Cannot handle it"
    assert line["level"] == "error"
    assert "RuntimeError: broken" in line["exception"]


def test_what_kopf_says_of_each_retry_is_left_out_unless_we_debug(stream: io.StringIO) -> None:
    """The supervisor of the watches reports an outage once."""
    logs.configure("INFO", stream=stream)
    logging.getLogger("kopf._cogs.clients.api").error("Request attempt #1/6 failed")
    assert lines(stream) == []
    logs.configure("DEBUG", stream=stream)
    logging.getLogger("kopf._cogs.clients.api").error("Request attempt #1/6 failed")
    assert len(lines(stream)) == 1


def test_warnings_of_python_are_logged(stream: io.StringIO) -> None:
    """Nothing writes to standard error past the JSON."""
    logs.configure("INFO", stream=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert [line["logger"] for line in lines(stream)] == ["py.warnings"]


def test_an_unknown_level_is_refused() -> None:
    """By name, before anything is changed."""
    with pytest.raises(ValueError, match="LOUD"):
        logs.configure("LOUD")
