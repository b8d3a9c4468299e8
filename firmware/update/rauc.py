"""RAUC and the boot loader's environment, asked as programs (L5).

RAUC checks the signature and the board, writes the slot that does not run, and keeps the counters that U-Boot reads. A failing program
raises RaucError with its last words; nothing is retried here.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

from firmware.errors import PbxError
from firmware.update.rules import Offer

INFO_S = 60.0
INSTALL_S = 1800.0
STATUS_S = 30.0


class RaucError(PbxError):
    """RAUC refused or failed; the text is its last error."""


def last_error(text: str) -> str:
    """The innermost reason among RAUC's lines."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    worst = [line for line in lines if "rror" in line or "ailed" in line] or lines
    return worst[-1][:300] if worst else "no reason given"


def _run(arguments: list[str], timeout_s: float) -> str:
    try:
        done = subprocess.run(["rauc", *arguments], capture_output=True, text=True, timeout=timeout_s, check=False)
    except FileNotFoundError:
        raise RaucError("rauc is not installed; this box is not run from an update image") from None
    except subprocess.TimeoutExpired:
        raise RaucError(f"rauc {arguments[0]} did not end within {timeout_s:.0f} s; timeout") from None
    if done.returncode:
        raise RaucError(last_error(done.stderr + "\n" + done.stdout))
    return done.stdout


def info(source: str) -> Offer:
    """What the bundle at `source`, a path or a URL, says of itself; its signature is right."""
    try:
        found: Any = json.loads(_run(["info", "--output-format=json", source], INFO_S))
        return Offer(str(found["compatible"]), str(found["version"]))
    except (ValueError, KeyError, TypeError) as error:
        raise RaucError(f"rauc info says something unknown ({error})") from error


def install(source: str) -> None:
    """Write the bundle into the slot that does not run, and make it the next to start."""
    _run(["install", source], INSTALL_S)


def mark_good() -> None:
    """This slot works: it gets all its tries again."""
    _run(["status", "mark-good"], STATUS_S)


def enter_rescue() -> None:
    """The next start leads into the rescue, once (board/*/uboot.env)."""
    try:
        done = subprocess.run(["fw_setenv", "RESCUE", "once"], capture_output=True, text=True, timeout=STATUS_S, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise RaucError(f"the boot loader's environment cannot be written ({error})") from None
    if done.returncode:
        raise RaucError(last_error(done.stderr or done.stdout))


def stay_here() -> None:
    """This slot is the next to start."""
    _run(["status", "mark-active", "booted"], STATUS_S)
