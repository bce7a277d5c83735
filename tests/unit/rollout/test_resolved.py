"""What is resolved late is resolved once: records, pods that differ, and how often they are replaced."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sluice.rollout import resolved
from sluice.workloads import prefetch

NOW = 1_000_000.0
OWNER = {"kind": "ModelDeployment", "name": "chat", "uid": "u"}


def pod(
    name: str,
    commit: str | None = "c1",
    image: str | None = "@sha256:1",
    *,
    created: float = NOW - 100,
    ready: bool = False,
) -> resolved.Facts:
    """A pod; None where it does not know yet."""
    images = {"engine": image} if image is not None else {}
    return resolved.Facts(name, f"uid-{name}", created, ready, {"model": commit} if commit is not None else None, images)


RECORD = resolved.Record({"model": "c1"}, {"engine": "@sha256:1"})


def decide(
    record: resolved.Record, *pods: resolved.Facts, recorded_at: float | None = NOW - 50, **more: Any
) -> resolved.Decision:
    """The decision, with nothing replaced before unless said."""
    return resolved.decide(record, recorded_at, pods, more.get("replacements", resolved.Replacements()), more.get("now", NOW))


def test_the_oldest_pod_that_knows_is_recorded() -> None:
    """One that serves comes first: what serves is what others must be like."""
    older, younger = pod("a", "c1", created=NOW - 100), pod("b", "c2", created=NOW - 90)
    assert decide(resolved.Record(), younger, older, recorded_at=None).record.versions == {"model": "c1"}
    serving = dataclasses.replace(younger, ready=True)
    assert decide(resolved.Record(), serving, older, recorded_at=None).record.versions == {"model": "c2"}


def test_the_commit_is_recorded_before_the_image_is_known() -> None:
    """Pulling the engine's image takes minutes, in which other pods start: they must read the commit by then."""
    first = decide(resolved.Record(), pod("a", image=None), recorded_at=None)
    assert first.record == resolved.Record({"model": "c1"}, {})
    assert decide(first.record, pod("a")).record == RECORD


def test_an_image_is_recorded_of_a_pod_that_is_like_the_record() -> None:
    """Never of one that has another commit, and is about to go."""
    record = resolved.Record({"model": "c1"}, {})
    decision = decide(record, pod("a", "c2", "@sha256:2"), pod("b", "c1", "@sha256:1", created=NOW))
    assert decision.record == RECORD


def test_nothing_is_ever_recorded_again() -> None:
    """Whatever later pods say."""
    assert decide(RECORD, pod("a", "c2", "@sha256:2")).record == RECORD


def test_nothing_is_deleted_before_the_record_is_written() -> None:
    """A pod in its place would not know what to download."""
    decision = decide(resolved.Record(), pod("a", "c1"), pod("b", "c2", created=NOW), recorded_at=None)
    assert decision.delete == ()
    assert decision.wake_after == 0.0


def test_pods_that_raced_with_the_first_go_at_once() -> None:
    """All of them: those in their place read the record."""
    decision = decide(RECORD, pod("a"), pod("b", "c2"), pod("c", "c3"))
    assert [each.name for each in decision.delete] == ["b", "c"]
    assert decision.replacements == resolved.Replacements()


def test_later_pods_that_differ_go_one_by_one_with_growing_pauses() -> None:
    """The tag was pushed again: the next pod may well be the same, so it must not become a loop."""
    pods = (pod("a", image="@sha256:2", created=NOW), pod("b", image="@sha256:2", created=NOW))
    first = decide(RECORD, *pods)
    assert len(first.delete) == 1
    second = decide(RECORD, *pods, replacements=first.replacements)
    assert (second.delete, second.wake_after) == ((), resolved.PAUSE)
    third = decide(RECORD, *pods, replacements=first.replacements, now=NOW + resolved.PAUSE)
    assert len(third.delete) == 1
    fourth = decide(RECORD, *pods, replacements=third.replacements, now=NOW + resolved.PAUSE)
    assert fourth.wake_after == 2 * resolved.PAUSE


def test_one_that_is_ready_waits_for_the_least_pause() -> None:
    """It would get traffic, so that it comes before others, too."""
    waiting, serving = pod("a", image="@sha256:2", created=NOW), pod("b", image="@sha256:2", created=NOW, ready=True)
    often = resolved.Replacements(9, NOW - resolved.LEAST_PAUSE)
    assert [each.name for each in decide(RECORD, waiting, serving, replacements=often).delete] == ["b"]
    assert decide(RECORD, waiting, replacements=often).delete == ()


def test_messages_name_the_fix() -> None:
    """A commit, or the image's digest."""
    branch, tag = decide(RECORD, pod("a", "c2"), pod("b", image="@sha256:2")).differences
    assert (branch.kind, tag.kind) == (resolved.Kind.MODEL_MOVED, resolved.Kind.IMAGE_MOVED)
    assert "Name a commit" in branch.message
    assert "by its digest in spec.template.engine.image" in tag.message


