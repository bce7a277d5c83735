"""Why no node takes a pod, told from the scheduler's words and what the pod asks for."""

from __future__ import annotations

import re
from typing import Final

from sluice.rollout import health, pods

_NODES: Final = re.compile(r"\b0/(\d+) nodes are available")
_LACKING: Final = re.compile(r"(\d+) Insufficient ([A-Za-z0-9](?:[A-Za-z0-9./_-]*[A-Za-z0-9])?)")
_ASIDE: Final = re.compile(r"[,.]? *(?:no new claims to deallocate|still not schedulable)?,? *preemption: .*$", re.DOTALL)
"""What follows is the scheduler's thoughts about pods of lower priority."""
_QUOTED: Final = re.compile(r'"[^"]*"')
_VOLUME: Final = re.compile(
    r"persistentvolumeclaim|persistent volume|volume node affinity|volume binding|max volume count", re.IGNORECASE
)
_CLAIM: Final = re.compile(r"resourceclaim|resource claim|allocate all claims|device class|\bclaims?\b", re.IGNORECASE)


def cause(message: str) -> health.Cause:
    """Why the scheduler found no node, from the message of its condition."""
    words = _QUOTED.sub('""', _ASIDE.sub("", message))  # a claim may be called anything
    if _VOLUME.search(words):
        return health.Cause.VOLUME_PENDING
    return health.Cause.RESOURCE_CLAIM_PENDING if _CLAIM.search(words) else health.Cause.UNSCHEDULABLE


def explain(message: str, wishes: pods.Wishes) -> str:
    """The same for people: how much the pod asks of what is short, how many nodes have it, the scheduler's words."""
    said = _ASIDE.sub("", message).strip().rstrip(".")
    nodes, lacking = _NODES.search(message), _LACKING.findall(message)
    asked = [f"{wishes.amounts[name]} {name}" for _, name in lacking if name in wishes.amounts]
    if nodes is None or not asked:
        return f"is not scheduled: {said or 'the scheduler does not say why'}."
    total, without = int(nodes.group(1)), max(int(count) for count, _ in lacking)
    # Nodes that are out for another reason, such as a selector, were not asked for it.
    which = f"0/{total} nodes have" if without >= total else f"{without} of {total} nodes lack"
    return f"asks for {', '.join(asked)}; {which} them ({said})."


def awaited(pod: pods.Pod) -> str:
    """What a pod waits for that the scheduler does not speak of at all."""
    return f"is not looked at by the scheduler before {', '.join(pod.wishes.claims)} is there."
