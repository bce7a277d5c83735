"""What people see of a ModelDeployment: pages, lines and explanations as text.

`plugin/<case>.in.yaml` is an object, `.out.txt` what the commands show; plugin/README.md tells the format. `UPDATE_GOLDEN=1
pytest tests/golden` rewrites the outputs: read the diff.
"""

from __future__ import annotations

import io
import os
import pathlib
import unicodedata
from typing import Any, Final

import pytest
import rich.console
import yaml

from sluice.api import commands
from sluice.cli import explain, explaining, page, progress, texts, view

FOLDER: Final = pathlib.Path(__file__).parent / "plugin"
CASES: Final = sorted(path.name.removesuffix(".in.yaml") for path in FOLDER.glob("*.in.yaml"))
NOW: Final = texts.moment("2026-11-21T21:00:00Z") or 0.0
WIDTH: Final = 140


def read(case: str) -> view.Model:
    """The view of a case."""
    obj: dict[str, Any] = yaml.safe_load((FOLDER / f"{case}.in.yaml").read_text())
    return view.read(obj)


def drawn(renderable: rich.console.RenderableType, *, colours: bool = False) -> str:
    """What a screen shows, without blanks at the ends of lines."""
    screen = io.StringIO()
    console = rich.console.Console(
        file=screen,
        width=WIDTH,
        markup=False,
        emoji=False,
        highlight=False,
        force_terminal=colours,
        color_system="standard" if colours else None,
    )
    console.print(renderable)
    return "".join(f"{line.rstrip()}\n" for line in screen.getvalue().splitlines())


def shown(case: str) -> str:
    """Everything that is shown of a case; its reader may promote and abort, and not approve."""
    model = read(case)
    said = explaining.explain(
        model, NOW, pods="the node has no room", may=lambda permission: permission is not commands.Permission.APPROVE
    )
    parts = {
        "status": drawn(page.build(model, NOW)),
        "watch, on a terminal": drawn(page.build(model, NOW, bars=True, short=True)),
        "watch, a line a change": "".join(f"{line}\n" for line in progress.changes(None, model)),
        "explain": "".join(f"{line}\n" for line in explain.lines(model, said)),
    }
    return "\n".join(f"=== {name} ===\n{text}" for name, text in parts.items())


@pytest.mark.parametrize("case", CASES)
def test_the_pages_are_what_they_were(case: str) -> None:
    """Whoever changes what people read sees it."""
    output, text = FOLDER / f"{case}.out.txt", shown(case)
    if os.environ.get("UPDATE_GOLDEN"):
        output.write_text(text)
    assert text == output.read_text()


@pytest.mark.parametrize("case", CASES)
def test_nothing_shown_is_obeyed_by_a_terminal(case: str) -> None:
    """No controls, no marks that turn the direction, no separators but our own line feeds."""
    hidden = [character for character in shown(case) if unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp"}]
    assert set(hidden) <= {"\n"}


def test_colours_are_only_ours() -> None:
    """On a terminal, the escape sequences are those of styles, whatever the cluster's texts hold."""
    text = drawn(page.build(read("hostile"), NOW), colours=True)
    for hostile in ("\x1b[2J", "\x1b]0;", "\x1b[A", "\x1b[K", "\x1b[8m", "\x07", "\x9b"):
        assert hostile not in text
    assert "[link=http://x]here[/link] :smile:" in drawn(page.build(read("hostile"), NOW))
