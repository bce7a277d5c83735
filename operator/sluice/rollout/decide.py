"""The only entry to the rollout: facts in, one decision out.

Total over its inputs and the same for the same input: restarts, repeated wake-ups and lost ones change nothing.
"""

from __future__ import annotations

from sluice.rollout import model


def decide(inputs: model.Input, now: float) -> model.Decision:
    """What to do about one ModelDeployment. `now` is in epoch seconds."""
    raise NotImplementedError
