"""What engines said before they ended, where their termination messages do not reach that far: read from their logs.

Only of ends whose message says so, once each, and after everything else is done: nothing waits for it. Which lines count is
in `rollout.logs`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sluice.api import naming
from sluice.kube import client as kube_client
from sluice.kube import errors
from sluice.observability import logs as logging
from sluice.rollout import logs, pods
from sluice.workloads import pod_template

_log = logging.get(__name__)

LINES: Final = 400
SECONDS: Final = 3.0
AT_ONCE: Final = 4
"""Logs that are read in one reconcile: pods of one revision mostly say the same."""


@dataclasses.dataclass
class LastWords:
    """Remembers them by pod. Lost with the process: then they are read again."""

    client: kube_client.Client
    _known: dict[naming.ObjectKey, dict[str, tuple[int, str]]] = dataclasses.field(default_factory=dict)
    """By pod uid the number of ends that were read, and the words."""

    def of(self, key: naming.ObjectKey) -> Mapping[str, str]:
        """Words by the uid of a pod."""
        return {uid: words for uid, (_, words) in self._known.get(key, {}).items()}

    async def refresh(self, key: naming.ObjectKey, pod_objects: Iterable[Mapping[str, Any]]) -> bool:
        """Reads what is new; whether there was anything. Pods that are gone are forgotten."""
        known = self._known.get(key, {})
        ended = {obj["metadata"].get("uid", ""): (obj, engine) for obj in pod_objects if (engine := _puzzle(obj)) is not None}
        fresh = [uid for uid, (_, engine) in ended.items() if known.get(uid, (0, ""))[0] < engine.exits][:AT_ONCE]
        for uid in fresh:
            obj, engine = ended[uid]
            known[uid] = engine.exits, await self._read(obj["metadata"], engine) or known.get(uid, (0, ""))[1]
        kept = {uid: words for uid, words in known.items() if uid in ended}
        self._known.pop(key, None)
        if kept:
            self._known[key] = kept
        return any(known[uid][1] for uid in fresh)

    def forget(self, key: naming.ObjectKey) -> None:
        """The ModelDeployment is gone."""
        self._known.pop(key, None)

    async def _read(self, metadata: Mapping[str, Any], engine: pods.Container) -> str:
        namespace, name = metadata["namespace"], metadata["name"]
        try:
            text = await self.client.log(
                namespace, name, pod_template.CONTAINER, previous=engine.end is None, lines=LINES, seconds=SECONDS
            )
        except errors.ApiError as error:
            _log.warning("log of an engine that ended cannot be read", pod=f"{namespace}/{name}", error=str(error))
            return ""
        return logs.root_cause(text)


def _puzzle(obj: Mapping[str, Any]) -> pods.Container | None:
    """The engine of a pod whose latest end says that the reason is elsewhere."""
    engine = pods.parse_pod(obj).engine
    return engine if engine is not None and engine.ends and pods.points_elsewhere(engine.ends[0].message) else None
