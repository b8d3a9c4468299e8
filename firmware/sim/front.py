"""`branchpbx sim run`: starts the demo branch and shows it, on a live screen or in plain lines.

Theory of operation. The appliance is a child process in a group of its own (`branchpbx run`); this process only reads: its files
(`endpoints.json`), its control socket and its world's socket. It ends when SIGINT or SIGTERM comes (the child is told to
stop, waited for, status 0) or when the child ends by itself (its status, with the last lines of its log).
Invariant: nothing is left running when this process returns.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import firmware
from firmware.errors import PbxError
from firmware.sim.client import ClientError, ProductClient, WorldClient
from firmware.sim.texts import TEXTS

START_S = 30.0
STOP_S = 20.0
REFRESH_S = 0.5
PR_SET_PDEATHSIG = 1


def demo_site() -> Path:
    """The site file of the demo branch."""
    return Path(firmware.__file__).resolve().parent.parent / "board" / "world" / "site.toml"


class View:
    """What the screen shows, gathered twice a second."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.product: ProductClient | None = None
        self.world: WorldClient | None = None
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.status: dict[str, Any] = {}
        self.town: dict[str, Any] = {}
        self.endpoints: dict[str, Any] = {}
        self.trouble = ""

    def refresh(self) -> bool:
        """Ask again; False while the appliance does not answer."""
        try:
            if not self.endpoints:
                self.endpoints = json.loads((self.state / "run" / "endpoints.json").read_text("utf-8"))
            self.product = self.product or ProductClient(self.state, 3.0)
            self.status = self.product.ask("show status")
            if "accounts" not in self.tables:  # secrets: asked for once, because every showing is audited
                self.tables["accounts"] = self._table("show accounts")
            for name in ("calls", "lines", "phones", "queues", "agents", "emergencies"):
                self.tables[name] = self._table(f"show {name}")
            self.world = self.world or WorldClient(self.state, 3.0)
            self.town = self.world.ask("status", timeout=3.0)
        except (OSError, ValueError, PbxError) as error:
            self.trouble = str(error)
            self.close()
            return False
        self.trouble = ""
        return True

    def _table(self, command: str) -> list[dict[str, Any]]:
        assert self.product is not None
        try:
            rows = self.product.ask(command)
        except ClientError as error:
            if "refused" in str(error):
                return []
            raise
        return rows if isinstance(rows, list) else []

    def close(self) -> None:
        for link in (self.product, self.world):
            if link is not None:
                with contextlib.suppress(OSError):
                    link.close()
        self.product = self.world = None


def run(state: Path, config: Path | None, bind: str, language: str) -> int:
    """Start the appliance, show it until it is to stop; returns the exit status."""
    site = config or demo_site()
    if not site.is_file():
        raise PbxError(f"{site}: no such site file; name one with --config")
    (state / "log").mkdir(parents=True, exist_ok=True)
    output = state / "log" / "run.out"
    wanted: list[int] = []
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: wanted.append(received))
    with output.open("wb") as sink:
        child = subprocess.Popen(
            [sys.executable, "-m", "firmware", "run", "--config", str(site), "--state", str(state), "--bind", bind],
            stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, process_group=0, preexec_fn=die_with_us,  # noqa: PLW1509
        )  # fmt: skip
    view = View(state)
    try:
        if _wait_for_start(view, child, wanted):
            show = _live if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" else _plain
            show(view, child, wanted, language)
    finally:
        view.close()
        status = _stop(child)
    if wanted:
        sys.stdout.write(TEXTS[language]["stopped"] + "\n")
        return 0
    tail = output.read_text("utf-8", "replace").splitlines()[-8:]
    sys.stderr.write("\n".join(tail) + "\n" if tail else "")
    sys.stderr.write(f"branchpbx sim run: the appliance ended by itself with status {status}; its log is in {state / 'log'}\n")
    return status or 1


def die_with_us() -> None:
    """In a child before exec: end when the process that started it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_for_start(view: View, child: subprocess.Popen[bytes], wanted: list[int]) -> bool:
    limit = time.monotonic() + START_S
    while child.poll() is None and not wanted:
        if view.refresh():
            return True
        if time.monotonic() > limit:
            sys.stderr.write(f"branchpbx sim run: the appliance does not answer after {START_S:.0f} s: {view.trouble}\n")
            return False
        time.sleep(0.2)
    return False


def _stop(child: subprocess.Popen[bytes]) -> int:
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    return child.returncode


# --- what is said -----------------------------------------------------------------------------------------------------------


def commands(view: View, language: str) -> list[tuple[str, str]]:
    """Exact commands to type, with what they do."""
    text, where = TEXTS[language], f"--state {view.state}"
    tool = "branchpbx" if _on_path() else f"{sys.executable} -m firmware"
    return [
        (text["do_call"], f"{tool} sim call {where} --from 13800138000 --to-line 1 --press 1@menu,1@menu --say speech:20"),
        (text["do_watch"], f"{tool} sim watch {where}"),
        (text["do_login"], f"{tool} cli {where} -c 'agent login 8001 101'"),
        (text["do_answer"], f"{tool} sim phone {where} 1 answer --say speech:20"),
        (text["do_console"], f"{tool} cli {where}"),
    ]


def _on_path() -> bool:
    return any((Path(folder) / "branchpbx").is_file() for folder in os.environ.get("PATH", "").split(os.pathsep))


def rows_of(view: View, name: str) -> tuple[list[str], list[list[str]]]:
    """Column names and texts of one of the product's tables, as the product names them."""
    rows = view.tables.get(name, [])
    if not rows:
        return [], []
    columns = [key for key in rows[0] if key not in ("note",)]
    return columns, [[_cell(row.get(key)) for key in columns] for row in rows]


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def opening(view: View, language: str) -> list[str]:
    """The lines that a person needs first."""
    text, ends = TEXTS[language], view.endpoints
    lines = [
        f"{view.status.get('name', 'BranchPBX')} - BranchPBX {view.status.get('version', '')} {view.status.get('clock', '')}",
        f"{text['listens']}: SIP UDP/TCP {ends.get('bind')}:{ends.get('sip_port')}, "
        f"RTP UDP {ends.get('rtp_first')}-{ends.get('rtp_last', '')}",
        f"{text['folder']}: {view.state.absolute()}",
    ]
    for row in view.tables.get("accounts", []):
        kind = text["sip_account"] if row.get("kind") == "sip" else text["agent_account"]
        lines.append(f"{kind} {row.get('account')} {row.get('name')}: {text['secret']} {row.get('secret')} ({row.get('server', '')})")
    lines += [f"{what}: {command}" for what, command in commands(view, language)]
    return [*lines, text["leave"]]


