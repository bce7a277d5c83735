"""One file after another from a host that fails as it likes: what is kept is always whole and right."""

from __future__ import annotations

import hashlib
import pathlib
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluice.prefetch import download, errors, model, store
from sluice.workloads import prefetch

SOURCE = "s3://bucket/m"
CONTENT = bytes(range(256)) * 4
Fault = tuple[str, int]


def file(content: bytes = CONTENT, path: str = "model.safetensors") -> model.File:
    """A file as a listing would name it."""
    digest = hashlib.sha256(content).hexdigest()
    return model.File(path, len(content), f"sha256-{digest}", "", model.Digest(model.Algorithm.SHA256, digest))


class Host:
    """Sends content with the faults that it is given, one for each request; without any it behaves."""

    def __init__(self, faults: list[Fault], content: bytes = CONTENT) -> None:
        self.faults = list(faults)
        self.content = content

    def list(self, revision: str | None) -> model.Listing:
        """Not asked for here."""
        raise NotImplementedError

    def digest(self, file: model.File) -> model.Digest | None:
        """As in the listing."""
        return file.digest

    def fetch(self, file: model.File, offset: int, sink: model.Sink) -> None:
        """One request."""
        kind, count = self.faults.pop(0) if self.faults else ("", 0)
        rest = self.content[offset:]
        if kind == "whole" and offset:
            sink.restart()
            rest = self.content
        if kind == "cut":
            sink.write(rest[:count])
            raise errors.TransientError("cut", retry_after=0.0)
        if kind == "short":
            rest = rest[: max(1, count)]
        if kind == "flip" and rest:
            rest = bytes([rest[0] ^ 1]) + rest[1:]
        if kind == "long":
            rest += b"x" * count
        sink.write(rest)


def job(root: pathlib.Path, host: Host, **policy: int) -> download.Download:
    """A download that never waits."""
    cache = store.Store(root, SOURCE)
    cache.prepare()
    patient = download.Policy(pause=0.0, **{"workers": 2, **policy})

    def no_wait(stopping: threading.Event, _: float) -> bool:
        return stopping.is_set()

    return download.Download(host, cache, lambda _: None, "model", patient, no_wait)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from(["cut", "short", "whole", "flip", "long"]), st.integers(0, 600)), max_size=12),
    st.integers(0, 1200),
)
def test_whatever_a_host_does_only_right_content_is_kept(
    tmp_path_factory: pytest.TempPathFactory, faults: list[Fault], left_over: int
) -> None:
    """Also after a partial file that something else left behind, of any length."""
    tried = job(tmp_path_factory.mktemp("cache"), Host(faults))
    listing = model.Listing("v", (file(),))
    tried.cache.partial(file()).write_bytes((b"?" * 1200)[:left_over])
    try:
        tried.run(listing)
    except (errors.ChecksumError, errors.TransientError):
        assert tried.cache.complete("v") is None
        assert not tried.cache.has(file())
    else:
        assert tried.cache.complete("v") is not None
        assert (tried.cache.blobs / file().key).read_bytes() == CONTENT


@pytest.mark.parametrize("cuts", [0, 1, 50])
def test_as_long_as_something_arrives_it_goes_on(tmp_path: pathlib.Path, cuts: int) -> None:
    """Tries are counted from the last byte that arrived."""
    tried = job(tmp_path, Host([("cut", 10)] * cuts), attempts=2)
    tried.run(model.Listing("v", (file(),)))
    assert tried.cache.has(file())


def test_without_a_byte_it_gives_up(tmp_path: pathlib.Path) -> None:
    """After as many tries as the policy allows."""
    host = Host([("cut", 0)] * 9)
    with pytest.raises(errors.TransientError):
        job(tmp_path, host, attempts=4).run(model.Listing("v", (file(),)))
    assert len(host.faults) == 9 - 4


def test_the_first_file_that_fails_stops_the_others(tmp_path: pathlib.Path) -> None:
    """And its reason is told, not that the others were stopped."""
    contents = [bytes([number]) * 2000 for number in range(20)]
    files = tuple(file(content, f"{number}.bin") for number, content in enumerate(contents))
    host = Host([("cut", 0)] * 200)
    with pytest.raises(errors.TransientError, match="cut"):
        job(tmp_path, host, attempts=3).run(model.Listing("v", files))
    assert len(host.faults) > 200 - 3 * len(files)


def test_equal_files_are_fetched_once(tmp_path: pathlib.Path) -> None:
    """Two names, one content."""
    host = Host([("cut", 0)])
    tried = job(tmp_path, host)
    tried.run(model.Listing("v", (file(path="a.bin"), file(path="b.bin"))))
    assert len(list(tried.cache.blobs.iterdir())) == 1


def test_an_empty_file_is_a_file(tmp_path: pathlib.Path) -> None:
    """`__init__.py` of a model with code of its own, for example."""
    tried = job(tmp_path, Host([], b""))
    tried.run(model.Listing("v", (file(b"", "__init__.py"),)))
    assert tried.cache.complete("v") is not None


@pytest.mark.parametrize(
    ("free", "limit", "fits"), [(1024, None, True), (1023, None, False), (1 << 40, 1024, True), (1 << 40, 1023, False)]
)
def test_space_is_checked_before(tmp_path: pathlib.Path, free: int, limit: int | None, fits: bool) -> None:
    """Against what may still be written, and what the cache may hold at all."""
    cache = store.Store(tmp_path, SOURCE)
    cache.prepare()
    listing = model.Listing("v", (file(),))
    if fits:
        download.check_space(cache, listing, free=free, limit=limit)
        return
    with pytest.raises(errors.SpaceError, match=r"needs .* GiB more.* room for .* GiB"):
        download.check_space(cache, listing, free=free, limit=limit)


def test_what_is_there_needs_no_space(tmp_path: pathlib.Path) -> None:
    """Neither whole files nor the beginnings of others."""
    cache = store.Store(tmp_path, SOURCE)
    cache.prepare()
    cache.partial(file()).write_bytes(CONTENT[:1000])
    assert cache.missing(model.Listing("v", (file(),))) == 24


@given(st.integers(1, 50), st.one_of(st.none(), st.floats(0, 1e9)))
def test_pauses_grow_and_end(failures: int, asked: float | None) -> None:
    """Never above the longest (and its jitter), whatever the host asks for."""
    policy = download.Policy()
    assert 0 <= policy.pause_after(failures, asked) <= policy.longest_pause * 1.2


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, errors.DeniedError), (403, errors.DeniedError), (407, errors.DeniedError), (404, errors.MissingError),
     (410, errors.MissingError), (400, errors.MissingError), (408, errors.TransientError), (429, errors.TransientError),
     (500, errors.TransientError), (503, errors.TransientError)],
)  # fmt: skip
def test_each_status_has_its_class(status: int, kind: type[errors.PrefetchError]) -> None:
    """With the URL, without what may sign it."""
    error = errors.answered("hf://o/m", "https://host/path?X-Amz-Signature=1", status, "Words\nof the host", fix="Fix it")
    assert type(error) is kind
    assert f"https://host/path answered {status}: Words of the host" in str(error)
    assert "Signature" not in str(error)


def test_every_error_has_an_exit_code_of_its_own() -> None:
    """The cause in the status is told by it."""
    kinds = errors.PrefetchError.__subclasses__()
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert {kind.code for kind in kinds} == set(prefetch.ExitCode) - {
        prefetch.ExitCode.OK, prefetch.ExitCode.DEFECT, prefetch.ExitCode.BAD_INPUT
    }  # fmt: skip
