"""A line in a person's hand: butt-set mode (L5).

Theory of operation
-------------------
The port is lent by its driver (`LinePort.lend`): no call takes it, its machine rests, its facts come here. The person seizes it, dials,
flashes, listens through a telephone that is joined to it, and sees what is heard on it as it is heard. It ends when he says so, when the
joined telephone is put down, after ten minutes, or at once when an emergency call needs a line. After on-hook the line rests for the guard
time before it is given back; a ring ends that.
Invariants: emergency numbers cannot be dialled here; whatever happens the line is put on-hook and given back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from firmware.call.events import EmergencyStarted
from firmware.call.model import Alert, Cause, LegAnswered, LegDigit, LegDriver, LegEnded, Party
from firmware.config.schema.tree import Config
from firmware.control import line_commands as cmd
from firmware.core.call_audio import BRIDGES
from firmware.core.doctor.book import LineBook
from firmware.core.lines_port import LinePort
from firmware.errors import CommandError, EngineBusy
from firmware.line import signals as s
from firmware.line.doctor_texts import CAUSES, word
from firmware.line.profiles import Profile
from firmware.line.tones import ToneSpec
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock, Timer

log = logging.getLogger("branchpbx.doctor")

LIMIT_MS = 600_000
GLARE_MS = 500
BRIDGE = BRIDGES                 # the one that calls do not use
HEARD = 20
RING_MS = 30_000
TONES_MOST = 8
TONE_MS = 1000                   # a voice so long before a tone is not the tone
VOICE = ("voice", "话音")
GLARE = ("a call came in as the line was seized: you speak with the caller", "占线瞬间有来电：您正与来电者通话")
EMERGENCY = ("an emergency number was keyed: call it from a telephone on its own", "拨了紧急号码：请用普通话机呼叫")
TONES_ZH = {
    "dial": "拨号音", "stutter": "间断拨号音", "ringback": "回铃音", "busy": "忙音", "congestion": "拥塞音", "unobtainable": "空号音",
    "sit": "特殊信息音", "call-waiting": "呼叫等待音",
}  # fmt: skip


class HandMedia(Protocol):
    """What a line in hand needs of `firmware.media.Media`."""

    def subscribe(self, fn: Callable[[Any], None]) -> object: ...
    def open_line(self, slot: int, *, echo_tail_ms: int, rx_gain_db: float, tx_gain_db: float, tag: str, line: int = 0) -> Any: ...
    def drive(self, slot: int, code: int, hold_ms: int = 0, then: int = 0) -> Any: ...
    def detect(self, port: int, *, digits: bool, fsk: str = "", voice: bool = False, tones: Any = ()) -> Any: ...
    def send_dtmf(self, port: int, digits: str, *, on_ms: int = 100, off_ms: int = 100, level_dbm0: float = -9.0, token: int) -> Any: ...
    def join(self, bridge: int, port: int, *, hear: bool = True, speak: bool = True) -> Any: ...
    def leave(self, port: int) -> Any: ...


@dataclass
class _Hand:
    """One line in hand."""

    port: LinePort
    seized_at: int
    keys: str = ""
    dialled: str = ""            # since the last flash or dial tone: what the exchange takes for the number
    milliamps: float = 0.0
    heard: list[tuple[int, str, str]] = field(default_factory=list)
    tones: set[str] = field(default_factory=set)
    voice: bool = False
    phone: str = ""
    leg: str = ""
    phone_port: int = -1
    analog_phone: bool = False
    ending: bool = False
    limit: Timer | None = None


class ButtSet:
    """See the theory of operation. `phones` drives SIP extensions."""

    def __init__(
        self,
        book: LineBook,
        media: HandMedia,
        phones: LegDriver,
        config: Config,
        profile: Profile,
        bus: Bus,
        clock: Clock,
        new_leg: Callable[[], str],
        emergency: Collection[str],
    ) -> None:
        self._book, self._media, self._phones, self._config = book, media, phones, config
        self._profile, self._clock, self._new_leg = profile, clock, new_leg
        self._emergency = frozenset(emergency)
        self._hands: dict[str, _Hand] = {}
        self._token = 0
        bus.subscribe(LegAnswered, self._on_answer)
        bus.subscribe(LegDigit, self._on_digit)
        bus.subscribe(LegEnded, self._on_ended)
        bus.subscribe(EmergencyStarted, self._emergency_begins)
        media.subscribe(self._on_media)

    # --- commands -----------------------------------------------------------------------------------------------------

    def configure(self, config: Config) -> None:
        """Take over another configuration."""
        self._config = config

    def seize(self, command: cmd.ButtSeize) -> cmd.ButtResult:
        """Take an idle line off-hook."""
        port = self._book.line(command.line)
        if command.phone:
            self._check_phone(command.phone)
        hand = _Hand(port, self._clock.now())
        port.lend(lambda fact: self._fact(hand, fact))
        self._hands[port.endpoint] = hand
        config = port.config
        try:
            self._media.open_line(
                port.slot, echo_tail_ms=config.echo_tail_ms, rx_gain_db=config.rx_gain_db, tx_gain_db=config.tx_gain_db,
                tag=port.endpoint, line=port.line,
            )  # fmt: skip
            self._media.detect(port.slot, digits=False, voice=True, tones=heard_tones(self._profile))
        except EngineBusy as error:
            self._give_back(hand)
            raise CommandError(str(error)) from None
        self._media.drive(port.slot, s.LINE_OFF_HOOK)
        self._say(hand, "off-hook", "摘机")
        hand.limit = self._clock.call_later(LIMIT_MS, lambda: self._end(hand, "ten minutes are over", "已满十分钟"))
        if command.phone:
            self._ring(hand, command.phone)
        return self._result(hand)

    def keys(self, command: cmd.ButtKeys) -> cmd.ButtResult:
        """Dial keys in-band."""
        hand = self._find(command.line)
        dialled = hand.dialled + command.keys
        if any(dialled.startswith(number) for number in self._emergency):
            raise CommandError("that is an emergency number: call it from a telephone, not from here")
        self._token = self._token % 0xFFFF + 1
        profile = self._profile
        try:
            self._media.send_dtmf(
                hand.port.slot, command.keys, on_ms=profile.dtmf_on_ms, off_ms=profile.dtmf_off_ms, level_dbm0=profile.dtmf_high_dbm0,
                token=0x50000000 + self._token,
            )  # fmt: skip
        except EngineBusy as error:
            raise CommandError(str(error)) from None
        hand.keys += command.keys
        hand.dialled = dialled
        self._say(hand, f"keys {command.keys}", f"拨键 {command.keys}")
        return self._result(hand)

    def flash(self, command: cmd.ButtFlash) -> cmd.ButtResult:
        """Hook flash as long as the country's exchanges want it."""
        hand = self._find(command.line)
        self._media.drive(hand.port.slot, s.LINE_ON_HOOK, hold_ms=self._profile.flash_ms, then=s.LINE_OFF_HOOK)
        hand.dialled = ""
        self._say(hand, f"flash {self._profile.flash_ms} ms", f"拍叉 {self._profile.flash_ms} 毫秒")
        return self._result(hand)

    def show(self, command: cmd.ButtShow) -> cmd.ButtResult:
        """What it is now."""
        return self._result(self._find(command.line))

    def release(self, command: cmd.ButtRelease) -> cmd.ButtResult:
        """Put it on-hook."""
        hand = self._find(command.line)
        self._end(hand, "released", "释放")
        return self._result(hand)

    # --- the telephone that listens -----------------------------------------------------------------------------------

    def _check_phone(self, phone: str) -> None:
        if phone not in self._config.extensions:
            raise CommandError(f"there is no extension {phone}; `show phones` lists them")
        if any(one.phone for one in self._hands.values()):
            raise CommandError("a telephone is joined to another line already; release that first")

    def _driver(self, phone: str) -> Any:
        return self._book.lines if phone in self._book.lines.ports else self._phones

    def _ring(self, hand: _Hand, phone: str) -> None:
        hand.phone, hand.leg = phone, self._new_leg()
        hand.analog_phone = phone in self._book.lines.ports
        self._book.own.add(hand.leg)
        caller = Party("", hand.port.endpoint)
        self._driver(phone).originate(hand.leg, phone, number=phone, caller=caller, alert=Alert.NORMAL, ring_ms=RING_MS)

    def _on_answer(self, event: LegAnswered) -> None:
        for hand in self._hands.values():
            if hand.leg and hand.leg == event.leg and not hand.ending:
                hand.phone_port = event.port
                self._media.join(BRIDGE, hand.port.slot)
                self._media.join(BRIDGE, event.port)
                self._say(hand, f"telephone {hand.phone} listens", f"话机 {hand.phone} 已接入")

    def _on_digit(self, event: LegDigit) -> None:
        for hand in list(self._hands.values()):
            if hand.leg == event.leg and not hand.ending:
                if hand.analog_phone:
                    self._pressed(hand, event.digit)
                    continue
                try:
                    self.keys(cmd.ButtKeys(hand.port.endpoint, event.digit))
                except CommandError:
                    self._end(hand, *EMERGENCY)

    def _pressed(self, hand: _Hand, key: str) -> None:
        """Keys of an analog telephone go through by themselves; a line that would reach an emergency number is let go."""
        hand.keys, hand.dialled = hand.keys + key, hand.dialled + key
        if any(hand.dialled.startswith(number) for number in self._emergency):
            self._end(hand, *EMERGENCY)

    def _on_ended(self, event: LegEnded) -> None:
        for hand in list(self._hands.values()):
            if hand.leg and hand.leg == event.leg:
                answered, hand.leg = hand.phone_port >= 0, ""
                cause = event.cause.value
                self._say(hand, f"telephone {hand.phone}: {cause}", f"话机 {hand.phone}：{word(CAUSES, cause, 'zh')}")
                if answered:
                    self._end(hand, f"telephone {hand.phone} was put down", f"话机 {hand.phone} 已挂机")
                hand.phone = ""

    # --- the line -------------------------------------------------------------------------------------------------------

    def _fact(self, hand: _Hand, fact: s.Fact) -> None:
        if isinstance(fact, s.LoopCurrent):
            hand.milliamps = fact.milliamps if fact.flowing else 0.0
            if fact.flowing:
                self._say(hand, f"loop current {fact.milliamps:.1f} mA", f"环路电流 {fact.milliamps:.1f} 毫安", fact.at)
            else:
                self._say(hand, "loop current lost", "环路电流消失", fact.at)
        elif isinstance(fact, s.ToneHeard | s.ToneStopped):
            self._tone(hand, fact)
        elif isinstance(fact, s.Voice):
            self._voice(hand, fact)
        elif isinstance(fact, s.Polarity):
            self._say(hand, *(("polarity reversed", "极性反转") if fact.reversed else ("polarity normal", "极性正常")), fact.at)
        elif isinstance(fact, s.RingBurst) and fact.on:
            if hand.ending:
                port = hand.port
                self._give_back(hand)
                port.fact(fact)
            elif fact.at - hand.seized_at <= GLARE_MS:
                self._say(hand, *GLARE, fact.at)

    def _tone(self, hand: _Hand, fact: s.ToneHeard | s.ToneStopped) -> None:
        name = TONES_ZH.get(fact.name, fact.name)
        if isinstance(fact, s.ToneHeard):
            if fact.name == "dial":
                hand.dialled = ""
            if fact.name not in hand.tones:
                # what sounded like a voice a moment ago was this tone
                hand.heard = [one for one in hand.heard if one[1] != VOICE[0] or one[0] < fact.start_at - TONE_MS]
                hand.voice = False
                self._say(hand, f"{fact.name} tone", name, fact.start_at)
            hand.tones.add(fact.name)
        elif fact.name in hand.tones:
            hand.tones.discard(fact.name)
            self._say(hand, f"{fact.name} tone ends", f"{name}停止", fact.at)

    def _voice(self, hand: _Hand, fact: s.Voice) -> None:
        if fact.active and not hand.tones:
            hand.voice = True
            self._say(hand, *VOICE, fact.at)
        elif not fact.active and hand.voice:
            hand.voice = False
            self._say(hand, "silence", "静音", fact.at)

    def _say(self, hand: _Hand, english: str, chinese: str, at: int = -1) -> None:
        """In order of the instants: a tone is known later than it began."""
        hand.heard.append((self._clock.now() if at < 0 else at, english, chinese))
        hand.heard = sorted(hand.heard, key=lambda one: one[0])[-HEARD:]

    def _end(self, hand: _Hand, why: str, chinese: str) -> None:
        if hand.ending:
            return
        hand.ending = True
        self._say(hand, f"on-hook: {why}", f"挂机：{chinese}")
        log.info("%s: line in hand ends, %s", hand.port.endpoint, why)
        if hand.limit is not None:
            hand.limit.cancel()
        self._media.drive(hand.port.slot, s.LINE_ON_HOOK)
        self._media.leave(hand.port.slot)
        if hand.leg:
            if hand.phone_port >= 0:
                self._media.leave(hand.phone_port)
            self._driver(hand.phone).hang_up(hand.leg, Cause.NORMAL)
        self._clock.call_later(self._profile.guard_ms, lambda: self._give_back(hand))

    def _give_back(self, hand: _Hand) -> None:
        if self._hands.get(hand.port.endpoint) is hand:
            del self._hands[hand.port.endpoint]
            hand.port.take_back()

    def _on_media(self, event: Any) -> None:
        """A media process that was replaced holds no line: their driver has put them to rest."""
        if type(event).__name__ == "MediaLost":
            for hand in self._hands.values():
                hand.ending = True
                if hand.limit is not None:
                    hand.limit.cancel()
                if hand.leg:
                    self._driver(hand.phone).hang_up(hand.leg, Cause.NORMAL)
            self._hands.clear()

    def _emergency_begins(self, _: EmergencyStarted) -> None:
        for hand in list(self._hands.values()):
            self._end(hand, "an emergency call needs a line", "紧急呼叫需要线路")

    def _find(self, name: str) -> _Hand:
        port = self._book.line(name)
        hand = self._hands.get(port.endpoint)
        if hand is None or hand.ending:
            raise CommandError(f"{port.endpoint} is not in hand; `butt seize {name}` takes it")
        return hand

    def _result(self, hand: _Hand) -> cmd.ButtResult:
        state = ("on-hook", "已挂机") if hand.ending else ("off-hook", "已摘机")
        seconds = (self._clock.now() - hand.seized_at) // 1000
        jack = hand.port.endpoint.rpartition("/")[2]
        volts = round(hand.port.volts, 1)
        heard = [cmd.HeardRow(round((at - hand.seized_at) / 1000, 1), english, chinese) for at, english, chinese in hand.heard]
        return cmd.ButtResult(jack, *state, volts, round(hand.milliamps, 1), seconds, hand.keys, hand.phone, heard)


def heard_tones(profile: Profile) -> tuple[ToneSpec, ...]:
    """Tones named as soon as one or two cycles have sounded: nothing is decided by them here, a person listens."""
    found: list[ToneSpec] = []
    for name in ("dial", "stutter", "ringback", "busy", "congestion", "unobtainable", "sit", "call-waiting"):
        spec = profile.tones.get(name)
        if spec is None or any(spec.freqs_hz == one.freqs_hz and spec.cadence_ms == one.cadence_ms for one in found):
            continue
        cycles = 2 if name in ("busy", "congestion") else 1
        if not spec.cadence_ms:
            # Longer than any sound of a tone that has pauses, or its first sound would be taken for this one.
            broken = [one for one in profile.tones.values() if one.cadence_ms and not one.phase_freqs_hz]
            longest = max((max(one.cadence_ms[::2]) for one in broken), default=0)
            cycles = max(spec.cycles, min(30, longest // 100 + 3))
        found.append(msgspec.structs.replace(spec, cycles=cycles))
    return tuple(found[:TONES_MOST])
