"""`branchpbx recordings`: find, hear, export, prove and erase recordings on the command line."""

from __future__ import annotations

import argparse
import base64
import io
import sys
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from firmware.control.client import Client
from firmware.reports.columns import printable

#: Words of the listing: English, Chinese.
HEAD = {
    "en": ("time", "seconds", "kind", "caller", "called", "queue", "agents", "rating", "recording"),
    "zh": ("时间", "秒", "类型", "主叫", "被叫", "队列", "座席", "评价", "录音"),
}
DRAWN = {"en": ("for", "by"), "zh": ("抽查座席", "依据")}
WHY = {"en": {"chance": "chance", "rating": "rating"}, "zh": {"chance": "随机", "rating": "差评"}}
SOUND = {"en": "{n} recordings agree with the chain.", "zh": "{n}份录音与校验链一致。"}
GONE = {"en": "{n} recordings erased.", "zh": "已删除{n}份录音。"}


def add_parser(commands: Any, parents: Sequence[argparse.ArgumentParser]) -> None:
    """Add `recordings` to the command line of `branchpbx`."""
    parser = commands.add_parser("recordings", parents=list(parents), help="find, hear, export, prove and erase recordings")
    parser.add_argument("what", choices=("list", "draw", "play", "export", "verify", "erase", "access", "disk"))
    parser.add_argument("recording", nargs="?", default="", metavar="RECORDING", help="as `list` names it: for play and export")
    parser.add_argument("file", nargs="?", default="-", metavar="FILE", help="WAV file of an export; - for standard output")
    for name in ("agent", "number", "queue", "since", "until"):
        parser.add_argument(f"--{name}", default="", metavar=name.upper())
    parser.add_argument("--rating", type=int, default=0, metavar="N")
    parser.add_argument("--days", type=int, default=30, metavar="N", help="draw: of the last so many days")
    parser.add_argument("--count", type=int, default=3, metavar="N", help="draw: so many for each agent")
    parser.add_argument("--lines", type=int, default=50, metavar="N")
    parser.add_argument("--lang", choices=("en", "zh"), default=None)


def recordings(options: argparse.Namespace, language: str) -> int:
    """Do it; 0 when all was well, 1 when a check found something."""
    out = sys.stdout
    with Client(options.state / "run" / "control.sock") as client:
        if options.what == "list":
            args = {name: getattr(options, name) for name in ("agent", "number", "queue", "since", "until", "rating", "lines")}
            _table(client.request("recordings list", args), language)
        elif options.what == "draw":
            drawn = client.request("recordings draw", {name: getattr(options, name) for name in ("agent", "days", "count")})
            _table(drawn, language, [(one["drawn_for"], WHY[language][one["drawn_by"]]) for one in drawn])
        elif options.what in ("play", "export"):
            if not options.recording:
                sys.stderr.write(f"branchpbx recordings: name the recording, as `branchpbx recordings list` does: {options.what} PATH\n")
                return 2
            command = "recordings listen" if options.what == "play" else "recordings export"
            if options.what == "play" or options.file == "-":
                _fetch(client, command, options.recording, sys.stdout.buffer)
            else:
                with Path(options.file).open("xb") as file:
                    _fetch(client, command, options.recording, file)
        elif options.what == "erase":
            if not options.number:
                sys.stderr.write("branchpbx recordings: erase needs --number, the telephone number of either side\n")
                return 2
            out.write(GONE[language].format(n=client.request("recordings erase", {"number": options.number})["erased"]) + "\n")
        elif options.what == "access":
            for row in reversed(client.request("recordings access", {"lines": options.lines})):
                out.write(printable("  ".join((row["time"], row["who"], row["what"], row["path"], row["detail"])).rstrip()) + "\n")
        else:
            found = client.request(f"recordings {options.what}", {})
            out.write("".join(printable(line) + "\n" for line in found["wrong"]))
            if found["sound"]:
                out.write(SOUND[language].format(n=found["checked"]) + "\n")
            return 0 if found["sound"] else 1
    return 0


def _table(rows: Sequence[dict[str, Any]], language: str, before: Sequence[tuple[str, str]] = ()) -> None:
    """`before`: for whom and why each was drawn."""
    sys.stdout.write("  ".join((*(DRAWN[language] if before else ()), *HEAD[language])) + "\n")
    for index, row in enumerate(rows):
        cells = (
            *(before[index] if before else ()), row["time"], str(row["seconds"]), row["kind"], row["caller"], row["called"], row["queue"],
            row["agents"], str(row["rating"] or "-"), row["path"],
        )  # fmt: skip
        sys.stdout.write(printable("  ".join(cell or "-" for cell in cells)) + "\n")


def _fetch(client: Client, command: str, recording: str, target: IO[bytes]) -> None:
    """Ask for part after part and write one WAV, with the mark of who took it behind the samples."""
    samples, at, label = b"", 0, ""
    while True:
        part = client.request(command, {"recording": recording, "at": at})
        samples, at, label = samples + base64.b64decode(part["samples"]), part["next"], label or part["label"]
        if not at:
            break
    text = label.encode("utf-8") + b"\0"
    text += b"\0" * (len(text) % 2)
    note = b"INFO" + b"ICMT" + len(text).to_bytes(4, "little") + text
    chunk = b"LIST" + len(note).to_bytes(4, "little") + note
    target.write(_header(len(samples), len(chunk)) + samples + chunk)
    target.flush()


def _header(samples: int, behind: int) -> bytes:
    """Head of a two-channel WAV of 16 bit at 8000 Hz, with so many bytes behind the samples."""
    head = io.BytesIO()
    with wave.open(head, "wb") as out:
        out.setparams((2, 2, 8000, 0, "NONE", ""))
    raw = bytearray(head.getvalue()[:44])
    raw[4:8] = (36 + samples + behind).to_bytes(4, "little")
    raw[40:44] = samples.to_bytes(4, "little")
    return bytes(raw)
