"""Checks of the external tree that need no build: `python buildroot/check.py BUILDROOT_DIR`.

Both configurations load, every option they ask for is in the result (Kconfig drops what it does not know without a word), every file they
name is there, and Buildroot's own checkers are content: check-package, show-info, external-deps. With `--built DIR`, an output folder, the
kernel's and busybox's fragments are compared with the configurations that were really built.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CONFIGS = sorted((HERE / "configs").glob("*_defconfig"))
PINNED = (HERE / "pinned").read_text().split()
# What only the older U-Boot of `make vm` knows under these names; common/uboot.fragment has the newer ones.
RENAMED = ("CONFIG_SYS_REDUNDAND_ENVIRONMENT=y", "CONFIG_USE_DEFAULT_ENV_FILE=y")


def unmet(asked: str, result: str, prefix: str = "BR2_") -> list[str]:
    """Lines of a configuration that the result does not have."""
    have = set(result.splitlines())
    missing = []
    for line in asked.splitlines():
        if line.startswith(prefix) and line not in have and not line.endswith("=n"):
            missing.append(line)
        elif line.startswith(f"# {prefix}") and line.endswith(" is not set"):
            if any(other.startswith(f"{line.split()[1]}=") for other in have):
                missing.append(line)
    return missing


def absent(asked: str) -> list[str]:
    """Files of our tree that a configuration names and that are not there."""
    found = []
    for line in asked.splitlines():
        for word in line.partition("=")[2].strip('"').split():
            if word.startswith("$(BR2_EXTERNAL_BRANCHPBX_PATH)"):
                path = HERE / word.partition(")")[2].lstrip("/")
                if not path.exists():
                    found.append(word)
    return found


def run(command: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    """A command's outcome; nothing of this machine's make reaches it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")} | more
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def under_three(packages: dict[str, Any]) -> list[str]:
    """Packages of `show-info` that may not be in the signed root, which holds nothing under version 3 of the GPL."""
    known = tomllib.loads((HERE / "common" / "licences.toml").read_text(encoding="utf-8"))["buildroot"]
    faults = []
    for name, facts in packages.items():
        licences = str(facts.get("licenses", ""))
        in_root = facts.get("type") == "target" and facts.get("install_target") and name not in known
        if in_root and "GPL-3.0" in licences.replace("LGPL-3.0", "") and " or " not in licences.lower():
            faults.append(f"{name} is under {licences}; it may not be in the signed root")
    return faults


def check(buildroot: Path, config: Path) -> list[str]:
    """What is wrong with one configuration."""
    asked = config.read_text()
    faults = [f"{config.name}: {word} is not there" for word in absent(asked)]
    with tempfile.TemporaryDirectory() as folder:
        make = ["make", "-s", "-C", str(buildroot), f"O={folder}", f"BR2_EXTERNAL={HERE}"]
        done = run([*make, config.name])
        if done.returncode:
            return [*faults, f"{config.name}: does not load: {done.stderr.strip()[-500:]}"]
        result = (Path(folder) / ".config").read_text()
        faults += [f"{config.name}: lost {line}" for line in unmet(asked, result)]
        shown = run([*make, "show-info"])
        try:
            packages = json.loads(shown.stdout)
        except ValueError:
            return [*faults, f"{config.name}: show-info says no JSON: {shown.stderr.strip()[-500:]}"]
        faults += [
            f"{config.name}: {name} is not built"
            for name in ("branchpbx", "python-msgspec", "rauc", "linux", "uboot")
            if name not in packages
        ]
        faults += [f"{config.name}: {fault}" for fault in under_three(packages)]
        archives = run([*make, "external-deps"])
        if archives.returncode or not archives.stdout.strip():
            faults.append(f"{config.name}: external-deps: {archives.stderr.strip()[-500:] or 'nothing'}")
        else:
            print(f"{config.name}: {len(packages)} packages, {len(archives.stdout.split())} archives to fetch")
    return faults


def checked_packages(buildroot: Path) -> list[str]:
    """What Buildroot's style checker says of our packages; it wants python-magic."""
    files = [str(path) for path in [HERE / "Config.in", HERE / "external.mk", *sorted((HERE / "package").rglob("*.*"))] if path.is_file()]
    done = run([sys.executable, str(buildroot / "utils" / "check-package"), "-b", *files, *(str(path) for path in CONFIGS)])
    if "No module named" in done.stderr:
        return [f"check-package cannot run: {done.stderr.strip().splitlines()[-1]}; pip install python-magic flake8"]
    return [] if done.returncode == 0 else [f"check-package: {line}" for line in (done.stdout + done.stderr).splitlines() if line.strip()]


def board_of(config: str) -> str:
    """Name of the board that a Buildroot configuration is for."""
    found = re.search(r'^BR2_ROOTFS_POST_SCRIPT_ARGS="([^" ]*)', config, re.MULTILINE)
    return found.group(1) if found else ""


def built(folder: Path) -> list[str]:
    """What of the fragments did not stick in a finished build."""
    faults = []
    config = folder / ".config"
    board = HERE.parent / "board" / (board_of(config.read_text()) if config.exists() else "")
    common = HERE / "common"
    for name, fragments in (
        ("linux-[0-9]*", [common / "linux.fragment", board / "linux.fragment"]),
        ("busybox-[0-9]*", [common / "busybox.fragment"]),
        ("uboot-[0-9]*", [common / "uboot.fragment", board / "uboot.config"]),
    ):
        made = next(iter(folder.glob(f"build/{name}/.config")), None)
        if made is None:
            faults.append(f"{folder}: no {name} was built")
            continue
        asked = "".join(path.read_text() for path in fragments if path.exists())
        faults += [f"{made.parent.name}: lost {line}" for line in unmet(asked, made.read_text(), "CONFIG_") if line not in RENAMED]
    return faults


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Checks of the Buildroot external tree.")
    parser.add_argument("buildroot", type=Path, metavar="BUILDROOT_DIR")
    parser.add_argument("--built", type=Path, metavar="OUTPUT")
    options = parser.parse_args()
    version = run(["make", "-s", "-C", str(options.buildroot), "print-version"]).stdout.strip()
    if version.split("-")[0] != PINNED[0]:
        print(f"Buildroot is {version or 'not there'}; the tree is made for {PINNED[0]}", file=sys.stderr)
        return 1
    faults = [fault for config in CONFIGS for fault in check(options.buildroot, config)] + checked_packages(options.buildroot)
    if options.built is not None:
        faults += built(options.built)
    print("\n".join(faults) or f"Buildroot {version}: {len(CONFIGS)} configurations load, every option survives, the checkers are content")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
