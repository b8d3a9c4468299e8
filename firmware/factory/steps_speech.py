"""Steps 17 and 18: speech and signals between FXS and FXO ports that the fixture joins (L5).

Every level is of samples on the PCM bus: sent on one port's slot, measured on another's. The first tenth of a second of each capture is
left out: filters and delays settle in it.
"""

from __future__ import annotations

from collections.abc import Sequence

from firmware.call.model import Party
from firmware.dsp.cid import CallerIdListener
from firmware.dsp.dtmf import DtmfDetector, DtmfGenerator
from firmware.dsp.fsk import FskTransmitter
from firmware.factory.rig import FxoPlace, FxsPlace, Notes, Rig, pairs
from firmware.factory.sound import ERL_TONES, distortion, echo_return_loss, idle_level, samples_of, tone_level, tones
from firmware.hal.api import Feed, Hook
from firmware.line.callerid import build_sdmf, frame

HERTZ = 1004.0
EDGES = (300.0, 3400.0)
SKIP = 800
LONG, SHORT = 4000 + SKIP, 1600 + SKIP
ERL_TONE_DBM0 = -22.0
SETTLE_MS = 60
LINE_FEED = (48.0, 600.0, 25.0)


def talk(rig: Rig, group: Sequence[tuple[FxsPlace, FxoPlace]], crossed: bool, notes: Notes) -> list[tuple[FxsPlace, FxoPlace]]:
    """Join, seize, wait until audio is valid; the pairs whose loop is closed."""
    rig.fixture.part()
    rig.clock.sleep(50)
    for phone, trunk in group:
        rig.fixture.join(phone.name, trunk.name, crossed)
        phone.port.drive(Feed.ACTIVE)
        phone.port.set_gain(to_line_db=0, from_line_db=0)
    rig.clock.sleep(100)
    for _, trunk in group:
        trunk.port.drive(Hook.OFF_HOOK)
    rig.clock.sleep(group[0][1].port.settle_ms + SETTLE_MS)
    good = []
    for phone, trunk in group:
        name = f"{phone.title} - {trunk.title}{' crossed' if crossed else ''}"
        if notes.require(phone.port.measure().closed, "the loop does not close", name):
            good.append((phone, trunk))
    return good


def hang_up(rig: Rig, group: Sequence[tuple[FxsPlace, FxoPlace]]) -> None:
    """On hook, cables off."""
    for _, trunk in group:
        trunk.port.drive(Hook.ON_HOOK)
    rig.clock.sleep(50)
    rig.fixture.part()


def analog(rig: Rig, notes: Notes) -> None:
    """Step 17."""
    for group in pairs(rig):
        for crossed in (False, True):
            joined = talk(rig, group, crossed, notes)
            for phone, trunk in joined:
                for sender, hearer in ((phone, trunk), (trunk, phone)):
                    path(rig, sender, hearer, crossed, notes)
            if not crossed:
                quiet(rig, joined, notes)
            hang_up(rig, group)
    absolute(rig, notes)


def path(rig: Rig, sender: FxsPlace | FxoPlace, hearer: FxsPlace | FxoPlace, crossed: bool, notes: Notes) -> None:
    """Level, and on straight cables response, distortion and crosstalk, in one direction."""
    limits = rig.limits.steps.analog
    sent, name = limits.sent_dbm0, f"{sender.title} > {hearer.title}"
    back = rig.highway.exchange({sender.port.slot: tones((HERTZ,), sent, LONG)}, LONG)
    heard = samples_of(back[hearer.port.slot])[SKIP:]
    level = tone_level(heard, HERTZ)
    notes.number(f"level at 1004 Hz{', crossed' if crossed else ''}", level - sent, "dB", limits.level_db, name)
    if crossed:
        return
    notes.number("signal to distortion", distortion(heard, HERTZ), "dB", limits.distortion_db, name)
    for hertz in EDGES:
        edge = rig.highway.exchange({sender.port.slot: tones((hertz,), sent, SHORT)}, SHORT)
        found = tone_level(samples_of(edge[hearer.port.slot])[SKIP:], hertz)
        notes.number(f"response at {hertz:g} Hz", found - level, "dB", limits.response_db, name)
    others = [place for place in (*rig.fxo(), *rig.fxs()) if place.name not in (sender.name, hearer.name)]
    if others:
        loudest = max(tone_level(samples_of(back[place.port.slot])[SKIP:], HERTZ) for place in others)
        notes.number("crosstalk into other ports", loudest - sent, "dB", limits.crosstalk_db, name)


