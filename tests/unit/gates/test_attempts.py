"""What counts as evidence, row by row."""

import dataclasses

import pytest

from sluice.gates import attempts

GOOD, BAD, NEITHER = attempts.AttemptClass.GOOD, attempts.AttemptClass.BAD, attempts.AttemptClass.NEITHER
KEY = attempts.AttemptKey(revision="team/chat-1", route="chat", code=200, flags="-", stream=False, placeholder=False)


@pytest.mark.parametrize(
    ("code", "flags", "placeholder", "expected", "reason"),
    [
        (200, "-", False, GOOD, "the revision answered"),
        (200, "", False, GOOD, "no flags at all reads the same"),
        (302, "-", False, GOOD, "a redirect is an answer"),
        (400, "-", False, NEITHER, "the client's fault says nothing of the revision"),
        (404, "-", False, NEITHER, "a revision that knows no model must not look healthy"),
        (429, "-", False, NEITHER, "capacity says nothing of quality, and must not look like success"),
        (500, "-", False, BAD, "the revision failed"),
        (503, "-", False, BAD, "a full queue cannot be told from any other 503"),
        (503, "UF", False, BAD, "connection refused"),
        (503, "UC", False, BAD, "connection broken"),
        (502, "UPE", False, BAD, "not HTTP"),
        (504, "UT", False, BAD, "no headers in time"),
        (200, "SI", False, BAD, "the stream fell silent"),
        (200, "UC,DC", False, BAD, "one bad flag of several is enough"),
        (0, "UR", False, BAD, "reset by the revision"),
        (0, "-", False, NEITHER, "the client left before the headers"),
        (0, "UO", False, NEITHER, "our own circuit breaker"),
        (503, "UO,UC", False, NEITHER, "our own circuit breaker, whatever else is flagged"),
        (503, "UF", True, NEITHER, "the placeholder refuses on purpose"),
    ],
)
def test_an_attempt_is_classified(
    code: int, flags: str, placeholder: bool, expected: attempts.AttemptClass, reason: str
) -> None:
    """Good answers, bad ones, and those that say nothing of the revision."""
    key = dataclasses.replace(KEY, code=code, flags=flags, placeholder=placeholder)
    assert attempts.classify(key) is expected, reason


def test_a_copy_without_an_answer_is_bad() -> None:
    """No client can end a copy, so silence is the revision's own; a copy that we dropped is none."""
    silent = dataclasses.replace(KEY, revision="team/chat-1/shadow", route="", code=0, flags="-")

    assert attempts.classify(silent) is BAD
    assert attempts.classify(dataclasses.replace(silent, flags="UO")) is NEITHER


def test_a_tally_counts_one_revision_only() -> None:
    """Other revisions, mirrored requests and overrides are no evidence."""
    delta = {
        KEY: 90,
        dataclasses.replace(KEY, code=500): 7,
        dataclasses.replace(KEY, code=0): 3,
        dataclasses.replace(KEY, revision="team/chat-2", code=500): 100,
        dataclasses.replace(KEY, revision="team/chat-1/shadow", route="", code=500): 100,
        dataclasses.replace(KEY, route="chat/override", code=500): 100,
    }
    assert attempts.tally(delta, "team/chat-1") == attempts.Tally(bad=7, total=97)


def test_no_attempts_make_an_empty_tally() -> None:
    """An unknown revision has no evidence."""
    assert attempts.tally({KEY: 5}, "team/other-1") == attempts.Tally()
