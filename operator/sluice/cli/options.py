"""Arguments and options that commands share, named and abbreviated as kubectl's own."""

from __future__ import annotations

import asyncio
import pathlib
from typing import Annotated, Final

import typer

from sluice.api import durations
from sluice.cli import exits, printing, session
from sluice.kube import errors, person

_COMPLETION_SECONDS: Final = 3.0
WAIT: Final = "30s"
"""How long an order is waited for: the operator looks at once."""


def complete_name(context: typer.Context) -> list[str]:
    """ModelDeployments of the namespace that the line names so far. A shell that waits is worse than one that knows nothing."""
    given = context.params
    target = session.Target(given.get("namespace"), given.get("context"), given.get("kubeconfig"))
    try:
        return session.run(target, lambda opened: asyncio.wait_for(opened.names(), _COMPLETION_SECONDS))
    except (exits.Failure, errors.KubeError, TimeoutError):
        return []


def complete_context(context: typer.Context) -> list[str]:
    """Contexts of the kubeconfig."""
    return person.contexts(context.params.get("kubeconfig"))


def seconds(text: str) -> float:
    """A duration on the command line."""
    try:
        return durations.seconds(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no duration: use a form such as 30s, 10m or 1h30m") from error


Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The ModelDeployment.", autocompletion=complete_name, show_default=False)
]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Its namespace. Default: the context's.", show_default=False)
]
Context = Annotated[
    str | None,
    typer.Option(
        "--context",
        help="The kubeconfig's context. Default: the present one.",
        autocompletion=complete_context,
        show_default=False,
    ),
]
Kubeconfig = Annotated[
    pathlib.Path | None,
    typer.Option(
        "--kubeconfig", help="The kubeconfig. Default: $KUBECONFIG, ~/.kube/config, the pod's account.", show_default=False
    ),
]
Output = Annotated[printing.Format, typer.Option("--output", "-o", help="Form of the output.", case_sensitive=False)]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Give the order and do not wait for what becomes of it.")]
Timeout = Annotated[
    str, typer.Option("--timeout", help="How long to wait for the operator to handle the order.", metavar="DURATION")
]
