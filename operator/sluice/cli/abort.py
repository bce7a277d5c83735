"""`kubectl sluice abort`."""

from __future__ import annotations

from sluice.api import commands
from sluice.cli import options, orders, printing, session


def abort(
    name: options.Name,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    no_wait: options.NoWait = False,
    timeout: options.Timeout = options.WAIT,
    output: options.Output = printing.Format.TEXT,
) -> None:
    """Takes the revision that is being rolled out back."""
    wait = None if no_wait else options.seconds(timeout)
    orders.give(session.Target(namespace, context, kubeconfig), orders.Order(name, commands.Verb.ABORT, wait=wait, form=output))
