"""Sets branch boxes up over their serial line, one by one or a whole list: `python -m tools.provision --help`.

    ports | status | apply SITE.toml | batch LIST.csv|LIST.toml | wizard | put KIND FILE | device FILE | offer FILE | fetch-logs FILE |
    identity | labels FILE | report FILE

Theory of operation. `line.py` is the line, `sheet.py` makes labels and reports, `wizard.py` asks the console's questions. A site is
applied so: the file goes into the box's candidate, its difference and plan are shown, it is committed as a trial, the box must prove that
it runs what it stores, then the trial is confirmed. Whatever fails before that, the box takes the trial back by itself. `--dry-run` stops
after the plan and gives the candidate up. A list remembers in LIST.done.json what is done, so an interrupted one goes on.
Status: 0 done, 1 something failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import csv
import getpass
import json
import os
import sys
import threading
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from .line import Credentials, Session, choose_port, open_port, ports
from .texts import ProvisionError, say, told

TRIAL_S = 120
PASSWORD_VARIABLE = "BRANCHPBX_PASSWORD"


# --- what is done with one box ----------------------------------------------------------------------------------------


def apply(tool: Session, name: str, content: bytes, *, dry: bool, force: bool, note: str, show: Any) -> dict[str, Any]:
    """One site file on one box; what came of it. Raises ProvisionError."""
    language, began = tool.language, time.monotonic()
    unsaved = tool.call("show trial")["candidate_changes"]
    if unsaved and not force:
        raise told("unsaved", count=unsaved)
    with bar(tool, name) as progress:
        tool.put("site", name, content, progress)
    changes = tool.call("show diff")
    if not changes:
        tool.call("discard")
        show(say("same", language, site=name))
        return {"site": name, "changes": [], "revision": tool.call("show trial")["running"], "seconds": time.monotonic() - began}
    plan = tool.call("show plan")
    says = plan["summary_zh"] if tool.language == "zh" else plan["summary"]
    show(say("plan", language, site=name, count=len(changes), says=says))
    for one in changes:
        mark = {"added": "+", "removed": "-"}.get(one["kind"], "~")
        show(f"  {mark} {one['path']}: {one['old'] or '-'} -> {one['new'] or '-'}  [{one['apply']}]")
    if dry:
        tool.call("discard")
        show(say("dry", language, site=name))
        return {"site": name, "changes": changes, "revision": 0, "dry": True, "seconds": time.monotonic() - began}
    done = tool.call("commit confirmed", seconds=TRIAL_S, **({"note": note} if note else {}))
    proof = proven(tool)
    if not proof["right"]:
        wrong = ", ".join(row["part"] for row in proof["parts"] if not row["right"])
        raise told("differs", parts=wrong)
    tool.call("confirm")
    seconds = time.monotonic() - began
    show(say("done", language, site=name, revision=done["revision"], seconds=f"{seconds:.0f}"))
    return {"site": name, "changes": changes, "revision": done["revision"], "hash": proof["stored"], "seconds": seconds}


def proven(tool: Session) -> dict[str, Any]:
    """Running equals stored, asked until every process has taken the new configuration; not longer than a third of the trial."""
    until = time.monotonic() + TRIAL_S / 3
    while True:
        try:
            proof: dict[str, Any] = tool.call("verify configuration")
            if proof["right"] or time.monotonic() > until:
                return proof
        except ProvisionError as error:
            if error.kind not in ("unavailable", "refused") or time.monotonic() > until:
                raise
        time.sleep(0.5)


# --- progress ---------------------------------------------------------------------------------------------------------

_SCREEN = threading.Lock()


@contextmanager
def bar(tool: Session, name: str) -> Iterator[Any]:
    """A progress bar with rate and time left where there is a terminal and `rich`, one line at the end elsewhere."""
    if sys.stderr.isatty() and threading.current_thread() is threading.main_thread():
        try:
            rich = import_module("rich.progress")
        except ImportError:
            rich = None
        if rich is not None:
            columns = (
                rich.TextColumn("{task.description}"), rich.BarColumn(), rich.DownloadColumn(), rich.TransferSpeedColumn(),
                rich.TimeRemainingColumn(),
            )  # fmt: skip
            with rich.Progress(*columns, console=import_module("rich.console").Console(stderr=True)) as shown:
                task = shown.add_task(name, total=None)
                yield lambda done, total: shown.update(task, completed=done, total=total)
            return
    began, last = time.monotonic(), [0, 0]

    def keep(done: int, total: int) -> None:
        last[:] = [done, total]

    yield keep
    took = max(time.monotonic() - began, 0.001)
    with _SCREEN:
        sys.stderr.write(f"{name}: {last[0]} bytes, {last[0] / took / 1000:.1f} kB/s, {took:.1f} s, {tool.breaks} breaks\n")


# --- lists of sites ---------------------------------------------------------------------------------------------------


def read_list(path: Path) -> list[dict[str, str]]:
    """Sites of a CSV (columns site, file, port, user, serial) or of a TOML with `[[site]]`. Raises ProvisionError with every mistake."""
    if path.suffix == ".toml":
        rows = [{key: str(value) for key, value in row.items()} for row in tomllib.loads(path.read_text(encoding="utf-8")).get("site", [])]
    else:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [{key: value or "" for key, value in row.items() if key} for row in csv.DictReader(file)]
    wrong: list[tuple[str, dict[str, Any]]] = []
    seen: set[str] = set()
    for number, row in enumerate(rows, start=1):
        row.setdefault("site", Path(row.get("file", "")).stem)
        unknown = row.keys() - {"site", "file", "port", "user", "serial"}
        if unknown:
            wrong.append(("column", {"row": number, "column": ", ".join(sorted(unknown))}))
        if not row.get("file") or not (path.parent / row["file"]).is_file():
            wrong.append(("no-file", {"row": number, "site": row["site"], "file": row.get("file") or "-"}))
        if row["site"] in seen:
            wrong.append(("twice", {"row": number, "site": row["site"]}))
        seen.add(row["site"])
    if wrong:
        english, chinese = ("; ".join(say(code, language, **facts) for code, facts in wrong) for language in ("en", "zh"))
        raise told("list", problems=english, problems_zh=chinese)
    if not rows:
        raise told("empty", file=path)
    return rows


class Batch:
    """A list, worked off: ports at the same time, the sites of one port one after another."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.rows = read_list(options.list)
        self._done_file = options.list.with_name(options.list.name + ".done.json")
        self._done: dict[str, Any] = json.loads(self._done_file.read_text()) if self._done_file.is_file() else {}
        self._lock = threading.Lock()
        self.failed = 0

    def run(self) -> int:
        """All sites; 0 when each is done."""
        by_port: dict[str, list[dict[str, str]]] = {}
        for row in self.rows:
            by_port.setdefault(row.get("port") or self.options.port, []).append(row)
        if list(by_port) == [""]:
            by_port = {choose_port(""): self.rows}
        with ThreadPoolExecutor(max_workers=len(by_port)) as pool:
            for _ in pool.map(self._work, by_port.items()):
                pass
        good = sum(1 for row in self.rows if row["site"] in self._done)
        self._say(say("sum", self.options.lang, good=good, all=len(self.rows)))
        return 0 if not self.failed else 1

    def _work(self, job: tuple[str, list[dict[str, str]]]) -> None:
        port, rows = job
        language = self.options.lang
        for row in rows:
            known = self._done.get(row["site"])
            if known and not self.options.again:
                self._say(say("skip", language, site=row["site"], time=known["time"]))
                continue
            if len(rows) > 1 and not self.options.yes and sys.stdin.isatty():
                self._say(say("next", language, site=row["site"]))
                sys.stdin.readline()
            try:
                self._one(port, row)
            except (ProvisionError, OSError) as error:
                self.failed += 1
                why = error.said(language) if isinstance(error, ProvisionError) else error
                self._say(say("failed", language, site=row["site"], why=why))

    def _one(self, port: str, row: dict[str, str]) -> None:
        options = argparse.Namespace(**{**vars(self.options), "port": port, "user": row.get("user") or self.options.user})
        with opened(options) as tool:
            if row.get("serial") and tool.identity["serial"] != row["serial"]:
                raise told("another", found=tool.identity["serial"] or say("nobody", options.lang), wanted=row["serial"])
            content = (self.options.list.parent / row["file"]).read_bytes()
            facts = apply(
                tool, f"{row['site']}.toml", content, dry=options.dry_run, force=options.force, note=options.note, show=self._say
            )
            if options.report_folder and not options.dry_run:
                write_report(tool, options.report_folder / f"{row['site']}.pdf", facts, options.test)
        if not options.dry_run:
            with self._lock:
                self._done[row["site"]] = {
                    "time": time.strftime("%Y-%m-%d %H:%M:%S"), "serial": tool.identity["serial"], "revision": facts["revision"],
                    "seconds": round(facts["seconds"], 1),
                }  # fmt: skip
                part = self._done_file.with_suffix(".new")
                part.write_text(json.dumps(self._done, indent=1, ensure_ascii=False))
                part.replace(self._done_file)

    def _say(self, text: str) -> None:
        with _SCREEN:
            print(text, flush=True)


