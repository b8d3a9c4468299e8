"""Packages and source archives of the distribution for another architecture, unpacked and never installed.

apt runs with a state of its own, so this machine's packages do not change; it checks the signatures of the archive and every hash. A fetch
that fails is tried again; one that stays impossible raises NotFetched, which the test stage reports as "not run".
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from .settings import BUILD, Source

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
TRIES = 3
PAUSE_S = 5
OTHER_NAMES = ("stable", "oldstable")    # that a suite may have beside its own


class NotFetched(Exception):
    """The package server does not answer or no longer has a file; nothing is wrong with our tree."""


def mirror() -> str:
    """The package server of this machine, or BRANCHPBX_MIRROR."""
    chosen = os.environ.get("BRANCHPBX_MIRROR", "")
    if chosen:
        return chosen
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    plain = [address for address in found if "security" not in address]
    if not plain:
        raise NotFetched("this machine names no Debian package server; set BRANCHPBX_MIRROR")
    return plain[0].rstrip("/")


class Apt:
    """One suite and architecture."""

    def __init__(self, suite: str, architecture: str) -> None:
        self.suite, self.architecture = suite, architecture
        self.state = BUILD / "apt" / f"{suite}-{architecture}"

    def __call__(self, *arguments: str, folder: Path | None = None, program: str = "apt-get") -> str:
        """Output of apt; NotFetched after `TRIES` failures."""
        options = [
            f"APT::Architecture={self.architecture}", f"APT::Architectures={self.architecture}", f"Dir::State={self.state}",
            f"Dir::State::status={self.state}/status", f"Dir::Cache={self.state}/cache", f"Dir::Etc::sourcelist={self.state}/sources.list",
            "Dir::Etc::sourceparts=/dev/null", "Acquire::Languages=none", "Acquire::Retries=3", "APT::Sandbox::User=root",
        ]  # fmt: skip
        command = [program, "-q", *(word for option in options for word in ("-o", option)), *arguments]
        for turn in range(TRIES):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return done.stdout
            if turn + 1 < TRIES:
                time.sleep(PAUSE_S * (turn + 1))
        raise NotFetched(f"{program} {arguments[0]}: {_reason(done.stderr or done.stdout)}")

    def update(self) -> None:
        """Fetch the lists unless they are a few hours old.

        While a server is being renewed, its index may name lists that it does not have yet. Those of before are still whole under another
        name of the suite, or here.
        """
        stamp = self.state / "updated"
        if stamp.exists() and time.time() - stamp.stat().st_mtime < 6 * 3600:
            return
        for sub in ("lists/partial", "cache/archives/partial"):
            (self.state / sub).mkdir(parents=True, exist_ok=True)
        (self.state / "status").touch()
        faults = []
        for name in (self.suite, *OTHER_NAMES):
            line = f"[signed-by={KEYRING}] {mirror()} {name} main"
            (self.state / "sources.list").write_text(f"deb {line}\ndeb-src {line}\n")
            try:
                self("update", "-o", "APT::Get::List-Cleanup=0")     # the lists of before stay
            except NotFetched as error:
                faults.append(error)
                continue
            if self._is(name):
                if name != self.suite:
                    print(f"== {faults[0]}; going on with the lists of {name}, which is {self.suite}", flush=True)
                stamp.touch()
                return
        line = f"[signed-by={KEYRING}] {mirror()} {self.suite} main"
        (self.state / "sources.list").write_text(f"deb {line}\ndeb-src {line}\n")
        if not list((self.state / "lists").glob(f"*_dists_{self.suite}_*_Packages*")):
            raise faults[0]
        print(f"== {faults[0]}; going on with the lists that are here", flush=True)

    def _is(self, name: str) -> bool:
        """Are the lists under this name those of the suite?"""
        found = (self.state / "lists").glob(f"*_dists_{name}_InRelease")
        return any(re.search(rf"(?m)^Codename: {re.escape(self.suite)}$", path.read_text(encoding="utf-8")) for path in found)

    def depends(self, package: str) -> list[str]:
        """Names a package depends on directly."""
        shown = self("depends", "--no-recommends", "--no-suggests", package, program="apt-cache")
        return re.findall(r"^\s*Depends: (\S+)$", shown, re.MULTILINE)


def _reason(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("E:")]
    return (lines or text.splitlines() or ["no reason given"])[0]


def packages(apt: Apt, names: Sequence[str]) -> Path:
    """A folder with the packages; fetched once for each list of names."""
    key = hashlib.sha256(" ".join([apt.suite, apt.architecture, *sorted(names)]).encode()).hexdigest()[:16]
    folder = BUILD / "debs" / key
    if (folder / ".complete").exists():
        return folder
    apt.update()
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    apt("download", *names, folder=part)
    got = {deb.name.split("_")[0] for deb in part.glob("*.deb")}
    if got != set(names):
        raise NotFetched(f"not delivered: {' '.join(sorted(set(names) - got))}")
    (part / ".complete").touch()
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return folder


def unpack(debs: Path, target: Path) -> dict[str, str]:
    """Unpack every package of a folder; name -> version."""
    target.mkdir(parents=True, exist_ok=True)
    versions = {}
    for deb in sorted(debs.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", str(deb), str(target)], check=True)
        name, version, _ = deb.name.split("_")
        versions[name] = version.replace("%3a", ":")
    return versions


def source(apt: Apt, wanted: Source) -> Path:
    """The upstream archive of a source package, its hash checked."""
    folder = BUILD / "sources"
    folder.mkdir(parents=True, exist_ok=True)

    def have() -> Path | None:
        for path in folder.glob(f"{wanted.package}_{wanted.version}.orig.tar.*"):
            if hashlib.sha256(path.read_bytes()).hexdigest() == wanted.sha256:
                return path
        return None

    found = have()
    if found is None:
        apt.update()
        apt("source", "--download-only", "--tar-only", wanted.package, folder=folder)
        found = have()
    if found is None:
        raise NotFetched(f"{wanted.package} {wanted.version}: the archive offers none with hash {wanted.sha256}; correct the board file")
    return found
