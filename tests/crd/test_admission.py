"""Orders bear the name of who gives them and come from who may give them; what Sluice has recorded is not forged.

Each test is one person with Kubernetes' own roles. What the policies let through is as much a rule as what they refuse.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import time
import uuid
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml

from sluice.api import commands, naming
from tests.support import controlplane

ROOT: Final = pathlib.Path(__file__).resolve().parents[2]
OPERATOR: Final = "system:serviceaccount:sluice-system:sluice-operator"
NAMESPACE: Final = "orders"
OTHER: Final = "elsewhere"
BOSS, EDITOR, CUSTOM, APPROVER = "boss", "ed", "custom", "approver"
"""Has `admin`; has `edit`; has `edit` and all of ControllerRevisions and ConfigMaps; has `edit` and may approve."""
SECONDS: Final = 30
REVISION: Final = "3f9ab2c4"
MODEL: Final = yaml.safe_load((ROOT / "tests/crd/accepted/modeldeployment-minimal.yaml").read_text())


def order(verb: str, *, revision: str = REVISION, unique: str | None = None) -> str:
    """The text of an order."""
    return f"{verb}/{revision}/{unique or uuid.uuid4()}"


def patch(*, command: str | None = None, by: str | None = None, **more: Any) -> str:
    """A merge patch of annotations; None leaves one out."""
    given = {commands.ANNOTATION: command, commands.BY_ANNOTATION: by}
    return json.dumps({"metadata": {"annotations": {key: value for key, value in given.items() if value is not None}}, **more})


class People:
    """What people do to one ModelDeployment."""

    def __init__(self, cluster: controlplane.ControlPlane) -> None:
        self.cluster = cluster

    def run(self, who: str, *arguments: str, stdin: str | None = None, check: bool = False) -> subprocess.CompletedProcess[str]:
        """Kubectl as somebody."""
        groups = ["--as-group=system:serviceaccounts"] if who.startswith("system:") else []
        common = (f"--as={who}", "--as-group=system:authenticated", *groups, "-n", NAMESPACE)
        return self.cluster.kubectl(*common, *arguments, stdin=stdin, check=check)

    def annotate(self, who: str, name: str, *, command: str | None = None, by: str | None = None, **more: Any) -> str:
        """What the API server says against a patch of the annotations; empty when it is let through."""
        done = self.run(who, "patch", "mdep", name, "--type=merge", "-p", patch(command=command, by=by, **more))
        return done.stderr if done.returncode else ""

    def model(self, name: str, **annotations: str) -> str:
        """A new ModelDeployment, made by the administrator without an order."""
        obj = {**MODEL, "metadata": {"name": name, "namespace": NAMESPACE, "annotations": annotations}}
        self.cluster.kubectl("create", "-f", "-", stdin=json.dumps(obj))
        return name


@pytest.fixture(scope="module")
def people(cluster: controlplane.ControlPlane) -> Iterator[People]:
    """Sluice installed, the people bound to their roles, and the policies in force."""
    cluster.kubectl("apply", "--server-side", "-k", str(ROOT / "manifests"))
    for namespace in (NAMESPACE, OTHER):
        cluster.kubectl("create", "namespace", namespace)
    for who, role in ((BOSS, "admin"), (EDITOR, "edit"), (CUSTOM, "edit"), (APPROVER, "edit")):
        cluster.kubectl("create", "rolebinding", who, f"--clusterrole={role}", f"--user={who}", "-n", NAMESPACE)
    verbs = "--verb=get,list,watch,create,update,patch,delete"
    cluster.kubectl("create", "role", CUSTOM, verbs, "--resource=controllerrevisions.apps,configmaps", "-n", NAMESPACE)
    cluster.kubectl("create", "rolebinding", "custom-too", f"--role={CUSTOM}", f"--user={CUSTOM}", "-n", NAMESPACE)
    cluster.kubectl("create", "role", APPROVER, "--verb=approve", "--resource=modeldeployments.sluice.dev", "-n", NAMESPACE)
    cluster.kubectl("create", "rolebinding", "approver-too", f"--role={APPROVER}", f"--user={APPROVER}", "-n", NAMESPACE)
    everyone = People(cluster)
    everyone.model("probe")
    _wait(
        lambda: "must name who" in everyone.annotate(BOSS, "probe", command=order("abort"), by=EDITOR),
        "commands are let through",
    )
    _wait(lambda: not everyone.annotate(BOSS, "probe", command=order("abort"), by=BOSS), "the role admin has no virtual verbs")
    record(cluster, "probe-record")
    _wait(lambda: everyone.run(CUSTOM, "label", "configmap", "probe-record", "a=b").returncode != 0, "records can be changed")
    yield everyone
    cluster.kubectl("delete", "namespace", NAMESPACE, OTHER, "--wait=false")


def _wait(condition: Any, what: str) -> None:
    """Policies and aggregated roles take a moment."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"still so after {SECONDS} s: {what}"


