"""One eval of one revision: everything its Job depends on, and the name that follows from what it measures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from sluice.api import evalgate, naming

NAME_PREFIX: Final = "sluice-eval-"
HASH_LENGTH: Final = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """`spec` asked of the revision `deployment`-`revision` in `namespace`."""

    namespace: str
    deployment: str
    """Name of the ModelDeployment."""
    revision: str
    """Hash of the candidate."""
    served_name: str
    """The model's name in requests."""
    spec: evalgate.Eval
    dataset_sha256: str
    """Of the dataset as frozen when the rollout started."""
    image: str
    """The operator's own image, by digest if it is known."""
    owner: Mapping[str, Any]
    """Owner reference to the ModelDeployment."""
    port: int = 8000
    """Of the revision's Service."""

    @property
    def name(self) -> str:
        """Name of the Job and of the ConfigMap that caches its counts: a finished one is a cache hit.

        Only what is measured counts. Threshold, error rate, concurrency and timeout judge or bound a run, so they may
        change without a new one.
        """
        measured = self.spec.model_dump(
            mode="json", by_alias=True, include={"runner", "generation", "scorer", "sample_size"}, exclude_none=True
        )
        identity = {
            "namespace": self.namespace,
            "candidate": naming.revision_name(self.deployment, self.revision),
            "baseline": None,
            "dataset": self.dataset_sha256,
            "eval": measured,
            "image": self.image,
        }
        return NAME_PREFIX + naming.content_hash(identity, length=HASH_LENGTH)

    @property
    def url(self) -> str:
        """The revision's own Service: the gateway is not involved."""
        return f"http://{naming.revision_name(self.deployment, self.revision)}.{self.namespace}.svc:{self.port}"
