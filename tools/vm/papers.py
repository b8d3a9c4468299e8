"""What an image has to be accompanied by: licence texts, the offer of sources, the bill of materials; and what may not be in it.

Theory of operation
-------------------
The root of the emulated board consists of the distribution's packages, so its papers are theirs: the copyright files, kept beside the base
when it was unpacked, and the control fields of the packages for source names and versions. `collect` writes `LICENCES.tar.xz`,
`SOURCES.txt` and `sbom.json` (CycloneDX) into a folder; they lie in the signed bundle beside the root. The same input gives the same bytes.
A package under version 3 of the GPL stops the build with its name unless `buildroot/common/licences.toml` gives a reason. "Under" version 3
means the licence of `Files: *`; parts of a source that never become part of a binary (build scripts, packaging, tests) are under other
licences in most packages and do not count. A licence file that is not machine-readable and speaks of version 3, and a package without
one, count as under it until somebody has read it and written the reason down.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import subprocess
import tarfile
import tomllib
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from .settings import TOP, BoardImage

sbom: Any = importlib.import_module("tools.sbom")  # a script of its own
REASONS = TOP / "buildroot" / "common" / "licences.toml"
FILES = ("LICENCES.tar.xz", "SOURCES.txt", "sbom.json")
THREE = re.compile(r"(?<![AL])GPL(?:-|v| ?version )?3", re.IGNORECASE)
FREE_THREE = re.compile(r"(?<![AL])GPL-?v?3|General Public License[^.]{0,200}version 3", re.IGNORECASE | re.DOTALL)
CHOICE = re.compile(r"(?<!-)\bor\b(?!-)|exception", re.IGNORECASE)  # "GPL-3.0-or-later" is none
OFFER = """Sources of what this bundle contains
====================================

The box runs free software. For three years from its delivery everybody who has the box or a copy of this bundle gets the complete source of
the packages below under the GPL or LGPL, with the scripts that build them, for the cost of the medium: ask {contact},
naming version {version} and board {board}. Each package's source has the name and version below; the licence texts are in LICENCES.tar.xz.
The firmware itself ({product}) is under the Apache License 2.0.

