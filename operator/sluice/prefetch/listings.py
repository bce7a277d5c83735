"""Versions of object stores, which have no commits: a digest of the names and contents that a listing tells. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from sluice.api import naming
from sluice.prefetch import errors, model

_LENGTH = 40
"""As long as a commit."""


def of_objects(source: str, files: Iterable[model.File]) -> model.Listing:
    """The listing of the objects below a prefix, without the empty ones that stand for folders.

    Raises:
        errors.MissingError: there are none.
    """
    real = sorted((file for file in files if file.path and not file.path.endswith("/")), key=lambda file: file.path)
    if not real:
        raise errors.MissingError(
            f"Cannot download {source}: there is no object below it. Correct bucket and prefix, or upload the model there"
        )
    version = naming.content_hash([[file.path, file.key] for file in real], length=_LENGTH)
    return model.Listing(version, tuple(real))
