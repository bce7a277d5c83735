"""`kubectl sluice validate`: judges manifests without a cluster."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from typing import Annotated

import typer

from sluice import settings
from sluice.cli import exits, options, printing, texts
from sluice.cli.offline import findings, given, manifests, samples, together

Level = findings.Level

Files = Annotated[
    list[str],
    typer.Option("--filename", "-f", metavar="FILE|DIR|-", help="What to read; may be given again.", show_default=False),
]
Recursive = Annotated[bool, typer.Option("--recursive", "-R", help="Folders with all below them.")]
Rate = Annotated[
    float | None,
    typer.Option("--rps", min=0.001, help="Requests a second: says whether gates get enough of them.", show_default=False),
]
Bad = Annotated[
    float, typer.Option("--bad-share", min=0.0, max=0.5, help="Share of requests that fail at the revision that serves.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Warnings are errors.")]


def validate(
    filename: Files,
    recursive: Recursive = False,
    rps: Rate = None,
    bad_share: Bad = samples.DEFAULT_BAD,
    strict: Strict = False,
    namespace: options.Namespace = None,
    output: options.Output = printing.Format.TEXT,
) -> None:
    """Checks manifests offline: schemas and rules of the CRDs, how objects fit together, samples that suffice."""
    content, found = given.gather(manifests.read(filename, recursive=recursive), namespace or "default")
    found += together.check(content, engine_image=settings.Settings.model_fields["engine_image"].default)
    if rps is not None:
        load = samples.Load(rps, bad_share)
        found += (each for item in content.models.values() for each in samples.advise(item, content, load))
    if output is printing.Format.TEXT:
        sys.stdout.writelines(f"{line}\n" for line in lines(content.checked, found, advised=rps is not None))
    else:
        printing.document({"checked": content.checked, "findings": printing.wire(found), "unseen": findings.UNSEEN}, output)
    bad = {Level.ERROR, Level.WARNING} if strict else {Level.ERROR}
    if any(each.level in bad for each in found):
        raise typer.Exit(exits.Exit.INVALID)


def lines(checked: int, found: list[findings.Finding], *, advised: bool) -> Iterator[str]:
    """The text: findings by object, the worst first, then the sum, then what nobody can see from here."""
    order = list(Level)
    for title in dict.fromkeys(each.title for each in found):
        yield texts.clean(title)
        for each in sorted((each for each in found if each.title == title), key=lambda each: order.index(each.level)):
            yield f"  {each.level.value:8}{texts.clean(each.field)}: {texts.clean(each.message)}"
    counts = Counter(each.level for each in found)
    sums = ", ".join(texts.counted(counts[level], level.value) for level in (Level.ERROR, Level.WARNING))
    yield f"{texts.counted(checked, 'object')} checked: {sums}"
    yield f"Not to be seen without a cluster: {'; '.join(findings.UNSEEN)}."
    if not advised:
        yield "With --rps it also says whether gates get requests enough."
