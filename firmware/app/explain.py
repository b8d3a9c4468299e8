"""`branchpbx explain call`: the dry run from the command line, of a running appliance or of a site file alone."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from firmware.app.site import read_site
from firmware.call.switchboard import Switchboard
from firmware.config.emergency import emergency_numbers
from firmware.control.calendar_commands import ExplainCall
from firmware.control.client import Client
from firmware.control.commands import accept
from firmware.core.explaining import dry_run, local_time, rows
from firmware.runtime.ids import Ids

NOBODY = {
    "en": "of the site file alone: every agent is taken to be at a telephone, every line to be free",
    "zh": "仅按配置文件：假定所有坐席已签入、所有线路空闲",
}


def run(options: argparse.Namespace, language: str) -> int:
    """The exit status: 2 for a site file with mistakes."""
    args: dict[str, Any] = {"to": options.to, "line": options.line, "at": options.at, "keys": options.keys}
    args |= {"extension": options.caller, "dial": options.dial} if options.dial else {"caller": options.caller}
    if options.config is None:
        with Client(options.state / "run" / "control.sock") as client:
            steps = client.call("explain call", **args)
    else:
        site = read_site(options.config)
        if site.config is None:
            for problem in site.problems:
                sys.stderr.write(problem.text() + "\n")
            return 2
        steps = msgspec.to_builtins(_alone(site.config, args))
    if options.json:
        found = [{"facts": json.loads(step.pop("facts_json")), **step} for step in steps]
        sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
        return 0
    if options.config is not None:
        sys.stdout.write(f"({NOBODY[language]})\n")
    for step in steps:
        sys.stdout.write(f"{step['seconds']:8.1f}  {step['step_' + language]}\n")
    return 0


def _alone(config: Any, args: dict[str, Any]) -> Any:
    command = accept(ExplainCall, args)
    zone = ZoneInfo(config.site.time_zone)
    wall = int(time.time() * 1000)
    emergency = emergency_numbers(config.site.country, config.emergency_numbers)
    board = Switchboard(config, Ids(1), emergency, lambda at: local_time(at, zone))
    return rows(dry_run(board, command, now=wall, wall_ms=wall, zone=zone, offline=True))
