"""Software bill of materials: `python tools/sbom.py FILE` writes CycloneDX 1.5 JSON.

Components are the Python packages the requirement files pin (those of the product are "required", those of tests "excluded") and the
system packages of tools/packages.txt with the versions installed here. No date and no random number: the same tree gives the same file.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import uuid
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = "branchpbx"
# What an appliance runs; all else builds, simulates or tests.
SHIPPED = {"msgspec", "cryptography", "cffi", "pycparser", "python-periphery"}


def licences(distribution: metadata.Distribution) -> list[dict[str, Any]]:
    """What the distribution says of its licence: an SPDX expression, else the text of its field or classifier."""
    about = distribution.metadata
    if "License-Expression" in about:
        return [{"expression": about["License-Expression"]}]
    names = [line.rpartition("::")[2].strip() for line in about.get_all("Classifier") or [] if line.startswith("License ::")]
    short = " ".join(about.get_all("License") or []).strip().splitlines()
    name = names[0] if names else (short[0][:80] if short else "")
    return [{"license": {"name": name}}] if name else []


def python_components() -> list[dict[str, Any]]:
    """Every pinned package, with the hashes of its files."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((ROOT / "tools").glob("requirements*.txt")):
        for block in re.split(r"\n(?=[A-Za-z])", path.read_text(encoding="utf-8")):
            match = re.match(r"([A-Za-z0-9._-]+)==([^\s\\]+)", block)
            if not match:
                continue
            name, version = match.group(1).lower(), match.group(2)
            component: dict[str, Any] = {
                "type": "library",
                "bom-ref": f"pkg:pypi/{name}@{version}",
                "name": name,
                "version": version,
                "purl": f"pkg:pypi/{name}@{version}",
                "scope": "required" if name in SHIPPED else "excluded",
                "properties": [{"name": "branchpbx:sha256", "value": digest} for digest in re.findall(r"sha256:([0-9a-f]{64})", block)],
            }
            try:
                found_licences = licences(metadata.distribution(name))
            except metadata.PackageNotFoundError:
                found_licences = []
            if found_licences:
                component["licenses"] = found_licences
            found.setdefault(name, component)
    return list(found.values())


def system_components() -> list[dict[str, Any]]:
    """The Debian packages, with the installed version where there is one."""
    components = []
    for line in (ROOT / "tools/packages.txt").read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        purpose, name, reason = line.split(maxsplit=2)
        version = ""
        if shutil.which("dpkg-query"):
            query = ["dpkg-query", "-W", "-f=${Version}", name]
            version = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
        purl = f"pkg:deb/debian/{name}" + (f"@{version}" if version else "")
        about = f"{purpose}: {reason}"
        component = {"type": "application", "bom-ref": purl, "name": name, "purl": purl, "description": about, "scope": "excluded"}
        components.append({**component, "version": version} if version else component)
    return components


def shipped() -> list[dict[str, Any]]:
    """The Python packages that an appliance runs and that are no packages of its distribution."""
    return [component for component in python_components() if component["name"] == "msgspec"]


def document(version: str, components: list[dict[str, Any]], board: str = "") -> dict[str, Any]:
    """A CycloneDX document over components; of an image when a board is named."""
    reference = f"pkg:pypi/{PRODUCT}@{version}" if not board else f"pkg:generic/{PRODUCT}@{version}?board={board}"
    digest = hashlib.sha256(json.dumps(components, sort_keys=True).encode()).digest()
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.UUID(bytes=digest[:16], version=4)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "firmware",
                "bom-ref": reference,
                "name": PRODUCT,
                "version": version,
                "purl": reference,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": components,
        "dependencies": [
            {"ref": reference, "dependsOn": [component["bom-ref"] for component in components if component["scope"] == "required"]},
        ],
    }


def bill() -> dict[str, Any]:
    """The whole document of the source tree."""
    own = re.search(r'__version__ = "([^"]+)"', (ROOT / "firmware/__init__.py").read_text(encoding="utf-8"))
    components = sorted(python_components() + system_components(), key=lambda component: str(component["purl"]))
    return document(own.group(1) if own else "0", components)


def main(arguments: list[str]) -> int:
    """Write the file that the first argument names."""
    if len(arguments) != 1:
        print("usage: sbom.py FILE", file=sys.stderr)
        return 2
    path = Path(arguments[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    made = bill()
    path.write_text(json.dumps(made, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{path}: {len(made['components'])} components")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
