"""kubectl-sluice against a real API server, as people with Kubernetes' own roles; a thread plays the operator's answers.

The commands run in this process, by the entry point that the console scripts call; two at once run as programs.

Longer than other files on purpose: one table of commands, each with what it says and how it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import itertools
import json
import os
import pathlib
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import pytest
import yaml

from sluice.api import commands, naming
from sluice.cli import entry, exits
from tests.support import apiproxy, controlplane

ROOT: Final = pathlib.Path(__file__).resolve().parents[2]
NAMESPACE: Final = "plugin"
STABLE, CANARY, FORMER = "5e77ab1e", "ca9a12e0", "f012e100"
BOSS, EDITOR = "boss", "ed"
SECONDS: Final = 30
TEMPLATE: Final = {
    "model": {"source": "file:///models/former"},
    "engine": {"type": "VLLM", "image": "vllm/vllm-openai:v0.33.0"},
}
STATUS: Final = {
    "observedGeneration": 1,
    "model": "chat",
    "podsReady": "2/2",
    "stableRevision": STABLE,
    "conditions": [
        {
            "type": "Ready",
            "status": "False",
            "reason": "RollingOut",
            "message": "a \x1b[31mred\x1b[0m [bold]word[/bold]",
            "lastTransitionTime": "2026-11-21T20:00:00Z",
        }
    ],
    "history": [
        {"revision": CANARY, "number": 3, "outcome": "Candidate", "model": "file:///models/new"},
        {"revision": STABLE, "number": 2, "outcome": "Stable", "model": "file:///models/chat"},
        {"revision": FORMER, "number": 1, "outcome": "Previous", "model": "file:///models/former"},
    ],
}
ROLLOUT: Final = {"revision": CANARY, "phase": "Progressing", "step": "canary-5", "weight": "5"}

Object = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    output: str
    errors: str


class Desk:
    """One namespace with people in it, and what they do."""

    def __init__(self, cluster: controlplane.ControlPlane, people: Mapping[str, pathlib.Path]) -> None:
        self.cluster = cluster
        self.people = people
        self._numbers = itertools.count(1)

    def run(self, who: str, program: str, *arguments: str) -> Done:
        """A console script as somebody."""
        environment = {**os.environ, "KUBECONFIG": str(self.people[who])}
        command = [str(pathlib.Path(sys.executable).with_name(program)), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        return Done(done.returncode, done.stdout, done.stderr)

    def order(self, who: str, *arguments: str) -> Done:
        """One command about the namespace's ModelDeployments, as somebody."""
        output, problems = io.StringIO(), io.StringIO()
        given = [*arguments, "-n", NAMESPACE, "--kubeconfig", str(self.people[who])]
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(problems), pytest.raises(SystemExit) as ended:
            entry.main(given)
        return Done(int(ended.value.code or 0), output.getvalue(), problems.getvalue())

    def model(self, status: Mapping[str, Any] | None = None) -> str:
        """A new ModelDeployment with that status."""
        name = f"chat-{next(self._numbers)}"
        obj = yaml.safe_load((ROOT / "tests/crd/accepted/modeldeployment-minimal.yaml").read_text())
        obj["metadata"] = {"name": name, "namespace": NAMESPACE}
        self.cluster.kubectl("create", "-f", "-", stdin=json.dumps(obj))
        self.patch_status(name, {**STATUS, "rollout": ROLLOUT} if status is None else status)
        return name

    def patch_status(self, name: str, status: Mapping[str, Any]) -> None:
        """As the operator."""
        given = json.dumps({"status": status})
        self.cluster.kubectl("patch", "mdep", name, "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", given)

    def read(self, name: str) -> Object:
        """The object as it is."""
        found: Object = json.loads(self.cluster.kubectl("get", "mdep", name, "-n", NAMESPACE, "-o", "json").stdout)
        return found


