"""A branch with everything that a telephone feature needs, and people at its phones, in the virtual time of the simulated world.

Lines 1 to 3 are group "pstn" (access code 9), line 4 is group "reversal" (access code 8) whose exchange reverses the polarity on
answer. Jack 4 has no extension. Callers reach a destination by their first digits, without greeting or menu.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.e2e.appliance import ROOT, Appliance, wait_until
from tests.e2e.audio import Sound, read_wav
from tests.e2e.evidence import check_at_rest, contacts, person, rows, tape_of, wait_done, wall_base, world_sleep

SITE = """
schema = 1
board = "world"
emergency_callback_s = 60
[sip]
port = 0
[site]
name = "Feature branch"
languages = ["en", "zh"]
company_clip = "company.demo"
[ports.fxo.1]
[ports.fxo.2]
[ports.fxo.3]
[ports.fxo.4]
group = "reversal"
polarity_answer = true
[ports.fxs.1]
[ports.fxs.2]
[ports.fxs.3]
call_waiting = true
[ports.fxs.4]
[extensions.101]
kind = "fxs"
jack = "1"
ring_s = 15
[extensions.102]
kind = "fxs"
jack = "2"
ring_s = 15
[extensions.103]
kind = "fxs"
jack = "3"
locked = true
[extensions.201]
kind = "sip"
name = "Anna"
ring_s = 15
[extensions.202]
kind = "sip"
name = "Bo"
ring_s = 15
[extensions.203]
kind = "sip"
locked = true
[agents.8001]
pin = "4711"
queues = ["sales"]
[agents.8002]
pin = "4712"
queues = ["sales"]
[agents.8003]
pin = "4713"
queues = ["slow", "small"]
[queues.sales]
wrap_up_s = 12
rating = false
ring_s = 15
[queues.slow]
max_wait_s = 8
[queues.small]
max_waiting = 1
max_wait_s = 60
[queues.empty]
[[inbound]]
caller = "1310"
to = "queue/sales"
greeting = false
notice = false
[[inbound]]
caller = "1320"
to = "queue/slow"
greeting = false
notice = false
[[inbound]]
caller = "1330"
to = "queue/small"
greeting = false
notice = false
[[inbound]]
caller = "1340"
to = "queue/empty"
greeting = false
notice = false
[[inbound]]
caller = "1350"
to = "extension/101"
greeting = false
notice = false
[[inbound]]
caller = ""
to = "extension/102"
[[outbound]]
prefix = "9"
group = "pstn"
[[outbound]]
prefix = "8"
group = "reversal"
"""
#: Own tone of whoever sits at a telephone: between the notes of the music, away from key tones and the exchange's 450 Hz.
HZ = {"4": 2283.0, "101": 1077.0, "102": 1812.0, "103": 2034.0, "201": 1141.0, "202": 1918.0, "203": 2155.0}
CALLER_HZ, CALLEE_HZ, CENTRE_HZ = 620.0, 560.0, 800.0
JACKS = {"101": 1, "102": 2, "103": 3, "fxs/4": 4}
LEVEL = -16.0
SPEED = "2500"


@contextlib.contextmanager
def open_branch(network: str, folder: Path, more: str = "", site: str = SITE) -> Iterator[Branch]:
    """The branch of a test file: started once, at rest for each test by `fresh`. `more`: settings beside those of `site`."""
    config = folder / "branch.toml"
    config.write_text(site + more)
    box = Appliance(folder / "box", bind=network, config=config, extra=("--speed", SPEED)).start()
    yield Branch(box, folder)
    assert box.stop() == 0, box.said()


@contextlib.contextmanager
def slowly(box: Appliance, percent: int = 500) -> Iterator[None]:
    """At this speed little of the world's time passes between what is seen here and what is done about it."""
    box.world({"do": "speed", "percent": percent})
    try:
        yield
    finally:
        box.world({"do": "speed", "percent": int(SPEED)})


