"""The whole simulated town: an exchange with its lines, the branch's analog phones, SIP phones and people.

Theory of operation. `Town` puts the parts on one `World` and keeps the register of people, so that the control socket and the
simulated day drive the same methods. Line n of the exchange ends at FXO jack n, phone n hangs on FXS jack n.
Invariant: everybody who was asked for has an entry in `people`, from the moment of asking on.
"""

from __future__ import annotations

from typing import Any

from firmware.errors import PbxError
from firmware.sim.countries import country
from firmware.sim.exchange import Exchange, Line, PstnCall, Subscriber
from firmware.sim.faults import CardFaults
from firmware.sim.oracle import Oracle
from firmware.sim.people import AnswerPlan, CallPlan, Desk, Person, Press, at_work, callee, caller, desk_person, soft_person
from firmware.sim.phones import AnalogPhone
from firmware.sim.segment import Segment
from firmware.sim.softphone import Softphone
from firmware.sim.wire import PhoneWire
from firmware.sim.world import Script, Task, Until, World


class Town:
    """An assembled world. `partners_hz` are the tones that PSTN callees listen for."""

    def __init__(self, segment: Segment, *, country_name: str = "CN", seed: int = 1) -> None:
        self.world = World(segment)
        self.country = country(country_name)
        self.seed = seed
        self.partners_hz: tuple[float, ...] = ()
        self.people: dict[str, Person] = {}
        self.tasks: dict[str, Task] = {}
        self.softphones: dict[str, Softphone] = {}
        self.dialling: dict[int, Task] = {}
        self.exchange = Exchange(self.world, self.country, segment.fxo_slots, self._outside_answers)
        self.phones = {n: AnalogPhone(self.world, n, PhoneWire(slot), self.country) for n, slot in enumerate(segment.fxs_slots, start=1)}
        self.faults = CardFaults(self.world, self.phones)
        self.oracle = Oracle(self.world)
        self._count = 0

    def phone(self, number: int) -> AnalogPhone:
        if number not in self.phones:
            raise PbxError(f"no analog phone {number}: this world has phones {min(self.phones)} to {max(self.phones)}")
        return self.phones[number]

    def person(self, kind: str, number: str, line: int = 0) -> Person:
        """Register somebody new."""
        self._count += 1
        person = Person(f"P{self._count}", kind, number, line, started=self.world.now)
        self.people[person.ident] = person
        return person

    def start(self, ident: str, script: Script) -> None:
        task = self.world.spawn(ident, script)
        self.tasks[ident] = task

    # --- what can be asked -----------------------------------------------------------------------------------------------

    def call_in(self, plan: CallPlan) -> Person:
        """Somebody outside calls the branch."""
        line = self.exchange.line(plan.line)
        person = self.person("caller", plan.number, plan.line)
        person.record_to = plan.record_to
        self.start(person.ident, caller(self.world, line, plan, person))
        return person

    def hang_up(self, ident: str) -> None:
        """Make a person hang up now; one whose seat was left is only done."""
        person, task = self.people.get(ident), self.tasks.get(ident)
        if person is None:
            raise PbxError(f"no person {ident!r}: `branchpbx sim status` lists them")
        line = self.exchange.lines.get(person.line)
        if line is not None and line.call is not None and line.call.number == person.number and not person.done:
            line.far_hang_up(line.call)
        if not person.done:
            if task is not None:
                task.stop()
            person.done = True

    def staff_phone(self, number: int, plan: AnswerPlan) -> str:
        """Seat somebody at an analog phone, who answers as planned; returns the name of the seat."""
        phone = self.phone(number)
        return self._seat(
            f"desk-{number}", desk_person(self.world, phone, plan, self.country.busy_freqs[0], lambda: self.person("phone", str(number)))
        )

    def staff_softphone(self, extension: str, plan: AnswerPlan) -> str:
        """Seat somebody at a simulated SIP phone."""
        return self._seat(
            f"soft-{extension}", soft_person(self.world, self.softphones[extension], plan, lambda: self.person("softphone", extension))
        )

    def _seat(self, name: str, script: Script) -> str:
        old = self.tasks.get(name)
        if old is not None:
            old.stop()
        self.start(name, script)
        return name

    def leave(self, name: str) -> None:
        """Nobody sits there any more."""
        task = self.tasks.pop(name, None)
        if task is not None:
            task.stop()

    def put_down(self, number: int) -> None:
        """Whoever dials or talks at an analog phone hangs up; who sits there leaves."""
        phone = self.phone(number)
        self.leave(f"desk-{number}")
        task = self.dialling.pop(number, None)
        if task is not None and not task.done:
            task.stop()
            person = self.people.get(task.name)
            if person is not None and not person.done:
                person.ended, person.ended_by, person.done = self.world.now, "me", True
        phone.hang_up()

    def add_softphone(self, extension: str, secret: str, server: tuple[str, int], host: str) -> Softphone:
        """Plug in a SIP phone and let it register."""
        if extension in self.softphones:
            self.softphones[extension].close()
        phone = Softphone(self.world, extension, secret, server, host=host, seed=self.seed, emergency=self.country.emergency)
        self.softphones[extension] = phone
        phone.register()
        return phone

    def dial(
        self,
        number: int,
        keys: str,
        *,
        pulse: bool = False,
        drill: bool = False,
        talk_ms: int = 0,
        tone_hz: float = 0.0,
        say: str = "",
        stay: bool = False,
        partners_hz: tuple[float, ...] = (),
        presses: tuple[Press, ...] = (),
    ) -> Person:
        """Somebody lifts analog phone `number`, waits for dial tone, dials and (unless `stay`) talks until the end."""
        phone = self.phone(number)
        busy = self.dialling.get(number)
        if busy is not None and not busy.done:
            raise PbxError(f"somebody dials on phone {number} just now: wait, or end it with `branchpbx sim phone {number} hang-up`")
        phone.drill = drill
        phone.refuse_emergency(keys, fresh=not phone.lifted)
        person = self.person("phone", str(number))
        plan = AnswerPlan(tone_hz=tone_hz, say=say, talk_ms=talk_ms, partners_hz=partners_hz, keys=presses)
        self.start(person.ident, _dialler(self.world, phone, keys, pulse, plan, person, self.country.busy_freqs[0], stay))
        self.dialling[number] = self.tasks[person.ident]
        return person

    def dial_soft(
        self,
        extension: str,
        keys: str,
        *,
        talk_ms: int = 0,
        tone_hz: float = 0.0,
        say: str = "",
        partners_hz: tuple[float, ...] = (),
        presses: tuple[Press, ...] = (),
        drill: bool = False,
    ) -> Person:
        """Somebody calls from a simulated SIP phone and talks until the end."""
        phone = self.softphones[extension]
        phone.drill = drill
        phone.refuse_emergency(keys)
        person = self.person("softphone", extension)
        plan = AnswerPlan(tone_hz=tone_hz, say=say, talk_ms=talk_ms, partners_hz=partners_hz, keys=presses)
        self.start(person.ident, _soft_dialler(self.world, phone, keys, plan, person))
        return person

    def _outside_answers(self, line: Line, call: PstnCall, entry: Subscriber) -> None:
        person = self.person("callee", call.number, line.number)
        self.start(person.ident, callee(self.world, line, call, entry, person, self.partners_hz))

    def facts(self) -> dict[str, Any]:
        """Plain data for `sim status`."""
        segment = self.world.segment
        return {
            "now_ms": self.world.now,
            "wall_ms": self.world.wall_ms,
            "speed": segment.speed,
            "media_pid": segment.media_pid,
            "ticked": segment.ticked,
            "silent_ticks": segment.silent_ticks,
            "underruns": segment.underruns,
            "sound": self.world.card.figures() if self.world.card is not None else None,
            "country": self.country.name,
            "lifeline": segment.lifeline,
            "card_faults": self.faults.facts(),
            "lines": [line.facts() for line in self.exchange.lines.values()],
            "phones": [phone.facts() for phone in self.phones.values()],
            "softphones": [phone.facts() for phone in self.softphones.values()],
            "people": [person.facts() for person in self.people.values() if not person.done],
            "emergencies": [call.facts() for call in self.exchange.emergencies],
        }


