"""JSON logs, one object a line, for our own records and those of every library (kopf, aiohttp, asyncio).

Call `configure` once, in `__main__`; everything else calls `get` and logs events with keyword values.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final, TextIO

import structlog

_QUIET: Final = {
    # kopf logs each retried request of an outage as an error; the supervisor in `watches` reports its end once.
    "kopf": logging.CRITICAL,
    "aiohttp.access": logging.WARNING,
    "asyncio": logging.WARNING,
}
"""Libraries that say too much unless we debug."""


def configure(level: str = "INFO", *, stream: TextIO | None = None) -> None:
    """Sends all logs of the process to `stream` (standard error) as JSON. Raises ValueError for an unknown level."""
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"Cannot configure logs: unknown level {level!r}")
    shared = _shared()
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str),
        ],
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(number if number <= logging.DEBUG else max(number, least))
    logging.captureWarnings(capture=True)


def get(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module: `_log = logs.get(__name__)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def _shared() -> list[Any]:
    """What both our records and foreign ones pass through."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
