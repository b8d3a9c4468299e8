"""The people of the simulated world: callers outside, those who are called outside, and those who sit at the branch's telephones.

Theory of operation. A person is a script (`world.Script`): it waits for what a person can notice (a voice, a pause, a tone, the bell,
the other side's hang-up) and does what a person can do. A `Person` keeps what it saw, on the world's clock: this, and never the
product's word, is the evidence of a test. Each person may have a tone of its own; whom a person talked to is the tone it heard.
Keys are written `1@menu,2@menu,9@3.5,5@voice,4@rating`: after a prompt has ended (1 s of quiet), so many seconds after the last step,
0.7 s into a prompt (barge-in), after the prompt that follows the conversation. Without `@` it is `@menu`. At the branch's telephones
keys are pressed so many seconds after the last step, or `@talk`: 1 s after a partner's tone is there; `!` alone is a hook flash,
`h` alone hangs up.
"""

from __future__ import annotations

import wave
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from firmware.sim.exchange import Line, PstnCall, Subscriber
from firmware.sim.hearing import Ear
from firmware.sim.signal import ClipSource, Mouth, Source, ToneSource, babble, dtmf, sound
from firmware.sim.softphone import SipCall
from firmware.sim.world import Script, Until, World

QUIET_BLOCKS = 100
PROMPT_BLOCKS = 15
PARTNER_DBM0 = -32.0
PARTNER_MS = 800
TURN_MS, VOICE_MS = 4000, 1600


@dataclass(frozen=True)
class Press:
    """Keys and when to press them: `when` is "menu", "voice", "rating", "talk" or "after"; `seconds` belongs to "after"."""

    keys: str
    when: str = "menu"
    seconds: float = 0.0


def read_presses(text: str) -> tuple[Press, ...]:
    """Presses from their written form (see the module's head)."""
    presses = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        keys, _, when = item.partition("@")
        if keys not in ("!", "h") and (not keys or any(key.upper() not in "0123456789*#ABCD" for key in keys)):
            raise ValueError(f"{item!r}: keys are 0-9 * # A-D, such as 1@menu or 12@3.5, or ! alone for a hook flash, h alone to hang up")
        if when in ("", "menu", "voice", "rating", "talk"):
            presses.append(Press(keys, when or "menu"))
        else:
            try:
                presses.append(Press(keys, "after", float(when)))
            except ValueError:
                raise ValueError(f"{item!r}: after @ comes menu, voice, talk, rating or a number of seconds") from None
    return tuple(presses)


@dataclass
class Person:
    """What one simulated person saw. Times are world ms, -1 = never."""

    ident: str
    kind: str  # "caller", "callee", "phone", "softphone"
    number: str
    line: int = 0
    started: int = -1
    rings: int = 0
    answered: int = -1  # they or the other side answered
    first_sound: int = -1
    met: int = -1  # first heard a partner's tone
    partners: dict[str, float] = field(default_factory=dict)  # tone (Hz) -> median level heard, dBm0
    pressed: list[tuple[str, int]] = field(default_factory=list)
    loud_ms: int = 0
    ended: int = -1
    ended_by: str = ""  # "me", "far", "exchange"
    outcome: str = ""
    display: dict[str, str] = field(default_factory=dict)
    tape: bytes = b""
    tape_start: int = -1
    record_to: str = ""
    done: bool = False

    def facts(self) -> dict[str, Any]:
        """Plain data without the tape."""
        return {name: value for name, value in vars(self).items() if name != "tape"}

    def keep_tape(self, ear: Ear) -> None:
        """Take the tape out of the ear and write it where it was asked for."""
        if not ear.recording:
            return
        self.tape_start = ear.tape_start * 10
        self.tape = ear.cut()
        if self.record_to:
            save_wav(Path(self.record_to), self.tape)