def _dialler(
    world: World, phone: AnalogPhone, keys: str, pulse: bool, plan: AnswerPlan, person: Person, busy_hz: float, stay: bool
) -> Script:
    desk = Desk(phone, busy_hz)
    person.number = keys
    if not phone.lifted:
        phone.lift()
        yield 40
        heard = yield Until(lambda: phone.wire.ear.loud_run >= 40, 5000)
        if not heard:
            person.outcome = "no-dial-tone"
    yield (phone.pulse(keys) if pulse else phone.press(keys)) + 100
    person.pressed.append((keys, world.now))
    if stay:
        person.done = True
        return
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
        first=True,
    )
    person.ended_by = "far" if desk.far_gone(len(plan.partners_hz[:6])) else "me"
    person.keep_tape(desk.ear)
    desk.hang_up()
    person.ended, person.done = world.now, True
    world.observe("person-done", person=person.ident, outcome=person.outcome, by=person.ended_by)


def _soft_dialler(world: World, phone: Softphone, keys: str, plan: AnswerPlan, person: Person) -> Script:
    yield Until(lambda: phone.call is None and phone.registered, 20_000)
    if phone.call is not None or not phone.registered:
        person.outcome, person.done = "not-registered" if not phone.registered else "in-a-call", True
        return
    call = phone.dial(keys)
    person.pressed.append((keys, world.now))
    yield Until(lambda: call.answered >= 0 or call.ended >= 0, 120_000)
    if call.answered < 0:
        phone.hang_up()
        person.outcome, person.ended, person.done = f"sip-{call.status}", world.now, True
        return
    yield from at_work(world, phone.ear, phone.mouth, phone.record, plan, person, (), lambda: call.ended >= 0, phone.press, first=True)
    person.answered = call.answered
    person.ended_by = "far" if call.ended >= 0 else "me"
    person.keep_tape(phone.ear)
    phone.hang_up()
    person.ended, person.done = world.now, True
    world.observe("person-done", person=person.ident, outcome=person.outcome, by=person.ended_by)
