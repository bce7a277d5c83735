"""`python -m sluice.prefetch`: the same as `sluice prefetch`, without the seconds that loading the rest of Sluice takes."""

from __future__ import annotations

import sys

from sluice.prefetch import command

if __name__ == "__main__":
    sys.exit(command.main(sys.argv[1:]))