def save_wav(path: Path, samples: bytes) -> None:
    """Write 8 kHz mono 16-bit samples."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(samples)


class Telephone(Protocol):
    """What a person at the branch needs of a telephone; `AnalogPhone` (by `Desk`) and `Softphone` have it."""

    @property
    def ringing(self) -> bool: ...
    @property
    def ear(self) -> Ear: ...
    @property
    def mouth(self) -> Mouth: ...
    def lift(self) -> None: ...
    def hang_up(self) -> None: ...
    def record(self) -> None: ...


class Listener:
    """Watches an ear for prompts and partners on behalf of a person."""

    def __init__(self, person: Person, ear: Ear, world: World, freqs: Sequence[float], others: Sequence[float] = ()) -> None:
        """`freqs`: partners' tones (at most six); `others` are metered too, behind them."""
        self.person, self.ear, self.world = person, ear, world
        self.freqs = tuple(freqs)[:6]
        self.loud_at_step = 0
        self.partner_at = -1
        self.alone_since: dict[float, int] = {}
        self.levels: dict[float, deque[float]] = {}
        self.before: dict[float, float] = {}  # level of the last look
        ear.listening = True
        ear.tones(*self.freqs, *others)

    def step(self) -> None:
        """A new wait begins: forget the prompt heard so far."""
        self.loud_at_step = self.ear.loud_blocks

    def look(self) -> None:
        """Note what is heard now."""
        person = self.person
        if person.first_sound < 0 and self.ear.first_loud >= 0:
            person.first_sound = self.ear.first_loud * 10
        person.loud_ms = self.ear.loud_blocks * 10
        if not self.freqs:
            return
        # Only a tone that carries nearly all the power for long is a partner: notes of music and vowels of prompts are shorter.
        levels, total, now = self.ear.bank(), self.ear.level(2), self.world.now
        for at, freq in enumerate(self.freqs):
            if levels[at] < PARTNER_DBM0 or levels[at] < total - 3.0:
                self.alone_since.pop(freq, None)
                self.before.pop(freq, None)
                continue
            since = self.alone_since.setdefault(freq, now)
            if now - since < PARTNER_MS:
                continue
            self.partner_at = now
            if person.met < 0:
                person.met = since
            heard = self.levels.setdefault(freq, deque(maxlen=99))
            if freq in self.before:  # the last look may have caught the end of a turn, half a tone: one behind is whole
                heard.append(self.before[freq])
            self.before[freq] = levels[at]
            person.partners[f"{freq:g}"] = round(median(heard or (levels[at],)), 2)

    def noticing(self, over: Callable[[], bool]) -> bool:
        """Look, then ask whether it is over."""
        self.look()
        return over()

    def prompt_ended(self) -> bool:
        self.look()
        return self.ear.loud_blocks - self.loud_at_step >= PROMPT_BLOCKS and self.ear.quiet_run >= QUIET_BLOCKS

    def in_prompt(self) -> bool:
        self.look()
        return self.ear.loud_blocks - self.loud_at_step >= 70

    def met(self) -> bool:
        self.look()
        return self.person.met >= 0

    def left(self) -> bool:
        """A partner was there and has missed a turn."""
        self.look()
        return self.partner_at >= 0 and self.world.now - self.partner_at > TURN_MS


@dataclass(frozen=True)
class CallPlan:
    """What a caller from outside intends."""

    number: str
    line: int
    caller_id: str = "fsk"
    name: str = ""
    reason: str = ""
    presses: tuple[Press, ...] = ()
    say: str = ""
    tone_hz: float = 0.0  # own tone, said from the answer on when `say` is empty
    hang_up_after_ms: int = 0  # after the answer; 0 = when the other side does, or at `longest_ms`
    talk_ms: int = 0  # hang up so long after a partner was met
    patience_ms: int = 90_000  # waits so long for an answer
    longest_ms: int = 900_000
    partners_hz: tuple[float, ...] = ()
    record: bool = True
    record_to: str = ""