class Operator(threading.Thread):
    """Answers the next order about one ModelDeployment, after `before` was done."""

    def __init__(
        self, desk: Desk, name: str, *, accepted: bool, message: str, before: Callable[[], None] | None = None
    ) -> None:
        super().__init__(daemon=True)
        self._desk, self._name, self._accepted, self._message, self._before = desk, name, accepted, message, before
        self.seen = commands.Command(commands.Verb.ABORT, "", "", "")

    def run(self) -> None:
        """Waits for the annotation."""
        deadline = time.monotonic() + SECONDS
        while (order := commands.parse(self._desk.read(self._name)["metadata"].get("annotations", {}))) is None:
            assert time.monotonic() < deadline, "no order came"
        self.seen = order
        if self._before is not None:
            self._before()
        handled = {"command": order.text, "by": order.by, "accepted": self._accepted, "message": self._message}
        self._desk.patch_status(self._name, {"lastHandledCommand": {**handled, "at": "2026-11-21T21:00:00Z"}})


@pytest.fixture(scope="module")
def desk(cluster: controlplane.ControlPlane) -> Iterator[Desk]:
    """The namespace, with an admin and an editor, once roles are aggregated and policies are in force."""
    cluster.kubectl("create", "namespace", NAMESPACE)
    for who, role in ((BOSS, "admin"), (EDITOR, "edit")):
        cluster.kubectl("create", "rolebinding", who, f"--clusterrole={role}", f"--user={who}", "-n", NAMESPACE)
    made = Desk(cluster, {who: cluster.user(who) for who in (BOSS, EDITOR, "nobody")})
    name, deadline = made.model(), time.monotonic() + SECONDS
    while not (
        made.order(BOSS, "abort", name, "--no-wait").code == 0 and made.order(EDITOR, "abort", name, "--no-wait").code == 4
    ):
        assert time.monotonic() < deadline, "roles or policies do not work"
    yield made
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.mark.parametrize(
    ("arguments", "verb"),
    [
        (("promote",), "promote"),
        (("promote", "--skip-step"), "skip-step"),
        (("approve",), "approve"),
        (("pause",), "pause"),
        (("resume",), "resume"),
        (("abort",), "abort"),
    ],
)
def test_an_order_is_given_and_its_answer_shown(desk: Desk, arguments: tuple[str, ...], verb: str) -> None:
    """For the revision in rollout, in the name of who gives it, by a field manager of its own."""
    name = desk.model()
    operator = Operator(desk, name, accepted=True, message="as ordered")
    operator.start()
    done = desk.order(BOSS, *arguments, name)
    operator.join()
    assert (done.code, done.errors) == (exits.Exit.DONE, "")
    assert done.output == f"ModelDeployment {NAMESPACE}/{name}: {verb} of revision {CANARY} done: as ordered\n"
    assert (operator.seen.verb, operator.seen.revision, operator.seen.by) == (verb, CANARY, BOSS)
    managed = json.loads(
        desk.cluster.kubectl("get", "mdep", name, "-n", NAMESPACE, "-o", "json", "--show-managed-fields").stdout
    )
    mine = [each for each in managed["metadata"]["managedFields"] if each["manager"] == "kubectl-sluice"]
    assert list(mine[0]["fieldsV1"]["f:metadata"]["f:annotations"]) == [
        ".",
        f"f:{commands.ANNOTATION}",
        f"f:{commands.BY_ANNOTATION}",
    ]


def test_a_refusal_has_its_own_exit_code(desk: Desk) -> None:
    """Also as JSON, on standard output, with the reason beside it for people."""
    name = desk.model()
    refusal = f"Cannot approve revision {CANARY}: step canary-5 needs no approval."
    operator = Operator(desk, name, accepted=False, message=refusal)
    operator.start()
    done = desk.order(BOSS, "approve", name, "-o", "json")
    operator.join()
    answer = json.loads(done.output)
    assert (done.code, answer["accepted"], answer["handled"]) == (exits.Exit.REFUSED, False, True)
    assert done.errors == f"ModelDeployment {NAMESPACE}/{name}: {refusal}\n"