def record(cluster: controlplane.ControlPlane, name: str, kind: str = "ConfigMap") -> str:
    """A record as the operator makes it."""
    labels = {naming.LABEL_MANAGED_BY: naming.MANAGED_BY, naming.LABEL_REVISION: REVISION, naming.LABEL_OUTCOME: "Rejected"}
    content: dict[str, Any] = {"apiVersion": "v1", "kind": kind, "data": {"plan": "{}"}}
    if kind == "ControllerRevision":
        content |= {"apiVersion": "apps/v1", "revision": 1}
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
    done = People(cluster).run(OPERATOR, "create", "-f", "-", stdin=json.dumps({**content, "metadata": metadata}))
    assert done.returncode == 0, done.stderr
    return name


@pytest.mark.parametrize("verb", list(commands.Verb))
def test_an_admin_of_the_namespace_may_order_everything(people: People, verb: commands.Verb) -> None:
    """The role admin has the virtual verbs by aggregation."""
    name = people.model(f"all-{verb.value}")
    assert people.annotate(BOSS, name, command=order(verb.value), by=BOSS) == ""


@pytest.mark.parametrize("verb", list(commands.Verb))
def test_who_may_edit_may_not_order(people: People, verb: commands.Verb) -> None:
    """Changing a model and letting it out are two rights; the message names the one that is missing."""
    name = people.model(f"none-{verb.value}")
    said = people.annotate(EDITOR, name, command=order(verb.value), by=EDITOR)
    assert f"may not order '{verb.value}'" in said
    assert f"'{commands.PERMISSION_OF[verb].value}' on modeldeployments.sluice.dev" in said


def test_each_verb_asks_for_its_own_permission(people: People) -> None:
    """An approver approves, and moves nothing else."""
    name = people.model("approver")
    assert people.annotate(APPROVER, name, command=order("approve"), by=APPROVER) == ""
    assert "may not order 'promote'" in people.annotate(APPROVER, name, command=order("promote"), by=APPROVER)
    assert "may not order 'abort'" in people.annotate(APPROVER, name, command=order("abort"), by=APPROVER)


def test_nobody_orders_in_anothers_name(people: People) -> None:
    """Not even who may order: the name is what the status and events tell."""
    name = people.model("forged-name")
    assert "must name who gives the order, 'boss'" in people.annotate(BOSS, name, command=order("promote"), by=EDITOR)
    assert "must name who gives the order, 'boss'" in people.annotate(BOSS, name, command=order("promote"))


def test_a_name_is_not_changed_afterwards(people: People) -> None:
    """An order that stands keeps the name of who gave it, whoever comes later."""
    name = people.model("renamed")
    assert people.annotate(BOSS, name, command=order("pause"), by=BOSS) == ""
    assert "it changes with a new order only" in people.annotate(EDITOR, name, by=EDITOR)
    assert "it changes with a new order only" in people.annotate(EDITOR, people.model("named-only"), by=EDITOR)


@pytest.mark.parametrize(
    "text",
    [
        "promote",
        "promote/3f9ab2c4/1",
        "promote//0d9d3a4e-0000-4000-8000-000000000000",
        "explode/3f9ab2c4/0d9d3a4e-0000-4000-8000-000000000000",
        "promote/3f9ab2c4/0d9d3a4e-0000-4000-8000-000000000000\n",
        "promote/3f9ab2c4/0d9d3a4e-0000-4000-8000-000000000000/more",
        "Promote/3f9ab2c4/0d9d3a4e-0000-4000-8000-000000000000",
    ],
)
def test_a_malformed_order_is_refused(people: People, text: str) -> None:
    """By its form, before anybody's rights are asked for."""
    name = f"malformed-{uuid.uuid4().hex[:8]}"
    assert "must be of the form <verb>/<revision>/<uuid>" in people.annotate(BOSS, people.model(name), command=text, by=BOSS)


def test_anothers_order_cannot_be_given_again(people: People) -> None:
    """Neither in the name of who gave it, nor in one's own: the text is new to the object, so it takes the right."""
    first, second = people.model("replay"), people.model("replay-too")
    text = order("promote")
    assert people.annotate(BOSS, first, command=text, by=BOSS) == ""
    assert "must name who gives the order" in people.annotate(EDITOR, second, command=text, by=BOSS)
    assert "may not order" in people.annotate(EDITOR, second, command=text, by=EDITOR)


def test_an_order_is_taken_back_with_its_name_and_not_put_back(people: People) -> None:
    """Removing both annotations orders nothing; putting them there again does."""
    name = people.model("taken-back")
    text = order("abort")
    assert people.annotate(BOSS, name, command=text, by=BOSS) == ""
    both = [f"{commands.ANNOTATION}-", f"{commands.BY_ANNOTATION}-"]
    assert people.run(EDITOR, "annotate", "mdep", name, both[0]).returncode != 0
    assert people.run(EDITOR, "annotate", "mdep", name, *both).returncode == 0
    assert "must name who gives the order" in people.annotate(EDITOR, name, command=text, by=BOSS)