# --- the command line -------------------------------------------------------------------------------------------------


@contextmanager
def opened(options: argparse.Namespace) -> Iterator[Session]:
    """A session with the box at the port, closed at the end."""
    port = choose_port(options.port)
    key = bytes.fromhex(options.key_file.read_text().strip()) if options.key_file else b""
    who = Credentials("site" if key else options.user, options.password, key)
    transcript: IO[str] | None = options.transcript.open("a", encoding="utf-8") if options.transcript else None
    tool = Session(
        lambda baud: open_port(port, baud), who, baud=options.baud, language=options.lang, patience_s=options.patience,
        transcript=transcript, notice=lambda text: print(f"{port}: {text}", file=sys.stderr, flush=True),
    )  # fmt: skip
    try:
        tool.connect()
        if options.fast and options.fast != options.baud:
            tool.raise_rate(options.fast)
        yield tool
    finally:
        tool.close()
        if transcript is not None:
            transcript.close()


def write_report(tool: Session, target: Path, facts: dict[str, Any] | None = None, test: bool = False) -> list[Path]:
    """The installation report of the box at the line: JSON, text in both languages and a page to print."""
    from . import sheet

    return sheet.report(sheet.collect(tool, facts or {}, test), target)


def _ports(options: argparse.Namespace) -> int:
    rows = ports()
    if not rows:
        print(say("no-ports", options.lang))
        return 1
    for row in rows:
        print(f"{row['port']:<20} {row['usb']:<10} {row['adapter']} {row['serial']}")
    return 0