def test_an_order_that_nobody_handles_times_out_and_stands(desk: Desk) -> None:
    """The message says that it will still be followed."""
    name = desk.model()
    done = desk.order(BOSS, "pause", name, "--timeout", "1s")
    assert done.code == exits.Exit.TIMED_OUT
    assert "The order stands" in done.errors
    assert desk.read(name)["metadata"]["annotations"][commands.ANNOTATION].startswith(f"pause/{CANARY}/")


def test_an_order_that_another_replaces_is_not_waited_for(desk: Desk) -> None:
    """Who comes second is told that an order stood, and who was first that theirs is gone."""
    name = desk.model()
    first: list[Done] = []
    waiting = threading.Thread(target=lambda: first.append(desk.run(BOSS, "kubectl-sluice", "pause", name, "-n", NAMESPACE)))
    waiting.start()
    deadline = time.monotonic() + SECONDS
    while commands.ANNOTATION not in desk.read(name)["metadata"].get("annotations", {}):
        assert time.monotonic() < deadline
    second = desk.order(BOSS, "abort", name, "--no-wait")
    waiting.join()
    assert second.code == exits.Exit.DONE
    assert "this replaces an order that was not handled yet: pause/" in second.errors
    assert first[0].code == exits.Exit.REFUSED
    assert "it was replaced before it was handled: abort/" in first[0].errors


def test_who_may_not_order_is_told_what_it_takes(desk: Desk) -> None:
    """The policy's own words, and nothing is written."""
    name = desk.model()
    done = desk.order(EDITOR, "promote", name)
    assert done.code == exits.Exit.FORBIDDEN
    assert "user 'ed' may not order 'promote'" in done.errors
    assert commands.ANNOTATION not in desk.read(name)["metadata"].get("annotations", {})
    assert desk.order("nobody", "status", name).code == exits.Exit.FORBIDDEN


def test_a_name_that_is_not_there_has_its_own_exit_code(desk: Desk) -> None:
    """And so have a revision that is not there, a bad option, and an API server that does not answer."""
    name = desk.model()
    missing = desk.order(BOSS, "promote", "missing")
    assert missing.code == exits.Exit.NOT_FOUND
    assert f"Cannot find ModelDeployment {NAMESPACE}/missing" in missing.errors
    assert desk.order(BOSS, "undo", name, "--to", "0ddba11").code == exits.Exit.NOT_FOUND
    assert desk.order(BOSS, "promote", name, "--timeout", "soon").code == exits.Exit.USAGE
    assert desk.order(BOSS, "promote", name, "--context", "elsewhere").code == exits.Exit.USAGE


def test_what_plainly_cannot_be_ordered_is_not(desk: Desk) -> None:
    """Without a rollout there is nothing to promote; the message says what there is instead."""
    failed = {"revision": CANARY, "outcome": "Rejected", "reason": "CrashLoop", "message": "it crashed"}
    name = desk.model({**STATUS, "lastRollout": failed})
    done = desk.order(BOSS, "promote", name)
    assert done.code == exits.Exit.REFUSED
    assert "no rollout is under way" in done.errors
    assert "`kubectl sluice retry` tries it again" in done.errors
    assert desk.order(BOSS, "retry", name, "--no-wait").code == exits.Exit.DONE
    assert desk.read(name)["metadata"]["annotations"][commands.ANNOTATION].startswith(f"retry/{CANARY}/")


def test_orders_get_through_while_the_status_changes_all_the_time(desk: Desk) -> None:
    """Each write of the status makes the version that was read stale: the order is given again, for the same revision."""
    name = desk.model()
    stop = threading.Event()

    def busy() -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            desk.patch_status(name, {"replicas": number % 100})

    writer = threading.Thread(target=busy)
    writer.start()
    try:
        done = [desk.order(BOSS, "pause", name, "--no-wait") for _ in range(3)]
    finally:
        stop.set()
        writer.join()
    assert [each.code for each in done] == [exits.Exit.DONE] * 3


