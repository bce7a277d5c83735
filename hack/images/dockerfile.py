"""Reads the last stage of our Dockerfile, so that it is the only place that says what the operator's image is.

Not a general parser: it knows the instructions our Dockerfile keeps to and refuses any other.
"""

import dataclasses
import json
import shlex
from collections.abc import Iterator

from hack.images import errors, oci


@dataclasses.dataclass(frozen=True)
class Copy:
    """`COPY source target`: a path of the repository and where it goes in the image."""

    source: str
    target: str


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage: what it copies from the repository and how its image is started."""

    copies: tuple[Copy, ...]
    config: oci.Config


def parse(text: str) -> Stage:
    """Return the last stage of a Dockerfile.

    Raises:
        errors.ImageError: it has an instruction that this does not know.
    """
    copies: list[Copy] = []
    env: dict[str, str] = {}
    single: dict[str, str] = {}
    for name, rest in _last_stage(text):
        words = shlex.split(rest)
        if name == "COPY" and words[0].startswith("--from="):
            continue  # from another stage: the dependencies, which uv installs here as well
        if name == "COPY" and len(words) == 2 and not words[0].startswith("--"):
            copies.append(Copy(words[0], words[1].strip("/")))
        elif name == "ENV":
            for word in words:
                key, _, env[key] = word.partition("=")
        elif name in ("WORKDIR", "USER", "ENTRYPOINT"):
            single[name] = rest
        else:
            raise errors.ImageError(f"Cannot read the Dockerfile: its last stage has the instruction {name} {rest}")
    entrypoint = tuple(json.loads(single["ENTRYPOINT"]))
    return Stage(tuple(copies), oci.Config(entrypoint, single["USER"], env, single["WORKDIR"]))


def _last_stage(text: str) -> Iterator[tuple[str, str]]:
    """Yield instruction and rest of each line after the last FROM."""
    joined = text.replace("\\\n", " ").splitlines()
    lines = [line.strip() for line in joined if line.strip() and not line.lstrip().startswith("#")]
    starts = [number for number, line in enumerate(lines) if line.split()[0].upper() == "FROM"]
    for line in lines[starts[-1] + 1 :]:
        name, _, rest = line.partition(" ")
        yield name.upper(), rest.strip()
