"""`python -m hack.images build NAME…|all`: builds images and prints where they are."""

import argparse
import sys

from hack import apt
from hack.cluster import errors as cluster_errors
from hack.images import build, errors
from hack.vllm import install


def main() -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m hack.images", description=__doc__)
    command = parser.add_subparsers(dest="command", required=True).add_parser("build", help="build images into the cache")
    command.add_argument("names", nargs="+", metavar="NAME", help=f"{', '.join(build.names())}, or all")
    names: list[str] = parser.parse_args().names
    try:
        for name in choose(names):
            image = build.ensure_image(name)
            print(f"{image.ref} {image.digest} {image.tar}")
    except (apt.AptError, cluster_errors.ClusterError, errors.ImageError) as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


def choose(names: list[str]) -> list[str]:
    """Return which images to build; `all` leaves out real vLLM where it cannot run, and says so."""
    if names != ["all"]:
        return names
    reason = install.supported()
    if reason:
        print(f"images: vllm is left out: {reason}")
    return [name for name in build.names() if not (reason and name == "vllm")]


if __name__ == "__main__":
    sys.exit(main())
