"""`branchpbx sim run`: starts the demo branch and shows it, on a live screen or in plain lines.

Theory of operation. The appliance is a child process in a group of its own (`branchpbx run`); this process only reads: its files
(`endpoints.json`), its control socket and its world's socket. Simulated staff (`staff.py`) answers calls until a real agent does. It
ends when SIGINT or SIGTERM comes or `q` is typed (the child is told to stop, waited for, status 0) or when the child ends by itself
(its status, with what it said).
Invariant: nothing is left running when this process returns, and the terminal is as it was.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import firmware
from firmware.config.schema.calls import OutboundRoute
from firmware.errors import PbxError
from firmware.sim.cable import plugged_in
from firmware.sim.client import ClientError, ProductClient, WorldClient
from firmware.sim.picture import Facts, code_list, default_codes, frame, minutes, reach_text, tls_text
from firmware.sim.screen import Painter, clean
from firmware.sim.staff import Staff
from firmware.sim.texts import TEXTS, word

START_S = 30.0
STOP_S = 20.0
REFRESH_S = 0.5
PR_SET_PDEATHSIG = 1
TABLES = ("calls", "lines", "phones", "queues", "agents", "emergencies")
DEMO_PRESSES, DEMO_SPEECH = "1@menu,1@menu", "speech:20"
DEMO_NUMBERS = ("13800138000", "01062001234", "13912345678", "02155550123", "18600001111", "075588886666")


@dataclass(frozen=True)
class Options:
    """What `sim run` was asked for; `sip_port` -1: as configured."""

    state: Path
    config: Path | None = None
    bind: str = "127.0.0.1"
    language: str = "en"
    staff: bool = True
    sip_port: int = -1


def demo_site() -> Path:
    """The site file of the demo branch."""
    return Path(firmware.__file__).resolve().parent.parent / "board" / "world" / "site.toml"


def lan_address() -> str:
    """This machine's address in its network, by its routes (nothing is sent); "" without a network."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return ""


