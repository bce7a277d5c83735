"""A real Prometheus that has scraped what a test says: for queries that we document and do not run ourselves.

Debian's package, unpacked into the cache; nothing is installed on the host.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import httpx

from hack.cluster import paths
from tests.support import ports

START_SECONDS: Final = 60


class Scrape(NamedTuple):
    """A page as it was read at a time (epoch seconds), with the labels that service discovery adds."""

    at: float
    page: str
    labels: Mapping[str, str]


@functools.cache
def unavailable() -> str | None:
    """Why there is none here; None when there is."""
    if shutil.which("dpkg") is None or shutil.which("apt-get") is None:
        return "Prometheus is taken from a Debian package, and this is no Debian"
    try:
        _folder()
    except subprocess.CalledProcessError as error:
        return f"Debian's package prometheus could not be had: {error.stderr.decode(errors='replace').strip()[-200:]}"
    return None


@contextlib.contextmanager
def holding(scrapes: Iterable[Scrape]) -> Iterator[httpx.Client]:
    """Prometheus with these scrapes in its storage, as a client of its HTTP API. They should be hours old, not days."""
    with tempfile.TemporaryDirectory(prefix="sluice-prometheus-") as name:
        folder = Path(name)
        (folder / "pages").write_text(_exposition(scrapes))
        data, config = folder / "data", folder / "config.yaml"
        _run(_folder() / "promtool", "tsdb", "create-blocks-from", "openmetrics", str(folder / "pages"), str(data))
        config.write_text("{}")
        port = ports.free()
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    str(_folder() / "prometheus"),
                    f"--storage.tsdb.path={data}",
                    f"--config.file={config}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                _wait_ready(client, process, folder / "log")
                yield client
        finally:
            process.kill()
            process.wait()


def query(client: httpx.Client, text: str, at: float) -> dict[tuple[str, ...], float]:
    """The instant vector at a time: values by namespace and pod, as far as the result has these labels."""
    answer = client.get("/api/v1/query", params={"query": text, "time": str(at)}).json()
    assert answer["status"] == "success", f"{text}: {answer}"
    assert answer["data"]["resultType"] == "vector", text
    return {
        tuple(each["metric"][label] for label in ("namespace", "pod") if label in each["metric"]): float(each["value"][1])
        for each in answer["data"]["result"]
    }


def _exposition(scrapes: Iterable[Scrape]) -> str:
    """All samples with their times, in the order that Prometheus wants: by series."""
    lines: list[tuple[str, float, str]] = []
    for scrape in scrapes:
        added = ",".join(f'{name}="{value}"' for name, value in scrape.labels.items())
        for line in scrape.page.splitlines():
            if not line or line.startswith("#"):
                continue
            series, _, value = line.rpartition(" ")
            name, _, labels = series.partition("{")
            inner = ",".join(filter(None, (labels.removesuffix("}").rstrip(","), added)))
            lines.append((f"{name}{{{inner}}}", scrape.at, value))
    return "".join(f"{series} {value} {at:.0f}\n" for series, at, value in sorted(lines)) + "# EOF\n"


def _folder() -> Path:
    """Where the programs are, fetched when they are not there yet."""
    target = paths.cache_root() / "prometheus"
    if not (target / "prometheus").exists():
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target) as scratch:
            _run("apt-get", "download", "prometheus", folder=scratch)
            package = next(Path(scratch).glob("*.deb"))
            _run("dpkg", "-x", str(package), f"{scratch}/unpacked")
            for name in ("promtool", "prometheus"):  # the last one says that all are there
                (Path(scratch) / "unpacked" / "usr" / "bin" / name).replace(target / name)
    return target


def _run(*command: str | Path, folder: str | None = None) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True, cwd=folder)


def _wait_ready(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if client.get("/-/ready").status_code == httpx.codes.OK:
                return
        if process.poll() is not None or time.monotonic() > limit:
            raise AssertionError(f"Prometheus did not start:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.1)
