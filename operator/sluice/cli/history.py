"""`kubectl sluice history`."""

from __future__ import annotations

import time

from sluice.cli import options, page, printing, session, view


def history(
    name: options.Name,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    output: options.Output = printing.Format.TEXT,
) -> None:
    """Lists the revisions that are kept: what each was, what became of it and why."""
    target = session.Target(namespace, context, kubeconfig)
    model = view.read(session.run(target, lambda opened: opened.read(name)))
    if output is printing.Format.TEXT:
        printing.console().print(page.history(model.history, time.time()))
    else:
        printing.document(printing.wire(model.history), output)