"""


def licence(text: str) -> tuple[str, bool]:
    """(licence of the files in general, whether it may be version 3 of the GPL alone) of a copyright file."""
    if not re.match(r"\s*(?:Upstream-\S+:.*\s)?Format(?:-Specification)?:", text):
        return "see its text", FREE_THREE.search(text) is not None
    for part in re.split(r"\n[ \t]*\n", text):
        files = re.search(r"^Files:[ \t]*(.*(?:\n[ \t]+.*)*)", part, re.MULTILINE)
        name = re.search(r"^License:[ \t]*(.*)", part, re.MULTILINE)
        if files and name and "*" in files.group(1).split():
            said = name.group(1).strip()
            alone = bool(THREE.search(said)) and not CHOICE.search(said)
            return said, alone
    return "several, see its text", any(
        THREE.search(name) and not CHOICE.search(name) for name in re.findall(r"^License:[ \t]*(.*)", text, re.MULTILINE)
    )


def reasons(kind: str) -> dict[str, str]:
    """Packages that were looked at: name -> reason."""
    found: dict[str, str] = tomllib.loads(REASONS.read_text(encoding="utf-8"))[kind]
    return found


def refused(texts: dict[str, str | None], known: dict[str, str]) -> list[str]:
    """Sentences on packages that may not be in a signed root; `texts`: name -> copyright file, None where there is none."""
    faults = []
    for name, text in sorted(texts.items()):
        if name in known:
            continue
        if text is None:
            faults.append(f"{name} has no licence file")
        else:
            said, three = licence(text)
            if three:
                faults.append(f"{name} is under version 3 of the GPL ({said})")
    return faults


def control(deb: Path) -> dict[str, str]:
    """Name, version, source and source version of a package."""
    done = subprocess.run(
        ["dpkg-deb", "-f", str(deb), "Package", "Version", "Source", "Homepage"], capture_output=True, text=True, check=True
    )
    fields = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    name, version = fields["Package"], fields["Version"]
    found = re.match(r"(\S+)(?: \((\S+)\))?", fields.get("Source", name))
    source, its = (found.group(1), found.group(2)) if found else (name, None)
    return {"name": name, "version": version, "source": source, "source_version": its or version, "homepage": fields.get("Homepage", "")}


def text_of(deb: Path, name: str) -> str | None:
    """The copyright file inside a package; None where it lies in another one."""
    packed = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(deb)], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(packed)) as tar:
        try:
            found = tar.extractfile(f"./usr/share/doc/{name}/copyright")
        except KeyError:
            return None
        return found.read().decode(errors="replace") if found is not None else None


def component(facts: dict[str, str], said: str, digest: str, board: BoardImage) -> dict[str, Any]:
    """A package in the bill of materials."""
    purl = f"pkg:deb/debian/{facts['name']}@{facts['version']}?arch={board.image.architecture}&distro={board.image.suite}"
    return {
        "type": "library", "bom-ref": purl, "name": facts["name"], "version": facts["version"], "purl": purl, "scope": "required",
        "hashes": [{"alg": "SHA-256", "content": digest}], "licenses": [{"license": {"name": said[:80]}}],
        "properties": [{"name": "branchpbx:source", "value": f"{facts['source']} {facts['source_version']}"}],
    }  # fmt: skip


def archive(files: dict[str, bytes]) -> bytes:
    """A tar.xz that is the same for the same files."""
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz", format=tarfile.PAX_FORMAT, preset=6) as tar:
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, BytesIO(data))
    return packed.getvalue()


def collect(
    board: BoardImage, debs: Iterable[Path], texts: Mapping[str, str | None], version: str, target: Path, more: dict[str, str] | None = None
) -> list[Path]:
    """Write the papers into `target`; the files.

    `texts`: copyright files that are at hand, the others are read from the packages; `more`: licence texts of what is no such package.
    SystemExit names the packages that may not be in a signed root.
    """
    paths = {(one := control(deb))["name"]: (one | {"sha256": hashlib.sha256(deb.read_bytes()).hexdigest()}, deb) for deb in debs}
    found = [one for _, (one, _) in sorted(paths.items())]
    mine = {name: texts[name] if name in texts else text_of(deb, name) for name, (_, deb) in sorted(paths.items())}
    faults = refused(mine, reasons("debian"))
    if faults:
        raise SystemExit(
            "vm: not in a signed root: " + "; ".join(faults) + f"; take it out, or give the reason in {REASONS.relative_to(TOP)}"
        )
    components, rows = [], []
    for one in found:
        text = mine[one["name"]]
        said = licence(text)[0] if text is not None else reasons("debian")[one["name"]]
        components.append(component(one, said, one["sha256"], board))
        rows.append(f"{one['name']:<28} {one['version']:<32} source {one['source']} {one['source_version']}")
    components += sbom.shipped()
    document = sbom.document(version, sorted(components, key=lambda one: str(one["purl"])), board.name)
    files = {f"{name}/copyright": text.encode() for name, text in mine.items() if text is not None}
    files |= {f"{name}/LICENSE": text.encode() for name, text in (more or {}).items()}
    files |= {"branchpbx/LICENSE": (TOP / "LICENSE").read_bytes(), "README": REASONS.read_bytes()}
    contact = os.environ.get("BRANCHPBX_CONTACT", "whoever sold or lent you the box")
    offer = OFFER.format(contact=contact, version=version, board=board.name, product=sbom.PRODUCT)
    target.mkdir(parents=True, exist_ok=True)
    contents = (archive(files), (offer + "\n".join(rows) + "\n").encode(), json.dumps(document, indent=1, sort_keys=True).encode() + b"\n")
    for name, data in zip(FILES, contents, strict=True):
        (target / name).write_bytes(data)
    return [target / name for name in FILES]
