"""`kubectl sluice explain`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import rich.text

from sluice.api import commands, durations, naming
from sluice.cli import explaining, options, printing, session, view
from sluice.kube import errors, person
from sluice.rollout import causes

_STARTUP: Final = "20m"


def explain(
    name: options.Name,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    output: options.Output = printing.Format.TEXT,
) -> None:
    """Says why the rollout is where it is, what would move it, and what you can order now."""
    target = session.Target(namespace, context, kubeconfig)
    model, said = session.run(target, lambda opened: _explain(opened, name))
    if output is not printing.Format.TEXT:
        printing.document(printing.wire(said), output)
        return
    console = printing.console()
    for line in lines(model, said):
        console.print(rich.text.Text(line), soft_wrap=True)


async def _explain(opened: session.Session, name: str) -> tuple[view.Model, explaining.Explanation]:
    obj = await opened.read(name)
    model, now = view.read(obj), time.time()
    held = {permission for permission in commands.Permission if await opened.may(permission.value, name)}
    may_patch = await opened.may("patch", name)
    pods = await _pods(opened, obj, model, now)
    return model, explaining.explain(model, now, pods=pods, may=lambda permission: may_patch and permission in held)


async def _pods(opened: session.Session, obj: session.Object, model: view.Model, now: float) -> str:
    """What keeps pods of the revision in question from being ready; nothing where this person may not look."""
    revision = model.rollout.revision if model.rollout is not None else model.stable
    if not revision:
        return ""
    labels = f"{naming.LABEL_MODEL_DEPLOYMENT}={model.name},{naming.LABEL_REVISION}={revision}"
    try:
        deployment = await opened.client.get(person.DEPLOYMENTS, opened.namespace, naming.revision_name(model.name, revision))
        pods = await opened.client.list(person.PODS, opened.namespace, labels=labels)
    except (errors.Forbidden, errors.NotFound):
        return ""
    timeout = durations.seconds((obj.get("spec") or {}).get("startupTimeout") or _STARTUP)
    health = causes.health_of(deployment, pods.items, startup_timeout=timeout, now=now)
    return health.trouble.message if health.trouble is not None else ""


def lines(model: view.Model, said: explaining.Explanation) -> Iterator[str]:
    """The text of an explanation."""
    yield from said.now
    if said.needs:
        yield ""
        yield "To go on it needs:"
        yield from (f"- {need}" for need in said.needs)
    if said.trouble:
        yield ""
        yield "To know:"
        yield from (f"- {each}" for each in said.trouble)
    if said.orders:
        yield ""
        yield "What can be ordered now:"
        yield from (f"- kubectl sluice {_line(model, order)}" for order in said.orders)


def _line(model: view.Model, order: explaining.Order) -> str:
    missing = commands.PERMISSION_OF[order.verb].value
    right = "" if order.may else f" (you may not: it takes the verb {missing!r} and `patch`)"
    verb, *options_ = order.line.split(" ")
    return f"{' '.join([verb, model.name, *options_])} -n {model.namespace}: {order.what}{right}"