class View:
    """What the screen shows, gathered twice a second, and the staff that acts on it."""

    def __init__(self, options: Options) -> None:
        self.state = options.state
        self.staff = Staff(wanted=options.staff)
        self.product: ProductClient | None = None
        self.world: WorldClient | None = None
        self.lan = lan_address()
        self.facts = Facts(codes=default_codes(), state=_relative(options.state), lan=self.lan, commands=[])
        self._world_ms = 0
        self._numbers = itertools.cycle(DEMO_NUMBERS)

    def refresh(self) -> bool:
        """Ask again; False while the appliance does not answer."""
        facts = self.facts
        try:
            if not facts.endpoints:
                facts.endpoints = json.loads((self.state / "run" / "endpoints.json").read_text("utf-8"))
                facts.reach = str(facts.endpoints.get("address") or facts.endpoints.get("bind"))
            self.product = self.product or ProductClient(self.state, 3.0)
            facts.status = self.product.ask("show status")
            if "accounts" not in facts.tables:  # secrets: asked for once, because every showing is audited
                facts.tables["accounts"] = self._table("show accounts")
                self._read_codes()
            for name in TABLES:
                facts.tables[name] = self._table(f"show {name}")
            facts.tables["contacts"] = self._table("show contacts", lines=16)
            self.world = self.world or WorldClient(self.state, 3.0)
            now_ms = int(self.world.ask("status", timeout=3.0)["now_ms"])
            if now_ms < self._world_ms:  # another world: its telephones are deserted
                self.staff.seats = {}
            self._world_ms = now_ms
            self.staff.look(self.product, self.world, facts.tables)
        except (OSError, ValueError, KeyError, PbxError) as error:
            facts.trouble = str(error)
            self.close()
            return False
        facts.trouble = ""
        facts.staffed, facts.staff_on = frozenset(self.staff.seats), self.staff.on_duty
        return True

    def _table(self, command: str, **args: Any) -> list[dict[str, Any]]:
        assert self.product is not None
        try:
            rows = self.product.ask(command, **args)
        except ClientError as error:
            if "refused" in str(error):
                return []
            raise
        return rows if isinstance(rows, list) else []

    def _read_codes(self) -> None:
        """Feature codes and the prefix of outside calls, where the site names them."""
        assert self.product is not None
        for line in self.product.ask("show configuration", under="features"):
            words = str(line).split()
            if len(words) == 3:
                self.facts.codes[words[1].removeprefix("features.")] = words[2].strip('"')
        route = [str(line).split() for line in self.product.ask("show configuration", under="outbound[0]")]
        if route:
            named = [words[2].strip('"') for words in route if words[1:2] == ["outbound[0].prefix"] and len(words) > 2]
            self.facts.outside = (named[0] if named else OutboundRoute().prefix) + "…"

    def call(self, language: str) -> str:
        """Let somebody in town call on a line that is free; what is to be said about it."""
        text = TEXTS[language]
        if self.world is None:
            return text["not_placed"].format(why=self.facts.trouble)
        try:
            lines = self.world.ask("status", timeout=3.0)["lines"]
            free = [line["line"] for line in lines if line["state"] == "idle" and not line["faults"]]
            if not free:
                return text["not_placed"].format(why="no line is free" if language == "en" else "没有空闲外线")
            number = next(self._numbers)
            facts = {"from": number, "line": free[0], "press": DEMO_PRESSES, "say": DEMO_SPEECH}
            self.world.ask("call", timeout=3.0, **facts)
        except (OSError, ValueError, KeyError, PbxError) as error:
            return text["not_placed"].format(why=error)
        return text["placed"].format(number=number, line=free[0])

    def turn_staff(self) -> None:
        """Staff in, or out."""
        with contextlib.suppress(OSError, ValueError, PbxError):
            if self.staff.wanted:
                self.staff.dismiss(self.product, self.world, self.facts.tables)
            self.staff.wanted = not self.staff.wanted

    def staff_note(self, language: str) -> str:
        """Who answers the queues now."""
        text = TEXTS[language]
        if self.staff.on_duty:
            return text["staff_on"].format(names=", ".join(self.staff.names))
        return text["staff_relieved" if self.staff.wanted and self.staff.relieved else "staff_off"]

    def leave(self) -> None:
        """The staff goes home, so that nobody is left logged in at a deserted telephone."""
        with contextlib.suppress(OSError, ValueError, KeyError, PbxError):
            self.staff.dismiss(self.product, self.world, self.facts.tables)
        self.close()

    def close(self) -> None:
        for link in (self.product, self.world):
            if link is not None:
                with contextlib.suppress(OSError):
                    link.close()
        self.product = self.world = None


