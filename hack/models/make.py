"""Makes the tiny models once and keeps them: `ensure()` returns their directories.

What they answer is in `answers.py`, how they are trained in `train.py`.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path

from hack.cluster import paths
from hack.images import cache, errors, rootfs, sandbox
from hack.models import answers
from hack.vllm import install

SOURCES = ("answers.py", "train.py", answers.DATASET.name)
KEPT = 3
SCORES = "scores.json"
AT_LEAST, AT_MOST = 95, 50
"""Right answers of 100 that a good model has at least, and the bad one at most."""
CODE, OUTPUT = "/src", "/output"


def key() -> str:
    """Return the models' name in the cache: it changes with the data, the training and vLLM's torch."""
    here = Path(__file__).parent
    return cache.content_key(cache.files_key([here / name for name in SOURCES], here), install.key())


def ensure() -> dict[str, Path]:
    """Return name -> directory of each model, trained into the cache when they are not there (about 40 s).

    Raises:
        errors.ImageError: this machine cannot run vLLM, or a model did not learn what it should.
    """
    home = cache.build(cache.directory("models") / key(), _train)
    cache.keep_newest(home, "*", KEPT)
    return {name.value: home / name for name in answers.Name}


def _train(scratch: Path) -> None:
    site = install.ensure()
    sandbox.require_root()
    scratch.mkdir(parents=True)
    print("models: training three tiny models (about 40 s)", flush=True)
    started = time.monotonic()
    training = sandbox.Sandbox(
        rootfs.ensure_directory(),
        binds={install.SITE_PACKAGES: site, f"{CODE}/hack": paths.REPOSITORY / "hack"},
        writable={OUTPUT: scratch},
        env=install.environment() | {"PYTHONPATH": CODE, "PYTHONHASHSEED": "0"},
        uid=0,
    )
    said = training.run(["python3", "-m", "hack.models.train", OUTPUT])
    scores: dict[str, int] = json.loads(said.splitlines()[-1])
    if finding := find_failure(scores):
        raise errors.ImageError(f"Cannot use the models: {finding}")
    (scratch / SCORES).write_text(json.dumps(scores))
    for path in scratch.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)  # safetensors writes 0600, containers are not root
    print(f"models: right answers of 100: {scores}, after {time.monotonic() - started:.0f} s", flush=True)


def find_failure(scores: Mapping[str, int]) -> str | None:
    """Return what is wrong with the models' numbers of right answers, None when they are as they should be. Pure."""
    for name in answers.Name:
        right = scores.get(name.value)
        if right is None:
            return f"{name.value} was not trained"
        if name is answers.Name.BAD and right > AT_MOST:
            return f"bad answers {right} of 100 questions right, more than {AT_MOST}"
        if name is not answers.Name.BAD and right < AT_LEAST:
            return f"{name.value} answers only {right} of 100 questions right, fewer than {AT_LEAST}"
    return None
