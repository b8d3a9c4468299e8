"""Known vulnerabilities of an image: `python tools/cves.py SBOM.json --data TRACKER.json [--suite trixie]`.

The bill of materials (tools/vm/papers.py) names each package's source and version; the data are the file of the distribution's security
tracker (source package -> CVE -> releases -> suite -> status, fixed_version). Fetch it where there is an internet; without it this says
"not run" (status 3), never "none". Versions are compared by dpkg. An image of Buildroot has its own:
`make show-info | utils/generate-cyclonedx | support/scripts/cve-check` in its tree.
Status: 0 none open, 1 some, 2 wrong usage, 3 not run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def older(version: str, fixed: str) -> bool:
    """Whether `version` comes before the one that is fixed."""
    return subprocess.run(["dpkg", "--compare-versions", version, "lt", fixed], check=False).returncode == 0


def sources(document: dict[str, Any]) -> dict[str, str]:
    """Source package -> version, of a bill of materials."""
    found = {}
    for component in document.get("components", []):
        for one in component.get("properties", []):
            if one.get("name") == "branchpbx:source":
                name, _, version = str(one["value"]).partition(" ")
                found[name] = version
    return found


def listed(document: dict[str, Any], data: dict[str, Any], suite: str) -> list[tuple[str, str, str, str, str]]:
    """(CVE, source, version, fixed in, urgency) of all that is open in this image."""
    rows = []
    for name, version in sorted(sources(document).items()):
        for cve, facts in sorted(data.get(name, {}).items()):
            here = facts.get("releases", {}).get(suite)
            if here is None or here.get("urgency") == "unimportant":
                continue
            fixed = str(here.get("fixed_version", ""))
            if here.get("status") == "open" or (fixed not in ("", "0") and older(version, fixed)):
                rows.append((cve, name, version, fixed or "-", str(here.get("urgency", ""))))
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="cves", description="Known vulnerabilities of an image.")
    parser.add_argument("sbom", type=Path)
    parser.add_argument("--data", type=Path, default=None, metavar="TRACKER.json", help="the distribution's security tracker as one file")
    parser.add_argument("--suite", default="trixie")
    options = parser.parse_args(argv)
    if options.data is None or not options.data.is_file():
        print(f"cves: not run: {options.data or 'no data'}; give the security tracker's JSON by --data")
        return 3
    try:
        document, data = json.loads(options.sbom.read_text(encoding="utf-8")), json.loads(options.data.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        print(f"cves: {error}", file=sys.stderr)
        return 2
    if not sources(document) or not isinstance(data, dict) or not data:
        print(f"cves: {options.sbom} names no source packages, or {options.data} is no tracker's file", file=sys.stderr)
        return 2
    rows = listed(document, data, options.suite)
    for row in rows:
        print("{:<18} {:<24} {:<28} fixed in {:<24} {}".format(*row))
    print(f"{len(rows)} open in {len(sources(document))} source packages of {options.suite}")
    return 1 if rows else 0


if __name__ == "__main__":
    sys.exit(main())
