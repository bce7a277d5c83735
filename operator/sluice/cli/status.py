"""`kubectl sluice status`."""

from __future__ import annotations

import time

from sluice.cli import options, page, printing, session, view


def status(
    name: options.Name,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    output: options.Output = printing.Format.TEXT,
) -> None:
    """Shows what serves, the rollout with its steps and gates, conditions and history."""
    target = session.Target(namespace, context, kubeconfig)
    model = view.read(session.run(target, lambda opened: opened.read(name)))
    if output is printing.Format.TEXT:
        printing.console().print(page.build(model, time.time()))
    else:
        printing.document(printing.wire(model), output)
