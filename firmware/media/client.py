"""The only door from core to the media engine: commands in, answers and events out (L3).

Theory of operation
-------------------
`Media` writes commands into the ring segment and hears of their outcome by `done(seq)`/`failed(seq, code)`: each command is a
future, which may be ignored. The engine's eventfd wakes the loop; one wake reads every event, gives it to the subscribers, runs
the timers that are due, lets the loop take a few turns (for what the subscribers scheduled) and only then commits what it read.
A virtual clock stands still until that commit; a core that dies before it leaves the events to its successor.
A full command ring raises EngineBusy, but never for a command that only gives something back (close, leave, stop ...): those are
kept here and written as soon as there is room, in order, and until then everything else is refused.
Recording files travel over the descriptor channel (`SOCK_SEQPACKET`, JSON, at most one descriptor a message); the same channel
tells at start which clips and RTP sockets media has: `{"do": "hello", "nonce", "from"}` is answered in pages of clips. A prompt whose
clips media does not have yet waits for them (`clips.py`).
Invariants: one `Media` per core process; nothing here blocks; a subscriber that raises is logged and does not stop the next.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar, Unpack

from firmware.call.quality import Quality
from firmware.dsp import abi
from firmware.dsp.ring import CommandWriter, EventReader, RingSegment
from firmware.errors import EngineBusy, EngineRefused, HardwareError
from firmware.line.tones import ToneSpec
from firmware.media.clips import Clips, Prompt
from firmware.media.events import (
    LearnedFilter,
    MediaEvent,
    MediaLost,
    Played,
    PortMeters,
    PortState,
    RtpPort,
    SideNews,
    media_event,
    port_meters,
    port_state,
)
from firmware.media.pool import PortPool
from firmware.media.quality import rtp_quality
from firmware.media.requests import Requests
from firmware.media.rtp import RtpPath, pack

log = logging.getLogger("branchpbx.media")

FIRST_RTP = 16
TURNS = 3           # of the event loop between handling and commit
HELLO_S = 15.0
HELLO_RETRY_S = 0.5
MESSAGE = 1 << 16
FSK = {"": 0, "bell202": 1, "v23": 2, "auto": 3}
WATCH = {"fxo": 1, "fxs": 2}
FSK_LEVEL = -13.5   # dBm0, ETSI EN 300 659-1 and GR-30 at the sending side


class MediaClock(Protocol):
    """The clock that media drives (`runtime.clock.EngineClock`)."""

    def now(self) -> int: ...
    def wall_ms(self) -> int: ...
    def call_at(self, at: int, fn: Callable[[], object]) -> Any: ...
    def call_later(self, ms: int, fn: Callable[[], object]) -> Any: ...
    def run_due(self) -> int: ...
    def deadline(self) -> int | None: ...


Answer = asyncio.Future[None]
PLAYERS = {"play", "tone", "stop", "dtmf", "fsk", "close"}       # commands that end what a port hears
MAY_BE_REFUSED = {"relay"}  # media alone knows whether two ports can be relayed; who asks has another way
ClockType = TypeVar("ClockType", bound=MediaClock)


class Media(Generic[ClockType]):
    """See the theory of operation above. `clock` reads the same ring segment; `channel` is core's end of the descriptor channel."""

    def __init__(self, ring: RingSegment, event_fd: int, channel: socket.socket, clock: ClockType) -> None:
        self.clock: ClockType = clock
        self.adopted = False
        self.lost_clips: list[str] = []
        """Clips of the groups to be ready that media lacked at `start`: they are loaded from then on."""
        self._ring = ring
        self._event_fd = event_fd
        self._channel = channel
        self._writer = CommandWriter(ring)
        self._reader = EventReader(ring)
        self._subscribers: list[Callable[[MediaEvent], None]] = []
        self._pending: dict[int, tuple[str, int, Answer]] = {}  # by sequence number: command, port
        self._overflow: deque[tuple[str, int, bytes, Answer]] = deque()
        self._local_ports: list[int] = []
        self._pool = PortPool(clock.now)
        self._next_file = 1
        self._epoch = ring.epoch
        self._held: list[MediaEvent] | None = []
        self._snapshots: deque[tuple[int, asyncio.Future[list[PortState]], list[PortState]]] = deque()
        self._settling = False
        self._nonce = ""
        self._hello: asyncio.Future[None] | None = None
        self._new_clips: list[str] = []
        self._requests = Requests(channel)
        self._clips = Clips(self._requests, self._play, self._stopped)
        self._sided: set[int] = set()       # ports whose side must hear of their end
        self._loop: asyncio.AbstractEventLoop | None = None

    # --- life ---------------------------------------------------------------------------------------------------------

    def subscribe(self, fn: Callable[[MediaEvent], None]) -> None:
        """Call `fn` with every event, in order."""
        self._subscribers.append(fn)

    async def start(self, clips: Mapping[str, Path], groups: Collection[str]) -> list[PortState]:
        """Meet the media process; returns what it still runs. Events that waited are delivered after the caller went on.

        `clips`: every name core may use, with its file; it may grow. What media lacks of these groups is logged, kept in `lost_clips`
        and loaded. Raises HardwareError when media does not answer within 15 s.
        """
        self._loop = asyncio.get_running_loop()
        self._epoch = self._epoch or self._ring.epoch      # made before there was a media process: its first one replaces nothing
        self._channel.setblocking(False)
        self._loop.add_reader(self._channel.fileno(), self._on_channel)
        self._loop.add_reader(self._event_fd, self._wake)
        await self._say_hello()
        states = await self.ports()
        self.adopted = bool(states)
        self._rebuild(states)
        self.lost_clips = self._clips.know(clips, groups)
        if self.lost_clips:
            log.warning("media lacks %d clips (%s ...): they are loaded", len(self.lost_clips), ", ".join(self.lost_clips[:5]))
        self._loop.call_soon(self._release)
        return states

    def waiting(self, port: int) -> frozenset[str]:
        """Kinds of events of a port that are held until `start`'s caller has gone on: what happened since its last event was handled."""
        return frozenset(type(event).__name__ for event in self._held or () if event.port == port)

    def detach(self) -> None:
        """Let go of the loop; the media process goes on."""
        if self._loop is not None:
            self._loop.remove_reader(self._channel.fileno())
            self._loop.remove_reader(self._event_fd)
            self._loop = None
            self._clips.close()

    async def _say_hello(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + HELLO_S
        while True:
            self._ask_clips()
            assert self._hello is not None
            done, _ = await asyncio.wait([self._hello], timeout=HELLO_RETRY_S)
            if done:
                return
            if loop.time() > deadline:
                raise HardwareError(f"the media process does not answer within {HELLO_S:.0f} s: see its log")

    def _ask_clips(self) -> None:
        assert self._loop is not None
        self._nonce = os.urandom(8).hex()
        self._new_clips = []
        if self._hello is None or self._hello.done():
            self._hello = self._loop.create_future()
        self._request_page(0)

    def _request_page(self, first: int) -> None:
        try:
            self._channel.send(json.dumps({"do": "hello", "nonce": self._nonce, "from": first}).encode())
        except BlockingIOError:
            log.warning("descriptor channel is full; the media process is asked again")

    def _on_channel(self) -> None:
        while True:
            try:
                raw = self._channel.recv(MESSAGE)
            except BlockingIOError:
                return
            if not raw:
                return
            reply = json.loads(raw)
            if "answer" in reply:
                self._requests.answered(reply)
                continue
            if "news" in reply:
                at, wall_ms = self.clock.now(), self.clock.wall_ms()
                self._deliver(SideNews(port=reply["port"], at=at, wall_ms=wall_ms, what=reply["news"], facts=reply["facts"]))
                continue
            if reply.get("nonce") != self._nonce:
                continue        # meant for an earlier core, or an earlier question
            self._new_clips += reply["clips"]
            if len(self._new_clips) < reply["total"]:
                self._request_page(len(self._new_clips))
                continue
            self._clips.met({name: number for number, name in enumerate(self._new_clips)})
            known, self._local_ports = self._local_ports, reply["rtp"]
            if not known:
                self._pool.fill(self._rtp_ports())
            if self._hello is not None and not self._hello.done():
                self._hello.set_result(None)

    def chip(self, slot: int, what: str, **args: Any) -> asyncio.Future[Any]:
        """Ask the line chip of a slot: "measure", "line-test", "registers" (first, count), "gain", "hybrid", "impedance", "retry".

        "health" is of all slots, "impedance" takes a `setting`. The future gives the answer, or HardwareError with the chip's;
        EngineRefused when media is replaced first. Raises EngineBusy.
        """
        return self._requests.ask("chip", slot=slot, what=what, args=args)

    def side(self, port: int, what: str, **args: Any) -> asyncio.Future[Any]:
        """Ask what serves an RTP port beside RTP (`media/side.py`): "ice" (ufrag, pwd, remote_ufrag), "dtls" and what else is known there.

        After `open_rtp`; it is forgotten when the port closes. Futures and exceptions as of `chip`.
        """
        self._sided.add(port)
        return self._requests.ask("side", port=port, what=what, args=args)

    def _rtp_ports(self) -> range:
        return range(FIRST_RTP, FIRST_RTP + len(self._local_ports))

    def _rebuild(self, states: Sequence[PortState]) -> None:
        self._pool.fill(self._rtp_ports(), (state.port for state in states if state.kind == "rtp"))
        self._sided = set(self._pool.taken)
        self._next_file = max((state.recording_file for state in states), default=0) + 1

    # --- waking -------------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        try:
            os.eventfd_read(self._event_fd)
        except BlockingIOError:
            pass
        while batch := self._reader.read():
            for kind, port, at, wall_ms, _tick, _mono, payload in batch:
                self._handle(abi.EVENTS.get(kind, ""), port, at, wall_ms, payload)
        self._flush()
        self.clock.run_due()
        if not self._settling and self._loop is not None:
            self._settling = True
            self._loop.call_soon(self._settle, TURNS)

    def _settle(self, turns: int) -> None:
        """Commit after the loop has run what the events led to, and no timer is due."""
        if self._loop is None:
            return
        deadline = self.clock.deadline()
        if turns > 0 or (deadline is not None and deadline <= self.clock.now()):
            if turns <= 0:
                self.clock.run_due()
            self._loop.call_soon(self._settle, turns - 1 if turns > 0 else 1)
            return
        self._settling = False
        self._reader.commit()

    def _handle(self, name: str, port: int, at: int, wall_ms: int, payload: Any) -> None:
        if name in ("done", "failed"):
            self._answered(*payload)
        elif name == "port":
            if self._snapshots:
                self._snapshots[0][2].append(port_state(port, payload))
        elif name == "epoch":
            if payload[0] > self._epoch:
                self._media_lost(payload[0], at, wall_ms)
        elif (event := media_event(name, port, at, wall_ms, payload)) is not None:
            self._deliver(event)

    def _deliver(self, event: MediaEvent) -> None:
        if self._held is not None:
            self._held.append(event)
            return
        for fn in self._subscribers:
            try:
                fn(event)
            except Exception:
                log.exception("subscriber failed on %r", event)

    def _release(self) -> None:
        held, self._held = self._held or [], None
        for event in held:
            self._deliver(event)

    def _media_lost(self, epoch: int, at: int, wall_ms: int) -> None:
        log.error("media process was replaced (epoch %d): its calls are gone", epoch)
        self._epoch = epoch
        self._fail_all("the media process was replaced")
        self._requests.replaced()
        self._clips.lost()
        self._rebuild([])
        if self._hello is not None:
            self._ask_clips()           # also where an answer is awaited: it may have died with the question
        self._deliver(MediaLost(port=-1, at=at, wall_ms=wall_ms, epoch=epoch))

    # --- commands -----------------------------------------------------------------------------------------------------

    def _future(self) -> Answer:
        return (self._loop or asyncio.get_event_loop()).create_future()

    def _command(self, name: str, port: int, body: bytes = b"", *, gives_back: bool = False) -> Answer:
        answer = self._future()
        if self._overflow or (gives_back and self._writer.room == 0):
            if not gives_back:
                raise EngineBusy(f"{len(self._overflow)} commands wait for the media engine: refuse the new call and try again later")
            self._overflow.append((name, port, body, answer))
        else:
            self._pending[self._writer.write(abi.COMMANDS[name], port, body)] = name, port, answer
        if name in PLAYERS:
            self._clips.drop(port)
        return answer

    def _room_for(self, commands: int) -> None:
        if self._writer.room < commands:
            raise EngineBusy(f"the command ring has no room for {commands} commands: refuse the new call and try again later")

    def _flush(self) -> None:
        self._requests.flush()
        while self._overflow and self._writer.room:
            name, port, body, answer = self._overflow.popleft()
            self._pending[self._writer.write(abi.COMMANDS[name], port, body)] = name, port, answer

    def _answered(self, seq: int, code: int) -> None:
        if self._snapshots and self._snapshots[0][0] == seq:
            _, result, states = self._snapshots.popleft()
            if not result.done():
                result.set_result(states)
            return
        asked = self._pending.pop(seq, None)
        if asked is None or asked[2].done():
            return
        name, port, answer = asked
        if code:
            error = EngineRefused(f"media engine refused command {seq} ({name} on port {port}): {abi.FAILURES.get(code, code)}")
            log.log(logging.INFO if name in MAY_BE_REFUSED else logging.WARNING, "%s", error)
            answer.set_exception(error)
            answer.exception()  # who ignores the answer is not told again by asyncio
        else:
            answer.set_result(None)

    def _fail_all(self, why: str) -> None:
        waiting = [*(entry[2] for entry in self._pending.values()), *(entry[3] for entry in self._overflow)]
        self._pending.clear()
        self._overflow.clear()
        while self._snapshots:
            result = self._snapshots.popleft()[1]
            if not result.done():
                result.set_exception(EngineRefused(why))
        for answer in waiting:
            if not answer.done():
                answer.set_exception(EngineRefused(why))
                answer.exception()

    def ports(self) -> asyncio.Future[list[PortState]]:
        """Snapshot: open ports, and line slots that are watched."""
        if self._overflow:
            raise EngineBusy("commands wait for the media engine: ask again later")
        result: asyncio.Future[list[PortState]] = (self._loop or asyncio.get_event_loop()).create_future()
        self._snapshots.append((self._writer.write(abi.COMMANDS["snapshot"], 0), result, []))
        return result

    # RTP ports

    def allocate_rtp(self, tag: str) -> RtpPort:
        """Take a free RTP port; raises EngineBusy when there is none."""
        port = self._pool.take()
        if port is None:
            raise EngineBusy(f"all {len(self._local_ports)} RTP ports are in use, {tag} gets none: raise rtp.calls")
        return RtpPort(port, self._local_ports[port - FIRST_RTP])

    def open_rtp(self, port: int, **path: Unpack[RtpPath]) -> Answer:
        """Start an allocated port; see `media/rtp.py`."""
        return self._command("open_rtp", port, pack(path))

    def update_rtp(self, port: int, **path: Unpack[RtpPath]) -> Answer:
        """Re-INVITE: keeps jitter buffer, SSRC and, where `remote` is the same, the learned source; the same `srtp` goes on."""
        return self._command("update_rtp", port, pack(path))

    def quality(self, port: int) -> Quality | None:
        """How good the call of an RTP port is, at any time; at most a second old. None before its first report."""
        found = self._ring.quality(port)
        return None if found is None else rtp_quality(found)

    def close_rtp(self, port: int) -> Answer:
        """Close the port; its id and UDP socket may be allocated again once media has answered."""
        return self.close(port)

    # lines

    def open_line(self, slot: int, *, echo_tail_ms: int, rx_gain_db: float, tx_gain_db: float, tag: str, line: int = 0) -> Answer:
        """Start canceller (tail rounded up to 16, 32, 64 or 128 ms, 0 = none) and audio of a line port.

        `line`: a number that names what is wired there (0 = nobody knows): what was learned or offered under it is tried at once,
        and `EchoFilter` says what became of that.
        """
        return self._command("open_line", slot, abi.pack_line(echo_tail_ms, _factor(rx_gain_db), _factor(tx_gain_db), tag, line))

    def learned(self, slot: int) -> LearnedFilter | None:
        """The echo filter that media learned last on a slot; it outlives both processes."""
        found = self._ring.learned(slot)
        return None if found is None else LearnedFilter(*found)

    def offer(self, slot: int, known: LearnedFilter) -> None:
        """Keep an echo filter for the next `open_line` of a slot; media uses it when line and alignment are the same."""
        self._ring.offer(slot, known.line, known.rate, known.depth, known.erl_db, known.erle_db, known.taps)

    def close_line(self, slot: int) -> Answer:
        """Silence the line port, stop its player and detectors."""
        return self.close(slot)

    def drive(self, slot: int, code: int, hold_ms: int = 0, then: int = 0) -> Answer:
        """Set the line feed or hook (FEED_*, LINE_* of world_segment.h); with `hold_ms` only for exactly that time, then it is `then`.

        Flash and open-switch interval are such a hold. A drive cancels a hold and pulses that still run.
        """
        return self._command("drive", slot, abi.pack_drive(code, hold_ms, then), gives_back=True)

    def pulse(self, slot: int, digits: str, *, break_ms: int = 60, make_ms: int = 40, between_ms: int = 750, token: int) -> Answer:
        """Dial 0-9 by breaks of the loop of a line that is off-hook, exact to the ms; ends with `PulseSent(token)`.

        `between_ms` is the pause from the last closure of a digit to the first break of the next; `PulseSent.at` is the last closure.
        """
        return self._command("pulse", slot, abi.pack_pulse(token, digits, break_ms, make_ms, between_ms))

    def watch_line(self, slot: int, kind: Literal["fxo", "fxs"]) -> Answer:
        """Scan the slot's line facts; one that is watched as this kind already goes on undisturbed."""
        return self._command("watch", slot, abi.pack_word(WATCH[str(kind)]), gives_back=True)

    # mixing

    def join(self, bridge: int, port: int, *, hear: bool = True, speak: bool = True, whisper: int | None = None) -> Answer:
        """Put a port into a bridge (0..127), out of the one it was in; again: change what it hears and says. A supervisor listens with
        `speak=False`, is heard by one member alone with `whisper` (its port), and by all with neither."""
        return self._command("join", port, abi.pack_join(bridge, hear, speak, -1 if whisper is None else whisper))

    def gain_control(self, port: int, on: bool, *, target_dbm0: float = -20.0, most_db: float = 10.0) -> Answer:
        """Raise what a quiet person on this port says slowly towards the target, by `most_db` at most; its detectors hear it as it is."""
        return self._command("agc", port, abi.pack_agc(on, target_dbm0, most_db), gives_back=not on)

    def clear_channel(self, port: int, on: bool) -> Answer:
        """For fax and modems: no high-pass, canceller, gain, gain control or muting on this port, until it is closed or set back."""
        return self._command("clear_channel", port, abi.pack_flag(on), gives_back=not on)

    def measure(self, port: int, *, levels: bool = True, activity: bool = False) -> Answer:
        """Measure a port for `meters`; `activity` adds an `Activity` event at both ends of a talk. A relayed pair is mixed for it."""
        return self._command("measure", port, abi.pack_measure(levels, activity), gives_back=not (levels or activity))

    def meters(self, port: int) -> PortMeters | None:
        """What was measured last, at any time; None while `measure` was not asked for."""
        found = self._ring.gauge(port)
        return None if found is None else port_meters(found)

    def leave(self, port: int) -> Answer:
        """Take a port out of its bridge."""
        return self._command("leave", port, gives_back=True)

    def relay(self, a: int, b: int) -> Answer:
        """Pair two RTP ports of one codec (refused otherwise); a line or RTP port paired with itself hears itself."""
        return self._command("relay", a, abi.pack_relay(b))

    def unrelay(self, a: int) -> Answer:
        """Part a relay pair or end a loop."""
        return self._command("unrelay", a, gives_back=True)

    # players

    def play(
        self, port: int, clips: Sequence[str], *, token: int, loop: bool = False, stop_on_digit: bool = False, gain_db: float = 0.0
    ) -> Answer:
        """Play clips one after the other; ends with `Played(token)`. Unknown names are left out and logged; others are loaded first."""
        prompt = Prompt(tuple(clips), token, loop, stop_on_digit, gain_db)
        if self._clips.ready(clips):
            return self._play(port, prompt)
        answer = self.stop(port)
        self._clips.wait(port, prompt)
        return answer

    def _play(self, port: int, prompt: Prompt) -> Answer:
        numbers = self._clips.numbers
        known = [numbers[name] for name in prompt.clips if name in numbers]
        if unknown := [name for name in prompt.clips if name not in numbers]:
            log.error("port %d: clips %s do not exist and are left out", port, unknown)
        if not known:
            self._stopped(port, prompt.token, True)     # whoever waits for the end of this prompt must go on: it ends at once
            return self.stop(port)
        body = abi.pack_play(prompt.token, known[: abi.CLIPS_MAX], _factor(prompt.gain_db), prompt.loop, prompt.stop_on_digit)
        return self._command("play", port, body)

    def _stopped(self, port: int, token: int, finished: bool = False) -> None:
        """A prompt that never reached the engine is over."""
        event = Played(port=port, at=self.clock.now(), wall_ms=self.clock.wall_ms(), token=token, finished=finished, digit="")
        self.clock.call_later(0, lambda: self._deliver(event))

    def speak(self, groups: Collection[str]) -> None:
        """Have the clips of these groups (`call/spoken.py`) ready: those that media lacks are loaded, who asks before then waits."""
        self._clips.speak(groups)

    def load_clip(self, name: str, source: Path | bytes) -> asyncio.Future[int]:
        """Have media load a WAV (8 kHz, one channel, 16 bit: a file, or itself) as a clip, or in the place of one of that name.

        The future gives its bytes, or HardwareError for a file that cannot be used. Raises EngineBusy. It goes when media is replaced.
        """
        return self._requests.load_clip(name, source, self._clips.numbers)

    def drop_clip(self, name: str) -> None:
        """Have media forget a clip of `load_clip`; whoever hears it goes on with what is behind it."""
        number = self._clips.numbers.pop(name, None)
        if number is not None:
            self._requests.ask("forget", number=number)

    def tone(self, port: int, tone: ToneSpec, *, token: int = 0, duration_ms: int = 0) -> Answer:
        """Play a tone with its cadence; 0 ms = until stopped. Ends with `Played` unless token is 0."""
        return self._command("tone", port, abi.pack_tone(token, duration_ms, *_spec(tone)))

    def stop(self, port: int) -> Answer:
        """Stop the player."""
        return self._command("stop", port, gives_back=True)

    def send_dtmf(self, port: int, digits: str, *, on_ms: int = 100, off_ms: int = 100, level_dbm0: float = -9.0, token: int) -> Answer:
        """Send up to 64 keys, in-band or, on an RTP port with telephone events, as RFC 4733; ends with `DtmfSent`."""
        return self._command("dtmf", port, abi.pack_dtmf(token, digits, on_ms, off_ms, level_dbm0))

    def send_fsk(self, port: int, payload: bytes, *, standard: str, token: int, in_call: bool = False) -> Answer:
        """Send a caller-id message (type, length, parameters; seizure, framing and checksum are added); ends with `FskSent`.

        `in_call`: to a telephone in a conversation, after its acknowledge: no seizure, 80 marks.
        """
        parts = [payload[at : at + abi.STAGE_MAX] for at in range(0, len(payload), abi.STAGE_MAX)]
        self._room_for(len(parts) + 1)
        for number, part in enumerate(parts):
            self._command("stage", port, abi.pack_stage(number * abi.STAGE_MAX, part))
        return self._command("fsk", port, abi.pack_fsk(token, FSK[standard] - 1, len(payload), FSK_LEVEL, in_call))

    # detectors

    def detect(
        self, port: int, *, digits: bool, fsk: str = "", voice: bool = False, tones: Sequence[ToneSpec] = (), fax: bool = False,
        learn: bool = False,
    ) -> Answer:  # fmt: skip
        """Replace the port's set of detectors (at most 8 tones).

        `fsk` "auto": both standards, and `AlertTone` events. `fax`: `FaxTone` events; `learn`: keep a line's late sound.
        """
        self._room_for(len(tones) + 1)
        answer = self._command("detect", port, abi.pack_detect(digits, FSK[fsk], voice, len(tones), fax, learn))
        for index, tone in enumerate(tones):
            answer = self._command("detect_tone", port, abi.pack_detect_tone(index, *_spec(tone)))
        return answer

    def learn(self, slot: int) -> Answer:
        """Derive the disconnect tone from what was heard last under `learn`, also after the port closed; ends with `LearnedTone`."""
        return self._command("learn", slot)

    def mute_digits(self, port: int, on: bool) -> Answer:
        """Keep in-band DTMF of this port from its bridge."""
        return self._command("mute_digits", port, abi.pack_flag(on), gives_back=not on)

    # recording

    def record(self, port: int, file: int, *, token: int, key: bytes = b"", ident: bytes = b"", coded: str = "") -> Answer:
        """Record into the open descriptor `file`, which stays the caller's; ends with `Recorded(token)`. With `key`: sealed (dsp/vault),
        and `coded` by "a-law" or "mu-law" where it is not empty."""
        self._room_for(1)
        number, self._next_file = self._next_file, self._next_file % 0x7FFFFFFF + 1
        try:
            message = {"do": "file", "file": number, "key": key.hex(), "ident": ident.hex(), "coded": coded}
            socket.send_fds(self._channel, [json.dumps(message).encode()], [file])
        except BlockingIOError:
            raise EngineBusy("the descriptor channel to media is full: try the recording again later") from None
        return self._command("record", port, abi.pack_record(token, number))

    def mask(self, port: int, on: bool) -> Answer:
        """Let the recording of a port hold silence, or no longer. Refused for `on` where the port is not recorded."""
        return self._command("mask", port, abi.pack_flag(on), gives_back=not on)

    def stop_record(self, port: int) -> Answer:
        """End the recording of a port."""
        return self._command("stop_record", port, gives_back=True)

    def close(self, port: int) -> Answer:
        """Any port: out of bridge and relay; player, detectors and recorder stopped; an RTP port becomes free."""
        answer = self._command("close", port, gives_back=True)
        if port in self._sided:
            self._sided.discard(port)
            self._requests.end(port)
        if port in self._pool.taken:
            answer.add_done_callback(lambda _: self._pool.give(port))
        return answer


def _factor(db: float) -> float:
    return float(10 ** (db / 20)) if db else 1.0


def _spec(tone: ToneSpec) -> tuple[str, tuple[float, ...], float, tuple[int, ...], int, tuple[int, ...], tuple[float, ...]]:
    return tone.name, tone.freqs_hz, tone.level_dbm0, tone.cadence_ms, tone.cycles, tone.phase_masks(), tone.phase_levels_db
