"""`branchpbx report` and `branchpbx board`: the report commands with files to write, and the board refreshed by events."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from firmware.control.client import Client
from firmware.reports.columns import printable

KINDS = ("day", "month", "year", "journey", "queue-log", "cdr")

SPANS = ("day", "month", "year")


def add_parsers(commands: Any, parents: Sequence[argparse.ArgumentParser]) -> None:
    """Add both to the command line of `branchpbx`."""
    parser = commands.add_parser("report", parents=list(parents), help="daily, monthly and yearly report, a caller's journey, exports")
    parser.add_argument("kind", choices=KINDS, help="day, month, year: reports; queue-log and cdr: a day in Asterisk's formats")
    parser.add_argument(
        "which", nargs="?", default="", metavar="WHICH", help="day (YYYY-MM-DD, yesterday), month (YYYY-MM, last), year, contact id"
    )
    parser.add_argument("--queue", default="", metavar="NAME", help="only this queue")
    parser.add_argument("--lang", choices=("en", "zh"), default=None)
    parser.add_argument("--csv", type=Path, default=None, metavar="FILE", help="write every figure as CSV")
    parser.add_argument("--svg", type=Path, default=None, metavar="FILE", help="write charts")
    parser.add_argument("--out", type=Path, default=None, metavar="FILE", help="write the text to a file")
    board = commands.add_parser("board", parents=list(parents), help="live board: who waits, agents' states, service level of today")
    board.add_argument("--once", action="store_true", help="show it once and leave")
    board.add_argument("--lang", choices=("en", "zh"), default=None)


def report(options: argparse.Namespace, language: str) -> int:
    """Print or write a report."""
    args: dict[str, Any] = {}
    if options.which:
        args[{"journey": "contact", "month": "month", "year": "year"}.get(options.kind, "day")] = options.which
    elif options.kind == "journey":
        sys.stderr.write("branchpbx report: name the contact, as `show contacts` lists it: branchpbx report journey C10000001\n")
        return 2
    if options.queue and options.kind in SPANS:
        args["queue"] = options.queue
    files = {"csv": options.csv, "svg": options.svg} if options.kind in SPANS else {}
    if (options.csv or options.svg) and not files:
        sys.stderr.write(f"branchpbx report: {options.kind} has neither CSV nor charts; --out FILE writes its text\n")
        return 2
    with Client(options.state / "run" / "control.sock") as client:
        for form, path in files.items():
            if path is not None:
                _write(path, client.request(f"report {options.kind}", {**args, "form": form})[f"page_{language}"], crlf=form == "csv")
        if options.out is not None or not any(files.values()):
            lines = client.request(f"report {options.kind}", args)[f"page_{language}"]
            if options.out is not None:
                _write(options.out, lines)
            else:
                sys.stdout.write("".join(printable(line) + "\n" for line in lines))
    return 0


def _write(path: Path, lines: Sequence[str], *, crlf: bool = False) -> None:
    """CSV with a byte order mark: spreadsheets read Chinese names only so."""
    end = "\r\n" if crlf else "\n"
    path.write_text(("\ufeff" if crlf else "") + "".join(line + end for line in lines), encoding="utf-8", newline="")


def board(options: argparse.Namespace, language: str, out: TextIO) -> int:
    """Show the board; drawn anew at each event that changes it, until Ctrl-C."""
    path = options.state / "run" / "control.sock"
    _draw(path, language, out)
    if options.once or not out.isatty():
        return 0
    with Client(path) as events:
        for _ in events.events(None, ["Board"]):
            _draw(path, language, out)
    return 0


def _draw(path: Path, language: str, out: TextIO) -> None:
    with Client(path) as client:
        lines = [printable(line) for line in client.request("show board", {})[f"page_{language}"]]
    if out.isatty():
        # One write, each line erased behind its end: nothing flickers, nothing scrolls.
        out.write("\x1b[H" + "".join(line + "\x1b[K\n" for line in lines) + "\x1b[J")
    else:
        out.write("".join(line + "\n" for line in lines))
    out.flush()
