"""Runs one program that must not outlive its parent: it is killed when our standard input ends, or when we are killed.

A pipe tells of the parent's end however it comes. Linux's own parent-death signal would not do in the parent itself: it is sent
when the thread that started the program ends. Run by path, so it imports nothing of the project.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1


def main(command: Sequence[str]) -> int:
    """Run a command until it exits or our standard input ends; return its exit status."""
    libc, parent = ctypes.CDLL(None), os.getpid()

    def die_with_us() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # we went before it could be set
            os._exit(1)

    # Safe: this process has one thread.
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=die_with_us)  # noqa: PLW1509 - this process has one thread
    ended = os.pidfd_open(program.pid)
    while True:
        ready, _, _ = select.select([sys.stdin.fileno(), ended], [], [])
        if ended in ready:
            break
        if not os.read(sys.stdin.fileno(), 1):
            program.kill()
            break
    return program.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
