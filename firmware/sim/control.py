"""`DIR/run/world.sock`: what a user or a test may ask of the simulated world (JSON lines).

Theory of operation. A request is one line `{"do": NAME, ...}`, its reply one line `{"ok": true, ...}` or `{"ok": false, "error":
TEXT}`. `wait` delays the reply until the person is done. `watch` turns the connection into a stream of observations. Sockets are
read between blocks by the world's own loop and written without waiting, so that a slow reader cannot hold the clock: one that
leaves a megabyte unread is dropped. Requests: `REQUESTS` below, each a method of `Control`.
Invariant: nothing here dials an emergency number unless the request carries `"drill": true`.
"""

from __future__ import annotations

import json
import socket
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

from firmware.errors import PbxError
from firmware.sim.exchange import Subscriber
from firmware.sim.people import AnswerPlan, CallPlan, Person, read_presses, save_wav
from firmware.sim.signal import Source, dtmf, sound
from firmware.sim.soak_stage import SoakStage
from firmware.sim.town import Town
from firmware.sim.world import Script, Until

LIMIT = 1 << 20
REPLY_LIMIT = 1 << 24
Request = dict[str, Any]
Reply = dict[str, Any]


def _keys(request: Request, name: str, what: str) -> str:
    """Keys that a telephone has; "," is a pause, "!" alone a hook flash."""
    keys = str(request.get(name, ""))
    if not keys or (keys != "!" and not set(keys.upper()) <= set("0123456789*#ABCD,")):
        raise ValueError(f"{keys!r}: name the keys {what}, 0-9 * # A-D, such as 102 or *43")
    return keys


def _sound(text: str) -> Source:
    """What is to be said; ValueError with what may be."""
    try:
        return sound(text)
    except (OSError, ValueError, EOFError, wave.Error) as error:
        why = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else error
        raise ValueError(f"{text}: {why}; say tone:440, speech:20 or a WAV file (8 kHz, mono, 16 bit)") from error


def _ms(request: Request, name: str, default: float = 0.0) -> int:
    """Seconds of a request as ms."""
    return int(1000 * float(request.get(name, default)))


def _answer_plan(request: Request) -> AnswerPlan:
    """How somebody at a telephone answers, as a request words it (seconds, Hz)."""
    return AnswerPlan(
        _ms(request, "after", 3),
        float(request.get("tone_hz", 0)),
        str(request.get("say", "")),
        _ms(request, "talk"),
        int(request.get("ignore", 0)),
        int(request.get("times", 1)),
        tuple(map(float, request.get("partners_hz", ()))),
        read_presses(str(request.get("keys", ""))),
    )


class Client:
    """One connection."""

    def __init__(self, control: Control, connection: socket.socket) -> None:
        self.control = control
        self.socket = connection
        self.socket.setblocking(False)
        self.incoming = bytearray()
        self.outgoing = bytearray()
        self.watching = False

    def fileno(self) -> int:
        return self.socket.fileno()

    def readable(self) -> None:
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self.incoming += data
        while b"\n" in self.incoming:
            line, _, rest = bytes(self.incoming).partition(b"\n")
            self.incoming = bytearray(rest)
            self.control.handle(self, line)
        if len(self.incoming) > LIMIT:
            self.close()

    def send(self, message: Reply) -> None:
        if self.fileno() < 0:
            return
        self.outgoing += json.dumps(message, ensure_ascii=False, default=str).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        try:
            while self.outgoing:
                sent = self.socket.send(self.outgoing)
                del self.outgoing[:sent]
        except BlockingIOError:
            if len(self.outgoing) > (LIMIT if self.watching else REPLY_LIMIT):
                self.close()
        except OSError:
            self.close()

    def close(self) -> None:
        if self.fileno() >= 0:
            self.control.forget(self)
            self.socket.close()


