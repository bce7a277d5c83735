"""Writes an image as one tar file in the OCI image layout, as `ctr images import`, `docker load` and skopeo read it.

The layers are copied in as they are, uncompressed: they are imported on the machine that made them.
"""

import dataclasses
import hashlib
import io
import json
import os
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from hack.images import layers

MEDIA_TYPE = "application/vnd.oci.image."
BLOBS = "blobs/sha256/"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclasses.dataclass(frozen=True)
class Config:
    """How a container of the image is started; what a pod does not say comes from here."""

    entrypoint: tuple[str, ...]
    user: str = ""
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    workdir: str = "/"
    cmd: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The `config` object of an OCI image configuration."""
        environment = {"PATH": PATH, **self.env}
        made: dict[str, Any] = {"Env": [f"{key}={value}" for key, value in environment.items()], "WorkingDir": self.workdir}
        optional = {"Entrypoint": list(self.entrypoint), "Cmd": list(self.cmd), "User": self.user}
        return made | {key: value for key, value in optional.items() if value}


def architecture(machine: str | None = None) -> str:
    """Return OCI's name of this machine's architecture, or of the one that `platform.machine` calls `machine`."""
    machine = machine or platform.machine()
    return ARCHITECTURES.get(machine, machine)


def build_documents(ref: str, parts: Sequence[layers.Layer], config: Config) -> tuple[bytes, bytes, bytes]:
    """Return the image's configuration, manifest and index as JSON. Pure."""
    image = _json(
        {
            "architecture": architecture(),
            "os": "linux",
            "config": config.to_json(),
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.digest}" for layer in parts]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MEDIA_TYPE + "manifest.v1+json",
            "config": _descriptor("config.v1+json", image),
            "layers": [_layer_descriptor(layer) for layer in parts],
        }
    )
    # containerd takes the full name from its own annotation, others the tag from the standard one.
    names = {"io.containerd.image.name": ref, "org.opencontainers.image.ref.name": ref.rpartition(":")[2]}
    described = _descriptor("manifest.v1+json", manifest) | {"annotations": names}
    return image, manifest, _json({"schemaVersion": 2, "mediaType": MEDIA_TYPE + "index.v1+json", "manifests": [described]})


def write_image(target: Path, ref: str, parts: Sequence[layers.Layer], config: Config) -> str:
    """Write the image to the tar file `target`; the digest of its manifest, `sha256:…`.

    Args:
        target: Path of the file.
        ref: Name and tag, such as `localhost/sluice/pause:1`.
        parts: The layers, lowest first.
        config: How a container is started.
    """
    image, manifest, index = build_documents(ref, parts, config)
    with target.open("wb") as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(archive, "index.json", index)
        for document in (image, manifest):
            _add(archive, BLOBS + _sha256(document), document)
        for layer in {layer.digest: layer for layer in parts}.values():
            _add_layer(archive, stream, layer)
    return f"sha256:{_sha256(manifest)}"


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def _add_layer(archive: tarfile.TarFile, stream: BinaryIO, layer: layers.Layer) -> None:
    """Add a layer's file by letting the kernel copy it: the largest has more than a gigabyte."""
    info = tarfile.TarInfo(BLOBS + layer.digest)
    info.size = layer.size
    archive.addfile(info)  # the header alone: no content is given
    stream.flush()
    with layer.path.open("rb") as source:
        remaining = layer.size
        while remaining:
            remaining -= os.sendfile(stream.fileno(), source.fileno(), None, remaining)
    stream.seek(0, os.SEEK_END)
    padding = -layer.size % tarfile.BLOCKSIZE
    stream.write(b"\0" * padding)
    archive.offset += layer.size + padding


def _layer_descriptor(layer: layers.Layer) -> dict[str, Any]:
    return {"mediaType": MEDIA_TYPE + "layer.v1.tar", "digest": f"sha256:{layer.digest}", "size": layer.size}


def _descriptor(kind: str, document: bytes) -> dict[str, Any]:
    return {"mediaType": MEDIA_TYPE + kind, "digest": f"sha256:{_sha256(document)}", "size": len(document)}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
