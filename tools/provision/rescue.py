"""A box in the rescue, over its serial line: `python -m tools.provision rescue FILE.raucb --fast 3000000` (docs/rescue.md).

The file goes into the box's memory (gone on with after a break), the box checks and writes it, and restarts into it. Without a file the box
takes it from `--source`; without both its state is shown.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from .line import Progress, Session
from .texts import say, told


def add_options(one: argparse.ArgumentParser) -> None:
    """The subcommand's words."""
    one.add_argument("file", type=Path, nargs="?", default=None, metavar="FILE.raucb")
    one.add_argument("--source", default="", help="http://..., tftp://... or usb: the box fetches the bundle itself")
    one.add_argument("--older", action="store_true", help="an older version than the box has is meant")
    one.add_argument("--stay", action="store_true", help="do not restart into it")
    one.add_argument("--logs", type=Path, default=None, metavar="FILE", help="fetch the rescue's log and the kernel's")


def run(tool: Session, options: argparse.Namespace, progress: Progress | None) -> int:
    """Do it; ProvisionError with what the box says."""
    if tool.identity["mode"] != "rescue":
        raise told("no-rescue")
    if options.logs is not None:
        tool.get("logs", options.logs)
    source = options.source
    if options.file is not None:
        tool.put("bundle", options.file.name, options.file.read_bytes(), progress)
        source = "serial"
    if not source:
        print(json.dumps(tool.call("status"), indent=1, ensure_ascii=False))
        return 0
    done: dict[str, Any] = tool.call("install", source=source, older=options.older)
    print(say("rescued", options.lang, version=done["version"], slot=done["slot"]))
    if not options.stay:
        tool.call("restart")
    return 0