def _status(options: argparse.Namespace) -> int:
    with opened(options) as tool:
        facts = {"identity": tool.call("show identity"), "role": tool.role, "line": tool.statistics()}
        for name, command in (("status", "show status"), ("trial", "show trial"), ("lines", "show lines")):
            try:
                facts[name] = tool.call(command)
            except ProvisionError as error:
                facts[name] = {"error": str(error)}
    print(json.dumps(facts, indent=1, ensure_ascii=False))
    return 0


def _apply(options: argparse.Namespace) -> int:
    content = options.site.read_bytes()
    with opened(options) as tool:
        facts = apply(tool, options.site.name, content, dry=options.dry_run, force=options.force, note=options.note, show=print)
        if options.report and not options.dry_run:
            for path in write_report(tool, options.report, facts, options.test):
                print(path)
    return 0


def _wizard(options: argparse.Namespace) -> int:
    from . import wizard

    with opened(options) as tool:
        began = time.monotonic()
        if not wizard.ask(tool, options.answers, options.lang, dry=options.dry_run, force=options.force, prove=proven):
            return 0 if options.dry_run else 1
        options.save.write_text(tool.call("export configuration"), encoding="utf-8")
        facts = {"site": options.save.name, "revision": tool.call("show trial")["running"], "seconds": time.monotonic() - began}
        print(say("done", options.lang, site=facts["site"], revision=facts["revision"], seconds=f"{facts['seconds']:.0f}"))
        if options.report:
            for path in write_report(tool, options.report, facts, options.test):
                print(path)
    return 0


def _put(options: argparse.Namespace) -> int:
    name = options.name or options.file.name
    with opened(options) as tool, bar(tool, name) as progress:
        said = tool.put(options.kind, name, options.file.read_bytes(), progress)
    print(f"{said['name']}: {said['says_zh'] if options.lang == 'zh' else said['says']}")
    return 0


def scanned(language: str) -> bytes:
    """A document from lines that a scanner types, in any order; what is no part of one is told and left out. Raises ProvisionError."""
    from firmware.fleet.parts import PartError, Parts, fields

    parts = Parts()
    print(say("scan", language), flush=True)
    for line in sys.stdin:
        try:
            document = parts.take(*fields(line))
        except PartError:
            print(say("no-part", language), flush=True)
            continue
        if document is not None:
            return document
        print(say("parts", language, numbers=" ".join(map(str, parts.missing))), flush=True)
    raise told("scan-broken")


