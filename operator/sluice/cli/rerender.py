"""`kubectl sluice rerender`."""

from __future__ import annotations

from sluice.api import commands
from sluice.cli import options, orders, printing, session


def rerender(
    name: options.Name,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    no_wait: options.NoWait = False,
    timeout: options.Timeout = options.WAIT,
    output: options.Output = printing.Format.TEXT,
) -> None:
    """Renders the pods of what serves anew, by this version of Sluice and its defaults, and rolls that out."""
    wait = None if no_wait else options.seconds(timeout)
    order = orders.Order(name, commands.Verb.RERENDER, wait=wait, form=output)
    orders.give(session.Target(namespace, context, kubeconfig), order)
