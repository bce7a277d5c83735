"""`kubectl sluice promote`."""

from __future__ import annotations

from typing import Annotated

import typer

from sluice.api import commands
from sluice.cli import options, orders, printing, session


def promote(
    name: options.Name,
    skip_step: Annotated[
        bool, typer.Option("--skip-step", help="Leave the step with its approval and gates; what the analysis asks for stays.")
    ] = False,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    no_wait: options.NoWait = False,
    timeout: options.Timeout = options.WAIT,
    output: options.Output = printing.Format.TEXT,
) -> None:
    """Ends the hold of the present step; its gates are still needed."""
    verb = commands.Verb.SKIP_STEP if skip_step else commands.Verb.PROMOTE
    wait = None if no_wait else options.seconds(timeout)
    orders.give(session.Target(namespace, context, kubeconfig), orders.Order(name, verb, wait=wait, form=output))