class Branch:
    """One appliance for many tests: each starts with `fresh`, which puts everything at rest and forgets what was."""

    def __init__(self, box: Appliance, folder: Path) -> None:
        self.box = box
        self.folder = folder
        self.counter = itertools.count(1)
        self.numbers = itertools.count(1)
        self.since = 0
        self.known: set[str] = set()
        self.wall_base = wall_base(box)
        host, port = box.sip.split(":")
        for extension, secret in box.accounts().items():
            if extension not in HZ:
                continue  # an agent's PIN
            self.soft(extension, "add", secret=secret, server=[host, int(port)], host=host)
        box.world({"do": "partners", "partners_hz": sorted(set(HZ.values()))[:6]})
        wait_until(lambda: all(one["registered"] for one in self.status()["softphones"]), "the simulated SIP phones register", 30)

    # --- the world -----------------------------------------------------------------------------------------------------------

    def world(self, do: str, **facts: Any) -> dict[str, Any]:
        return self.box.world({"do": do, **facts})

    def status(self) -> dict[str, Any]:
        return self.world("status")

    def soft(self, extension: str, action: str, **facts: Any) -> dict[str, Any]:
        return self.world("softphone", extension=extension, action=action, **facts)

    def phone(self, jack: int, action: str, **facts: Any) -> dict[str, Any]:
        return self.world("phone", phone=jack, action=action, **facts)

    def sleep(self, seconds: float) -> int:
        return world_sleep(self.box, int(1000 * seconds))

    def seen(self, kind: str) -> list[dict[str, Any]]:
        """What the world observed of this kind since the test began."""
        return [note for note in self.world("observations", since=self.since)["seen"] if note["what"] == kind]

    def fresh(self) -> None:
        """All phones on-hook, all seats empty, all agents out, all faults mended; only what comes now belongs to the test."""
        for jack in (1, 2, 3, 4):
            self.phone(jack, "hang-up")
            self.world("exchange", line=jack, release="polarity+busy", dial_tone_delay_ms=300, answer_reversal=jack == 4)
            self.world("exchange", line=jack, fault="no-dial-tone", on=False)
        for one in self.status()["softphones"]:
            self.soft(one["phone"], "leave")
            self.soft(one["phone"], "hang-up")
        for one in self.status()["people"]:
            self.world("hang-up", person=one["ident"])
        for call in self.box.ctl("show calls"):
            if call["kind"] != "emergency":
                with contextlib.suppress(AssertionError):  # it ended by itself meanwhile
                    self.box.ctl("hang-up", contact=call["contact"])
        for agent in self.box.ctl("show agents"):
            if agent["state"] != "logged-out":
                self.box.ctl("agent logout", agent=agent["agent"])
        check_at_rest(self.box)
        self.since = self.sleep(2)
        self.box.ctl("report cdr")       # writes what waits for the disk: a call that ended just now is known, too
        self.known = {row["id"] for row in contacts(self.box)}

    # --- people --------------------------------------------------------------------------------------------------------------

    def answer(self, extension: str, *partners: float, **plan: Any) -> None:
        """Somebody at `extension` takes the next call and speaks in that phone's tone."""
        facts = {"after": 2, "tone_hz": HZ[extension], "times": 1, "partners_hz": list(partners), **plan}
        if extension in JACKS:
            self.phone(JACKS[extension], "answer", **facts)
        else:
            self.soft(extension, "answer", **facts)

    def dial(self, extension: str, number: str, *partners: float, **plan: Any) -> str:
        """Somebody at `extension` dials and stays until the other side hangs up, or `talk` seconds; the person."""
        facts = {"number": number, "partners_hz": list(partners), "tone_hz": HZ[extension.removeprefix("fxs/")], **plan}
        if extension in JACKS:
            return str(self.phone(JACKS[extension], "dial", stay=False, **facts)["person"])
        return str(self.soft(extension, "dial", **facts)["person"])

    def call(self, prefix: str, *partners: float, line: int = 1, **plan: Any) -> tuple[str, str]:
        """Somebody outside calls; (person, number)."""
        number = f"{prefix}{next(self.numbers):07d}"
        facts = {"from": number, "line": line, "caller_id": "dtmf", "tone_hz": CALLER_HZ, "partners_hz": list(partners), **plan}
        return str(self.world("call", **facts)["person"]), number

    def number(self, number: str, kind: str = "answer", **facts: Any) -> str:
        """A number of the PSTN: who is there speaks in `CALLEE_HZ`."""
        self.world("number", number=number, kind=kind, **{"answer_after": 3, "say": f"turn:{CALLEE_HZ:g}", **facts})
        return number

    def done(self, ident: str) -> dict[str, Any]:
        return wait_done(self.box, ident)

    def who(self, kind: str, number: str) -> dict[str, Any]:
        """The person of this kind (phone, softphone, callee) who appeared in this test, done."""
        start = self.since

        def find() -> dict[str, Any] | None:
            people = self.world("results")["people"]
            return next((p for p in people if p["kind"] == kind and p["number"] == number and p["started"] >= start and p["done"]), None)

        found: dict[str, Any] = wait_until(find, f"a {kind} {number}", 30)
        return found

    def at(self, extension: str) -> dict[str, Any]:
        """Who answered at `extension`, done."""
        return self.who("phone", str(JACKS[extension])) if extension in JACKS else self.who("softphone", extension)

    # --- evidence ------------------------------------------------------------------------------------------------------------

    def heard(self, ident: str, start: float = -math.inf, end: float = math.inf) -> Sound:
        """What a person heard between two instants of the world (ms)."""
        sound, begin = tape_of(self.box, ident, self.folder / f"tape{next(self.counter)}.wav")
        first, last = max(0.0, (start - begin) / 1000), max(0.0, (end - begin) / 1000)
        return sound.part(first, None if math.isinf(last) else last)

    def records(self, count: int = 1) -> list[dict[str, Any]]:
        """The closed contacts of this test, once there are `count`."""
        wait_until(lambda: len(self._new()) >= count, f"{count} records of the test", 30)
        return self._new()

    def _new(self) -> list[dict[str, Any]]:
        return [row for row in contacts(self.box) if row["id"] not in self.known]

    def legs(self, contact: dict[str, Any]) -> list[dict[str, Any]]:
        return sorted(rows(self.box, "legs", contact["id"]), key=lambda leg: leg["started_ms"])

    def history(self, contact: dict[str, Any]) -> list[str]:
        return [event["kind"] for event in rows(self.box, "contact_events", contact["id"])]

    def agent(self, number: str) -> dict[str, Any]:
        return next(one for one in self.box.ctl("show agents") if one["agent"] == number)

    def hears(self, ident: str, other: float, own: float, start: float, end: float, *, called: bool) -> None:
        """In each turn of the other between two instants: his tone within 1 dB, no gap over 60 ms, nothing of the own voice.

        People speak in turns of 1.6 s every 4 s of the world's time: who called first, who answered 2 s later. `called`: the
        other is the one who was called.
        """
        first = 2000 if called else 0
        turns = [at for at in range(first, int(end), 4000) if at >= start and at + 1600 <= end]
        assert turns, f"nobody had a turn from {start} to {end}"
        sound, begin = tape_of(self.box, ident, self.folder / f"tape{next(self.counter)}.wav")
        for at in turns:
            turn = sound.part((at + 200 - begin) / 1000, (at + 1500 - begin) / 1000)
            level = turn.tone_dbm0(other)
            assert abs(level - LEVEL) <= 1, f"{ident} hears {other} Hz at {level:.1f} dBm0 in the turn at {at}"
            assert turn.longest_gap_ms(other, LEVEL - 10) <= 60, f"{ident} hears {other} Hz with a gap in the turn at {at}"
            assert turn.tone_dbm0(own) < LEVEL - 30, f"{ident} hears himself at {turn.tone_dbm0(own):.1f} dBm0 in the turn at {at}"


