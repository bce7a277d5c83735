"""What users are told when our own writes fail: a refusal at once, a transient fault only when it lasts."""

from __future__ import annotations

import dataclasses
from typing import Final

from sluice.api import naming
from sluice.kube import errors
from sluice.reconcile.models import gather, view
from sluice.rollout import persisted

SHOWS_AFTER: Final = 30.0
"""Seconds for which writes fail before it is shown: most faults are over by then."""
_REFUSALS: Final = (errors.Forbidden, errors.Invalid, errors.AlreadyExists)


@dataclasses.dataclass
class Faults:
    """Remembers since when the writes for each ModelDeployment fail. Lost with the process: then it is shown a bit later."""

    _since: dict[naming.ObjectKey, float] = dataclasses.field(default_factory=dict)

    def shown(
        self,
        observed: gather.Observed,
        decided: view.Decided,
        state: persisted.State | None,
        error: errors.ApiError,
        now: float,
    ) -> view.Decided | None:
        """What the status is to say of the error; None for nothing yet. `now` is monotonic, in seconds."""
        if isinstance(error, _REFUSALS):
            return view.refused(observed, decided, state, str(error))
        since = self._since.setdefault(observed.key, now)
        lasts = isinstance(error, errors.Transient) and now - since >= SHOWS_AFTER
        return view.faulted(observed, decided, state, str(error)) if lasts else None

    def over(self, key: naming.ObjectKey) -> None:
        """The writes succeeded, or the object is gone."""
        self._since.pop(key, None)
