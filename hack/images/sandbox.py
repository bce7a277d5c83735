"""Runs a program in the images' own base on the host, as a container would: no cluster and no container runtime is needed.

So what needs the image's Python (bytecode, training, a look at vLLM) uses that one, whatever Python the host has.
It takes Linux and root.
"""

import dataclasses
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from hack.images import cache, errors, oci

PYTHON = "python3.11"
"""Of the base."""

# $1 is the root, then pairs of source and target until --, then the command. All is read-only but /tmp, /dev/shm and the
# targets in WRITABLE; the mounts go with the namespace.
SCRIPT = r"""
set -e
root=$1; shift
mount --make-rprivate /
work=$MOUNT_POINT; mount -t tmpfs none "$work"; mkdir "$work/upper" "$work/scratch" "$work/new"
mount -t overlay -o "lowerdir=$root,upperdir=$work/upper,workdir=$work/scratch" none "$work/new"
cd "$work/new"
mkdir -p dev/shm
for node in null zero full random urandom; do : > dev/$node; mount --bind /dev/$node dev/$node; done
while [ "$1" != -- ]; do
  mkdir -p "./$2"; mount --bind "$1" "./$2"
  case " $WRITABLE " in *" $2 "*) ;; *) mount -o remount,bind,ro "./$2" ;; esac
  shift 2
done
shift
mount -t tmpfs -o mode=1777 none tmp; mount -t tmpfs -o mode=1777 none dev/shm
mount -t proc none proc; mount --rbind /sys sys
mount -o remount,ro "$work/new"
exec chroot . setpriv --reuid "$RUN_AS" --regid "$RUN_AS" --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
"""


@dataclasses.dataclass(frozen=True)
class Sandbox:
    """A base with directories of the host laid into it.

    Attributes:
        root: An unpacked base.
        binds: Absolute path inside -> directory of the host; read-only.
        writable: The same, writable.
        env: The whole environment of the program, beside PATH.
        uid: User and group of the program.
    """

    root: Path
    binds: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    writable: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    uid: int = 2000

    def command(self, program: Sequence[str]) -> list[str]:
        """Return the command line that runs the program. What is inside ends when the command's only child is killed."""
        mounts = [str(part) for target, source in {**self.binds, **self.writable}.items() for part in (source, target)]
        namespaces = ["unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child"]
        return [*namespaces, "sh", "-c", SCRIPT, "sandbox", str(self.root), *mounts, "--", *program]

    def environment(self) -> dict[str, str]:
        """Return the environment to start `command` with."""
        # One empty directory serves every sandbox: what is mounted on it is seen inside that sandbox only.
        mount_point = cache.directory("roots") / ".mount"
        mount_point.mkdir(exist_ok=True)
        own = {"PATH": oci.PATH, "MOUNT_POINT": str(mount_point), "RUN_AS": str(self.uid), "WRITABLE": " ".join(self.writable)}
        return own | dict(self.env)

    def run(self, program: Sequence[str]) -> str:
        """Run the program to its end; its standard output. What it says on standard error is shown when it fails."""
        require_root()
        run = subprocess.run(
            self.command(program), env=self.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if run.returncode:
            last = (run.stderr.strip() or run.stdout.strip()).splitlines()[-1:] or ["it said nothing"]
            raise errors.ImageError(f"Cannot run {program[0]} in the image's base: exit status {run.returncode}: {last[0]}")
        return run.stdout


def require_root() -> None:
    """Raise an ImageError when this process may not make namespaces and mounts."""
    if os.geteuid() != 0:
        raise errors.ImageError("Cannot run a program in the image's base: mounts need root; run this as root")


def compile_packages(base: Path, site: Path, place: str, skip: str = r"/tests?/") -> None:
    """Compile the Python packages in `site`, which lie at `place` in the image, by the Python of an unpacked base.

    Containers cannot store bytecode. This one does not look at the sources' times, which images set to 0.

    Args:
        base: Has the Python.
        site: A directory of packages; existing bytecode in it is replaced.
        place: Its absolute path in the image.
        skip: Regular expression of paths that are not worth the time.
    """
    require_root()
    for path in list(site.rglob("__pycache__")):
        cache.remove(path)
    # compileall's own end of 1 is none: some packages ship templates that are no valid Python, and all others are compiled.
    program = f"import compileall, re; compileall.compile_dir({place!r}, rx=re.compile({skip!r}), quiet=2, workers=0, "
    program += "invalidation_mode=__import__('py_compile').PycInvalidationMode.UNCHECKED_HASH)"
    # What Python itself imports at its start must not be stored in another form before it is compiled.
    environment = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    compiling = Sandbox(base, writable={place: site}, env=environment, uid=0)
    compiling.run([f"/usr/bin/{PYTHON}", "-c", program])
