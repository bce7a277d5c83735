"""`kubectl sluice watch`: follows a rollout to its end."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import sys
import time
from collections.abc import Iterator
from typing import Annotated, Protocol

import rich.console
import rich.live
import typer

from sluice.cli import exits, options, page, printing, progress, session, texts, view

_PER_SECOND = 4


def watch(
    name: options.Name,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    timeout: Annotated[str, typer.Option("--timeout", help="When to give up; 0s: never.", metavar="DURATION")] = "0s",
    output: options.Output = printing.Format.TEXT,
) -> None:
    """Follows the rollout to its end; the exit code says how it ended."""
    limit = options.seconds(timeout) or None
    target = session.Target(namespace, context, kubeconfig)
    with _screen(output) as screen:
        ended = session.run(target, lambda opened: _follow(opened, name, screen, limit))
    if ended.code is not exits.Exit.DONE:
        raise exits.Failure(ended.code, ended.message)
    printing.say(ended.message)


class Screen(Protocol):
    """Where changes are shown."""

    def show(self, model: view.Model) -> None:
        """The object has changed."""
        ...


async def _follow(opened: session.Session, name: str, screen: Screen, limit: float | None) -> progress.End:
    """Shows every version until the rollout has ended."""
    watched = ""
    try:
        async with asyncio.timeout(limit):
            first = await opened.read(name)
            async with contextlib.aclosing(opened.follow(first)) as versions:
                async for version in versions:
                    model = view.read(version)
                    screen.show(model)
                    if model.rollout is not None:
                        watched = watched or model.rollout.revision
                    ended = progress.end(model, watched)
                    if ended is not None:
                        return ended
    except TimeoutError:
        what = f"the rollout of revision {watched}" if watched else "a rollout"
        message = f"Cannot tell how {what} of {name} ends: it has not within {texts.span(limit or 0)}. It goes on all the same"
        return progress.End(exits.Exit.TIMED_OUT, message)
    raise AssertionError("an object is followed for ever")


@contextlib.contextmanager
def _screen(output: printing.Format) -> Iterator[Screen]:
    """A page that is kept up to date on a terminal, and else a line or document for each change."""
    if output is not printing.Format.TEXT:
        yield _Documents(output)
    elif not sys.stdout.isatty():
        yield _Lines()
    else:
        live = _Live()
        with rich.live.Live(
            get_renderable=live.render, console=printing.console(), refresh_per_second=_PER_SECOND, transient=False
        ):
            yield live


class _Live:
    """The page; drawn again several times a second, so that holds move between two changes."""

    def __init__(self) -> None:
        self._model: view.Model | None = None

    def show(self, model: view.Model) -> None:
        """For the next drawing."""
        self._model = model

    def render(self) -> rich.console.RenderableType:
        """The page as it is now."""
        return page.build(self._model, time.time(), bars=True, short=True) if self._model is not None else ""


class _Lines:
    """One line for each change."""

    def __init__(self) -> None:
        self._before: view.Model | None = None

    def show(self, model: view.Model) -> None:
        """What is new."""
        at = datetime.datetime.now(datetime.UTC).strftime("%H:%M:%SZ")
        for line in progress.changes(self._before, model):
            sys.stdout.write(f"{at} {line}\n")
        sys.stdout.flush()
        self._before = model


class _Documents:
    """One document for each change."""

    def __init__(self, form: printing.Format) -> None:
        self._form = form

    def show(self, model: view.Model) -> None:
        """The whole view."""
        wire = printing.wire(model)
        sys.stdout.write(json.dumps(wire) + "\n" if self._form is printing.Format.JSON else f"---\n{printing.to_yaml(wire)}")
        sys.stdout.flush()
