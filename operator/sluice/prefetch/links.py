"""A folder of the pod's own that looks like the model: links into the cache, by the names that the source gives its files."""

from __future__ import annotations

import pathlib
import shutil

from sluice.prefetch import errors, store


def place(folder: pathlib.Path, cache: store.Store, manifest: store.Manifest) -> None:
    """Makes `folder` hold exactly the manifest's files, as links.

    Raises:
        errors.PrefetchError: the folder cannot be written.
    """
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        for file in manifest.files:
            link = folder / file.path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(cache.blobs / file.key)
    except OSError as error:
        raise errors.of_disk(folder, error) from error
