"""Orders by kubectl-sluice, followed by the real operator under the admission policies."""

from __future__ import annotations

import contextlib
import io

import pytest
import yaml

from sluice.cli import entry, exits
from tests.support import world

pytestmark = pytest.mark.usefixtures("operator")

STEP = {"name": "look", "weight": 0, "hold": "1h", "approval": {"timeout": "1h"}}


def sluice(namespace: world.World, *arguments: str) -> tuple[int, str]:
    """Exit code and everything said."""
    output = io.StringIO()
    given = [*arguments, "-n", namespace.name, "--kubeconfig", str(namespace.cluster.kubeconfig)]
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), pytest.raises(SystemExit) as ended:
        entry.main(given)
    return int(ended.value.code or 0), output.getvalue()


def rolling(namespace: world.World) -> str:
    """A model that serves, and a second revision that is held in a step which waits for approval. Returns its hash."""
    namespace.apply(world.model())
    namespace.ready()
    namespace.apply(world.model("file:///models/two", steps=[STEP]))
    status = namespace.status("it is in its step", lambda status: (status.get("rollout") or {}).get("stepEnteredAt"))
    return str(status["rollout"]["revision"])


def test_a_rollout_is_paused_resumed_approved_and_promoted(namespace: world.World) -> None:
    """Each order is answered, with the name of who gave it; the watch ends with the promotion."""
    revision = rolling(namespace)
    assert "step 1 of 1" in sluice(namespace, "status", "chat")[1]
    for arguments in (("pause",), ("resume",), ("approve",), ("promote",)):
        code, said = sluice(namespace, *arguments, "chat")
        assert (code, f"of revision {revision} done: " in said) == (exits.Exit.DONE, True), said
    code, said = sluice(namespace, "watch", "chat", "--timeout", "40s")
    assert code == exits.Exit.DONE, said
    status = namespace.ready()
    assert status["stableRevision"] == revision
    handled = status["lastHandledCommand"]
    assert (handled["by"], handled["accepted"]) == ("sluice-admin", True)


def test_a_rollout_is_aborted_and_tried_again(namespace: world.World) -> None:
    """What does not fit the moment is refused in the operator's words; a watch of what failed says so by its exit code."""
    revision = rolling(namespace)
    code, said = sluice(namespace, "resume", "chat")
    assert (code, "not paused by a command" in said) == (exits.Exit.REFUSED, True), said
    assert sluice(namespace, "abort", "chat")[0] == exits.Exit.DONE
    code, said = sluice(namespace, "watch", "chat", "--timeout", "40s")
    assert code == exits.Exit.ROLLOUT_FAILED, said
    namespace.reason("mdep", "chat", "Stalled", "RevisionRejected")
    assert "kubectl sluice retry chat" in sluice(namespace, "explain", "chat")[1]
    assert sluice(namespace, "retry", "chat")[0] == exits.Exit.DONE
    status = namespace.status("it is tried again", lambda status: (status.get("rollout") or {}).get("revision") == revision)
    assert status["lastHandledCommand"]["accepted"] is True


def test_what_was_promoted_is_undone(namespace: world.World) -> None:
    """The former revision serves again, and what is printed for Git is its template."""
    namespace.apply(world.model("file:///models/one"))
    former = namespace.ready()["stableRevision"]
    namespace.apply(world.model("file:///models/two"))
    namespace.status("the second serves", lambda status: status["stableRevision"] != former and not status.get("rollout"))
    code, said = sluice(namespace, "undo", "chat")
    assert code == exits.Exit.DONE, said
    assert yaml.safe_load(said.partition("---\n")[2])["spec"]["template"]["model"]["source"] == "file:///models/one"
    namespace.status("the first serves", lambda status: status["stableRevision"] == former and not status.get("rollout"))
