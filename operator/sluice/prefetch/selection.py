"""Which files of a source an engine needs: repositories often hold the same weights in several formats. Pure.

The order of formats is vLLM's own: safetensors before PyTorch's. What is small is always taken, whatever it is.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterable
from typing import Final

from sluice.prefetch import model

FORMATS: Final = (".safetensors", ".bin", ".pt", ".gguf")
"""The best first: only the first one that a source has is taken."""
NEVER: Final = (".pth", ".ckpt", ".h5", ".msgpack", ".ot", ".onnx", ".onnx_data", ".tflite", ".mlmodel")
"""Formats that vLLM does not load."""
SKIPPED_FOLDERS: Final = ("original", "onnx", "openvino", "coreml", "metal")
"""Folders at the top with the same weights for other programs."""
SMALL: Final = 16 << 20
"""Bytes up to which a file is taken even in a format that is not: it is no model's weights."""


def select(files: Iterable[model.File]) -> tuple[model.File, ...]:
    """The files to download, by path.

    Raises:
        ValueError: a file's path would lead out of its folder.
    """
    kept = [file for file in files if _checked(file).parts[0] not in SKIPPED_FOLDERS]
    found = {_suffix(file) for file in kept if file.size > SMALL}
    best = next((suffix for suffix in FORMATS if suffix in found), None)
    dropped = {suffix for suffix in (*FORMATS, *NEVER) if suffix != best} if best is not None else set()
    chosen = (file for file in kept if file.size <= SMALL or _suffix(file) not in dropped)
    return tuple(sorted(chosen, key=lambda file: file.path))


def _suffix(file: model.File) -> str:
    return pathlib.PurePosixPath(file.path).suffix.lower()


def _checked(file: model.File) -> pathlib.PurePosixPath:
    path = pathlib.PurePosixPath(file.path)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\0" in file.path:
        raise ValueError(
            f"Cannot download file {file.path!r}: its path leads out of the model's folder. Rename it at the source"
        )
    return path