def _offer(options: argparse.Namespace) -> int:
    chinese = options.lang == "zh"
    if (options.file is None) != options.scan:
        raise told("file-or-scan")
    document = scanned(options.lang) if options.scan else options.file.read_bytes()
    name = "scanned.bpx" if options.scan else options.file.name
    with opened(options) as tool:
        if options.trust:
            tool.call("set", setting="central.keys", value=json.dumps([options.trust]))
            tool.call("set", setting="central.tenant", value=json.dumps(options.tenant))
            tool.call("commit", note=f"trusts {options.trust}")
            print(say("trusts", options.lang, key=options.trust))
        with bar(tool, name) as progress:
            said = tool.put("document", name, document, progress)
        print(f"{said['name']}: {said['says_zh'] if chinese else said['says']}")
        told_of = tool.call("show central")
        if told_of["state"] not in ("trial", "confirmed"):
            raise told("not-tried", reason=told_of["reason"], says=told_of["says_zh"] if chinese else told_of["says"])
        if options.confirm and told_of["state"] == "trial":
            proof = proven(tool)
            if not proof["right"]:
                raise told("differs", parts=", ".join(row["part"] for row in proof["parts"] if not row["right"]))
            tool.call("confirm")
            running = tool.call("show trial")["running"]
            print(say("done", options.lang, site=name, revision=running, seconds=f"{tool.age_s:.0f}"))
    return 0


def _rescue(options: argparse.Namespace) -> int:
    from . import rescue

    with opened(options) as tool, bar(tool, options.file.name if options.file else "") as progress:
        return rescue.run(tool, options, progress)


def _device(options: argparse.Namespace) -> int:
    with opened(options) as tool:
        options.file.write_text(json.dumps(tool.call("show device"), indent=1) + "\n")
    print(options.file)
    return 0


def _fetch_logs(options: argparse.Namespace) -> int:
    with opened(options) as tool, bar(tool, options.file.name) as progress:
        print(f"{options.file}: {tool.get('logs', options.file, progress)} bytes")
    return 0


def _identity(options: argparse.Namespace) -> int:
    with opened(options) as tool:
        if options.serial or options.mac:
            args = {"serial": options.serial, "mac": options.mac, "seal": options.seal}
            if options.make_key:
                args["site_key"] = os.urandom(32).hex()
                descriptor = os.open(options.make_key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "w") as file:
                    file.write(args["site_key"] + "\n")
            print(json.dumps(tool.call("identity write", **args), indent=1))
        else:
            print(json.dumps(tool.call("show identity"), indent=1))
    return 0


def _labels(options: argparse.Namespace) -> int:
    from . import sheet

    if options.list is not None:
        rows = [{"name": row["site"], "serial": row.get("serial", ""), "mac": "", "address": ""} for row in read_list(options.list)]
    else:
        with opened(options) as tool:
            rows = sheet.label_rows(tool)
    for path in sheet.labels(rows, options.file):
        print(path)
    return 0