def voice_of(say: str, tone_hz: float, seed: int, now: int, *, first: bool) -> Source | None:
    """What a person says all the time: `say`, or a tone in turns of 1.6 s every 4 s (who called first, then who answered).

    Turns are those of the world's clock, so that each side is heard alone; `say` tone:... is the harder case of both at once.
    """
    if say.startswith("turn:"):
        tone_hz = float(say.removeprefix("turn:"))
    elif say:
        return sound(say, seed)
    if not tone_hz:
        return None
    at = (now - (0 if first else TURN_MS // 2)) % TURN_MS
    voice, pause = ((tone_hz,), -16.0), ((), 0.0)
    if at < VOICE_MS:
        phases = [(*voice, VOICE_MS - at), (*pause, TURN_MS - VOICE_MS), (*voice, at)]
    else:
        phases = [(*pause, TURN_MS - at), (*voice, VOICE_MS), (*pause, at - VOICE_MS)]
    return ToneSource([phase for phase in phases if phase[2] > 0])


def caller(world: World, line: Line, plan: CallPlan, person: Person) -> Script:
    """A person outside who calls the branch."""
    person.started = world.now
    call = line.offer(plan.number, caller_id=plan.caller_id, name=plan.name, reason=plan.reason)
    if call is None:
        person.outcome, person.ended, person.ended_by, person.done = "busy", world.now, "exchange", True
        return
    try:
        yield Until(lambda: call.answered >= 0 or call.ended >= 0, plan.patience_ms)
        person.rings = call.rings
        if call.answered < 0:
            line.far_hang_up(call)
            person.outcome = call.outcome or "no-answer"
            return
        person.answered = call.answered
        person.outcome = "answered"
        wire = line.wire
        wire.ear.restart()
        listener = Listener(person, wire.ear, world, plan.partners_hz)
        if plan.record:
            wire.ear.record(world.segment.block)
        yield from _converse(world, plan, person, listener, wire.mouth, lambda: call.ended >= 0)
        if call.ended < 0:
            line.far_hang_up(call)
    finally:
        person.rings = call.rings
        person.ended = call.ended if call.ended >= 0 else world.now
        person.ended_by = {"far": "me", "box": "far"}.get(call.ended_by, call.ended_by)
        if person.answered >= 0:
            person.keep_tape(line.wire.ear)
            if line.call is None:
                line.wire.ear.listening = False
        person.done = True
        world.observe("person-done", person=person.ident, outcome=person.outcome, by=person.ended_by)


def _converse(world: World, plan: CallPlan, person: Person, listener: Listener, mouth: Mouth, over: Callable[[], bool]) -> Script:
    limit = world.now + (plan.hang_up_after_ms or plan.longest_ms)

    def left() -> int:
        return max(10, limit - world.now)

    def speak() -> None:
        source = voice_of(plan.say, plan.tone_hz, len(person.ident), world.now, first=True)
        if source is not None:
            mouth.play(source)

    speaking = False
    for press in plan.presses:
        if press.when in ("talk", "rating") and not speaking:
            speaking = True
            speak()
        listener.step()
        start = world.now
        if press.when == "after":
            yield Until(lambda: listener.noticing(over), min(left(), int(press.seconds * 1000)))
        elif press.when == "voice":
            yield Until(lambda: listener.in_prompt() or over(), left())
        elif press.when == "talk":
            yield Until(lambda: listener.met() or over(), left())
            if not over():
                yield Until(over, min(left(), 1000))
        elif press.when == "rating":
            yield Until(lambda: listener.left() or over(), left())
            mouth.stop()
            listener.step()
            yield Until(lambda: listener.prompt_ended() or over(), left())
        else:
            yield Until(lambda: listener.prompt_ended() or over(), left())
        if over() or world.now >= limit:
            return
        mouth.play(dtmf(press.keys, on_ms=90, off_ms=90))
        person.pressed.append((press.keys, world.now))
        world.observe("person-keys", person=person.ident, keys=press.keys, waited_ms=world.now - start)
        yield 180 * len(press.keys) + 20
    if not over() and not speaking:
        speak()
    if plan.talk_ms:
        yield Until(lambda: listener.met() or over(), left())
        if over():
            return
        limit = min(limit, world.now + plan.talk_ms)
    yield Until(lambda: listener.noticing(over), left(), 40)


def callee(world: World, line: Line, call: PstnCall, entry: Subscriber, person: Person, partners_hz: Sequence[float] = ()) -> Script:
    """A person outside (or the emergency centre) who has just answered a call from the branch."""
    person.started, person.answered, person.outcome = call.started, call.answered, "answered"
    wire = line.wire
    wire.ear.restart()
    wire.ear.wants_digits = True
    listener = Listener(person, wire.ear, world, partners_hz)
    wire.ear.record(world.segment.block)
    said = voice_of(entry.say, 0.0, call.ident, world.now, first=False)
    if said is not None:
        wire.mouth.play(said)
    try:
        yield Until(lambda: listener.noticing(lambda: call.ended >= 0), entry.hang_up_after_ms or 900_000, 40)
        if call.ended < 0:
            line.far_hang_up(call)
    finally:
        person.ended = call.ended if call.ended >= 0 else world.now
        person.ended_by = {"far": "me", "box": "far"}.get(call.ended_by, call.ended_by)
        person.keep_tape(wire.ear)
        person.done = True
        world.observe("person-done", person=person.ident, outcome=person.outcome, by=person.ended_by)


class Desk:
    """An `AnalogPhone` with the face of `Telephone` and the ears of its owner: knows busy tone and loop drop as the end of a call."""

    def __init__(self, phone: Any, busy_hz: float) -> None:
        self.phone = phone
        self.busy_hz = busy_hz

    @property
    def ringing(self) -> bool:
        return bool(self.phone.ringing)

    @property
    def ear(self) -> Ear:
        ear: Ear = self.phone.wire.ear
        return ear

    @property
    def mouth(self) -> Mouth:
        mouth: Mouth = self.phone.wire.mouth
        return mouth

    def lift(self) -> None:
        self.phone.lift()

    def hang_up(self) -> None:
        self.phone.hang_up()

    def record(self) -> None:
        self.phone.record()

    def far_gone(self, busy_index: int) -> bool:
        """The loop was opened, or two equal cycles of busy tone were heard."""
        if self.phone.loop_open_at > self.phone.lifted_at:
            return True
        return busy_heard(self.ear.pattern(busy_index, -35.0, 400))


def busy_heard(runs: Sequence[tuple[bool, int]]) -> bool:
    """Two full equal cycles of a tone of 200..800 ms on and off, at the end of what was heard."""
    tail = list(runs)[-4:]
    if len(tail) < 4 or any(not 180 <= ms <= 820 for _, ms in tail):
        return False
    on = [ms for sounding, ms in tail if sounding]
    off = [ms for sounding, ms in tail if not sounding]
    return len(on) == 2 and abs(on[0] - on[1]) <= 60 and abs(off[0] - off[1]) <= 60


@dataclass(frozen=True)
class AnswerPlan:
    """What a person at a branch telephone does when it rings."""

    after_ms: int = 3000  # lift so long after the first ring
    tone_hz: float = 0.0
    say: str = ""
    talk_ms: int = 0  # hang up so long after lifting; 0 = when the other side does
    ignore: int = 0  # let the first so many calls ring out
    times: int = 0  # answer so many calls, then leave; 0 = for ever
    partners_hz: tuple[float, ...] = ()
    keys: tuple[Press, ...] = ()  # pressed in the conversation ("after" and "talk" only), such as a transfer


def desk_person(world: World, phone: Any, plan: AnswerPlan, busy_hz: float, note: Callable[[], Person]) -> Script:
    """A person at an analog phone; `note()` gives a fresh `Person` for each call."""
    desk, ignored, taken = Desk(phone, busy_hz), plan.ignore, 0
    while not plan.times or taken < plan.times:
        yield Until(lambda: desk.ringing, 0, 50)
        person = note()
        person.started = world.now
        first = phone.ring_times[0] if phone.ring_times else world.now
        if ignored > 0:
            ignored -= 1
            yield Until(lambda: not desk.ringing, 0, 100)
            person.rings, person.outcome, person.ended, person.done = len(phone.ring_times), "ignored", world.now, True
            yield 1000
            continue
        yield Until(lambda: not desk.ringing, max(20, first + plan.after_ms - world.now))
        if not desk.ringing:
            person.rings, person.outcome, person.ended, person.done = phone.rings, "missed", world.now, True
            continue
        person.rings, person.display = phone.rings, dict(phone.display)
        desk.lift()
        yield 40
        yield from at_work(
            world,
            desk.ear,
            desk.mouth,
            desk.record,
            plan,
            person,
            (busy_hz,),
            lambda: desk.far_gone(len(plan.partners_hz[:6])),
            phone.press,
        )
        person.ended_by = "far" if desk.far_gone(len(plan.partners_hz[:6])) else "me"
        person.keep_tape(desk.ear)
        desk.hang_up()
        person.ended, person.done = world.now, True
        taken += 1
        world.observe("person-done", person=person.ident, outcome=person.outcome, by=person.ended_by)
        yield 1500


def soft_person(world: World, phone: Any, plan: AnswerPlan, note: Callable[[], Person]) -> Script:
    """A person at a SIP phone."""
    ignored, taken = plan.ignore, 0
    while not plan.times or taken < plan.times:
        yield Until(lambda: bool(phone.ringing), 0, 50)
        call = phone.call
        if call is None:
            continue
        person = note()

        def over(call: SipCall = call) -> bool:
            return call.ended >= 0

        person.started, person.rings, person.display = call.started, 1, {"number": call.number}
        if ignored > 0:
            ignored -= 1
            yield Until(over, 0, 100)
            person.outcome, person.ended, person.done = "ignored", call.ended, True
            continue
        yield Until(over, plan.after_ms)
        if call.ended >= 0:
            person.outcome, person.ended, person.done = "missed", call.ended, True
            continue
        phone.lift()
        yield from at_work(world, phone.ear, phone.mouth, phone.record, plan, person, (), over, phone.press)
        person.ended_by = "far" if call.ended >= 0 else "me"
        person.keep_tape(phone.ear)
        phone.hang_up()
        person.ended, person.done = world.now if call.ended < 0 else call.ended, True
        taken += 1
        world.observe("person-done", person=person.ident, outcome=person.outcome, by=person.ended_by)
        yield 300


def at_work(
    world: World,
    ear: Ear,
    mouth: Mouth,
    record: Callable[[], None],
    plan: AnswerPlan,
    person: Person,
    others: Sequence[float],
    over: Callable[[], bool],
    press: Callable[[str], int],
    *,
    first: bool = False,
) -> Script:
    """Talk: own tone, listening for partners, keys, until the other side or the plan ends it. `first`: this person called."""
    person.answered, person.outcome = world.now, "answered"
    record()
    listener = Listener(person, ear, world, plan.partners_hz, others)
    voice = voice_of(plan.say, plan.tone_hz, len(person.ident), world.now, first=first)
    if voice is not None:
        mouth.play(voice)
    limit = world.now + (plan.talk_ms or 900_000)

    for step in plan.keys:
        if step.when == "talk":
            yield Until(lambda: listener.met() or over(), max(10, limit - world.now))
        pause = 1000 if step.when == "talk" else int(step.seconds * 1000)
        yield Until(lambda: listener.noticing(over), min(max(10, limit - world.now), pause))
        if over() or step.keys == "h":
            return
        mouth.stop()
        person.pressed.append((step.keys, world.now))
        yield press(step.keys) + 200
        voice = voice_of(plan.say, plan.tone_hz, len(person.ident), world.now, first=first)
        if voice is not None:
            mouth.play(voice)
    yield Until(lambda: listener.noticing(over), max(10, limit - world.now), 40)


def speech(seconds: float, seed: int) -> ClipSource:
    """Speech-like sound of a person, looped."""
    return ClipSource(babble(seconds, seed), True)
