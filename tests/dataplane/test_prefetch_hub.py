"""Downloads from a fake Hugging Face hub over real HTTP: commits, gates, faults, resumption, checksums, offline use."""

from __future__ import annotations

import pathlib
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from sluice.prefetch import download, errors, hub, run
from sluice.workloads import sources
from tests.support import hub as fake
from tests.support import prefetching

REPOSITORY = "acme/tiny"
WEIGHTS = random.Random(1).randbytes(3 << 20)
CONFIG = b'{"architectures": ["LlamaForCausalLM"]}'
FILES = {"config.json": CONFIG, "model.safetensors": WEIGHTS}
POLICY = download.Policy(pause=0.001, attempts=4, report_every=0.0)


@pytest.fixture
def server() -> Iterator[fake.FakeHub]:
    with fake.FakeHub() as started:
        yield started


@pytest.fixture
def prefetch(server: fake.FakeHub, tmp_path: pathlib.Path) -> Callable[..., tuple[dict[str, str], list[Mapping[str, Any]]]]:
    """Runs one download of the repository; gives versions and what was reported."""

    def go(
        revision: str | None = None, *, recorded: str | None = None, policy: download.Policy = POLICY, source: str = REPOSITORY
    ) -> tuple[dict[str, str], list[Mapping[str, Any]]]:
        said: list[Mapping[str, Any]] = []
        item = sources.model_item(f"hf://{source}", revision)
        options = run.Options(
            tmp_path / "cache", tmp_path / "links", (item,), {"model": recorded} if recorded else {}, policy=policy
        )
        origins = {sources.Scheme.HF: lambda item: hub.Hub(item, server.url)}
        return run.Prefetcher(options, said.append, origins=origins).run(), said

    return go


def test_a_branch_is_downloaded_at_its_commit(server: fake.FakeHub, prefetch: Any, tmp_path: pathlib.Path) -> None:
    """The version is the commit that `main` is at, and the engine finds every file under its name."""
    commit = server.push(REPOSITORY, {**FILES, "tokenizer/vocab.json": b"{}"})
    resolved, _ = prefetch()
    assert resolved == {"model": commit}
    assert prefetching.content(tmp_path / "links") == {**FILES, "tokenizer/vocab.json": b"{}"}


def test_a_complete_cache_needs_no_network(server: fake.FakeHub, prefetch: Any, tmp_path: pathlib.Path) -> None:
    """Neither where the commit is recorded nor where it is named is the hub asked for anything."""
    commit = server.push(REPOSITORY, FILES)
    prefetch()
    asked = len(server.requests)
    assert prefetch(recorded=commit)[0] == {"model": commit}
    assert prefetch(commit)[0] == {"model": commit}
    assert len(server.requests) == asked
    assert prefetching.content(tmp_path / "links") == FILES


def test_a_recorded_commit_is_taken_although_the_branch_moved(
    server: fake.FakeHub, prefetch: Any, tmp_path: pathlib.Path
) -> None:
    """Later pods of a revision get what its first one got."""
    first = server.push(REPOSITORY, FILES)
    server.push(REPOSITORY, {**FILES, "config.json": b"{}"})
    assert prefetch(recorded=first)[0] == {"model": first}
    assert prefetching.content(tmp_path / "links") == FILES


def test_revisions_share_what_they_have_in_common(server: fake.FakeHub, prefetch: Any) -> None:
    """A commit that changes the configuration alone fetches the configuration alone."""
    server.push(REPOSITORY, FILES)
    prefetch()
    server.sent = 0
    changed = server.push(REPOSITORY, {**FILES, "config.json": b'{"changed": true}'})
    assert prefetch()[0] == {"model": changed}
    assert server.sent == len(b'{"changed": true}')


def test_a_cut_connection_goes_on_where_it_was(server: fake.FakeHub, prefetch: Any, tmp_path: pathlib.Path) -> None:
    """No byte is fetched twice, and any number of cuts is survived as long as something arrives."""
    server.push(REPOSITORY, FILES)
    server.faults["model.safetensors"] = [fake.Fault(cut_after=200_000)] * 9
    prefetch()
    ranges = [asked for path, asked in server.requests if path == "model.safetensors"]
    assert len(ranges) == 10
    assert prefetching.content(tmp_path / "links") == FILES
    assert server.sent <= sum(map(len, FILES.values())) + len(ranges)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_passing_faults_are_tried_again(server: fake.FakeHub, prefetch: Any, tmp_path: pathlib.Path, status: int) -> None:
    """For the listing and for files alike."""
    server.push(REPOSITORY, FILES)
    server.faults["/revision/main"] = [fake.Fault(status)] * 2
    server.faults["model.safetensors"] = [fake.Fault(status)] * 3
    prefetch()
    assert prefetching.content(tmp_path / "links") == FILES


def test_a_lasting_outage_ends_with_url_and_status(server: fake.FakeHub, prefetch: Any) -> None:
    """Tries are bounded, and the message tells what to look at."""
    server.push(REPOSITORY, FILES)
    server.faults["model.safetensors"] = [fake.Fault(503)] * 99
    with pytest.raises(errors.TransientError) as caught:
        prefetch()
    assert "/cdn/" in str(caught.value)
    assert "answered 503" in str(caught.value)
    assert "signature" not in str(caught.value)
    assert sum(path == "model.safetensors" for path, _ in server.requests) == POLICY.attempts


