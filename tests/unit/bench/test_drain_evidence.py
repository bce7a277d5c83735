"""The drain benchmark never calls a removal harmless that nothing was at stake in, and misses no stream that was cut."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.bench import drain_evidence as evidence
from tests.support import streams

TOKENS = 10
LOG = [
    "2026-11-21T15:00:00.123456789Z INFO Application startup complete.\n",
    f"2026-11-21T15:00:10.5Z INFO {evidence.SIGTERM_LINE}\n",
]
AT = 1795273210.5


def pod(readings: Sequence[tuple[float, int]], log: Sequence[str] = LOG) -> evidence.Pod:
    """An engine pod."""
    return evidence.Pod("chat-1", list(readings), list(log))


def stream(*, status: int | None = 200, done: bool = True, tokens: int = TOKENS, error: str | None = None) -> streams.Stream:
    """A stream that ended."""
    event = {"choices": [{"finish_reason": "length"}], "usage": {"completion_tokens": tokens}}
    return streams.Stream(status=status, events=[event] if status == 200 else [], done=done, error=error)


def removal(opened: Sequence[streams.Stream], removed: Sequence[evidence.Pod]) -> evidence.Removal:
    """One removal."""
    return evidence.Removal("scale", removed, opened, TOKENS, 1.0)


@pytest.mark.parametrize(
    ("readings", "expected", "reason"),
    [
        ([(AT - 1, 8), (AT + 1, 7)], 7, "the smaller of the two beside it"),
        ([(AT - 9, 8), (AT - 1, 3), (AT + 1, 5)], 3, "only the two beside it"),
        ([(AT - 1, 4)], 0, "no reading after it proves nothing"),
        ([(AT - 1, 4), (AT + 9, 0)], 0, "a reading long after it proves nothing"),
        ([(AT + 1, 4)], 0, "no reading before it proves nothing"),
        ([], 0, "no reading"),
    ],
)
def test_streams_at_sigterm_are_never_overstated(readings: list[tuple[float, int]], expected: int, reason: str) -> None:
    """Readings are taken several times a second: between two of them the fewer are counted."""
    assert pod(readings).open_at_sigterm == expected, reason


def test_pod_that_goes_on_had_no_sigterm() -> None:
    """vLLM's own log tells."""
    assert pod([(AT, 5)], LOG[:1]).terminated_at is None
    assert pod([(AT, 5)]).terminated_at == AT


@pytest.mark.parametrize(
    ("ended", "cut", "refused"),
    [
        (stream(), 0, 0),
        (stream(done=False), 1, 0),
        (stream(tokens=TOKENS - 1), 1, 0),
        (stream(done=False, error="RemoteProtocolError"), 1, 0),
        (stream(status=503), 0, 1),
        (stream(status=None, error="ConnectError"), 0, 1),
    ],
    ids=["whole", "no [DONE]", "short", "cut", "refused", "no answer"],
)
def test_every_bad_end_counts(ended: streams.Stream, cut: int, refused: int) -> None:
    """Once, as cut or as refused, with its cause in the evidence."""
    found = removal([stream(), ended], [pod([(AT - 1, 2), (AT + 1, 2)])])
    assert (found.cut, found.non_2xx) == (cut, refused)
    assert len(found.causes()) == cut + refused


def test_removal_of_an_idle_pod_is_no_evidence() -> None:
    """The figures would be zero however badly pods drain."""
    for removed in ([], [pod([(AT - 1, 0), (AT + 1, 0)])], [pod([(AT - 1, 3), (AT + 1, 3)]), pod([(AT - 1, 0)])]):
        with pytest.raises(ValueError, match="no stream was open"):
            evidence.figures([removal([stream()], removed)], {})


def test_short_requests_count_too() -> None:
    """New requests that reach a pod on its way out are errors as much as cut streams."""
    found = evidence.figures([removal([stream()], [pod([(AT - 1, 1), (AT + 1, 1)])])], {200: 90, 500: 2, None: 1})
    assert (found["streams"], found["cut"], found["non_2xx"], found["other_requests"]) == (1, 0, 3, 93)