def test_an_order_cannot_come_with_a_new_object(people: People) -> None:
    """A copy or backup of an object would otherwise do again what was ordered once."""
    obj = {
        **MODEL,
        "metadata": {"name": "copied", "annotations": {commands.ANNOTATION: order("abort"), commands.BY_ANNOTATION: BOSS}},
    }
    done = people.run(EDITOR, "create", "-f", "-", stdin=json.dumps(obj))
    assert done.returncode != 0
    assert "remove both annotations" in done.stderr


def test_what_is_not_an_order_is_let_through(people: People) -> None:
    """Edits, `kubectl apply`, GitOps under another field manager and scaling, while an order stands."""
    name = people.model("let-through")
    text = order("pause")
    assert people.annotate(BOSS, name, command=text, by=BOSS) == ""
    plain = json.dumps({**MODEL, "metadata": {"name": name, "labels": {"team": "a"}}})
    assert people.annotate(EDITOR, name, spec={"startupTimeout": "30m"}) == ""
    for arguments in (
        ("apply", "-f", "-"),
        ("apply", "--server-side", "--force-conflicts", "--field-manager=argocd-controller", "-f", "-"),
    ):
        done = people.run(EDITOR, *arguments, stdin=plain)
        assert done.returncode == 0, done.stderr
    assert people.run(EDITOR, "scale", "mdep", name, "--replicas=2").returncode == 0
    left = json.loads(people.run(EDITOR, "get", "mdep", name, "-o", "json").stdout)["metadata"]["annotations"]
    assert (left[commands.ANNOTATION], left[commands.BY_ANNOTATION]) == (text, BOSS)


def test_the_operator_writes_the_status_and_nobody_with_edit_does(people: People) -> None:
    """Whatever order stands; and a status cannot carry an order in."""
    name = people.model("status")
    assert people.annotate(BOSS, name, command=order("pause"), by=BOSS) == ""
    forged = {commands.ANNOTATION: order("abort"), commands.BY_ANNOTATION: OPERATOR}
    obj = {"apiVersion": MODEL["apiVersion"], "kind": MODEL["kind"], "metadata": {"name": name, "annotations": forged}}
    text = json.dumps({**obj, "status": {"observedGeneration": 1}})
    apply = ("apply", "--server-side", "--subresource=status", "-f", "-")
    assert people.run(OPERATOR, *apply, stdin=text).returncode == 0
    left = json.loads(people.run(EDITOR, "get", "mdep", name, "-o", "json").stdout)
    assert left["status"]["observedGeneration"] == 1
    assert left["metadata"]["annotations"][commands.ANNOTATION].startswith("pause/")
    for who in (EDITOR, BOSS, CUSTOM):
        refused = people.run(who, *apply, stdin=text)
        assert "cannot patch resource" in refused.stderr, refused.stderr


@pytest.mark.parametrize("kind", ["ConfigMap", "ControllerRevision"])
def test_records_are_changed_by_the_operator_alone(people: People, kind: str) -> None:
    """Outcomes, frozen plans and evidence decide what serves. A role of one's own that reaches them does not help."""
    name = record(people.cluster, f"{kind.lower()}-record", kind)
    what = f"{kind.lower()}/{name}"
    label = f"{naming.LABEL_OUTCOME}=Stable"
    forged = (
        {"apiVersion": "v1", "kind": "ConfigMap", "data": {}}
        if kind == "ConfigMap"
        else {
            "apiVersion": "apps/v1",
            "kind": kind,
            "data": {},
            "revision": 2,
        }
    )
    forged["metadata"] = {"name": f"{name}-forged", "labels": {naming.LABEL_MANAGED_BY: naming.MANAGED_BY}}
    for refused in (
        people.run(CUSTOM, "label", what, "--overwrite", label),
        people.run(CUSTOM, "label", what, f"{naming.LABEL_MANAGED_BY}-"),
        people.run(CUSTOM, "delete", what),
        people.run(CUSTOM, "create", "-f", "-", stdin=json.dumps(forged)),
    ):
        assert refused.returncode != 0
        assert "may not change what Sluice has recorded" in refused.stderr
    assert people.run(OPERATOR, "label", what, "--overwrite", label).returncode == 0
    assert people.run(OPERATOR, "delete", what).returncode == 0


def test_records_of_others_are_left_alone(people: People) -> None:
    """The policy is about what bears our label, and nobody else gives it."""
    done = people.run(CUSTOM, "create", "configmap", "of-their-own", "--from-literal=a=b")
    assert done.returncode == 0, done.stderr
    becoming_ours = people.run(EDITOR, "label", "configmap", "of-their-own", f"{naming.LABEL_MANAGED_BY}={naming.MANAGED_BY}")
    assert "may not change what Sluice has recorded" in becoming_ours.stderr
    assert people.run(EDITOR, "delete", "configmap", "of-their-own").returncode == 0


@pytest.mark.parametrize("controller", ["generic-garbage-collector", "namespace-controller"])
def test_controllers_clear_records_away(people: People, controller: str) -> None:
    """Records go with their ModelDeployment or their namespace."""
    name = record(people.cluster, f"cleared-by-{controller}")
    account = f"system:serviceaccount:kube-system:{controller}"
    done = people.run(account, "delete", "configmap", name, "--wait=false")
    assert done.returncode == 0, done.stderr
