"""`kubectl sluice retry`."""

from __future__ import annotations

from typing import Annotated

import typer

from sluice.api import commands
from sluice.cli import options, orders, printing, session


def retry(
    name: options.Name,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Which one. Default: the one that failed last.", show_default=False)
    ] = None,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    no_wait: options.NoWait = False,
    timeout: options.Timeout = options.WAIT,
    output: options.Output = printing.Format.TEXT,
) -> None:
    """Tries a revision again that was rejected or rolled back."""
    wait = None if no_wait else options.seconds(timeout)
    order = orders.Order(name, commands.Verb.RETRY, revision, wait, output)
    orders.give(session.Target(namespace, context, kubeconfig), order)
