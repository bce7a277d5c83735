"""Stand-ins for the CUDA libraries that PyPI's torch links to but never calls on a machine without a GPU.

PyPI has torch for CUDA only. Its nvidia wheels (1.8 GB) and its own CUDA kernels (0.5 GB) serve nobody here, yet the dynamic
linker wants every library and symbol that `libtorch_python.so` names. So each such library is replaced by one of a few
kilobytes with the same names and versions: its functions answer 100 (cudaErrorNoDevice), and torch finds no GPU. It takes
binutils only.
"""

import collections
import dataclasses
import re
import subprocess
import tempfile
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

TORCH_CUDA = "libtorch_cuda.so"
"""torch's CUDA kernels: replaced as well."""
UNUSED = ("libtorch_cuda_linalg.so", "libtorch_nvshmem.so", "libcaffe2_nvrtc.so")
"""Loaded by `libtorch_cuda.so` alone: dropped; what others use of them is defined by its stand-in."""
CUDA_LIBRARY = re.compile(r"lib(?:cu|nv|nccl)[^/]*\.so[.0-9]*$")
NO_DEVICE = 100


@dataclasses.dataclass(frozen=True, order=True)
class Symbol:
    """A symbol that a library must define; `version` is empty where the library has no symbol versions."""

    name: str
    version: str = ""


def replace_cuda(site_packages: Path) -> dict[str, int]:
    """Replace the CUDA libraries of the torch in `site_packages`; the number of symbols of each stand-in."""
    library = site_packages / "torch" / "lib"
    owned: set[str] = set()
    for name in (TORCH_CUDA, *UNUSED):
        owned |= _defined(library / name)
        (library / name).unlink()
    users = [*sorted(library.glob("*.so")), *sorted((site_packages / "torch").glob("_C*.so"))]
    wanted = gather_symbols(users, owned)
    for soname, symbols in wanted.items():
        link(library / soname, soname, sorted(symbols))
    return {soname: len(symbols) for soname, symbols in wanted.items()}


def gather_symbols(users: Iterable[Path], torch_cuda: Container[str]) -> dict[str, set[Symbol]]:
    """Return, for each library to be replaced, the symbols that the users want of it.

    Args:
        users: The shared objects that stay.
        torch_cuda: Names that torch's own CUDA libraries define.
    """
    wanted: dict[str, set[Symbol]] = collections.defaultdict(set)
    for user in users:
        needed = needed_libraries(_run("readelf", "-dW", str(user)))
        cuda = [soname for soname in needed if CUDA_LIBRARY.match(soname)]
        for soname in [*cuda, *([TORCH_CUDA] if TORCH_CUDA in needed else [])]:
            wanted[soname]  # a library without symbols has to be there too
        owners = version_owners(_run("readelf", "-VW", str(user)))
        for symbol in undefined_symbols(_run("nm", "-D", "--undefined-only", str(user))):
            if owner := decide_owner(symbol, cuda, owners, torch_cuda):
                wanted[owner].add(symbol)
    return dict(wanted)


def decide_owner(symbol: Symbol, cuda: Sequence[str], owners: Mapping[str, str], torch_cuda: Container[str]) -> str | None:
    """Return the replaced library that has to define the symbol, None when one that stays does."""
    if symbol.version:
        owner = owners.get(symbol.version)
        return owner if owner in cuda else None
    if symbol.name in torch_cuda:
        return TORCH_CUDA
    # Libraries without symbol versions (cuDNN, NCCL, cuFile) prefix their functions with their names.
    prefixes = {soname.removeprefix("lib").split(".")[0].lower(): soname for soname in cuda}
    fitting = [prefix for prefix in prefixes if symbol.name.lower().startswith(prefix)]
    return prefixes[max(fitting, key=len)] if fitting else None


def needed_libraries(dynamic_section: str) -> list[str]:
    """Return the sonames in the output of `readelf -d`."""
    return re.findall(r"\(NEEDED\).*\[([^\]]+)\]", dynamic_section)


