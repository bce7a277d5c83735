"""Each revision's own copy of its files in the cluster: made before its pods, and kept as long as the revision is.

A copy is immutable, so one that is there is as it was made. What the sources hold is read in `files`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from typing import Any

from sluice.api import naming
from sluice.kube import errors, resources
from sluice.reconcile import objects as applier_
from sluice.reconcile.models import gather, objects
from sluice.workloads import files


async def keep(
    applier: applier_.Applier, observed: gather.Observed, engine: files.EngineFiles, revisions: Collection[str]
) -> None:
    """Makes the copies of these revisions where they are missing and can be made, and removes those of revisions that are gone.

    Revisions without pods keep theirs, so that they can be rolled out again whatever became of the sources.
    """
    metadata, owner = observed.model.metadata, objects.owner_of(observed.model)
    for known in observed.revisions:
        copy = applier.cache.get(resources.CONFIG_MAPS, metadata.namespace, naming.files_name(metadata.name, known.hash))
        if copy is not None:
            await _adopt(applier, copy, owner)
        elif known.hash in revisions and known.files:  # none: made by a version that knew no files
            contents = files.contents_of(known.files, observed.contents or {}, engine)
            if contents is not None:
                await applier.apply(
                    files.build_config_map(
                        namespace=metadata.namespace,
                        name=metadata.name,
                        revision_hash=known.hash,
                        contents=contents,
                        owner=owner,
                    )
                )
    await applier.prune(
        resources.CONFIG_MAPS,
        metadata.namespace,
        files.labels(metadata.name),
        keep=[naming.files_name(metadata.name, known.hash) for known in observed.revisions],
        owner_uid=metadata.uid,
    )


async def _adopt(applier: applier_.Applier, copy: Mapping[str, Any], owner: Mapping[str, Any]) -> None:
    """Hands an orphan of an earlier object of that name to the present one."""
    metadata = copy["metadata"]
    if any(reference.get("uid") == owner["uid"] for reference in metadata.get("ownerReferences") or ()):
        return
    patch = {"metadata": {"resourceVersion": metadata["resourceVersion"], "ownerReferences": [dict(owner)]}}
    with contextlib.suppress(errors.NotFound):  # the watch will tell
        patched = await applier.client.patch(resources.CONFIG_MAPS, metadata["namespace"], metadata["name"], patch)
        applier.cache.put(resources.CONFIG_MAPS, patched)