class Control:
    """The server on a listening Unix socket."""

    def __init__(self, town: Town, path: Path) -> None:
        self.town = town
        self.path = path
        self.clients: list[Client] = []
        self.director: Client | None = None
        self.soaking: SoakStage | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        path.chmod(0o600)
        self.listener.listen(16)
        self.listener.setblocking(False)
        town.world.poll(self)
        town.world.watchers.append(self._tell)
        town.world.each_block.append(self._push)

    def fileno(self) -> int:
        return self.listener.fileno()

    def readable(self) -> None:
        try:
            connection, _ = self.listener.accept()
        except BlockingIOError:
            return
        client = Client(self, connection)
        self.clients.append(client)
        self.town.world.poll(client)

    def forget(self, client: Client) -> None:
        if client is self.director:
            self.director = None
            self.town.world.directed = False
        self.town.world.unpoll(client)
        if client in self.clients:
            self.clients.remove(client)

    def close(self) -> None:
        for client in list(self.clients):
            client.flush()
            client.close()
        self.town.world.unpoll(self)
        self.listener.close()
        self.path.unlink(missing_ok=True)

    def _push(self, block: int) -> None:
        """Send on what a reader had no room for."""
        for client in list(self.clients):
            if client.outgoing:
                client.flush()

    def _tell(self, note: dict[str, Any]) -> None:
        for client in list(self.clients):
            if client.watching:
                client.send({"event": note})

    def handle(self, client: Client, line: bytes) -> None:
        """Answer one request."""
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError("a request is an object")
            name = str(request.get("do", ""))
            method = REQUESTS.get(name)
            if method is None:
                raise ValueError(f"no request {name!r}: use one of {', '.join(sorted(REQUESTS))}")
            reply = method(self, client, request)
        except (ValueError, KeyError, TypeError, PbxError, OSError, RuntimeError) as error:
            text = f"missing {error}" if isinstance(error, KeyError) else str(error)
            client.send({"ok": False, "error": text})
            return
        if reply is not None:
            client.send({"ok": True, **reply})

    def _person(self, client: Client, person: Person, request: Request) -> Reply | None:
        if not request.get("wait"):
            return {"person": person.ident}

        world = self.town.world
        world.waits += 1

        def waiting() -> Script:
            try:
                yield Until(lambda: person.done, 0, 100)
            finally:
                world.waits -= 1
            client.send({"ok": True, "person": person.ident, "result": person.facts()})

        world.spawn(f"wait-{person.ident}", waiting())
        return None

    # --- requests ---------------------------------------------------------------------------------------------------------

    def status(self, client: Client, request: Request) -> Reply:
        return self.town.facts()

    def call(self, client: Client, request: Request) -> Reply | None:
        number = str(request.get("from", "13800138000"))
        if number in self.town.country.emergency and not request.get("drill"):
            raise PbxError(f"{number} is an emergency number: add --emergency-drill to let the centre call back")
        if not set(number) <= set("0123456789+*#"):
            raise ValueError(f"{number!r} is no telephone number: digits, and + in front")
        if request.get("say") and not str(request["say"]).startswith("turn:"):
            _sound(str(request["say"]))
        plan = CallPlan(
            number, int(request.get("line", 1)), str(request.get("caller_id", "fsk")), str(request.get("name", "")),
            str(request.get("reason", "")), read_presses(str(request.get("press", ""))), str(request.get("say", "")),
            float(request.get("tone_hz", 0.0)), _ms(request, "hang_up_after"), _ms(request, "talk"), _ms(request, "patience", 90),
            partners_hz=tuple(map(float, request.get("partners_hz", ()))),
            record_to=str(request.get("record", "")),
        )  # fmt: skip
        return self._person(client, self.town.call_in(plan), request)

    def hang_up(self, client: Client, request: Request) -> Reply:
        self.town.hang_up(str(request["person"]))
        return {}

    def press(self, client: Client, request: Request) -> Reply:
        """A person outside who is in a call presses keys now."""
        person = self.town.people[str(request["person"])]
        line = self.town.exchange.lines.get(person.line)
        if line is None or line.call is None or person.answered < 0 or person.done:
            raise PbxError(f"{person.ident} is in no call with the branch")
        keys = str(request["keys"])
        line.wire.mouth.play(dtmf(keys, on_ms=90, off_ms=90))
        person.pressed.append((keys, self.town.world.now))
        return {"now_ms": self.town.world.now}

    def observations(self, client: Client, request: Request) -> Reply:
        """What was seen of lines, phones and people from world time `since` on."""
        since = int(request.get("since", 0))
        return {"now_ms": self.town.world.now, "seen": [note for note in self.town.world.observations if note["at"] >= since]}

    def results(self, client: Client, request: Request) -> Reply:
        wanted = request.get("person")
        people = [p.facts() for p in self.town.people.values() if wanted in (None, p.ident)]
        calls = [call.facts() for call in self.town.exchange.calls]
        return {"people": people, "calls": calls, "emergencies": [call.facts() for call in self.town.exchange.emergencies]}

    def tape(self, client: Client, request: Request) -> Reply:
        person = self.town.people.get(str(request["person"]))
        if person is None or not person.tape:
            raise PbxError(f"nothing was recorded of {request['person']!r}")
        save_wav(Path(str(request["path"])), person.tape)
        return {"seconds": len(person.tape) / 16000}

    def watch(self, client: Client, request: Request) -> Reply:
        client.watching = True
        return {"now_ms": self.town.world.now}

    def speed(self, client: Client, request: Request) -> Reply:
        if "percent" in request:
            self.town.world.segment.speed = int(request["percent"])
        return {"percent": self.town.world.segment.speed}

    def sleep(self, client: Client, request: Request) -> None:
        """Reply after so many ms of the world's time."""
        world = self.town.world

        def over() -> None:
            world.waits -= 1
            client.send({"ok": True, "now_ms": world.now})

        world.after(int(request["ms"]), over)
        world.waits += 1

    def direct(self, client: Client, request: Request) -> Reply:
        """From now on this client directs: time passes only while somebody waits (`sleep`, or a call with `wait`)."""
        self.director = client if request.get("on", True) else None
        self.town.world.directed = self.director is not None
        return {}

    def soak(self, client: Client, request: Request) -> Reply:
        """Play a soak; each call becomes a line of `folder`/soak.jsonl, each observation one of observations.jsonl."""
        if self.soaking is not None and not self.soaking.over:
            raise PbxError("a soak is played already")
        self.soaking = SoakStage(
            self.town, int(request["seed"]), int(request["calls"]), bool(request.get("faults")), Path(str(request["folder"]))
        )
        self.soaking.start()
        return {}

    def soak_status(self, client: Client, request: Request) -> Reply:
        """How far the soak is."""
        if self.soaking is None:
            raise PbxError("no soak was begun")
        return self.soaking.facts()

    def partners(self, client: Client, request: Request) -> Reply:
        """The tones that people who are called outside listen for."""
        self.town.partners_hz = tuple(map(float, request["partners_hz"]))
        return {}

    def stop(self, client: Client, request: Request) -> Reply:
        self.town.world.stopping = True
        return {}

    def pause(self, client: Client, request: Request) -> Reply:
        self.town.world.pause(int(request.get("ms", 200)))
        return {}

    def number(self, client: Client, request: Request) -> Reply:
        number = str(request["number"])
        if number in self.town.country.emergency:
            raise PbxError(f"{number} is an emergency number: its behaviour cannot be changed")
        say = str(request.get("say", "speech:4"))
        if not say.startswith("turn:"):
            _sound(say)
        self.town.exchange.directory.entries[number] = Subscriber(
            str(request.get("kind", "answer")), int(1000 * float(request.get("answer_after", 3))), say,
            int(1000 * float(request.get("hang_up_after", 0))),
        )  # fmt: skip
        return {}

    def fault(self, client: Client, request: Request) -> Reply:
        """Make or mend a fault of the line cards: `place` (fxo, fxs, chain, board), `number`, `fault`, `on`, `value`, `seconds`.

        With `at` (ms of the world) it happens then.
        """
        faults, place, number, name = self.town.faults, str(request["place"]), str(request.get("number", "")), str(request["fault"])
        value = None if request.get("value") is None else float(request["value"])
        on, seconds = bool(request.get("on", True)), float(request.get("seconds", 0))
        faults.check(place, number, name)
        if "at" in request:
            self.town.world.after(
                int(request["at"]) - self.town.world.now,
                lambda: (faults.put(place, number, name, on=on, value=value, seconds=seconds), None)[1],
            )
        else:
            faults.put(place, number, name, on=on, value=value, seconds=seconds)
        return {"standing": self.town.faults.facts(), "now_ms": self.town.world.now}

    def oracle(self, client: Client, request: Request) -> Reply:
        """What the simulated hardware saw; `since` (ms), `history` and `illegal` (numbers of notes) say from where on."""
        return self.town.oracle.facts(*(int(request.get(name, 0)) for name in ("since", "history", "illegal")))

    def exchange(self, client: Client, request: Request) -> Reply:
        line = self.town.exchange.line(int(request["line"]))
        if "fault" in request:
            line.fault(str(request["fault"]), bool(request.get("on", True)), float(request.get("value", 0)))
            if request.get("seconds"):
                fault = str(request["fault"])
                self.town.world.after(1000 * float(request["seconds"]), lambda: line.fault(fault, False))
        if "release" in request:
            release = tuple(filter(None, str(request["release"]).split("+")))
            if not set(release) <= {"polarity", "loop-drop", "busy"}:
                raise ValueError("release is polarity, loop-drop and busy, joined by +")
            line.release = release
        if "loop_drop_ms" in request:
            line.loop_drop_ms = int(request["loop_drop_ms"])
        if "answer_reversal" in request:
            line.answer_reversal = bool(request["answer_reversal"])
        if "dial_tone_delay_ms" in request:
            line.dial_tone_delay_ms = int(request["dial_tone_delay_ms"])
        if "erl_db" in request or "echo_delay_ms" in request:
            line.wire.hybrid(
                erl_db=float(request.get("erl_db", 18.0)),
                delay_ms=float(request.get("echo_delay_ms", 1.0)),
                taps=int(request.get("echo_taps", 8)),
                seed=line.number,
            )
        return {"line": line.facts()}

    def phone(self, client: Client, request: Request) -> Reply | None:
        phone = self.town.phone(int(request["phone"]))
        action = str(request.get("action", "status"))
        drill = bool(request.get("drill"))
        if action == "off-hook":
            phone.lift()
        elif action == "hang-up":
            self.town.put_down(phone.number)
        elif action == "flash":
            phone.flash(int(request.get("ms", 300)))
        elif action == "dial":
            person = self.town.dial(
                phone.number,
                _keys(request, "number", "to dial"),
                pulse=bool(request.get("pulse")),
                drill=drill,
                talk_ms=int(1000 * float(request.get("talk", 0))),
                tone_hz=float(request.get("tone_hz", 0)),
                say=str(request.get("say", "")),
                stay=bool(request.get("stay", not request.get("wait"))),
                partners_hz=tuple(map(float, request.get("partners_hz", ()))),
                presses=read_presses(str(request.get("keys", ""))),
            )
            return self._person(client, person, request)
        elif action == "press":
            phone.drill = drill
            phone.press(_keys(request, "keys", "to press"))
        elif action == "answer":
            if request.get("say") and not str(request["say"]).startswith("turn:"):
                _sound(str(request["say"]))
            plan = _answer_plan(request)
            return {"seat": self.town.staff_phone(phone.number, plan)}
        elif action == "leave":
            self.town.leave(f"desk-{phone.number}")
        elif action == "say":
            phone.say(_sound(str(request["what"])))
        elif action == "quiet":
            phone.wire.mouth.stop()
        elif action == "record":
            if "path" in request:
                save_wav(Path(str(request["path"])), phone.wire.ear.cut())
            else:
                phone.record()
        elif action == "fault":
            setattr(phone.wire, {"cut": "cut", "stuck": "stuck"}[str(request["fault"])], bool(request.get("on", True)))
        elif action != "status":
            raise ValueError(
                f"no action {action!r}: use off-hook, dial, press, answer, leave, flash, hang-up, say, quiet, record, fault or status"
            )
        return {"phone": phone.facts()}

    def softphone(self, client: Client, request: Request) -> Reply | None:
        extension, action = str(request["extension"]), str(request.get("action", "status"))
        if action == "add":
            server = request["server"]
            host = str(server[0])
            self.town.add_softphone(extension, str(request.get("secret", "")), (host, int(server[1])), str(request.get("host", host)))
            return {}
        if extension not in self.town.softphones:
            raise PbxError(f"no simulated SIP phone {extension!r}: add it first")
        phone = self.town.softphones[extension]
        if action in ("dial", "press"):
            keys = str(request["number"] if action == "dial" else request["keys"])
            if action == "press":
                phone.drill = bool(request.get("drill"))
                phone.press(keys)
                return {}
            person = self.town.dial_soft(
                extension,
                keys,
                talk_ms=int(1000 * float(request.get("talk", 0))),
                tone_hz=float(request.get("tone_hz", 0)),
                say=str(request.get("say", "")),
                partners_hz=tuple(map(float, request.get("partners_hz", ()))),
                presses=read_presses(str(request.get("keys", ""))),
                drill=bool(request.get("drill")),
            )
            return self._person(client, person, request)
        if action == "answer":
            phone.drill = bool(request.get("drill"))
            plan = _answer_plan(request)
            return {"seat": self.town.staff_softphone(extension, plan)}
        if action == "leave":
            self.town.leave(f"soft-{extension}")
        elif action == "hang-up":
            phone.hang_up()
        elif action != "status":
            raise ValueError(f"no action {action!r}: use add, dial, press, answer, leave, hang-up or status")
        return {"softphone": phone.facts()}


REQUESTS: dict[str, Callable[[Control, Client, Request], Reply | None]] = {
    "status": Control.status, "call": Control.call, "hang-up": Control.hang_up, "press": Control.press,
    "observations": Control.observations, "results": Control.results, "tape": Control.tape,
    "watch": Control.watch, "speed": Control.speed, "stop": Control.stop,
    "sleep": Control.sleep, "direct": Control.direct,
    "partners": Control.partners, "pause": Control.pause, "number": Control.number,
    "fault": Control.fault, "oracle": Control.oracle, "soak": Control.soak, "soak-status": Control.soak_status,
    "exchange": Control.exchange, "phone": Control.phone, "softphone": Control.softphone,
}  # fmt: skip
