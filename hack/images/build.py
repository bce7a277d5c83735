"""Builds images into the cache: `ensure_image(name)` returns one as a tar file that a container runtime can import."""

import dataclasses
import json
import time
from pathlib import Path

from hack.images import cache, catalogue, layers, oci

TAR, FACTS = "image.tar", "image.json"
KEPT = 2
"""How many builds of each image stay in the cache: what a running cluster or another checkout uses is not removed."""


@dataclasses.dataclass(frozen=True)
class Image:
    """An image in the cache.

    Attributes:
        ref: Name and tag for pods, such as `localhost/sluice/envoy:1.40.0`.
        tar: An OCI image layout as a tar file.
        digest: `sha256:…` of the manifest. The same ref may have another digest after a change: import it again then.
    """

    ref: str
    tar: Path
    digest: str


def names() -> list[str]:
    """Return the names of all images."""
    return list(catalogue.RECIPES)


def ensure_image(name: str) -> Image:
    """Return the image of that name, built into the cache when it is not there or something in it has changed.

    Raises:
        errors.ImageError: it cannot be built; one sentence says why.
        apt.AptError, hack.cluster.errors.ClusterError: the same, of the tools it takes.
    """
    recipe = catalogue.recipe(name)
    key = cache.content_key(layers.FORMAT, recipe.ref, repr(recipe.config), *(layer.key for layer in recipe.layers))
    home = cache.build(cache.directory("images") / f"{name}-{key}", lambda scratch: _write(scratch, recipe))
    facts = json.loads((home / FACTS).read_text())
    cache.keep_newest(home, f"{name}-*", KEPT)
    return Image(facts["ref"], home / TAR, facts["digest"])


def _write(scratch: Path, recipe: catalogue.Recipe) -> None:
    scratch.mkdir()
    started = time.monotonic()
    parts = [layers.ensure(spec) for spec in recipe.layers]
    digest = oci.write_image(scratch / TAR, recipe.ref, parts, recipe.config)
    (scratch / FACTS).write_text(json.dumps({"ref": recipe.ref, "digest": digest}))
    size = (scratch / TAR).stat().st_size / (1 << 20)
    print(f"images: {recipe.ref}: {size:.0f} MB in {time.monotonic() - started:.1f} s", flush=True)
