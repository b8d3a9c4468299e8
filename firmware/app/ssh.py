"""The console over SSH: a dropbear that knows only the users of the configuration and starts only the console.

Theory of operation
-------------------
`prepare` writes what the daemon reads under `STATE/ssh`: a passwd file with our users and their scrypt hashes (crypt(3) reads the form in
which the configuration keeps them), each user's public keys, and a host key made once. `run` is a process of its own: it takes a user and
a mount namespace, lays these files over `/etc/passwd`, `/etc/group`, `/etc/shadow` and `/etc/shells` in its own view of the system, and
becomes dropbear. There it has terminals of its own and is an ordinary user without any capability, whoever started it; all our users
share that user id, so no log-in needs a privilege. Every log-in runs the one forced command, the console, which acts with the role of the
name that has proved itself; there is no shell, no file transfer, no forwarding. Files are changed in place, since a mounted file is seen
by its inode; an SSH connection that is open is not touched. A port below 1024 needs the kernel's `net.ipv4.ip_unprivileged_port_start`.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from firmware.app import privilege
from firmware.app.site import ROOT
from firmware.config.schema.tree import Config
from firmware.errors import PbxError

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
USER = GROUP = 1000                 # inside
TERMINALS = "newinstance,ptmxmode=0666,mode=0600"
TRIES = 4
KEEPALIVE_S = 30
FOLDERS = (*os.defpath.split(os.pathsep), "/usr/sbin", "/sbin", "/usr/local/sbin")


class SshError(PbxError):
    """SSH cannot be served."""


def prepare(state: Path, bind: str, config: Config) -> tuple[str, ...]:
    """Write the daemon's files; the command that serves. Raises SshError."""
    for program in ("dropbear", "dropbearkey"):
        if not _program(program):
            raise SshError(f"{program} is not installed; install the package dropbear-bin")
    folder = state.absolute() / "ssh"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        _host_key(folder / "host_key")
        lines = []
        homes = folder / "home"
        homes.mkdir(mode=0o700, exist_ok=True)
        for name, user in config.users.items():
            stored = user.password if config.ssh.passwords and user.password else "*"
            home = homes / name
            lines.append(f"{name}:{stored}:{USER}:{GROUP}::{home}:/bin/sh")
            (home / ".ssh").mkdir(mode=0o700, parents=True, exist_ok=True)
            _rewrite(home / ".ssh" / "authorized_keys", "".join(key + "\n" for key in user.ssh_keys))
        for gone in homes.iterdir():
            if gone.name not in config.users:
                shutil.rmtree(gone)
        _rewrite(folder / "passwd", "".join(line + "\n" for line in lines))
        _rewrite(folder / "group", f"users:x:{GROUP}:\n")
        _rewrite(folder / "shadow", "")
        _rewrite(folder / "shells", "/bin/sh\n")
    except OSError as error:
        raise SshError(f"{folder}: cannot be written ({error.strerror}); check disk and rights") from error
    passwords = [] if config.ssh.passwords else ["--no-passwords"]
    parent = ["--parent", str(os.getpid()), "--most", str(config.ssh.most)]
    address = ["--address", f"{f'[{bind}]' if ':' in bind else bind}:{config.ssh.port}"]
    return (sys.executable, "-m", "firmware", "ssh-daemon", "--state", str(state.absolute()), *address, *parent, *passwords)


def _program(name: str) -> str:
    return shutil.which(name, path=os.pathsep.join(FOLDERS)) or ""


def _rewrite(path: Path, text: str) -> None:
    """Change a file in place, so that who has it mounted sees the new one; never empty in between."""
    data = text.encode("ascii", "replace")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.pread(descriptor, len(data) + 1, 0) != data:
            os.pwrite(descriptor, data, 0)
            os.ftruncate(descriptor, len(data))
    finally:
        os.close(descriptor)


def _host_key(path: Path) -> None:
    if path.exists():
        return
    fresh = path.with_suffix(".new")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    made = subprocess.run([_program("dropbearkey"), "-t", "ed25519", "-f", str(fresh)], capture_output=True, check=False, timeout=60)
    if made.returncode:
        raise SshError(f"no host key could be made: {made.stderr.decode(errors='replace').strip()[:200]}")
    fresh.rename(path)


def host_fingerprint(state: Path) -> str:
    """Fingerprint of the host key, for whoever connects for the first time; "" without one."""
    path = state / "ssh" / "host_key"
    if not path.exists() or not _program("dropbearkey"):
        return ""
    told = subprocess.run([_program("dropbearkey"), "-y", "-f", str(path)], capture_output=True, check=False, timeout=60)
    return next((line.partition(": ")[2] for line in told.stdout.decode().splitlines() if line.startswith("Fingerprint")), "")


# --- the process that becomes the daemon ------------------------------------------------------------------------------


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of `ssh-daemon`."""
    parser.add_argument("--address", required=True)
    parser.add_argument("--parent", type=int, default=0)
    parser.add_argument("--most", type=int, default=4)
    parser.add_argument("--no-passwords", action="store_true")


def run(options: argparse.Namespace) -> int:
    """Become dropbear in a view of the system of its own. Raises SshError."""
    if options.parent:
        privilege.die_with_parent(options.parent)
    folder = options.state / "ssh"
    _namespaces(folder)
    privilege.drop("ssh", options.state)
    console = [sys.executable, "-m", "firmware", "cli", "--state", str(options.state), "--ssh", "--most", str(options.most)]
    forced = f"PYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.join(console)}"
    command = [_program("dropbear"), "-F", "-E", "-m", "-w", "-j", "-k", "-T", str(TRIES), "-K", str(KEEPALIVE_S)]
    command += ["-r", str(folder / "host_key"), "-p", options.address, "-P", "", "-c", forced]
    os.execv(command[0], command + (["-s"] if options.no_passwords else []))
    return 1


def _namespaces(folder: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNS):
        raise SshError(f"the kernel gives no user namespace ({os.strerror(ctypes.get_errno())}); enable user.max_user_namespaces")
    Path("/proc/self/setgroups").write_text("deny", "ascii")
    Path("/proc/self/uid_map").write_text(f"{USER} {uid} 1\n", "ascii")
    Path("/proc/self/gid_map").write_text(f"{USER} {gid} 1\n", "ascii")

    def mount(source: str, target: str, flags: int, kind: bytes | None = None, options: bytes | None = None) -> None:
        if libc.mount(source.encode(), target.encode(), kind, ctypes.c_ulong(flags), options):
            raise SshError(f"{source} cannot be laid over {target} ({os.strerror(ctypes.get_errno())})")

    mount("none", "/", MS_REC | MS_PRIVATE)
    for name in ("passwd", "group", "shadow", "shells"):
        if Path("/etc", name).exists():
            mount(str(folder / name), f"/etc/{name}", MS_BIND)
    # Terminals of its own: those of the system belong to a group that does not exist in here.
    mount("devpts", "/dev/pts", 0, b"devpts", TERMINALS.encode())
    mount("/dev/pts/ptmx", "/dev/ptmx", MS_BIND)
