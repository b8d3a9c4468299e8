"""`branchpbx update status | install SOURCE | cancel | agent`: updates of a box with slots (docs/image.md)."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

import msgspec

from firmware.errors import PbxError
from firmware.update import spool
from firmware.update.agent import Agent
from firmware.update.machine import Request, Settings
from firmware.update.rules import Words

SHARE = Path("/usr/share/branchpbx")
SLOT = Path("/run/branchpbx.slot")


class NoSlots(PbxError):
    """This machine is not run from an update image."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], parents: list[argparse.ArgumentParser]) -> None:
    """The command line of `branchpbx update`."""
    update = commands.add_parser("update", parents=parents, help="update a box with slots: status | install | cancel | agent")
    update.add_argument("what", choices=("status", "install", "cancel", "agent"))
    update.add_argument("source", nargs="?", default="", help="path on the box or URL of a bundle (install)")
    update.add_argument("--now", action="store_true", help="do not wait until no call is up")
    update.add_argument("--older", action="store_true", help="an older version is meant")
    update.add_argument(
        "--trial-s", type=float, default=None, metavar="S", help="agent: how long a new version may take until it is healthy"
    )
    update.add_argument("--quiet-s", type=float, default=None, metavar="S", help="agent: so long without a call, then the box restarts")
    update.add_argument("--json", action="store_true", help="machine-readable")


def update(options: argparse.Namespace, language: str) -> int:
    """Carry it out; the exit status."""
    if options.what == "agent":
        return _agent(options)
    found = spool.read()
    if found is None:
        raise NoSlots(f"{spool.RUN}/status.json: no update agent; this box is not run from an update image, or has just been switched on")
    if options.what == "install":
        if not options.source:
            sys.stderr.write("branchpbx update install: name the bundle, a path on the box or a URL\n")
            return 2
        spool.put(spool.Wish("install", Request(options.source, options.now, options.older)))
    elif options.what == "cancel":
        spool.put(spool.Wish("cancel"))
    elif options.json:
        sys.stdout.write(json.dumps(msgspec.to_builtins(found), ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(shown(found, language))
    return 0


def shown(status: spool.Status, language: str) -> str:
    """The status for people."""
    zh = language == "zh"

    def say(words: Words) -> str:
        return words.zh if zh else words.en

    lines = [f"{'分区' if zh else 'slot'} {status.slot}, {'版本' if zh else 'version'} {status.version}: {_PHASES[status.phase][zh]}"]
    if status.on_trial:
        lines.append("新版本试运行中" if zh else "the new version is on trial")
    lines += [f"  {say(words)}" for words in status.complaints if status.phase == "starting"]
    if status.said is not None:
        lines.append(say(status.said))
    if status.verdict is not None:
        lines.append(f"{'上次升级' if zh else 'last update'}: {status.verdict.version} {_OUTCOMES[status.verdict.outcome][zh]}")
        if status.verdict.words is not None:
            lines.append(f"  {say(status.verdict.words)}")
    return "\n".join(lines) + "\n"


_PHASES = {
    "starting": ("started, not known to be healthy yet", "已启动，尚未确认正常"), "idle": ("healthy", "正常"),
    "checking": ("checks a bundle", "正在检查升级包"),
    "installing": ("installs a bundle; calls go on", "正在安装升级包，通话不受影响"),
    "waiting": ("waits until no call is up", "等待线路空闲"),
    "restarting": ("restarts", "正在重启"),
}  # fmt: skip
_OUTCOMES = {
    "good": ("runs and is good", "运行正常"), "rolled back": ("was rolled back", "已回退"), "refused": ("was refused", "被拒绝"),
    "failed": ("could not be installed", "安装失败"), "put off": ("was put off", "已推迟"), "cancelled": ("was cancelled", "已取消"),
}  # fmt: skip


def _agent(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s")
    try:
        facts = [path.read_text().strip() for path in (SLOT, SHARE / "version", SHARE / "compatible")]
    except OSError as error:
        raise NoSlots(f"{error.filename}: {error.strerror}; the update agent runs on a box with slots only") from None
    chosen = {name: value for name, value in (("trial_s", options.trial_s), ("quiet_s", options.quiet_s)) if value is not None}
    state = options.state.absolute()
    agent = Agent(
        control=state / "run" / "control.sock", record=state.parent / "update" / "trial.json",
        run=spool.RUN, slot=facts[0], version=facts[1],
        compatible=facts[2], settings=Settings(**chosen),
    )  # fmt: skip
    agent.run()
    return 0