def test_undo_names_the_former_revision_and_prints_the_patch_for_git(desk: Desk) -> None:
    """The template as it was admitted, from the stored revision."""
    name = desk.model({**STATUS})
    labels = {naming.LABEL_MODEL_DEPLOYMENT: name, naming.LABEL_REVISION: FORMER, naming.LABEL_OUTCOME: "Previous"}
    stored = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {"name": f"{name}-{FORMER}", "namespace": NAMESPACE, "labels": labels},
        "revision": 1,
        "data": {"template": TEMPLATE, "podTemplate": {}},
    }
    desk.cluster.kubectl("create", "-f", "-", stdin=json.dumps(stored))
    operator = Operator(desk, name, accepted=True, message="back to what it was")
    operator.start()
    done = desk.order(BOSS, "undo", name)
    operator.join()
    assert (done.code, operator.seen.revision) == (exits.Exit.DONE, FORMER)
    said, _, patch = done.output.partition("---\n")
    assert "to keep it, put this into the file" in said
    assert yaml.safe_load(patch) == {"spec": {"template": TEMPLATE}}
    as_json = desk.order(BOSS, "undo", name, "--to", FORMER[:4], "--no-wait", "-o", "json")
    assert json.loads(as_json.output)["patch"] == {"spec": {"template": TEMPLATE}}


def test_status_and_history_are_shown_without_what_a_terminal_would_obey(desk: Desk) -> None:
    """As a page, and as documents."""
    name = desk.model()
    page = desk.order(BOSS, "status", name)
    assert (page.code, page.errors) == (exits.Exit.DONE, "")
    assert f'revision {CANARY}, Progressing, step 1 of 3 "canary-5", weight 5 %' in page.output
    assert r"a \x1b[31mred\x1b[0m [bold]word[/bold]" in page.output
    assert "\x1b" not in page.output
    document = json.loads(desk.order(BOSS, "status", name, "-o", "json").output)
    assert (document["stable"], document["rollout"]["step"]) == (STABLE, "canary-5")
    listed = yaml.safe_load(desk.order(EDITOR, "history", name, "-o", "yaml").output)
    assert [entry["revision"] for entry in listed] == [CANARY, STABLE, FORMER]


def test_kubectl_completes_names(desk: Desk) -> None:
    """By its own protocol; where the cluster cannot be asked there is nothing, and no error."""
    name = desk.model()
    done = desk.run(BOSS, "kubectl_complete-sluice", "status", "-n", NAMESPACE, name[:-1])
    assert name in done.output.splitlines()
    assert done.output.endswith(":4\n")
    assert desk.run("nobody", "kubectl_complete-sluice", "status", "-n", NAMESPACE, "").output == ":4\n"


async def _lines(program: asyncio.subprocess.Process, wanted: str) -> str:
    """Everything that is printed up to a line with these words."""
    assert program.stdout is not None
    seen = ""
    async with asyncio.timeout(SECONDS):
        while wanted not in seen:
            line = await program.stdout.readline()
            assert line, f"it ended: {seen}"
            seen += line.decode()
    return seen


@pytest.mark.parametrize(("outcome", "code"), [("Promoted", exits.Exit.DONE), ("RolledBack", exits.Exit.ROLLOUT_FAILED)])
async def test_a_rollout_is_watched_to_its_end_through_faults(
    desk: Desk, tmp_path: pathlib.Path, outcome: str, code: exits.Exit
) -> None:
    """Connections break, versions grow too old: each change is a line all the same, and the exit code is the outcome."""
    name = desk.model()
    async with apiproxy.ApiProxy(desk.cluster.kubeconfig, tmp_path) as proxy:
        command = [str(pathlib.Path(sys.executable).with_name("kubectl-sluice")), "watch", name, "-n", NAMESPACE]
        program = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, "KUBECONFIG": str(proxy.kubeconfig)}, stdout=asyncio.subprocess.PIPE
        )
        await _lines(program, "weight 5 %")
        proxy.expire("modeldeployments")
        await asyncio.to_thread(desk.patch_status, name, {"rollout": {"step": "canary-25", "weight": "25"}})
        await _lines(program, "weight 25 %")
        proxy.cut()
        await asyncio.to_thread(desk.patch_status, name, {"rollout": {"step": "canary-50", "weight": "50"}})
        proxy.heal()
        await _lines(program, "weight 50 %")
        last = {"revision": CANARY, "outcome": outcome, "reason": "Because", "message": "it was so"}
        await asyncio.to_thread(desk.patch_status, name, {"rollout": None, "lastRollout": last})
        async with asyncio.timeout(SECONDS):
            assert await program.wait() == code