def said(sound: Sound, clip: str) -> float:
    """How surely a prompt's clip ("en/agent.ready") is in what was heard: its best normalised correlation, 0..1.

    Music under it, a bent band and the last word cut short lower it; 0.5 is sure, another prompt has about 0.1.
    """
    want = read_wav(ROOT / "build" / "prompts" / f"{clip}.wav")[0].samples
    # The ear listened from the first moment after the last key on, to a box that hangs up at the last word.
    edge = np.zeros(len(want) // 4)
    have = np.concatenate((edge, sound.samples, edge))
    if len(have) < len(want):
        return 0.0
    size = 1 << (len(have) + len(want)).bit_length()
    product = np.fft.irfft(np.fft.rfft(have, size) * np.conj(np.fft.rfft(want, size)), size)[: len(have) - len(want) + 1]
    energy = np.concatenate(([0.0], np.cumsum(have**2)))
    power = energy[len(want) :] - energy[: -len(want)]
    score = np.abs(product) / np.sqrt(np.maximum(power, 1.0) * max(1.0, float(np.sum(want**2))))
    return float(score.max())


def music_dbm0(sound: Sound) -> float:
    """Level of what a held party hears, the people's tones taken out: music is there above -40 dBm0."""
    spectrum = np.fft.rfft(sound.samples)
    freqs = np.fft.rfftfreq(len(sound.samples), 1 / sound.rate)
    for hz in {*HZ.values(), CALLER_HZ, CALLEE_HZ, CENTRE_HZ}:
        spectrum[np.abs(freqs - hz) < 15] = 0
    return Sound(np.fft.irfft(spectrum, len(sound.samples))).level_dbm0()


__all__ = ["Branch", "check_at_rest", "music_dbm0", "person", "said"]
