"""Remembers every status that our objects ever had, and holds each against the rules of kstatus.

The rules are those of Flux's conditions/check: tools that wait by them must never be told two things at once.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from tests.support import kubelet

PATHS: Final = {
    "ModelDeployment": "/apis/sluice.dev/v1alpha1/modeldeployments",
    "Gateway": "/apis/sluice.dev/v1alpha1/gateways",
    "RateLimitPolicy": "/apis/sluice.dev/v1alpha1/ratelimitpolicies",
    "EvalGate": "/apis/sluice.dev/v1alpha1/evalgates",
}
SERVING: Final = ("ModelDeployment", "Gateway")
"""Kinds that say whether something serves."""
READ_SECONDS: Final = 2.0

Object = Mapping[str, Any]


@dataclasses.dataclass
class History:
    """A context manager: while inside, every version of our objects is kept, oldest first."""

    kubeconfig: Path
    seen: list[Object] = dataclasses.field(default_factory=list)

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._follow, args=(kind,), daemon=True) for kind in PATHS]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def of(self, namespace: str, kind: str | None = None) -> list[Object]:
        """Every version of the objects of a namespace, without repetitions."""
        found = [obj for obj in list(self.seen) if obj["metadata"]["namespace"] == namespace]
        unique = {(obj["metadata"]["uid"], obj["metadata"]["resourceVersion"]): obj for obj in found}
        return [obj for obj in unique.values() if kind in (None, obj["kind"])]

    def _follow(self, kind: str) -> None:
        with kubelet.client(self.kubeconfig) as client:
            while not self._stop.is_set():
                try:
                    self._watch(client, kind)
                except httpx.HTTPError:
                    self._stop.wait(0.2)  # the API server is away, or nothing happened for a while

    def _watch(self, client: httpx.Client, kind: str) -> None:
        listing = client.get(PATHS[kind]).raise_for_status().json()
        self.seen += [{**item, "kind": kind} for item in listing.get("items", ())]
        version = listing.get("metadata", {}).get("resourceVersion", "")
        timeout = httpx.Timeout(5, read=READ_SECONDS)
        with client.stream("GET", PATHS[kind], params={"watch": "1", "resourceVersion": version}, timeout=timeout) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines():
                event = json.loads(line)
                if event["type"] in ("ADDED", "MODIFIED"):
                    self.seen.append({**event["object"], "kind": kind})
                if self._stop.is_set():
                    return


def violations(versions: list[Object]) -> list[str]:
    """What is wrong with a series of versions of any objects, in the order in which they were."""
    found: list[str] = []
    last: dict[str, Object] = {}
    for obj in versions:
        uid = obj["metadata"]["uid"]
        found += [f"{_name(obj)}: {text}" for text in (*_of_one(obj), *_of_two(last.get(uid), obj))]
        last[uid] = obj
    return found


def epochs(versions: list[Object]) -> list[int]:
    """The traffic epochs of one ModelDeployment, in the order in which they were written."""
    return [obj["status"]["epoch"] for obj in versions if "epoch" in obj.get("status", {})]


def _of_one(obj: Object) -> Iterator[str]:
    status = obj.get("status") or {}
    if status.get("observedGeneration", -1) < 0:
        return  # nobody has looked at it yet
    conditions = {condition["type"]: condition for condition in status.get("conditions", ())}
    if len(conditions) != len(status.get("conditions", ())):
        yield "a condition type is there twice"
    yield from contradictions(conditions, serves=obj["kind"] in SERVING)
    if status["observedGeneration"] > obj["metadata"]["generation"]:
        yield "it speaks of a generation that is not there"
    for condition in conditions.values():
        if condition.get("observedGeneration") != status["observedGeneration"]:
            yield f"{condition['type']} speaks of another generation than the status"
        if not condition.get("message") and condition["status"] != "True":
            yield f"{condition['type']} is {condition['status']} without a message"


def contradictions(conditions: Mapping[str, Mapping[str, Any]], *, serves: bool) -> Iterator[str]:
    """What the conditions of one status, by type, leave out or say against each other."""
    if "Ready" not in conditions:
        yield "Ready is missing"
    if serves and "Available" not in conditions:
        yield "Available is missing"
    going = conditions.keys() & {"Reconciling", "Stalled"}
    for type_ in sorted(going):
        if conditions[type_]["status"] != "True":
            yield f"{type_} is {conditions[type_]['status']}"
    if len(going) > 1:
        yield "Reconciling and Stalled are both there"
    ready = conditions.get("Ready", {}).get("status")
    if ready == "True" and going:
        yield "Ready, and not done"
    if serves and ready == "True" and conditions.get("Available", {}).get("status") != "True":
        reasons = {conditions[type_].get("reason") for type_ in ("Ready", "Available") if type_ in conditions}
        if reasons != {"ScaledToZero"}:
            yield "Ready, and not available, although that was not asked for"
    if ready == "False" and not going:
        yield "not Ready, without saying whether anything is done about it"


def _of_two(before: Object | None, after: Object) -> Iterator[str]:
    if before is None:
        return
    old = {condition["type"]: condition for condition in (before.get("status") or {}).get("conditions", ())}
    for condition in (after.get("status") or {}).get("conditions", ()):
        was = old.get(condition["type"])
        if was is None:
            continue
        moved = was["lastTransitionTime"] != condition["lastTransitionTime"]
        if moved and was["status"] == condition["status"]:
            yield f"{condition['type']} stayed {condition['status']}, but its lastTransitionTime moved"


def _name(obj: Object) -> str:
    metadata = obj["metadata"]
    return f"{obj['kind']}/{metadata['namespace']}/{metadata['name']} at {metadata['resourceVersion']}"