def _report(options: argparse.Namespace) -> int:
    with opened(options) as tool:
        for path in write_report(tool, options.file, None, options.test):
            print(path)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    line = argparse.ArgumentParser(add_help=False)
    line.add_argument("--port", default="", help="serial port (COM3, /dev/ttyUSB0); without it the only USB adapter there is")
    line.add_argument("--baud", type=int, default=115200, help="rate of the console (default: 115200)")
    line.add_argument("--fast", type=int, default=0, metavar="BAUD", help="try this rate for the session; falls back by itself")
    line.add_argument("--user", default="installer", help="log-in name; a new box asks for none")
    line.add_argument("--key-file", type=Path, default=None, metavar="FILE", help="key of the site, instead of user and password")
    line.add_argument("--patience", type=float, default=60.0, metavar="S", help="give up when nothing answers for so long")
    line.add_argument("--transcript", type=Path, default=None, metavar="FILE", help="append what was asked and how it ended (JSON lines)")
    line.add_argument("--lang", choices=("en", "zh"), default="en")
    tested = argparse.ArgumentParser(add_help=False)
    tested.add_argument("--test", action="store_true", help="have each idle port tested first, for the report")
    change = argparse.ArgumentParser(add_help=False)
    change.add_argument("--dry-run", action="store_true", help="list what would change, path by path, and change nothing")
    change.add_argument("--force", action="store_true", help="give up changes in the box's candidate that nobody committed")
    change.add_argument("--note", default="", help="why, for the box's list of revisions")

    top = argparse.ArgumentParser(prog="provision", description="Set branch boxes up over their serial line.")
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, action: Any, text: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, parents=list(parents))
        one.set_defaults(action=action)
        return one

    listing = add("ports", _ports, "list serial ports, USB adapters first")
    listing.add_argument("--lang", choices=("en", "zh"), default="en")
    add("status", _status, "who answers, what it runs, its lines", line)
    one = add("apply", _apply, "put a site file on the box: trial, proof, confirmation", line, change, tested)
    one.add_argument("site", type=Path, metavar="SITE.toml")
    one.add_argument("--report", type=Path, default=None, metavar="FILE.pdf", help="write the installation report")
    one = add("batch", lambda options: Batch(options).run(), "a list of sites; several ports work at the same time", line, change, tested)
    one.add_argument("list", type=Path, metavar="LIST.csv|LIST.toml")
    one.add_argument("--again", action="store_true", help="also those that are done")
    one.add_argument("--yes", action="store_true", help="do not wait for Enter before each next box of a port")
    one.add_argument("--report-folder", type=Path, default=None, metavar="DIR", help="an installation report for each site")
    one = add("wizard", _wizard, "the questions of the console's set-up, asked here, up to the test call", line, change, tested)
    one.add_argument("--save", type=Path, default=Path("site.toml"), metavar="FILE", help="keep the site file, without secrets")
    one.add_argument("--report", type=Path, default=None, metavar="FILE.pdf", help="write the installation report")
    one.add_argument("--answers", type=Path, default=None, metavar="FILE", help="answers from a TOML file instead of the keyboard")
    one = add("put", _put, "send a prompt or a firmware bundle", line)
    one.add_argument("kind", choices=("prompt", "bundle"))
    one.add_argument("file", type=Path)
    one.add_argument("--as", dest="name", default="", metavar="NAME", help="its name on the box; a prompt's is LANGUAGE/ID")
    one = add("rescue", _rescue, "a box in the rescue: send a signed bundle, have it installed, restart into it", line)
    import_module("tools.provision.rescue").add_options(one)
    one = add("offer", _offer, "hand in a configuration document that the centre has signed; it runs on trial", line)
    one.add_argument("file", type=Path, nargs="?", default=None)
    one.add_argument("--scan", action="store_true", help="read it from a QR sheet: a scanner types its lines here")
    one.add_argument("--trust", default="", metavar="KEY", help="a new box: take the centre's public key first, for good")
    one.add_argument("--tenant", default="", help="with --trust: whose documents the box takes")
    one.add_argument("--confirm", action="store_true", help="confirm the trial as soon as the box runs what it stores")
    one = add("device", _device, "what a centre needs to sign for this box: its name and public keys", line)
    one.add_argument("file", type=Path, metavar="FILE.json")
    one = add("fetch-logs", _fetch_logs, "fetch all logs as one archive; goes on with what is there", line)
    one.add_argument("file", type=Path, metavar="FILE.tar.gz")
    one = add("identity", _identity, "show, or at the factory write and seal, who the box is", line)
    one.add_argument("--serial", default="")
    one.add_argument("--mac", default="")
    one.add_argument("--seal", action="store_true")
    one.add_argument("--make-key", type=Path, default=None, metavar="FILE", help="make a key of the site and keep it there")
    one = add("labels", _labels, "labels with QR code (PDF or PNG): the box, its jacks and telephones, or a list", line)
    one.add_argument("file", type=Path, metavar="FILE.pdf|FILE.png")
    one.add_argument("--list", type=Path, default=None, metavar="LIST", help="a label for each site of a list, without a box")
    one = add("report", _report, "installation report: JSON, text and a page to print, in both languages", line, tested)
    one.add_argument("file", type=Path, metavar="FILE.pdf")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; the exit status."""
    options = parser().parse_args(argv)
    try:
        if "user" in options:
            options.password = os.environ.get(PASSWORD_VARIABLE, "")
            if not options.password and not options.key_file and options.user != "installer" and sys.stdin.isatty():
                options.password = getpass.getpass(f"{options.user}: ")
        status: int = options.action(options)
        return status
    except ProvisionError as error:
        print(f"provision: {error.said(options.lang)}", file=sys.stderr)
        for one in error.problems:
            zh = options.lang == "zh"
            told = (one.get("message_zh") if zh else "") or one.get("message", "")
            remedy = (one.get("remedy_zh") if zh else "") or one.get("remedy", "")
            print(f"  {one.get('path', '')}: {told}; {remedy}", file=sys.stderr)
        return 1
    except (OSError, ValueError, ImportError) as error:
        print(f"provision: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