def run(options: Options) -> int:
    """Start the appliance, show it until it is to stop; returns the exit status."""
    state, language = options.state, options.language
    site = options.config or demo_site()
    if not site.is_file():
        raise PbxError(f"{site}: no such site file; name one with --config")
    try:
        (state / "log").mkdir(parents=True, exist_ok=True)
        sink = (state / "log" / "run.out").open("wb")
    except OSError as error:
        raise PbxError(f"{state}: cannot be used as state folder ({error.strerror}); give --state a folder you may write") from error
    wanted: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: wanted.append(received))
    command = [sys.executable, "-m", "firmware", "run", "--config", str(site), "--state", str(state), "--bind", options.bind]
    command += ["--sip-port", str(options.sip_port)] if options.sip_port >= 0 else []
    paths = os.pathsep.join([str(Path(firmware.__file__).resolve().parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths}
    with sink:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, process_group=0, preexec_fn=die_with_us,  # noqa: PLW1509
            env=environment,
        )  # fmt: skip
    view = View(options)
    view.facts.commands = commands(state, language)
    started = False
    cable = contextlib.ExitStack()
    try:
        if _wait_for_start(view, child, wanted):
            started = True
            with contextlib.suppress(OSError):  # a system without pseudo-terminals: everything but the cable
                cable.enter_context(plugged_in(state, die_with_us, environment))
            show = _live if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" else _plain
            try:
                show(view, child, wanted, language)
            except OSError:  # the terminal or the reader of our lines is gone: stop as if told to
                wanted.append(signal.SIGHUP)
                with contextlib.suppress(OSError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        view.leave()
        cable.close()
        status = _stop(child)
    if wanted:
        with contextlib.suppress(OSError):
            sys.stdout.write(TEXTS[language]["stopped"] + "\n")
            sys.stdout.flush()
        return 0
    said = (state / "log" / "run.out").read_text("utf-8", "replace").splitlines()
    plain = [line for line in said if line.startswith("branchpbx:")]
    sys.stderr.write("".join(line + "\n" for line in (plain or said[-8:])))
    if started or not plain:
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
            sys.stderr.write(f"branchpbx sim run: the appliance does not answer after {START_S:.0f} s: {view.facts.trouble}\n")
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


def _relative(path: Path) -> str:
    """A path as it is typed in this folder, where that is shorter."""
    absolute = path.absolute()
    with contextlib.suppress(ValueError, OSError):
        return str(absolute.relative_to(Path.cwd()))
    return str(absolute)


def tool() -> str:
    """How `branchpbx` is typed in this folder."""
    beside = Path(sys.executable).absolute().parent / "branchpbx"
    if beside.is_file():
        found = shutil.which("branchpbx", path="/usr/local/bin:/usr/bin:/bin")
        if found and Path(found).resolve() == beside.resolve():
            return "branchpbx"
        return _relative(beside)
    return f"{_relative(Path(sys.executable))} -m firmware"


def commands(state: Path, language: str) -> list[tuple[str, str]]:
    """Exact commands to type in this folder, with what they do. The state folder is named unless it is the one taken anyway."""
    text, name = TEXTS[language], tool()
    where = "" if _relative(state) == "state" and not os.environ.get("BRANCHPBX_STATE") else f" --state {_relative(state)}"
    return [
        (text["do_call"], f"{name} sim call --from 13800138000 --to-line 1 --press {DEMO_PRESSES} --say {DEMO_SPEECH}{where}"),
        (text["do_watch"], f"{name} cli -c 'watch show calls'{where}"),
        (text["do_phone"], f"{name} sim phone 1 dial 102{where}"),
        (text["do_fault"], f"{name} sim exchange 4 cut --for 20{where}"),
        (text["do_world"], f"{name} sim watch{where}"),
        (text["do_console"], f"{name} cli{where}"),
        (text["do_serial"], f"{name} sim serial{where}"),
    ]


def opening(view: View, language: str) -> list[str]:
    """The lines that a person needs first."""
    text, facts = TEXTS[language], view.facts
    ends = facts.endpoints
    lines = [
        f"{facts.status.get('name', 'BranchPBX')} - BranchPBX {facts.status.get('version', '')} {facts.status.get('clock', '')}",
        f"{text['listens']}: {facts.reach}:{ends.get('sip_port')} (UDP, TCP{tls_text(ends)})",
        f"{text['rtp']} {ends.get('rtp_first')}-{ends.get('rtp_last', '')}",
        reach_text(facts, language),
        f"{text['folder']}: {view.state.absolute()}",
    ]
    for row in facts.rows("accounts"):
        sip = row.get("kind") == "sip"
        kind, secret = text["sip_account" if sip else "agent_account"], text["secret" if sip else "pin"]
        lines.append(f"{kind} {row.get('account')} {clean(row.get('name'))}: {secret} {row.get('secret')} ({row.get('server', '')})")
    lines.append(f"{text['codes']}: " + "; ".join(f"{code} {what}" for code, what in code_list(facts, language)))
    lines.append(view.staff_note(language))
    lines += [f"{what}: {command}" for what, command in facts.commands]
    return [*lines, text["leave"]]


def news(view: View, language: str) -> dict[str, str]:
    """What is going on, by name: calls, agents, lines, alarms, the notice of an emergency call."""
    text, facts = TEXTS[language], view.facts
    now: dict[str, str] = {}
    for row in facts.rows("calls"):
        who = f"{clean(row.get('caller') or row.get('called') or '')} {row.get('queue')} {row.get('agent')}"
        now[f"{text['now']} {row.get('contact')}"] = " ".join(f"{word(row.get('phase'), language)} {who}".split())
    for row in facts.rows("lines"):
        if row.get("kind") == "fxo":
            now[str(row.get("endpoint"))] = " ".join(f"{word(row.get('state'), language)} {clean(row.get('detail') or '')}".split())
    for row in facts.rows("agents"):
        now[f"{text['agent_account']} {row.get('agent')}"] = " ".join(f"{word(row.get('state'), language)} {row.get('extension')}".split())
    for row in facts.rows("contacts"):
        if row.get("ended_ms"):
            what = f"{word(row.get('cause'), language)}, {text['waited']} {minutes(row['wait_ms'] / 1000)}, "
            now[f"{text['contacts']} {row.get('contact')}"] = what + f"{text['talked']} {minutes(row['talk_ms'] / 1000)}"
    for alarm in facts.status.get("alarms", []):
        now[f"! {clean(alarm)}"] = ""
    for row in facts.rows("emergencies"):
        now[f"{text['emergency']} {row.get('contact')}"] = clean(row.get("zh" if language == "zh" else "en"))
    if facts.trouble:
        now["!"] = text["lost"].format(why=clean(facts.trouble))
    now[text["plain_staff"]] = view.staff_note(language)
    return now


def _plain(view: View, child: subprocess.Popen[bytes], wanted: list[int], language: str) -> None:
    over = TEXTS[language]["over"]
    for line in opening(view, language):
        sys.stdout.write(line + "\n")
    sys.stdout.flush()
    seen = news(view, language)
    while child.poll() is None and not wanted:
        time.sleep(REFRESH_S)
        view.refresh()
        now = news(view, language)
        for key in [*now, *(key for key in seen if key not in now)]:
            if now.get(key) != seen.get(key) and (key in now or not key.startswith(TEXTS[language]["contacts"])):
                sys.stdout.write(f"{view.facts.status.get('clock', '')} {key}: {now.get(key, over)}\n")
        seen = now
        sys.stdout.flush()


@contextlib.contextmanager
def _keyboard() -> Iterator[int]:
    """Single keys from the terminal, without echo; -1 when stdin is none. Ctrl-C goes on being a signal, Ctrl-Z does nothing."""
    try:
        number = sys.stdin.fileno()
        before = termios.tcgetattr(number)
    except (OSError, ValueError, termios.error):
        yield -1
        return
    changed = termios.tcgetattr(number)
    changed[3] &= ~(termios.ECHO | termios.ICANON)
    changed[6][termios.VSUSP] = changed[6][termios.VMIN] = b"\0"
    changed[6][termios.VMIN], changed[6][termios.VTIME] = b"\1", b"\0"
    termios.tcsetattr(number, termios.TCSADRAIN, changed)
    try:
        yield number
    finally:
        with contextlib.suppress(OSError, termios.error):  # the terminal may be gone
            termios.tcsetattr(number, termios.TCSADRAIN, before)


def _live(view: View, child: subprocess.Popen[bytes], wanted: list[int], language: str) -> None:
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    painter = Painter(sys.stdout.fileno(), colour=not os.environ.get("NO_COLOR"), wide=encoding.startswith("utf"))
    page, pages, due, note_until = 0, 1, 0.0, 0.0
    facts = view.facts
    with _keyboard() as keys, painter:
        while child.poll() is None and not wanted:
            now = time.monotonic()
            if now >= due:
                view.refresh()
                due = now + REFRESH_S
            facts.staff_note = view.staff_note(language)
            facts.note = facts.note if now < note_until else ""
            lines, pages = frame(facts, language, *painter.size(), page)
            painter.paint(lines)
            for key in _typed(keys, due - time.monotonic()):
                if key in "qQ":
                    wanted.append(signal.SIGINT)
                elif key in "cC":
                    facts.note, note_until = view.call(language), time.monotonic() + 5
                    due = 0.0
                elif key in "sS":
                    view.turn_staff()
                    due = 0.0
                elif key in "lL":
                    language = "en" if language == "zh" else "zh"
                    facts.commands = commands(view.state, language)
                elif key in "\t nN":
                    page = (page + 1) % pages


def _typed(number: int, seconds: float) -> str:
    """Keys typed within so long; returns at once after the first."""
    if number < 0:
        time.sleep(max(0.0, min(seconds, REFRESH_S)))
        return ""
    ready, _, _ = select.select([number], [], [], max(0.0, seconds))
    data = os.read(number, 64) if ready else b""
    return "" if data.startswith(b"\x1b") else data.decode("ascii", "ignore")
