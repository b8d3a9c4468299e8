"""`python -m firmware.app.certify`: makes, renews and reads certificates in a process that ends at once.

The library that does it takes 10 MB; core would carry them for something it needs once a year. Asked on standard input, answers on
standard output, both JSON; what goes wrong with one file is a text in its row, never a failure of the whole.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from firmware.errors import StoreError
from firmware.store.certificates import Certificate, describe, ensure

TIMEOUT_S = 60.0      # the first key of a slow box that waits for entropy


class Ask(Struct):
    """`own`: the folder of our own certificates, "" to make none; `files`: what to describe, by purpose."""

    own: str
    names: list[str]
    box: str
    files: dict[str, str]


class Row(Struct):
    """One file: its certificate, or why there is none."""

    use: str
    file: str
    certificate: Certificate | None = None
    problem: str = ""


class Answer(Struct):
    """`changed`: something was made; `problem`: why our own could not be."""

    changed: bool = False
    problem: str = ""
    rows: list[Row] = []


def answer(ask: Ask) -> Answer:
    """Do what is asked."""
    told = Answer()
    if ask.own:
        try:
            told.changed = ensure(Path(ask.own), ask.names, ask.box)
        except (OSError, ValueError) as error:
            told.problem = f"{ask.own}: {error}"
    for use, file in ask.files.items():
        row = Row(use, file)
        try:
            row.certificate = describe(Path(file))
        except (OSError, ValueError) as error:
            row.problem = str(error)
        told.rows.append(row)
    return told


def certify(ask: Ask) -> Answer:
    """`answer` in a process of its own; blocks. Raises StoreError when it does not work out."""
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "firmware.app.certify"], input=msgspec.json.encode(ask), capture_output=True, timeout=TIMEOUT_S,
            env=environment, check=True,
        )  # fmt: skip
        return msgspec.json.decode(done.stdout, type=Answer)
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise StoreError(f"certificates cannot be made or read: {last}") from error
    except (OSError, subprocess.TimeoutExpired, msgspec.DecodeError) as error:
        raise StoreError(f"certificates cannot be made or read: {error}") from error


def main() -> int:
    """Entry point."""
    sys.stdout.buffer.write(msgspec.json.encode(answer(msgspec.json.decode(sys.stdin.buffer.read(), type=Ask))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
