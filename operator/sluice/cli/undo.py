"""`kubectl sluice undo`: goes back to a revision, and prints what to change in Git so that it stays so."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sluice.api import commands, naming
from sluice.cli import options, orders, printing, session, texts
from sluice.kube import errors, person
from sluice.workloads import revision


def undo(
    name: options.Name,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="REVISION", help="Hash or number. Default: the one that served before.", show_default=False
        ),
    ] = None,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    no_wait: options.NoWait = False,
    timeout: options.Timeout = options.WAIT,
    output: options.Output = printing.Format.TEXT,
) -> None:
    """Goes back to a revision until spec.template changes, and prints the patch for Git."""
    wait = None if no_wait else options.seconds(timeout)
    order = orders.Order(name, commands.Verb.UNDO, to, wait, printing.Format.TEXT)
    target = session.Target(namespace, context, kubeconfig)
    answer, patch = session.run(target, lambda opened: _place(opened, order))
    if output is printing.Format.TEXT:
        orders.show(answer, order)
        sys.stdout.write(_for_git(answer, patch))
    else:
        printing.document({**printing.wire(answer), "patch": patch}, output)
        orders.judge(answer, order)


async def _place(opened: session.Session, order: orders.Order) -> tuple[orders.Answer, session.Object | None]:
    answer = await orders.place(opened, order)
    return answer, await _patch(opened, answer)


async def _patch(opened: session.Session, answer: orders.Answer) -> session.Object | None:
    """What Git has to say; None where the stored revision may not be read or is gone."""
    stored = naming.revision_name(answer.name, answer.revision)
    try:
        obj = await opened.client.get(person.CONTROLLER_REVISIONS, opened.namespace, stored)
        return {"spec": {"template": dict(revision.parse_controller_revision(obj).template)}}
    except (errors.Forbidden, errors.NotFound, KeyError):
        return None


def _for_git(answer: orders.Answer, patch: session.Object | None) -> str:
    if patch is None:
        return f"Git still asks for another revision: put spec.template of revision {texts.clean(answer.revision)} there.\n"
    return (
        "Git still asks for another revision. The next change of spec.template ends this; to keep it, put this into the file:\n"
        f"---\n{printing.to_yaml(patch)}"
    )
