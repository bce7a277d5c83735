"""`python -m hack.vllm`: has in the cache all that tests of real vLLM need, made where it is not there yet."""

import sys

from hack import apt
from hack.cluster import errors as cluster_errors
from hack.images import errors
from hack.models import adapter
from hack.vllm import parsers


def main() -> int:
    """Prepare; the exit status."""
    try:
        print(f"vllm: the adapter is in {adapter.ensure()}")
        for version in parsers.versions():
            parsers.prepare(version)
            print(f"vllm: the parser of vLLM {version} is there")
    except (apt.AptError, cluster_errors.ClusterError, errors.ImageError) as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
