"""What is checked on the host before an embedded cluster starts, and how its processes, cgroups and images are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from hack.cluster import driver, errors, host, images, processes

DIGEST = "sha256:" + "0a" * 32


def test_too_little_disk_is_said_in_one_sentence_with_both_sizes_and_the_way_out() -> None:
    """Who reads it knows what to do."""
    message = host.disk_shortage(Path("/cache"), 2 * host.GIB, 9 * host.GIB, "start cluster a")
    assert message == (
        "Cannot start cluster a: 9.0 GiB needed in /cache, 2.0 GiB free; free some, or set SLUICE_CACHE to a larger disk"
    )


def test_exactly_enough_disk_is_enough() -> None:
    """The need is not a strict bound."""
    assert host.disk_shortage(Path("/cache"), host.GIB, host.GIB, "start cluster a") is None


@pytest.mark.parametrize("name", ["", "a_b", "A", "1a", "a-", "x" * 21, "a/b", ".."])
def test_names_that_are_no_host_names_are_refused(name: str) -> None:
    """A name becomes a file, a cgroup and a host name."""
    with pytest.raises(errors.ClusterError, match="a name is up to 20"):
        host.check_name(name)


@pytest.mark.parametrize("name", ["a", "sluice", "e2e-1", "x" * 20])
def test_ordinary_names_are_taken(name: str) -> None:
    """Nothing is raised."""
    host.check_name(name)


def test_an_unknown_kind_of_cluster_names_the_known_ones() -> None:
    """A typo in CLUSTER never falls back to a default."""
    with pytest.raises(errors.ClusterError, match="embedded, kind, existing"):
        driver.choose("a", "knid")


STAT = "42 (a (strange) name) {state} 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 {start} 1 1"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with process 42."""
    (tmp_path / "sys/kernel/random").mkdir(parents=True)
    (tmp_path / "sys/kernel/random/boot_id").write_text("boot-1\n")
    (tmp_path / "42/task/42").mkdir(parents=True)
    (tmp_path / "42/stat").write_text(STAT.format(state="S", start=777))
    return tmp_path


def test_a_process_is_its_pid_its_start_and_its_boot(proc: Path) -> None:
    """Parentheses and spaces in its name do not matter."""
    assert processes.identify(42, proc) == processes.Process(42, 777, "boot-1")


@pytest.mark.parametrize(
    ("recorded", "reason"),
    [
        (processes.Process(42, 776, "boot-1"), "the pid was given to another process"),
        (processes.Process(42, 777, "boot-0"), "the machine was restarted"),
        (processes.Process(43, 777, "boot-1"), "it ended"),
    ],
)
def test_another_process_of_the_same_number_is_not_ours(proc: Path, recorded: processes.Process, reason: str) -> None:
    """Only all three together name a process."""
    assert not processes.is_alive(recorded, proc), reason


def test_a_zombie_is_gone(proc: Path) -> None:
    """It only waits for its parent."""
    (proc / "42/stat").write_text(STAT.format(state="Z", start=777))
    assert processes.identify(42, proc) is None


def test_the_first_child_is_read(proc: Path) -> None:
    """The node's first process is found below the one that we started."""
    (proc / "42/task/42/children").write_text("43 44 ")
    assert processes.first_child(42, proc) == 43
    assert processes.first_child(41, proc) is None


def test_cgroups_are_one_directory_a_hierarchy(tmp_path: Path) -> None:
    """Version 1 and hybrid hosts have several hierarchies; links to them count once."""
    for hierarchy in ("cpu", "memory", "unified"):
        (tmp_path / hierarchy).mkdir()
    (tmp_path / "cpuacct").symlink_to("cpu")
    assert host.cgroup_roots("/sluice-a", tmp_path) == [tmp_path / name / "sluice-a" for name in ("cpu", "memory", "unified")]


def test_cgroups_of_version_2_are_one_directory(tmp_path: Path) -> None:
    """The mount itself is the hierarchy."""
    (tmp_path / "cgroup.controllers").touch()
    (tmp_path / "system.slice").mkdir()
    assert host.cgroup_roots("/sluice-a", tmp_path) == [tmp_path / "sluice-a"]


def test_images_are_read_from_ctrs_table() -> None:
    """The heading and odd lines are no images."""
    table = f"REF TYPE DIGEST SIZE\nlocalhost/a:1 application/x {DIGEST} 1.0 MiB linux/amd64 -\n\n- - -\n"
    assert images.parse_list(table) == {images.Image("localhost/a:1", DIGEST)}


def test_writable_snapshots_are_read_from_ctrs_table() -> None:
    """A snapshot without a parent has one column less."""
    table = "KEY PARENT KIND\nsha256:1  Committed\nsha256:2 sha256:1 Committed\nrun sha256:2 Active\nalone  Active\n"
    assert images.active_snapshots(table) == ["run", "alone"]


def test_a_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    """The error names the file."""
    (tmp_path / "x.tar").write_bytes(b"no tar")
    with pytest.raises(errors.ClusterError, match=r"Cannot read image .*x\.tar"):
        images.read_tar(tmp_path / "x.tar")