def test_the_hosts_own_pause_is_kept(server: fake.FakeHub, prefetch: Any) -> None:
    """Retry-After wins over our own pause, up to the longest that we would make."""
    server.push(REPOSITORY, FILES)
    server.faults["/revision/main"] = [fake.Fault(429, {"Retry-After": "7200"})]
    assert prefetch(policy=download.Policy(pause=3600.0, longest_pause=0.01))[0]


def test_an_unreachable_hub_is_named(prefetch: Any, server: fake.FakeHub, tmp_path: pathlib.Path) -> None:
    """Nobody listens: the sentence says where."""
    item = sources.model_item("hf://acme/tiny")
    options = run.Options(tmp_path / "c", tmp_path / "l", (item,), {}, policy=POLICY)
    with pytest.raises(errors.TransientError, match=r"http://127\.0\.0\.1:9"):
        run.Prefetcher(
            options, lambda _: None, origins={sources.Scheme.HF: lambda item: hub.Hub(item, "http://127.0.0.1:9")}
        ).run()


def test_a_cached_branch_serves_while_the_hub_is_down(server: fake.FakeHub, prefetch: Any, tmp_path: pathlib.Path) -> None:
    """Nothing is recorded for the revision yet, but the cache knows where the branch was last seen."""
    commit = server.push(REPOSITORY, FILES)
    prefetch()
    server.faults["/revision/main"] = [fake.Fault(503)] * 99
    resolved, said = prefetch()
    assert resolved == {"model": commit}
    assert [event["event"] for event in said][-1] == "offline"


def test_a_gated_model_tells_what_to_do(
    server: fake.FakeHub, prefetch: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """401 without a token, 403 with one that was not let in; the right one downloads, and no stranger gets to see it."""
    server.push(REPOSITORY, FILES)
    server.repositories[REPOSITORY].token = "hf_good"
    server.repositories[REPOSITORY].gated = True
    for token, status in ((None, 401), ("hf_other", 403)):
        if token is not None:
            monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(errors.DeniedError, match=f"answered {status}.*restricted.*credentialsSecretRef"):
            prefetch()
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    prefetch()
    assert prefetching.content(tmp_path / "links") == FILES


@pytest.mark.parametrize(
    ("source", "revision", "words"),
    [("acme/none", None, "answered 401"), (REPOSITORY, "v9", "answered 404: Invalid rev id: v9")],
)
def test_what_does_not_exist_is_said(
    server: fake.FakeHub, prefetch: Any, source: str, revision: str | None, words: str
) -> None:
    """The hub answers 401 for an unknown repository, for it could be a private one; an unknown revision is a 404."""
    server.push(REPOSITORY, FILES)
    with pytest.raises(errors.DeniedError if revision is None else errors.MissingError, match=words):
        prefetch(revision, source=source)


def test_wrong_content_is_fetched_again(server: fake.FakeHub, prefetch: Any, tmp_path: pathlib.Path) -> None:
    """A file that does not have its checksum is never served; the second try may be right."""
    server.push(REPOSITORY, FILES)
    server.faults["model.safetensors"] = [fake.Fault(corrupt=True)]
    server.faults["config.json"] = [fake.Fault(corrupt=True)]
    _, said = prefetch()
    assert sorted(event["file"] for event in said if event["event"] == "corrupt") == sorted(FILES)
    assert prefetching.content(tmp_path / "links") == FILES


def test_content_that_stays_wrong_is_an_error(server: fake.FakeHub, prefetch: Any, tmp_path: pathlib.Path) -> None:
    """And nothing of it counts as whole."""
    server.push(REPOSITORY, FILES)
    server.faults["model.safetensors"] = [fake.Fault(corrupt=True)] * 9
    with pytest.raises(errors.ChecksumError, match=r"model\.safetensors"):
        prefetch()
    assert not list(tmp_path.glob("cache/hf/*/manifests/*"))
    assert not (tmp_path / "links" / "model").exists()


def test_a_damaged_file_in_the_cache_is_mended(server: fake.FakeHub, prefetch: Any, tmp_path: pathlib.Path) -> None:
    """A file that lost its end makes the cache incomplete: it is fetched again, and nothing else is."""
    commit = server.push(REPOSITORY, FILES)
    prefetch()
    blob = (tmp_path / "links" / "model" / "model.safetensors").resolve()
    blob.chmod(0o644)
    blob.write_bytes(WEIGHTS[:1000])
    server.sent = 0
    prefetch(recorded=commit)
    assert prefetching.content(tmp_path / "links") == FILES
    assert server.sent == len(WEIGHTS)


def test_a_server_without_ranges_starts_again(server: fake.FakeHub, prefetch: Any, tmp_path: pathlib.Path) -> None:
    """A mirror that ignores the range sends everything: what was there is thrown away, not doubled."""
    server.push(REPOSITORY, FILES)
    server.faults["model.safetensors"] = [fake.Fault(cut_after=1_000_000), fake.Fault(whole=True)]
    prefetch()
    assert prefetching.content(tmp_path / "links") == FILES


def test_big_files_come_in_windows(
    server: fake.FakeHub, prefetch: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's network refuses to send more than 50 GB at once, so that no request asks for more than a window."""
    monkeypatch.setattr(hub, "WINDOW", 1 << 20)
    server.push(REPOSITORY, FILES)
    prefetch()
    asked = [span for path, span in server.requests if path == "model.safetensors"]
    assert asked == ["bytes=0-1048575", "bytes=1048576-2097151", "bytes=2097152-3145727"]
    assert prefetching.content(tmp_path / "links") == FILES
