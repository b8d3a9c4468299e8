"""Compiles our native modules for armhf: the C that Cython made for this machine, with setup.py's own flags, by the cross compiler.

Called by `tools/dsp_arm.sh build` as `dsp_arm.py SYSROOT SITE VERSION`. SITE becomes a folder to put first on PYTHONPATH. A module is
compiled again when its C, a header it includes or the flags changed. A module that binds a library which `dsp_arm.sh` does not fetch is
left out and named: the signal blocks need the codec's only, and a module that imports one left out fails there in plain words.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
PARTS = ("firmware.dsp.", "firmware.sip.")
COMPILER = "arm-linux-gnueabihf-gcc"
OWN = ("m", "rt", "pthread", "dl")  # libraries that the cross compiler brings
# What a Cortex-A8 has; the newer cores run it as well.
TARGET = ["-march=armv7-a", "-mfloat-abi=hard", "-mthumb"]


def newest(rules: Path) -> float:
    """When the youngest file changed that the compiler named in its dependency file; infinity without one."""
    if not rules.exists():
        return float("inf")
    paths = [Path(word) for word in rules.read_text(encoding="utf-8").split(":", 1)[1].replace("\\\n", " ").split()]
    return max((path.stat().st_mtime if path.exists() else float("inf") for path in paths), default=float("inf"))


def modules(parts: tuple[str, ...] = PARTS) -> list[tuple[str, list[str]]]:
    """Names of the modules of `parts` that are translated to C, with the libraries setup.py links them to."""
    sys.path.insert(0, str(TOP))
    os.chdir(TOP)
    import setup

    found = [(extension.name, list(extension.libraries)) for extension in setup.extensions() if extension.name.startswith(parts)]
    return [(name, libraries) for name, libraries in found if source(name).exists()]


def bound(libraries: list[str], root: Path) -> bool:
    """Whether the sysroot has what a module binds."""
    return all((root / "usr/lib/arm-linux-gnueabihf" / f"lib{library}.so").exists() for library in libraries if library not in OWN)


def source(name: str) -> Path:
    return TOP / (name.replace(".", "/") + ".c")


def flags() -> list[str]:
    import setup

    return [*setup.compile_flags("armv7l"), *TARGET]


def compile_module(name: str, libraries: list[str], root: Path, site: Path, version: str) -> str:
    """Compiles one module if need be; returns what went wrong."""
    triplet = "arm-linux-gnueabihf"
    target = site / (name.replace(".", "/") + f".cpython-{version.replace('.', '')}-{triplet}.so")
    # The sysroot's C library is only run with; the cross compiler brings its own headers and start files.
    include = [f"-I{TOP / 'firmware/dsp'}", f"-I{root}/usr/include/python{version}", f"-idirafter{root}/usr/include",
               f"-idirafter{root}/usr/include/{triplet}"]
    link = [f"-L{root}/usr/lib/{triplet}", "-Wl,--allow-shlib-undefined", *(f"-l{library}" for library in libraries)]
    command = [COMPILER, *flags(), "-w", "-DNDEBUG", "-fPIC", "-shared", *include, str(source(name)), "-o", f"{target}.part", *link]
    rules, stamp = target.with_suffix(".d"), target.with_suffix(".flags")
    key = hashlib.sha256(" ".join(command).encode()).hexdigest()
    if target.exists() and stamp.exists() and stamp.read_text() == key and target.stat().st_mtime >= newest(rules):
        return ""
    began = time.time()
    done = subprocess.run([*command, "-MMD", "-MF", str(rules)], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"{name}:\n{done.stderr}"
    Path(f"{target}.part").replace(target)
    os.utime(target, (began, began))  # what changed while it was compiled is younger
    stamp.write_text(key)
    return ""


def main() -> int:
    """Lay out the packages, compile what is out of date."""
    if len(sys.argv) != 4:
        print("usage: dsp_arm.py SYSROOT SITE VERSION", file=sys.stderr)
        return 2
    root, site, version = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    found = modules()
    if not found:
        print("dsp_arm: no module is translated to C yet; run 'make ext' first", file=sys.stderr)
        return 3
    left_out = [name for name, libraries in found if not bound(libraries, root)]
    if left_out:
        print(f"dsp_arm: not built, their libraries are not fetched for ARM: {' '.join(left_out)}", file=sys.stderr)
    found = [(name, libraries) for name, libraries in found if name not in left_out]
    folders = [TOP / name.strip(".").replace(".", "/") for name in PARTS]
    for path in [TOP / "firmware/__init__.py", *(path for folder in folders for path in sorted(folder.glob("*.py")))]:
        link = site / path.relative_to(TOP)
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(path)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        faults = [fault for fault in pool.map(lambda m: compile_module(m[0], m[1], root, site, version), found) if fault]
    print("".join(faults), file=sys.stderr, end="")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
