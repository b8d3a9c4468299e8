"""Command lines of `branchpbx backup`, `restore`, `dhcp` and `host`: words only, so that a start of the appliance loads nothing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ENVIRONMENT = "BRANCHPBX_PASSPHRASE"
PASSPHRASE = f"its first line is the passphrase; else ${ENVIRONMENT}, else it is asked for"


def add_parsers(commands: Any, parents: Sequence[argparse.ArgumentParser]) -> None:
    """Add them to the command line of `branchpbx`."""
    parser = commands.add_parser("backup", parents=list(parents), help="the site in one sealed file, proved by a trial restore")
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--passphrase-file", type=Path, default=None, metavar="FILE", help=PASSPHRASE)
    parser.add_argument("--recipient", default=None, metavar="KEY", help="seal to this public key (base64) instead of a passphrase")
    parser.add_argument("--new-key", action="store_true", help="make a key to seal to: private half to FILE, public half printed")
    parser.add_argument("--lang", choices=("en", "zh"), default=None)
    parser = commands.add_parser("restore", parents=list(parents), help="put a backup back, here or onto another box")
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--passphrase-file", type=Path, default=None, metavar="FILE", help=PASSPHRASE)
    parser.add_argument("--key", type=Path, default=None, metavar="FILE", help="private key of a backup that was sealed to a key")
    parser.add_argument("--replace", action="store_true", help="this box takes the place of the one that made the backup")
    parser.add_argument("--dry-run", action="store_true", help="only show what would change")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--lang", choices=("en", "zh"), default=None)
    dhcp = commands.add_parser("dhcp", parents=list(parents), help="DHCP server of a small site, started by init beside the appliance")
    dhcp.add_argument("--while-wanted", action="store_true", help="end when the configuration switches it off")
    host = commands.add_parser("host", parents=list(parents), help="addresses and clock of the box as configured, as root on an image")
    host.add_argument("--run", type=Path, default=Path("/run/host"), metavar="DIR", help=argparse.SUPPRESS)
    host.add_argument("--resolv", type=Path, default=Path("/run/resolv.conf"), metavar="FILE", help=argparse.SUPPRESS)
    host.add_argument("--script", default="/usr/lib/branchpbx/system/network", metavar="FILE", help=argparse.SUPPRESS)
    host.add_argument("--device", default="eth0", help="asks for an address by DHCP while the configuration names no connection")
    host.add_argument("--no-clock", action="store_true", help="leave the clock alone")
