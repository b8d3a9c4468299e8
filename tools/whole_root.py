"""Run a command with a root of its own where this machine is a chroot: `python3 tools/whole_root.py COMMAND [ARG ...]`.

The kernel gives no user namespace to a process in a chroot (user_namespaces(7), EPERM), and the console over SSH needs one. In a mount
namespace of its own the directory that is the root here becomes the root of the namespace (pivot_root(2)); nothing outside changes, and
all files keep their names. Outside of a chroot, or without root's rights, the command runs as it is.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import tempfile
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 4096, 16384, 1 << 18, 2
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "armv7l": 218}      # numbers of the system call


def refused() -> bool:
    """True where the kernel gives this process no user namespace; asked by a child, which keeps what it gets."""
    child = os.fork()
    if not child:
        os._exit(ctypes.CDLL(None).unshare(CLONE_NEWUSER) != 0)
    return os.waitpid(child, 0)[1] != 0


def take_root() -> None:
    """Make the root of this process the root of a mount namespace. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)

    def must(result: int, what: str) -> None:
        if result:
            raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")

    def same(one: str, other: str) -> bool:
        return os.path.samestat(Path(one).stat(), Path(other).stat())

    here = Path.cwd()
    must(libc.unshare(CLONE_NEWNS), "unshare")
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)     # of this namespace
    with tempfile.TemporaryDirectory() as aside:
        os.chroot(aside)                                  # the working directory is outside of it now: ".." leads up to the top
        os.fchdir(root)
        while not same("..", "."):
            os.chdir("..")
        os.chroot(".")
        path = bytes(Path(f"/proc/self/fd/{root}").readlink())
        must(libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None), "make mounts private")
        must(libc.mount(path, path, None, ctypes.c_ulong(MS_BIND | MS_REC), None), "bind the root to itself")
        os.chdir(path)
        must(libc.syscall(PIVOT_ROOT[platform.machine()], b".", b"."), "pivot_root")
        must(libc.umount2(b".", MNT_DETACH), "let go of the root above")
        os.chdir("/")
    os.close(root)
    os.chdir(here)


def main() -> None:
    """Become the command."""
    command = sys.argv[1:]
    if not command:
        sys.exit((__doc__ or "").split("\n")[0])
    if os.geteuid() == 0 and refused() and platform.machine() in PIVOT_ROOT:
        take_root()
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