def test_images_of_two_kinds_are_not_compared() -> None:
    """One was pulled, the other loaded by hand: their identifiers say nothing about each other."""
    assert decide(RECORD, pod("a", image="sha256:config")).differences == ()


@given(
    st.lists(
        st.builds(
            pod,
            st.sampled_from("abcdef"),
            st.sampled_from([None, "c1", "c2"]),
            st.sampled_from([None, "@sha256:1", "@sha256:2", "sha256:3"]),
            created=st.floats(NOW - 200, NOW),
            ready=st.booleans(),
        ),
        unique_by=lambda each: each.name,
    ),
    st.sampled_from([resolved.Record(), resolved.Record({"model": "c1"}, {}), RECORD]),
    st.sampled_from([None, NOW - 50]),
)
def test_a_pod_like_the_record_is_never_deleted(
    pods: list[resolved.Facts], record: resolved.Record, recorded_at: float | None
) -> None:
    """Nothing that is written changes, only pods that differ go, and what is decided twice is decided alike."""
    decision = decide(record, *pods, recorded_at=recorded_at)
    assert not record.versions or decision.record.versions == record.versions
    assert not record.images or decision.record.images == record.images
    assert {each.uid for each in decision.delete} <= {found.pod.uid for found in decision.differences}
    assert decide(decision.record, *pods, recorded_at=recorded_at).record == decision.record


@given(st.lists(st.floats(0.1, 300.0), max_size=200), st.booleans())
def test_replacements_are_never_a_hot_loop(gaps: list[float], ready: bool) -> None:
    """However often it is looked: in an hour at most as many as the least pause allows, and few unless pods get ready."""
    now, replacements, deleted = NOW, resolved.Replacements(), []
    for gap in gaps:
        now += gap
        decision = decide(RECORD, pod("a", image="@sha256:2", created=NOW, ready=ready), replacements=replacements, now=now)
        deleted += [now] * len(decision.delete)
        replacements = decision.replacements
    pauses = [later - earlier for earlier, later in itertools.pairwise(deleted)]
    least = [resolved.LEAST_PAUSE if ready else min(resolved.LONGEST_PAUSE, resolved.PAUSE * 2**n) for n in range(len(pauses))]
    assert all(pause >= wanted - 1e-6 or pause > resolved.CALM for pause, wanted in zip(pauses, least, strict=True))


def seen(**more: Any) -> dict[str, Any]:
    """A Pod object whose download is done and whose engine runs."""
    ended = {"exitCode": 0, "message": prefetch.resolved_message({"model": "c1"})}
    return {
        "metadata": {"name": "a", "uid": "uid-a", "creationTimestamp": "2026-01-01T00:00:00Z", **more.get("metadata", {})},
        "spec": {
            "initContainers": [{"name": "prefetch"}],
            "containers": [{"name": "engine", "image": more.get("image", "vllm:1")}, {"name": "istio", "image": "istio:1"}],
        },
        "status": {
            "initContainerStatuses": [{"name": "prefetch", "state": {"terminated": {**ended, **more.get("ended", {})}}}],
            "containerStatuses": [
                {"name": "engine", "imageID": more.get("image_id", "docker.io/vllm@sha256:1")},
                {"name": "istio", "imageID": "istio@sha256:9"},
            ],
        },
    }


def test_a_pod_is_read() -> None:
    """Commit from the download's message, image of the engine alone: sidecars are their owners'."""
    facts = resolved.facts_of(seen())
    assert facts is not None
    assert (facts.versions, facts.images) == ({"model": "c1"}, {"engine": "@sha256:1"})


def test_what_says_nothing_is_not_read() -> None:
    """A pod on its way out, a failed download, an image that the template names by digest, one that was not pulled yet."""
    assert resolved.facts_of(seen(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})) is None
    failed = resolved.facts_of(seen(ended={"exitCode": 5, "message": "Cannot download"}))
    assert failed is not None
    assert failed.versions is None
    for other in (seen(image="vllm@sha256:1"), seen(image_id="")):
        facts = resolved.facts_of(other)
        assert facts is not None
        assert facts.images == {}


def test_a_record_is_stored_and_read_back() -> None:
    """And a damaged one reads as empty, never as an error."""
    stored = resolved.build_config_map(RECORD, namespace="n", name="chat", revision_hash="abc", owner=OWNER)
    stored["metadata"]["creationTimestamp"] = "1970-01-01T00:00:10Z"
    assert resolved.parse_config_map(stored) == (RECORD, 10.0)
    assert prefetch.parse_resolved(stored["data"][prefetch.RESOLVED_KEY]) == RECORD.versions
    damaged = {**stored, "data": {prefetch.RESOLVED_KEY: "x", resolved.IMAGES_KEY: "[]"}}
    assert resolved.parse_config_map(damaged)[0] == resolved.Record()
    assert resolved.parse_config_map(None) == (resolved.Record(), None)
