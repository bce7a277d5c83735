"""One line of a ModelDeployment's history: what a revision was, what became of it and why."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import pydantic

from sluice.api import base

LIMIT_MAX: Final = 100
"""Most revisions that spec.revisionHistoryLimit keeps."""
ENTRIES_MAX: Final = LIMIT_MAX + 8
"""Revisions that serve, are in rollout, are wanted or still have pods come on top."""
MESSAGE_MAX: Final = 512
FILES_MAX: Final = 32


class FileDigest(base.ApiModel):
    """One file of a revision."""

    name: Annotated[str, pydantic.Field(max_length=253, description="Name of the file.")]
    digest: Annotated[str, pydantic.Field(max_length=64, description="Beginning of its content's SHA-256.")]


class HistoryEntry(base.ApiModel):
    """A revision that is kept."""

    revision: Annotated[str, pydantic.Field(max_length=63, description="Hash of the revision.")]
    number: Annotated[int, pydantic.Field(ge=0, description="Rises with each revision.")] = 0
    outcome: Annotated[
        Literal["Candidate", "Stable", "Previous", "Rejected", "Superseded"] | None,
        pydantic.Field(description="What became of it; Stable serves."),
    ] = None
    created_at: Annotated[
        str | None, pydantic.Field(json_schema_extra={"format": "date-time"}, description="When it was first asked for.")
    ] = None
    model: Annotated[str, pydantic.Field(max_length=1024, description="Source of its model, with the revision there.")] = ""
    image: Annotated[str | None, pydantic.Field(max_length=512, description="Its engine's image.")] = None
    files: Annotated[
        tuple[FileDigest, ...],
        pydantic.Field(
            max_length=FILES_MAX,
            description="Files that the template took from ConfigMaps.",
            json_schema_extra=base.map_list("name"),
        ),
    ] = ()
    result: Annotated[
        Literal["Promoted", "RolledBack", "Rejected", "Superseded"] | None,
        pydantic.Field(description="How its latest rollout ended."),
    ] = None
    reason: Annotated[str | None, pydantic.Field(max_length=64, description="Why, for machines.")] = None
    message: Annotated[str | None, pydantic.Field(max_length=MESSAGE_MAX, description="Why, for people.")] = None
    finished_at: Annotated[
        str | None, pydantic.Field(json_schema_extra={"format": "date-time"}, description="When that was.")
    ] = None
