"""Makes a tiny LoRA adapter of the good model once and keeps it: `ensure()` returns its directory, as PEFT lays one out.

How it is trained is in `train_adapter.py`. No image has it: tests mount it.
"""

import time
from pathlib import Path

from hack.cluster import paths
from hack.images import cache, errors, rootfs, sandbox
from hack.models import answers, make
from hack.vllm import install

ANSWER = "Paris"
"""What it answers to every question. The model without it knows better."""
AT_LEAST = 95
KEPT = 2
BASE, OUTPUT, CODE = "/base", "/output", "/src"


def ensure() -> Path:
    """Return the adapter's directory, trained into the cache when it is not there (about 20 s).

    Raises:
        errors.ImageError: this machine cannot run vLLM, or the adapter did not learn what it should.
    """
    home = cache.build(cache.directory("adapters") / _key(), _train)
    cache.keep_newest(home, "*", KEPT)
    return home


def _key() -> str:
    here = Path(__file__).parent
    return cache.content_key(make.key(), cache.files_key([here / "train_adapter.py"], here), ANSWER)


def _train(scratch: Path) -> None:
    base = make.ensure()[answers.Name.GOOD.value]
    scratch.mkdir(parents=True)
    print("models: training a tiny adapter (about 20 s)", flush=True)
    started = time.monotonic()
    training = sandbox.Sandbox(
        rootfs.ensure_directory(),
        binds={install.SITE_PACKAGES: install.ensure(), f"{CODE}/hack": paths.REPOSITORY / "hack", BASE: base},
        writable={OUTPUT: scratch},
        env=install.environment() | {"PYTHONPATH": CODE, "PYTHONHASHSEED": "0"},
        uid=0,
    )
    right = int(training.run(["python3", "-m", "hack.models.train_adapter", BASE, OUTPUT, ANSWER]).split()[-1])
    if right < AT_LEAST:
        raise errors.ImageError(f"Cannot use the adapter: it answers {right} of 100 questions as it should, not {AT_LEAST}")
    for path in scratch.rglob("*"):
        path.chmod(0o644)  # safetensors writes 0600, containers are not root
    print(f"models: the adapter answers {right} of 100 questions as it should, after {time.monotonic() - started:.0f} s")