def test_a_watch_on_a_terminal_keeps_one_page_up_to_date(desk: Desk) -> None:
    """Drawn in place, and left there as it was at the end."""
    name = desk.model()
    controller, terminal = pty.openpty()
    environment = {
        **os.environ,
        "KUBECONFIG": str(desk.people[BOSS]),
        "TERM": "xterm-256color",
        "COLUMNS": "120",
        "LINES": "50",
    }
    command = [str(pathlib.Path(sys.executable).with_name("kubectl-sluice")), "watch", name, "-n", NAMESPACE]
    with subprocess.Popen(command, env=environment, stdin=terminal, stdout=terminal, stderr=subprocess.PIPE) as program:
        os.close(terminal)
        shown = b""
        while b"canary-25" not in shown:
            shown += os.read(controller, 65536)
        last = {"revision": CANARY, "outcome": "Promoted", "reason": "AllGatesPass", "message": "all is well"}
        desk.patch_status(name, {"rollout": None, "lastRollout": last})
        with contextlib.suppress(OSError):  # how Linux ends the reading of a terminal that nobody has open
            while more := os.read(controller, 65536):
                shown += more
        assert program.stderr is not None
        said = program.stderr.read().decode()
    os.close(controller)
    assert program.returncode == exits.Exit.DONE
    assert b"Last rollout" in shown
    assert said.endswith(f"Revision {CANARY} of ModelDeployment {NAMESPACE}/{name}: Promoted. AllGatesPass: all is well\n")


def test_a_watch_gives_up_in_time_and_notes_a_deletion(desk: Desk) -> None:
    """Both with exit codes of their own."""
    name = desk.model()
    late = desk.order(BOSS, "watch", name, "--timeout", "1s")
    assert late.code == exits.Exit.TIMED_OUT
    assert f"revision {CANARY}: Progressing" in late.output
    ended: list[Done] = []
    watching = threading.Thread(target=lambda: ended.append(desk.run(BOSS, "kubectl-sluice", "watch", name, "-n", NAMESPACE)))
    watching.start()
    desk.cluster.kubectl("delete", "mdep", name, "-n", NAMESPACE)
    watching.join()
    assert ended[0].code == exits.Exit.NOT_FOUND


def test_an_explanation_knows_the_pods_and_the_persons_rights(desk: Desk) -> None:
    """In the scheduler's own words; whoever may not order is told what it takes."""
    name = desk.model({**STATUS, "rollout": {**ROLLOUT, "phase": "WarmingUp"}})
    labels = {naming.LABEL_MODEL_DEPLOYMENT: name, naming.LABEL_REVISION: CANARY}
    spec = {"containers": [{"name": "engine", "image": "vllm"}]}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{name}-{CANARY}", "namespace": NAMESPACE},
        "spec": {
            "replicas": 1,
            "paused": True,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": spec,
    }
    for obj in (deployment, pod):
        desk.cluster.kubectl("create", "-f", "-", stdin=json.dumps(obj))
    why = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}
    status = json.dumps({"status": {"phase": "Pending", "conditions": [why]}})
    desk.cluster.kubectl("patch", "pod", name, "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", status)
    boss, editor = desk.order(BOSS, "explain", name), desk.order(EDITOR, "explain", name)
    assert (boss.code, editor.code) == (exits.Exit.DONE, exits.Exit.DONE)
    assert f"Revision {CANARY} warms up" in boss.output
    assert "0/3 nodes are available" in boss.output
    assert f"- kubectl sluice abort {name} -n {NAMESPACE}: takes the revision back\n" in boss.output
    assert "(you may not: it takes the verb 'abort' and `patch`)" in editor.output
    document = json.loads(desk.order(BOSS, "explain", name, "-o", "json").output)
    assert [order["verb"] for order in document["orders"]] == ["pause", "abort"]
