"""Signed update bundles: `python -m tools.vm.bundle keys DIR`, `... make --root ROOT --version V --compatible NAME --keys DIR OUT.raucb`.

A bundle is RAUC's, in the verity format: the signature covers the root hash of a tree over the content, so a box checks each block as it
reads
it and can install from a server without storing the bundle first. `keys` makes a development authority for this build folder; releases
are signed with keys that are kept elsewhere, given by the same option. docs/image.md says how keys are rotated.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
DAYS = "7300"
MANIFEST = """[update]
compatible={compatible}
version={version}
build={build}

[bundle]
format=verity

[image.rootfs]
filename=root.img
"""


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bundle: {' '.join(command[:2])}: {(done.stderr or done.stdout).strip()[-1000:]}")


def keys(folder: Path) -> Path:
    """A development authority and a signing key below it, made once; the authority's certificate is the box's keyring."""
    keyring = folder / "keyring.pem"
    if keyring.exists() and (folder / "signing.pem").exists():
        return keyring
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True, mode=0o700)
    authority, request = part / "authority.key", part / "signing.csr"
    (part / "authority.ext").write_text(
        "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
    )
    (part / "signing.ext").write_text(
        "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=emailProtection\n"
    )
    for key in ("authority", "signing"):
        _run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(part / f"{key}.key"))
    _run(
        "openssl",
        "req",
        "-new",
        "-key",
        str(authority),
        "-subj",
        "/O=BranchPBX/CN=development updates",
        "-out",
        str(part / "authority.csr"),
    )
    _run("openssl", "x509", "-req", "-in", str(part / "authority.csr"), "-signkey", str(authority), "-days", DAYS, "-sha256",
         "-extfile", str(part / "authority.ext"), "-out", str(part / "keyring.pem"))  # fmt: skip
    _run("openssl", "req", "-new", "-key", str(part / "signing.key"), "-subj", "/O=BranchPBX/CN=development signing", "-out", str(request))
    _run("openssl", "x509", "-req", "-in", str(request), "-CA", str(part / "keyring.pem"), "-CAkey",
         str(authority), "-CAcreateserial", "-days", DAYS,
         "-sha256", "-extfile", str(part / "signing.ext"), "-out", str(part / "signing.pem"))  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return keyring


def make(
    root: Path, version: str, compatible: str, folder: Path, target: Path, build: str = "", papers: Sequence[Path] = ()
) -> None:
    """Sign `root` as an update, `papers` beside it. SystemExit says what failed."""
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        content = Path(work) / "content"
        content.mkdir()
        (content / "root.img").hardlink_to(root)
        for paper in papers:
            shutil.copy2(paper, content / paper.name)
        (content / "manifest.raucm").write_text(MANIFEST.format(compatible=compatible, version=version, build=build))
        target.unlink(missing_ok=True)
        _run("rauc", "bundle", f"--cert={folder / 'signing.pem'}", f"--key={folder / 'signing.key'}",
             f"--keyring={folder / 'keyring.pem'}", str(content),
             str(target))  # fmt: skip


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bundle.py", description="Signed update bundles.")
    commands = parser.add_subparsers(dest="command", required=True)
    make_keys = commands.add_parser("keys", help="make a development authority")
    make_keys.add_argument("folder", type=Path)
    making = commands.add_parser("make", help="sign a root file system as an update")
    making.add_argument("--root", type=Path, required=True, help="squashfs of the slot")
    making.add_argument("--version", required=True)
    making.add_argument("--compatible", required=True, help="[image] compatible of the board")
    making.add_argument("--keys", type=Path, required=True, metavar="DIR", help="signing.pem, signing.key, keyring.pem")
    making.add_argument("target", type=Path)
    options = parser.parse_args()
    if options.command == "keys":
        print(keys(options.folder))
    else:
        make(options.root, options.version, options.compatible, options.keys, options.target)
        print(options.target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
