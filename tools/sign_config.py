"""Sign configuration documents for boxes: what a centre does, as a command.

    python -m tools.sign_config new-key centre.key
    python -m tools.sign_config sign --key centre.key --device device.json --tenant acme --revision 7 site.toml --out 0123456789abcdef.bpx
    python -m tools.sign_config qr 0123456789abcdef.bpx sheet.pdf

`device.json` is what `branchpbx ctl "show device"` prints on the box (the reply, or its result). Secrets of the site file are sealed to
the box; the
file that comes out may travel by mail. It is named after the box: on a USB stick the box finds it by that name. The private key is a file
of its
owner (0600) and never leaves the centre; its public half, printed by `new-key` and `public`, goes into `central.keys` of each box.
`qr` prints a document as QR codes (PDF or PNG; needs tools/requirements-host.txt): each is a command of the console.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from firmware.config.diff import content_hash, plain, setting
from firmware.config.model import load
from firmware.config.schema.tree import SCHEMA_VERSION
from firmware.errors import PbxError
from firmware.fleet.document import Document, seal_secrets, wrap
from firmware.fleet.parts import lines
from firmware.store import sealing

DAY_S = 86_400


def main(argv: Sequence[str] | None = None) -> int:
    """0 done, 1 not done, 2 wrong usage."""
    options = _parser().parse_args(argv)
    try:
        return int(options.action(options))
    except (PbxError, OSError, ValueError) as error:
        sys.stderr.write(f"sign_config: {error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sign_config", description="Sign configuration documents for boxes.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    new = commands.add_parser("new-key", help="make a signing key; prints its public half")
    new.add_argument("key", type=Path)
    new.set_defaults(action=_new_key)
    public = commands.add_parser("public", help="print the public half of a key")
    public.add_argument("key", type=Path)
    public.set_defaults(action=_public)
    sign = commands.add_parser("sign", help="sign a site file for one box")
    sign.add_argument("site", type=Path, help="site file (TOML), checked first")
    sign.add_argument("--key", type=Path, required=True)
    sign.add_argument("--device", type=Path, required=True, help="the box's reply to `show device`, JSON")
    sign.add_argument("--tenant", required=True)
    sign.add_argument("--revision", type=int, required=True, help="higher than the last one the box has taken")
    sign.add_argument("--base", type=Path, default=None, help="site file that the box must run now, else it refuses")
    sign.add_argument("--days", type=float, default=7.0, help="expires after so many days (default 7)")
    sign.add_argument("--confirm", type=int, default=300, metavar="S", help="the box takes it back unless it reaches its centre in time")
    sign.add_argument("--out", type=Path, default=None, help="default: the name by which the box looks for it")
    sign.set_defaults(action=_sign)
    known = commands.add_parser("known", help="the hello of a box, checked: prints what `sign --device` takes")
    known.add_argument("hello", type=Path, help="what the box POSTed to ADDRESS/DEVICE/hello")
    known.set_defaults(action=_known)
    codes = commands.add_parser("qr", help="a signed document as QR codes: what a scanner types at the console hands it in")
    codes.add_argument("document", type=Path)
    codes.add_argument("sheet", type=Path, metavar="FILE.pdf|FILE.png")
    codes.set_defaults(action=_qr)
    return parser


def _new_key(options: argparse.Namespace) -> int:
    private, public = sealing.make_signing_key()
    descriptor = os.open(options.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(sealing.b64(private) + "\n")
    print(sealing.b64(public))
    return 0


def _public(options: argparse.Namespace) -> int:
    print(sealing.b64(sealing.verifying_key(_read_key(options.key))))
    return 0


def _read_key(path: Path) -> bytes:
    if path.stat().st_mode & 0o077:
        raise ValueError(f"{path}: others may read this key; chmod 600, and make a new one if somebody has")
    return sealing.unb64(path.read_text(encoding="ascii").strip(), str(path))


def _sign(options: argparse.Namespace) -> int:
    private = _read_key(options.key)
    told: Any = json.loads(options.device.read_text(encoding="utf-8"))
    told = told.get("result", told) if isinstance(told, dict) else {}
    device, recipient = str(told.get("device", "")), sealing.unb64(str(told.get("sealing", "")), "sealing key of the box")
    if sealing.device_name(recipient, sealing.unb64(str(told.get("identity", "")), "identity key of the box")) != device:
        raise ValueError(f"{options.device}: name and keys of the box do not belong together")
    config = load(options.site.read_bytes(), file=str(options.site))
    base = content_hash(load(options.base.read_bytes(), file=str(options.base))) if options.base is not None else ""
    body = seal_secrets(plain(config), device, lambda path: setting(path).secret, lambda text, bound: sealing.seal(recipient, text, bound))
    document = Document(
        device, options.tenant, options.revision, SCHEMA_VERSION, int(time.time() + options.days * DAY_S), options.confirm, body, base
    )
    out = options.out or Path(f"{device}.bpx")
    out.write_bytes(wrap(document, sealing.verifying_key(private), lambda data: sealing.sign(private, data)))
    print(f"{out}: revision {options.revision} for box {device}, {out.stat().st_size} bytes")
    return 0


def _known(options: argparse.Namespace) -> int:
    told = json.loads(options.hello.read_bytes())
    body = sealing.unb64(str(told["report"]), "report")
    facts = json.loads(body)
    identity = sealing.unb64(str(facts["identity"]), "identity key of the box")
    if not sealing.signed_by(identity, sealing.unb64(str(told["signature"]), "signature"), body):
        raise ValueError(f"{options.hello}: the signature does not hold")
    if sealing.device_name(sealing.unb64(str(facts["sealing"]), "sealing key of the box"), identity) != facts["device"]:
        raise ValueError(f"{options.hello}: name and keys of the box do not belong together")
    print(json.dumps(facts, indent=1))
    return 0


def _qr(options: argparse.Namespace) -> int:
    if options.sheet.suffix not in (".pdf", ".png"):
        raise ValueError(f"{options.sheet}: write it as .pdf or .png")
    told = lines(options.document.read_bytes())
    sheet = import_module("tools.provision.sheet")               # needs what only the host's tool needs
    for path in sheet.codes(told, options.document.name, options.sheet):
        print(f"{path}: {len(told)} codes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