def _plain(view: View, child: subprocess.Popen[bytes], wanted: list[int], language: str) -> None:
    text = TEXTS[language]
    for line in opening(view, language):
        sys.stdout.write(line + "\n")
    sys.stdout.flush()
    seen: dict[str, str] = {}
    while child.poll() is None and not wanted:
        time.sleep(REFRESH_S)
        if not view.refresh():
            continue
        now: dict[str, str] = {}
        for row in view.tables.get("calls", []):
            now[f"call {row.get('contact')}"] = f"{row.get('phase')} {row.get('caller')} {row.get('queue')} {row.get('agent')}".strip()
        for row in view.tables.get("emergencies", []):
            now[f"{text['emergency']} {row.get('contact')}"] = str(row.get("zh" if language == "zh" else "en"))
        for key in sorted(set(now) | set(seen)):
            if now.get(key) != seen.get(key):
                sys.stdout.write(f"{view.status.get('clock', '')} {key}: {now.get(key, text['over'])}\n")
        seen = now
        sys.stdout.flush()


def _live(view: View, child: subprocess.Popen[bytes], wanted: list[int], language: str) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with Live(_picture(view, language), console=console, screen=True, auto_refresh=False) as live:
        while child.poll() is None and not wanted:
            view.refresh()
            live.update(_picture(view, language), refresh=True)
            time.sleep(REFRESH_S)


def _picture(view: View, language: str) -> Any:
    from rich.columns import Columns
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    text, ends = TEXTS[language], view.endpoints
    head = Text.assemble(
        (f" {view.status.get('name', 'BranchPBX')} ", "bold white on blue"), f"  {view.status.get('clock', '')}   ",
        (text["listens"], "bold"),
        f"  SIP {ends.get('bind')}:{ends.get('sip_port')}  RTP {ends.get('rtp_first')}-{ends.get('rtp_last', '')}   ",
        (text["leave"], "dim"),
    )  # fmt: skip
    parts: list[Any] = [head]
    for row in view.tables.get("emergencies", []):
        notice = str(row.get("zh" if language == "zh" else "en"))
        parts.append(Panel(Text(notice, style="bold white"), title=text["emergency"], border_style="red", style="on red"))
    if view.trouble:
        parts.append(Text(view.trouble, style="yellow"))

    def table(name: str, wanted: tuple[str, ...], title: str) -> Any:
        columns, rows = rows_of(view, name)
        if not rows:
            return Text.assemble((f"{title}  ", "bold cyan"), ("-", "dim"))
        shown = [at for at, column in enumerate(columns) if not wanted or column in wanted]
        made = Table(title=title, title_justify="left", title_style="bold cyan", expand=False, box=None, pad_edge=False, header_style="dim")
        for at in shown:
            made.add_column(columns[at].replace("_", " "))
        for row in rows:
            made.add_row(*(row[at] for at in shown))
        return made

    parts.append(table("calls", (), text["calls"]))
    parts.append(
        Columns(
            [
                table("lines", ("endpoint", "number", "state", "volts", "milliamps", "caller", "called"), text["lines"]),
                table("queues", ("queue", "waiting", "longest_s", "ready", "busy", "paused"), text["queues"]),
            ],
            padding=(0, 4),
        )
    )
    parts.append(
        Columns(
            [
                table("phones", ("extension", "kind", "name", "state", "where"), text["phones"]),
                table("agents", ("agent", "state", "extension", "seconds", "calls"), text["agents"]),
            ],
            padding=(0, 4),
        )
    )
    parts.append(table("accounts", ("account", "kind", "name", "secret", "server"), text["accounts"]))
    outside = Table(title=text["outside"], title_justify="left", title_style="bold cyan", box=None, pad_edge=False, show_header=False)
    for line in view.town.get("lines", []):
        call = line["call"]
        state = "green" if line["state"] == "idle" else "yellow"
        outside.add_row(
            f"PSTN {line['line']}",
            Text(line["state"], style=state),
            f"{line['volts']} V",
            f"{line['milliamps']} mA",
            f"{call['number']}" if call else "",
        )
    parts.append(outside)
    how = Table(title=text["try"], title_justify="left", title_style="bold cyan", box=None, pad_edge=False, show_header=False)
    for what, command in commands(view, language):
        how.add_row(what, Text(command, style="green", overflow="fold"))
    parts.append(how)
    return Group(*parts)
