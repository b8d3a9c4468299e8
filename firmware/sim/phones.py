"""Analog telephones on the FXS jacks, and what their owners can do with them.

Theory of operation. An `AnalogPhone` knows only its two wires: ringing feed (its bell), loop current when lifted, audio. It counts rings
(a burst of 150 ms or more after a pause of 1 s or more), trips the ringing when lifted, keys DTMF or breaks the loop for pulses and
flashes, shows caller identity with a receiver of its own, and records what the earpiece said.
Invariant: keys that would reach an emergency number raise `EmergencyRefused` unless the phone is told that it is a drill.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from firmware.sim.callerid import read_message
from firmware.sim.countries import Country, EmergencyRefused, emergency_in
from firmware.sim.hearing import Ear, FskReceiver
from firmware.sim.signal import Source, dtmf
from firmware.sim.wire import CALLER_ID, FEED, FEEDS, HEARD, PROGRAM_END, PhoneWire
from firmware.sim.world import World

RING_LEAST_MS = 150
RING_PAUSE_MS = 1000
KEY_MS, KEY_GAP_MS = 80, 80


class AnalogPhone:
    """The telephone on FXS jack `number`."""

    def __init__(self, world: World, number: int, wire: PhoneWire, country: Country) -> None:
        self.world = world
        self.number = number
        self.wire = wire
        self.country = country
        self.drill = False
        self.rings = 0
        self.ring_times: list[int] = []
        self.ring_ended = -1
        self.display: dict[str, str] = {}
        self.display_errors = 0
        self.keyed: list[str] = []  # what was keyed since the handset was lifted, at each go
        self.lifted_at = -1
        self.hung_up_at = -1
        self.loop_open_at = -1
        self._ring_from = -1
        self._ring_gap_from = -1_000_000
        self._was_ringing = False
        ear = Ear(seconds=1.0)
        ear.listening = True
        ear.fsk = FskReceiver(country.fsk)
        wire.caller_id_ear = ear
        world.plug(wire, self._raised)

    # --- what it feels ----------------------------------------------------------------------------------------------------

    @property
    def ringing(self) -> bool:
        """The bell sounds now, or paused less than 6 s ago and was not answered."""
        if self.wire.lifted or not self.rings:
            return False
        return self._was_ringing or self.world.now - self._ring_gap_from < 6000

    @property
    def lifted(self) -> bool:
        return bool(self.wire.lifted)

    def _raised(self, flags: int) -> None:
        if flags & FEED:
            self._fed(FEEDS.get(self.wire.feed, str(self.wire.feed)))
        if flags & CALLER_ID:
            self._shown()
        if flags & PROGRAM_END and not self.wire.lifted:
            self.hung_up_at = self.world.now
        if flags & HEARD:
            for key, at, ms in self.wire.ear.take_digits():
                self.world.observe("phone-heard-key", phone=self.number, key=key, at_ms=at, ms=ms)

    def _fed(self, feed: str) -> None:
        now = self.world.now
        ringing = feed == "ringing" and not self.wire.lifted
        if ringing and not self._was_ringing:
            if now - self._ring_gap_from > 8000:
                self.rings = 0
                self.ring_times = []
                self.display = {}
            if now - self._ring_gap_from >= RING_PAUSE_MS:
                self.rings += 1
                self.ring_times.append(now)
                self.world.observe("phone-ring", phone=self.number, ring=self.rings)
            self._ring_from = now
        elif self._was_ringing and not ringing:
            if now - self._ring_from < RING_LEAST_MS and not self.wire.lifted and self.rings:
                self.world.observe("phone-tinkle", phone=self.number, ms=now - self._ring_from)
            self._ring_gap_from = self.ring_ended = now
        self._was_ringing = ringing
        if feed == "open":
            self.loop_open_at = now
        self.world.observe("phone-feed", phone=self.number, feed=feed)

    def _shown(self) -> None:
        receiver = self.wire.caller_id_ear.fsk
        assert receiver is not None
        kind, data = receiver.messages[-1]
        self.display = read_message(kind, data)
        self.display_errors = receiver.errors
        self.world.observe("phone-display", phone=self.number, **self.display)

    # --- what its owner does ------------------------------------------------------------------------------------------------

    def lift(self) -> None:
        """Take the handset off."""
        if not self.wire.lifted:
            self.keyed = []
            self.lifted_at = self.world.now
            self.wire.ear.restart()
            self.wire.ear.listening = True
            self.wire.hook([(True, 1)])
            self.world.observe("phone-lifted", phone=self.number, rings=self.rings)

    def hang_up(self) -> None:
        """Put the handset back."""
        self.wire.mouth.stop()
        if self.wire.lifted or self.wire.moving:
            self.wire.hook([(False, 1)])
            self.world.observe("phone-hung-up", phone=self.number)
        self.wire.ear.listening = bool(self.wire.ear.recording)
        self.keyed = []

    def flash(self, ms: int = 300) -> None:
        """Press the hook for a moment."""
        self._need_lifted("flash the hook")
        self.keyed = []
        self.wire.hook([(False, ms), (True, 1)])
        self.world.observe("phone-flash", phone=self.number, ms=ms)

    def press(self, keys: str, *, on_ms: float = KEY_MS, off_ms: float = KEY_GAP_MS) -> int:
        """Key DTMF, or flash the hook where `keys` is "!"; returns how long it takes in ms."""
        if keys == "!":
            self.flash()
            return 300
        self._guard(keys)
        self._need_lifted("press keys")
        source = dtmf(keys, on_ms=on_ms, off_ms=off_ms)
        self.wire.mouth.play(source)
        self.world.observe("phone-keys", phone=self.number, keys=keys)
        return int(sum(1000 if key == "," else on_ms + off_ms for key in keys))

    def pulse(self, digits: str, *, pps: float = 10.0, break_share: float = 0.6, gap_ms: int = 750) -> int:
        """Dial with loop breaks; returns how long it takes in ms."""
        self._guard(digits)
        self._need_lifted("dial")
        period = 1000.0 / pps
        opened = round(period * break_share)
        program: list[tuple[bool, int]] = []
        for digit in digits:
            if not digit.isdigit():
                raise ValueError(f"a dial has no {digit!r}: pulses carry 0-9 only")
            for _ in range(int(digit) or 10):
                program += [(False, opened), (True, round(period) - opened)]
            program[-1] = (True, gap_ms)
        self.wire.hook(program)
        self.world.observe("phone-pulses", phone=self.number, digits=digits)
        return sum(ms for _, ms in program)

    def say(self, source: Source) -> None:
        self.wire.mouth.play(source)

    def record(self) -> None:
        self.wire.ear.record(self.world.segment.block)

    def tape(self) -> bytes:
        return bytes(self.wire.ear.tape_bytes())

    def listen_for(self, freqs: Sequence[float]) -> None:
        self.wire.ear.tones(*freqs)

    def _need_lifted(self, what: str) -> None:
        if not self.wire.lifted:
            raise ValueError(f"phone {self.number} is on-hook: lift it before you {what}")

    def refuse_emergency(self, keys: str, *, fresh: bool = False) -> None:
        """Raise `EmergencyRefused` when these keys, after those keyed before (unless `fresh`), reach an emergency number.

        Earlier keys may not have been heard (another sound took their place), so the last goes are looked at without them, too.
        """
        goes = [keys] if fresh else [*self.keyed, keys]
        for at in range(len(goes)):
            number = emergency_in("".join(goes[at:]), self.country.emergency)
            if number and not self.drill:
                who = f"phone {self.number} would dial the emergency number {number}"
                raise EmergencyRefused(f"{who}: add --emergency-drill if you mean it")

    def _guard(self, keys: str) -> None:
        self.refuse_emergency(keys)
        self.keyed.append(keys)

    def facts(self) -> dict[str, Any]:
        """Plain data for `sim status`."""
        return {
            "phone": self.number,
            "lifted": self.lifted,
            "feed": FEEDS.get(self.wire.feed, str(self.wire.feed)),
            "volts": round(self.wire.volts, 1),
            "milliamps": round(self.wire.milliamps, 1),
            "rings": self.rings,
            "ringing": self.ringing,
            "display": self.display,
            "level_dbm0": round(self.wire.ear.level(20), 1),
        }
