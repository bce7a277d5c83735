"""`python -m hack.cluster build|up|down|status|kubeconfig [--name NAME] [--image TAR]…`, on a cluster of the kind $CLUSTER."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hack import apt
from hack.cluster import driver, embedded, errors
from hack.images import errors as image_errors


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m hack.cluster", description=__doc__)
    parser.add_argument("command", choices=("build", "up", "down", "status", "kubeconfig"))
    parser.add_argument("--name", default=driver.DEFAULT_NAME, help="clusters of different names run side by side")
    parser.add_argument("--image", type=Path, action="append", default=[], help="OCI layout tar to import (up only)")
    parser.add_argument("--forget", action="store_true", help="remove the images it keeps in the cache, too (down, embedded)")
    options = parser.parse_args(arguments)
    try:
        cluster = driver.choose(options.name)
        match options.command:
            case "build":
                embedded.build_programs()
            case "up":
                cluster.up(options.image)
            case "down":
                if options.forget and isinstance(cluster, embedded.Embedded):
                    cluster.forget()
                cluster.down()
                print(f"cluster {options.name}: down", flush=True)
            case "status":
                print(cluster.status())
            case _:
                print(cluster.kubeconfig)
    except (errors.ClusterError, image_errors.ImageError, apt.AptError) as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