def quiet(rig: Rig, joined: Sequence[tuple[FxsPlace, FxoPlace]], notes: Notes) -> None:
    """Idle noise and echo return loss of every joined port."""
    limits = rig.limits.steps.analog
    back = rig.highway.exchange({}, LONG)
    for pair in joined:
        for place in pair:
            notes.number("idle noise", idle_level(samples_of(back[place.port.slot])[SKIP:]), "dBm0", limits.idle_dbm0, place.title)
    for pair in joined:
        for place in pair:
            sent = tones(ERL_TONES, ERL_TONE_DBM0, LONG)
            heard = samples_of(rig.highway.exchange({place.port.slot: sent}, LONG)[place.port.slot])[SKIP:]
            notes.number("echo return loss", echo_return_loss(heard, ERL_TONE_DBM0), "dB", limits.erl_db, place.title)


def absolute(rig: Rig, notes: Notes) -> None:
    """Each port alone against the fixture's tone source and meter."""
    limits = rig.limits.steps.analog
    sent = limits.sent_dbm0
    for place in (*rig.fxo(), *rig.fxs()):
        rig.fixture.part()
        if isinstance(place, FxoPlace):
            rig.fixture.feed(place.name, *LINE_FEED)
            rig.clock.sleep(100)
            place.port.drive(Hook.OFF_HOOK)
            rig.clock.sleep(place.port.settle_ms + SETTLE_MS)
        else:
            rig.fixture.load(place.name, 600.0, 0)
            place.port.set_gain(to_line_db=0, from_line_db=0)
            rig.clock.sleep(100)
        rig.fixture.send_tone(place.name, HERTZ, sent)
        heard = samples_of(rig.highway.exchange({}, SHORT)[place.port.slot])[SKIP:]
        notes.number("from the line, absolute", tone_level(heard, HERTZ) - sent, "dB", limits.absolute_db, place.title)
        rig.fixture.send_tone(place.name, HERTZ, -100.0)
        rig.highway.hold({place.port.slot: tones((1000.0,), sent, 8000)})
        notes.number("to the line, absolute", rig.fixture.tone_level(place.name, 1000.0) - sent, "dB", limits.absolute_db, place.title)
        rig.highway.hold({})
        if isinstance(place, FxoPlace):
            place.port.drive(Hook.ON_HOOK)
    rig.fixture.part()


def call(rig: Rig, notes: Notes) -> None:
    """Step 18."""
    limits = rig.limits.steps.call
    for group in pairs(rig):
        joined = talk(rig, group, False, notes)
        for phone, trunk in joined:
            for sender, hearer in ((phone, trunk), (trunk, phone)):
                generator = DtmfGenerator(limits.digits, on_ms=60, off_ms=60)
                length = 960 * len(limits.digits) + 1600
                back = rig.highway.exchange({sender.port.slot: generator.generate(length).ljust(2 * length, b"\0")}, length)
                heard = "".join(event.digit for event in DtmfDetector().feed(back[hearer.port.slot]))
                wrong = sum(a != b for a, b in zip(heard, limits.digits, strict=False)) + abs(len(heard) - len(limits.digits))
                name = f"{sender.title} > {hearer.title}"
                notes.number("wrong or missing digits", wrong, "", limits.wrong, name, f"sent {limits.digits}, heard {heard or 'nothing'}")
        hang_up(rig, group)
        caller_id(rig, joined, notes)


def caller_id(rig: Rig, group: Sequence[tuple[FxsPlace, FxoPlace]], notes: Notes) -> None:
    """FSK through the on-hook path, a different number each time."""
    limits = rig.limits.steps.call
    for phone, trunk in group:
        rig.fixture.join(phone.name, trunk.name, False)
        phone.port.drive(Feed.ON_HOOK_TX)
    rig.clock.sleep(300)
    for phone, trunk in group:
        missing = 0
        for number in range(limits.messages):
            message = frame(build_sdmf(Party(f"555{number:04d}"), "01020304"))
            sender = FskTransmitter(message)
            length = sender.samples + 2 * SKIP
            sent = bytes(2 * SKIP) + sender.generate(length - SKIP)
            back = rig.highway.exchange({phone.port.slot: sent}, length)
            found = CallerIdListener().feed(back[trunk.port.slot])
            missing += not any(signal.kind == "message" and signal.payload[: len(message) - 1] == message[:-1] for signal in found)
        why = f"of {limits.messages} sent on hook"
        notes.number("caller ids not decoded", missing, "", limits.wrong, f"{phone.title} > {trunk.title}", why)
        phone.port.drive(Feed.ACTIVE)
    rig.fixture.part()
