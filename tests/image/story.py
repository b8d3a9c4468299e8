"""The life of a box, step by step: started, provisioned, called, updated during a call; rolled back from a version that does not start.

Each step leaves the board as the next one needs it and keeps what it measured in `table`. The emulated processor counts instructions
(`-icount`): on a busy machine the whole board runs slower, its clock too, so nothing on it is ever late. Sound is judged by what is heard,
not by when.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec

from firmware.update.machine import Record
from firmware.update.spool import Status
from tests.e2e.audio import write_tone
from tests.e2e.baresip import Baresip
from tools.vm import powercut
from tools.vm.machine import partition, put
from tools.vm.settings import BoardImage

from .board import Board, Served, provision

ICOUNT = ("-icount", "shift=2,sleep=on,align=off")
FIRST, SECOND, BROKEN = "1.0.0", "1.1.0", "1.2.0"
CALLER_HZ, AGENT_HZ = 440, 880


class Story:
    """See above. `host`: the address of this machine that telephones and board meet at."""

    def __init__(self, board: BoardImage, loader: Path, disk: Path, folder: Path, host: str, calls: int = 8) -> None:
        self.folder = folder
        self.board = Board(board, loader, disk, folder / "board", host, calls)
        self.board.machine.extra = list(ICOUNT)
        self.site = (board.folder / board.image.site).read_text()
        self.table: dict[str, str] = {}
        self.phone: Baresip | None = None
        self._events = 0
        self._marks: list[powercut.Mark] = []
        self._contacts: set[str] = set()

    def close(self) -> None:
        if self.phone is not None:
            self.phone.stop()
        self.board.close()

    def uptime(self) -> float:
        """Seconds on the board's own clock since the kernel started."""
        return float(self.board.shell.run("cat /proc/uptime")[1].split()[0])

    def answers(self) -> bool:
        """Call control answers and the line has battery: what a caller and a telephone need."""
        lines = self.board.ask("control", "show lines")
        return any(row["kind"] == "fxo" and abs(row["volts"]) > 3 for row in lines)

    def started(self, slot: str, version: str, since: int, tries: int) -> None:
        """The boot loader took this slot, the console asks, the version is there, call control answers; then the start is marked good."""
        board = self.board
        board.expect(f"branchpbx: slot {slot}, {tries} tries left", since)
        board.expect(rf"start: slot {slot} of version {re.escape(version)}", since)
        board.expect(rf"BranchPBX {re.escape(version)}, slot {slot}", since)
        board.until(self.answers, "call control answers")
        told = board.until(lambda: (found := board.update())["phase"] == "idle" and found, "the start is marked good")
        assert (told["slot"], told["version"]) == (slot, version), told
        assert f"BOOT_{slot}_LEFT=3" in board.shell.run("fw_printenv")[1]

    def start(self) -> None:
        """Switch on: boot loader, slot A, log-in at the serial console, marked good."""
        began = self.board.start()
        board = self.board
        board.expect("1/2: ")
        self.table["log-in at the serial console"] = f"{self.uptime():.0f} s on the board"
        board.until(self.answers, "call control answers")
        took = time.monotonic() - began
        self.table["dial tone: call control and lines"] = f"{self.uptime():.0f} s on the board, {took:.0f} s by the wall clock"
        self.started("A", FIRST, 0, 2)
        self.table["marked good"] = f"{self.uptime():.0f} s on the board"
        text = board.shell.run("free -k")[1]
        found = re.search(r"Mem:\s+(\d+)\s+\d+\s+\d+\s+\d+\s+\d+\s+(\d+)", text)
        assert found is not None, text
        self.table["memory that is taken"] = f"{(int(found[1]) - int(found[2])) / 1024:.0f} MiB of {int(found[1]) / 1024:.0f}"

    def provision(self) -> None:
        """The host's tool at the serial line: what the box is, a new site, proof, the line given back."""
        site = self.site.replace('name = "Demo branch"', 'name = "Set up by cable"')
        host = self.board.host
        site = site.replace('subnets = ["10.0.2.0/24"]\naddress = "127.0.0.1"', f'subnets = ["{host}/32"]\naddress = "{host}"')
        path = self.folder / "cable.toml"
        path.write_text(site)
        with self.board.wire.lent() as port:
            said = provision("apply", str(path), "--port", port, "--patience", "400")
            status = json.loads(provision("status", "--port", port, "--patience", "400"))
        assert "cable.toml" in said, said
        assert status["status"]["calls"] == 0 and not status["trial"]["candidate_changes"], status
        assert self.board.ask("manage", "verify configuration")["right"]
        assert self.named(), "the box stores what came by cable"
        # Acknowledged: whatever cut comes after this, the box starts with this configuration or a later one.
        self.mark(revision=self.board.ask("manage", "show trial")["startup"])

    def mark(self, revision: int = 0, contacts: tuple[str, ...] = ()) -> None:
        """Somebody has seen this: no power cut from now on may take it back."""
        assert self.board.machine.writes is not None
        self._marks.append(powercut.Mark(len(powercut.read(self.board.machine.writes)[1]), revision, contacts))
        (self.folder / "marks.json").write_bytes(msgspec.json.encode(self._marks))

    def recorded(self) -> None:
        """Records of calls that everybody can read now, of which there are more than before."""
        code = ("import sqlite3; base = sqlite3.connect('file:/state/pbx/calls.db?mode=ro', uri=True); "
                "print('IDS', *(row[0] for row in base.execute('SELECT id FROM contacts WHERE ended_ms IS NOT NULL')))")  # fmt: skip

        def new() -> set[str]:
            text = self.board.shell.run(f'/usr/bin/python3.13 -S -c "{code}"')[1]
            found = re.search(r"(?m)^IDS ?(.*)$", text)
            assert found is not None, text
            return set(found[1].split()) - self._contacts

        fresh = self.board.until(new, "the call's record is there")
        self._contacts |= fresh
        self.mark(contacts=tuple(sorted(fresh)))

    def named(self) -> bool:
        """The site's name is in what the box stores."""
        return "Set up by cable" in json.dumps(self.board.ask("manage", "show configuration"))

    def register(self) -> None:
        """A real telephone outside registers."""
        secrets = {row["account"]: row["secret"] for row in self.board.ask("control", "show accounts")}
        folder = self.folder / "phone"
        folder.mkdir(exist_ok=True)
        tone = write_tone(folder / "microphone.wav", AGENT_HZ, 600, -16, 8000)
        self.phone = Baresip(folder, user="201", secret=secrets["201"], server=self.board.sip(), host=self.board.host, microphone=tone)
        self.phone.wait_for_registration(timeout=300)
        rows = self.board.ask("control", "show phones")
        assert any(row["kind"] == "sip" and row["where"] for row in rows), rows

    def call(self, talk_s: int) -> str:
        """Somebody in the simulated town calls, chooses and is answered at the telephone; the person's name."""
        assert self.phone is not None
        self.board.ask("control", "agent login", agent="8001", extension="201")
        before = self._events = len(self.phone.events)
        who: str = self.board.ask(
            "world", "call", **{"from": "13800138000", "line": 1, "caller_id": "fsk", "press": "2@voice,1@voice",
                                "say": f"tone:{CALLER_HZ}", "partners_hz": [AGENT_HZ], "talk": talk_s},
        )["person"]  # fmt: skip
        self.phone.wait("CALL_INCOMING", 600, before)
        self.phone.answer()
        self.phone.wait("CALL_ESTABLISHED", 300, before)
        return who

    def person(self, who: str) -> dict[str, Any]:
        """What the caller saw and heard."""
        found: dict[str, Any] = self.board.ask("world", "results", person=who)["people"][0]
        return found

    def ended(self, who: str) -> None:
        """The caller is done and both have heard each other."""
        assert self.phone is not None
        seen = self.board.until(lambda: (found := self.person(who))["done"] and found, "the caller is done")
        assert str(AGENT_HZ) in seen["partners"], seen
        self.phone.wait("CALL_CLOSED", 300, self._events)
        heard = self.phone.heard()
        loud = [heard.part(at, at + 0.2).tone_dbm0(CALLER_HZ) for at in (n / 5 for n in range(int(heard.seconds * 5) - 1))]
        hits = sum(level > -25 for level in loud)
        assert hits >= 5, f"the telephone heard the caller's tone in {hits} of {len(loud)} fifths of a second"

    def sound(self) -> None:
        """Sound of the lines passes the kernel: all streams of the loopback card run, the engine knows the delay; breaks are counted."""
        running = self.board.shell.run("cat /proc/asound/Loopback/pcm[01][pc]/sub0/status")[1]
        assert running.count("state: RUNNING") == 4, running
        here: dict[str, int] = self.board.ask("world", "status")["sound"]
        log = "cat /state/pbx/log/media.log"
        found = self.board.until(lambda: re.findall(r'sound device: ([^"]*)', self.board.shell.run(log)[1]), "media tells of it")
        there = dict(word.rsplit(" ", 1) for word in found[-1].split(", "))
        assert int(there["delay"]) >= 160, f"the spare slot came back through both halves: {there}"
        breaks = sum(here.values()) + int(there["capture_xruns"]) + int(there["playback_xruns"])
        self.table["sound through snd-aloop"] = f"{int(there['delay']) / 8:.0f} ms to the line and back, {breaks} breaks of streams"

    def update(self, bundle: Path) -> None:
        """A streaming install while a call is up, its end, the restart into the other slot, the trial, good."""
        board = self.board
        assert self.phone is not None
        served = Served(bundle)
        try:
            who = self.call(900)
            board.ask("manage", "update install", source=served.url)
            began = self.uptime()
            board.until(lambda: (found := board.update())["phase"] == "waiting" or found["outcome"], "it is installed")
            told = board.update()
            assert told["phase"] == "waiting" and told["offered"] == SECOND, told
            self.table["update streamed into the other slot, a call up"] = f"{self.uptime() - began:.0f} s on the board"
            assert served.parts > 10, "it was fetched in parts, as it was written"
        finally:
            served.close()
        assert not self.person(who)["done"] and board.ask("control", "show status")["calls"] == 1, "the call goes on"
        since = len(board.machine.console)
        board.ask("world", "hang-up", person=who)        # the one who called: after the other end's hang-up he would stay on the line
        self.ended(who)
        self.recorded()
        self.phone.stop()
        self.phone = None
        board.expect("branchpbx: slot B, 2 tries left", since)
        switched = time.monotonic()
        board.expect(rf"start: slot B of version {re.escape(SECOND)}", since)
        complaint = board.until(lambda: (found := board.update())["phase"] == "starting" and "telephone" in found["says"] and found,
                                "a trial without the telephones of before is not good")  # fmt: skip
        assert complaint["on_trial"] and complaint["slot"] == "B", complaint
        self.register()
        told = board.until(lambda: (found := board.update())["phase"] == "idle" and found, "the second version is good")
        assert (told["slot"], told["version"], told["outcome"]) == ("B", SECOND, "good"), told
        self.table["restart to marked good"] = f"{self.uptime():.0f} s on the board, {time.monotonic() - switched:.0f} s by the wall clock"
        environment = board.shell.run("fw_printenv")[1]
        assert "BOOT_B_LEFT=3" in environment and "BOOT_ORDER=B A" in environment, environment
        tests = {row["target"]: row for row in board.ask("control", "show self-test")}
        assert any(row["dial_tone_ms"] is not None for row in tests.values()), f"dial tone was heard before it was good: {tests}"
        assert self.named(), "the configuration came along"

    def install_by_hand(self, root: Path) -> None:
        """The disk as an update to `root` leaves it before its first restart: in slot B, which is the next to start, on trial."""
        disk = self.board.machine.disk
        with disk.open("r+b") as file:
            file.seek(partition(disk, "slot-b")[0])
            file.write(root.read_bytes())
        offset = partition(disk, "boot")[0]
        stored = "BOOT_ORDER=B A\nBOOT_A_LEFT=3\nBOOT_B_LEFT=3\n"
        for name in ("uboot.env", "uboot-r.env"):
            made = self.folder / name
            subprocess.run(["mkenvimage", "-r", "-s", str(powercut.ENVIRONMENT), "-o", str(made), "-"], input=stored, text=True, check=True)
            subprocess.run(["mcopy", "-o", "-i", f"{disk}@@{offset}", str(made), f"::{name}"], check=True)
        (self.folder / "trial.json").write_bytes(msgspec.json.encode(Record("B", "A", FIRST, BROKEN)))
        put(disk, "state", self.folder / "trial.json", "update/trial.json")

    def roll_back(self) -> None:
        """A version that does not start: three tries, then the version before runs again and says so."""
        board, since = self.board, 0
        self.board.start()
        for left in (2, 1, 0):
            since = board.expect(f"branchpbx: slot B, {left} tries left", since).end()
        board.expect(f"start: slot A of version {re.escape(FIRST)}", since)
        text = board.until(lambda: board.shell.run("cat /run/update/status.json 2>/dev/null")[1], "the update agent tells")
        told = msgspec.json.decode(text, type=Status)
        assert told.slot == "A" and told.verdict is not None, told
        assert (told.verdict.outcome, told.verdict.version) == ("rolled back", BROKEN), told
        assert "BOOT_B_LEFT=0" in board.shell.run("fw_printenv")[1]

    def refused(self, bundles: dict[str, Path]) -> None:
        """Each bundle (by how that ends and a word of the reason) is refused, and what runs stays what starts next."""
        board = self.board
        board.until(lambda: board.update()["phase"] == "idle", "the start is marked good")
        for wanted, bundle in bundles.items():
            outcome, word = wanted.split(": ")
            served = Served(bundle)
            try:
                board.ask("manage", "update install", source=served.url)
                board.until(lambda served=served: served.parts, f"{wanted}: it is looked at")
                told = board.until(
                    lambda: (found := board.update())["phase"] == "idle" and found["outcome"] not in ("", "rolled back") and found, wanted
                )
            finally:
                served.close()
            assert told["outcome"] == outcome and word in told["says"] and told["says_zh"], (wanted, told)
            assert (told["slot"], told["version"]) == ("A", FIRST), told
            environment = board.shell.run("fw_printenv")[1]
            assert "BOOT_A_LEFT=3" in environment and "BOOT_B_LEFT=0" in environment, environment

    def stand_still(self) -> None:
        """Call control that stands, and a parent that cannot start it again: the watchdog's feeder restarts the box, and it comes back."""
        board = self.board
        board.until(lambda: int(board.shell.run("stat -c %Y /state/pbx/run/alive")[1]) < self.uptime(), "the parent tells that it lives")
        since = len(board.machine.console)
        board.shell.run("kill -STOP $(cat /state/pbx/run/parent.pid) $(cat /state/pbx/run/core.pid)")
        board.expect(f"start: slot A of version {re.escape(FIRST)}", since)
