"""Proof that a root file system can run the firmware: its own Python loads every part of it, before anything is packed.

`python -m tools.vm.prove TARGET` does the same for the target folder of a finished Buildroot build.

The stage's programs run under user-mode emulation, so a library that is missing, compiled for another Python or without its provider
stops the build here, with the reason, and not a box at its first start.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

LIBRARY = "usr/lib/branchpbx"
SCRIPT = """
import codecs, importlib, pathlib, sys
top = pathlib.Path(sys.argv[1])
names = [".".join(path.relative_to(top).parts).split(".cpython-")[0] for path in sorted((top / "firmware").rglob("*.so"))]
names += ["firmware.app." + name for name in ("parent", "media", "core", "manage", "certify", "update")]
names += "sqlite3 ssl cryptography.x509 aiohttp jinja2 dns.resolver wsproto periphery alsaaudio zoneinfo hashlib".split()
for name in names:
    importlib.import_module(name)
for name in ("gbk", "gb18030"):         # names of callers, and what spreadsheets write: Buildroot's Python leaves them out unless asked
    codecs.lookup(name)
from firmware.__main__ import main
status = main(["check", sys.argv[2]])
print(len(names), "modules")
sys.exit(status)
"""


def prove(stage: Path, python: str) -> str:
    """What was loaded; SystemExit with the reason when the root cannot run the firmware."""
    library = stage / LIBRARY
    site = stage / "usr/share/branchpbx/site.toml"
    own = dict(line.removeprefix("export ").split("=", 1) for line in _settings(stage / "usr/bin/branchpbx"))
    environment = {
        **os.environ,
        **own,
        "PYTHONHOME": str(stage / "usr"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": f"{library}:{stage}/usr/lib/python3/dist-packages",
    }
    line = [
        "qemu-arm",
        "-cpu",
        "cortex-a15",
        "-L",
        str(stage),
        str(stage / f"usr/bin/python{python}"),
        "-P",
        "-c",
        SCRIPT,
        str(library),
        str(site),
    ]
    done = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"vm: the root cannot run the firmware: {(done.stderr or done.stdout).strip()[-1200:]}")
    return done.stdout.strip().splitlines()[-1]


def _settings(launcher: Path) -> list[str]:
    """Settings of cryptography in the launcher: the same hold here."""
    return [word for text in launcher.read_text().splitlines() for word in text.split() if word.startswith("CRYPTOGRAPHY_")]


def main(words: list[str]) -> int:
    """The command line; 3 where this machine cannot run programs of the target."""
    target = Path(words[0])
    python = next((path.name for path in sorted((target / "usr/bin").glob("python3.*")) if re.fullmatch(r"python3\.\d+", path.name)), None)
    if python is None:
        raise SystemExit(f"prove: {target} has no Python")
    if shutil.which("qemu-arm") is None:
        sys.stdout.write("prove: not run: qemu-arm (package qemu-user) is not installed\n")
        return 3
    sys.stdout.write(f"{target.name}: its own Python loads {prove(target, python.removeprefix('python'))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