def version_owners(version_section: str) -> dict[str, str]:
    """Return symbol version -> soname of the library it comes from, out of the output of `readelf -V`."""
    owners, current = {}, None
    for line in version_section.splitlines():
        if file := re.search(r"File: (\S+)", line):
            current = file.group(1)
        elif current and (name := re.search(r"Name: (\S+)", line)):
            owners[name.group(1)] = current
    return owners


def undefined_symbols(table: str) -> Iterator[Symbol]:
    """Yield the symbols in the output of `nm -D --undefined-only`."""
    for line in table.splitlines():
        name, _, version = line.split()[-1].partition("@")
        yield Symbol(name, version.lstrip("@"))


def assembly(symbols: Sequence[Symbol]) -> str:
    """Return assembler source (x86-64) that defines the symbols."""
    lines = ['.section .note.GNU-stack,"",@progbits', ".local handle", ".comm handle, 4096, 4096"]
    lines += [".section .rodata", 'message: .asciz "no CUDA on this machine"']
    if any(symbol.name.startswith("_Z") for symbol in symbols):  # only then the library may rely on the C++ runtime
        lines += [".text", "nothing: lea handle(%rip), %rax", "ret"]
        lines += [
            ".data",
            ".balign 16",
            "vtable: .quad 0, class",
            ".rept 62",
            ".quad nothing",
            ".endr",
            "class:",
            *_body("_ZTIstub"),
        ]
    for symbol in symbols:
        kind = "object" if symbol.name.startswith(("_ZTI", "_ZTV", "_ZTS")) else "function"
        lines += [".data" if kind == "object" else ".text", ".balign 16", f".globl {symbol.name}"]
        lines += [f".type {symbol.name}, @{kind}", f"{symbol.name}:", *_body(symbol.name)]
        lines.append(f".size {symbol.name}, .-{symbol.name}")
    return "\n".join(lines) + "\n"


def _body(name: str) -> list[str]:
    if name.startswith("_ZTI"):  # C++ type information: Python bindings read the type's name at import
        label = f".Lname_{name}"
        return [".quad _ZTVN10__cxxabiv117__class_type_infoE+16", f".quad {label}", ".zero 64", f'{label}: .asciz "{name[4:]}"']
    if name.startswith(("_ZTV", "_ZTS")):
        return [".zero 256"]
    if re.search(r"GetErrorString|GetErrorName|GetLastError$", name) and name != "cudaGetLastError":
        return ["lea message(%rip), %rax", "ret"]
    if re.match(r"_ZN.*C[12]E", name):  # a constructor: its class may be polymorphic, so the object needs a virtual table
        return ["lea vtable+16(%rip), %rax", "mov %rax, (%rdi)", "ret"]
    if name.startswith(("__cuda", "_Z")):
        # Called while libraries are loaded: kernels register for a handle, torch's own functions (C++) answer references.
        # The page's address serves as both, and its last byte, 0, as the false of those that answer a bool.
        return ["lea handle(%rip), %rax", "ret"]
    return [f"mov ${NO_DEVICE}, %eax", "ret"]


def version_script(symbols: Sequence[Symbol]) -> str:
    """Return the linker's version script for the symbols; empty when none has a version."""
    versions: dict[str, list[str]] = collections.defaultdict(list)
    for symbol in symbols:
        if symbol.version:
            versions[symbol.version].append(symbol.name)
    return "".join(
        f"{version} {{ global: {' '.join(f'{name};' for name in names)} }};\n" for version, names in sorted(versions.items())
    )


def link(target: Path, soname: str, symbols: Sequence[Symbol]) -> None:
    """Write a shared library that defines the symbols and nothing else."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / "stub.s").write_text(assembly(symbols))
        _run("as", "-o", str(scratch / "stub.o"), str(scratch / "stub.s"))
        arguments = ["-shared", "-soname", soname, "-o", str(target), str(scratch / "stub.o")]
        if script := version_script(symbols):
            (scratch / "stub.map").write_text(script)
            arguments.append(f"--version-script={scratch / 'stub.map'}")
        _run("ld", *arguments)


def _defined(library: Path) -> set[str]:
    table = _run("nm", "-D", "--defined-only", str(library))
    return {line.split()[-1].partition("@")[0] for line in table.splitlines()}


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
