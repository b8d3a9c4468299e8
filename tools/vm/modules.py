"""Kernel modules in the order in which they must be loaded, found by what each says it depends on."""

from __future__ import annotations

import lzma
import re
from collections.abc import Sequence
from pathlib import Path


def read(path: Path) -> bytes:
    """A module, unpacked."""
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def _name(path: Path) -> str:
    return path.name.split(".ko")[0].replace("-", "_")


def ordered(tree: Path, wanted: Sequence[str], builtin: Sequence[str] = ()) -> list[tuple[str, bytes]]:
    """(name, object file) of `wanted` and all they depend on, dependencies first. SystemExit: the kernel has no such module."""
    files = {_name(path): path for path in tree.rglob("*.ko*")}
    there = {name.replace("-", "_") for name in builtin}
    done: dict[str, bytes] = {}

    def add(name: str) -> None:
        name = name.replace("-", "_")
        if name in done or name in there:
            return
        if name not in files:
            raise SystemExit(f"vm: the kernel has no module {name!r}; correct [image.modules] of the board file")
        data = read(files[name])
        # .modinfo is a list of NUL-terminated "key=value".
        for found in re.findall(rb"\0depends=([^\0]*)\0", data):
            for other in found.decode().split(","):
                if other:
                    add(other)
        for found in re.findall(rb"\0softdep=pre: ([^\0]*)\0", data):
            for other in found.decode().split():
                if other.replace("-", "_") in files:
                    add(other)
        done[name] = data

    for name in wanted:
        add(name)
    return list(done.items())


def builtins(tree: Path) -> list[str]:
    """Modules that are part of the kernel itself."""
    found = next(tree.rglob("modules.builtin"))
    return [_name(Path(line)) for line in found.read_text().split()]
