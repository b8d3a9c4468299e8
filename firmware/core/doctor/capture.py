"""One-command capture of a port: both directions as stereo WAV and a timeline that a person can read (L5).

Theory of operation
-------------------
A capture records the port with the engine's recorder (left what the line says, right what is sent to it), whatever the port does: idle,
ringing, in a call. A call's end closes the port and with it the recorder; the capture then begins another piece at once and joins the
pieces when it is over, with silence where none ran, so that its sound is one file on one time scale. Meanwhile it copies the port's trace
and the events of the chip every half second. It ends by itself: by time, by size, when the disk runs low. A call that must be recorded
goes first: its recording takes the recorder (`SharedRecorder`), the timeline says so.
Files: `captures/NAME.wav` and `NAME.txt`; the oldest go when there are more than twenty or 200 MB.
Invariants: one capture per port; no capture lasts longer than its time; every started capture ends with both files or with a reason.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import re
import wave
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from firmware.control import line_commands as cmd
from firmware.core.doctor.book import LineBook
from firmware.core.lines_port import LinePort, TraceEntry
from firmware.errors import CommandError, EngineBusy, EngineRefused
from firmware.runtime.clock import Clock, Timer

log = logging.getLogger("branchpbx.doctor")

RATE = 8000
FRAME = 4                        # bytes: two channels of 16 bit
HEADER = 44
POLL_MS = 500
MEGABYTE = 1_000_000
KEEP = 20
KEEP_BYTES = 200 * MEGABYTE
CHUNK = 192 * 1024
FIRST_TOKEN = 0x60000000         # far from the tokens of calls
Background = Callable[[Callable[[], Any], Callable[[Any], None]], None]


class CaptureMedia(Protocol):
    """What captures need of `firmware.media.Media`."""

    def subscribe(self, fn: Callable[[Any], None]) -> object: ...
    def record(self, port: int, file: int, *, token: int) -> Any: ...
    def stop_record(self, port: int) -> Any: ...
    def close_line(self, slot: int) -> Any: ...


@dataclass
class _Piece:
    """One run of the recorder: engine ms of its begin (known exactly when it is over), samples."""

    path: Path
    token: int
    begin: int
    samples: int = 0
    lost: int = 0
    over: bool = False


@dataclass
class _Run:
    """A capture that is going on."""

    port: LinePort
    name: str
    begin: int
    wall_ms: int
    end: int
    pieces: list[_Piece] = field(default_factory=list)
    lines: list[tuple[int, str]] = field(default_factory=list)
    seen: TraceEntry | None = None
    yielded: bool = False
    ending: str = ""
    timer: Timer | None = None
    done: list[Callable[[], None]] = field(default_factory=list)


class Captures:
    """See the theory of operation. `reserve_mb`: what must stay free on the disk."""

    def __init__(
        self, book: LineBook, media: CaptureMedia, clock: Clock, folder: Path, zone: str, reserve_mb: int, background: Background
    ) -> None:
        self._book, self._media, self._clock = book, media, clock
        self._folder, self._zone, self._reserve = folder, ZoneInfo(zone), reserve_mb * MEGABYTE
        self._background = background
        self._runs: dict[int, _Run] = {}
        self._closing: list[_Run] = []
        self._tokens = FIRST_TOKEN
        self._states: dict[str, str] = {}
        media.subscribe(self._on_media)
        self._sweep()

    def reserve(self, megabytes: int) -> None:
        """Take over another limit."""
        self._reserve = megabytes * MEGABYTE

    # --- commands -----------------------------------------------------------------------------------------------------

    def start(self, command: cmd.CaptureStart) -> cmd.CaptureRow:
        """Begin a capture."""
        port = self._book.port(command.line)
        if port.slot in self._runs:
            raise CommandError(f"{port.endpoint} is being captured; `capture stop {command.line}` ends that")
        self._room(command.seconds * RATE * FRAME)
        wall = self._clock.wall_ms()
        stamp = datetime.fromtimestamp(wall / 1000, self._zone).strftime("%Y%m%d-%H%M%S")
        name = f"{stamp}-{port.endpoint.replace('/', '')}"
        now = self._clock.now()
        run = _Run(port, name, now, wall, now + command.seconds * 1000)
        self._note(run, now, "capture", f"begins on {port.endpoint}, {command.seconds} s at most; state {port.machine.state.state}")
        status = port.status()
        self._note(run, now, "line", f"{status.volts:.1f} V, {status.milliamps:.1f} mA, {'off-hook' if status.off_hook else 'on-hook'}")
        run.seen = port.trace[-1] if port.trace else None
        self._runs[port.slot] = run
        try:
            self._record(run)
        except CommandError:
            del self._runs[port.slot]
            raise
        self._states[name] = "recording"
        run.timer = self._clock.call_later(POLL_MS, lambda: self._poll(run))
        return self._row(name, port.endpoint, run)

    def stop(self, command: cmd.CaptureStop) -> cmd.CaptureRow:
        """End a capture before its time."""
        port = self._book.port(command.line)
        run = self._runs.get(port.slot)
        if run is None:
            raise CommandError(f"{port.endpoint} is not being captured; `capture list` shows what is")
        self._end(run, "stopped")
        return self._row(run.name, port.endpoint, run)

    def listing(self, _: cmd.CaptureList) -> list[cmd.CaptureRow]:
        """What is kept, newest first."""
        rows = [self._row(run.name, run.port.endpoint, run) for run in [*self._runs.values(), *self._closing]]
        running = {row.name for row in rows}
        for path in self._kept():
            name = path.stem
            if name not in running:
                rows.append(self._row(name, "", None))
        return sorted(rows, key=lambda row: row.name, reverse=True)

    def show(self, command: cmd.CaptureShow) -> cmd.CaptureText:
        """The timeline of a finished capture."""
        wav, text = self._paths(command.name)
        try:
            lines = text.read_text("utf-8").splitlines()
        except OSError:
            raise CommandError(f"there is no finished capture {command.name}; `capture list` shows them") from None
        return cmd.CaptureText(command.name, str(wav), _seconds(wav), lines)

    def read(self, command: cmd.CaptureRead) -> cmd.CaptureChunk:
        """A part of the sound."""
        wav, _ = self._paths(command.name)
        try:
            size = wav.stat().st_size
            with wav.open("rb") as file:
                file.seek(command.offset)
                data = file.read(CHUNK)
        except OSError:
            raise CommandError(f"there is no finished capture {command.name}; `capture list` shows them") from None
        reached = command.offset + len(data)
        return cmd.CaptureChunk(base64.b64encode(data).decode(), size, reached if reached < size else 0)

    def delete(self, command: cmd.CaptureDelete) -> cmd.Done:
        """Remove a finished capture."""
        if any(run.name == command.name for run in self._runs.values()):
            raise CommandError(f"{command.name} is still recording; stop it first")
        paths = [path for path in self._paths(command.name) if path.exists()]
        if not paths:
            raise CommandError(f"there is no capture {command.name}; `capture list` shows them")
        for path in paths:
            path.unlink(missing_ok=True)
        self._states.pop(command.name, None)
        return cmd.Done(f"{command.name} is deleted", f"{command.name} 已删除")

    # --- a call's own recording goes first ------------------------------------------------------------------------------

    def give_way(self, port: int) -> None:
        """Somebody else records this port now."""
        run = self._runs.get(port)
        if run is None or run.yielded:
            return
        run.yielded = True
        self._note(run, self._clock.now(), "capture", "the call is recorded from here on; its own recording has the sound")
        self._media.stop_record(port)

    def free_again(self, port: int) -> None:
        """That recording is over."""
        run = self._runs.get(port)
        if run is not None and run.yielded:
            run.yielded = False
            self._again(run)

    def settle(self, ports: Iterable[Any]) -> None:
        """Media runs (`PortState`s): recordings of captures that an earlier core had begun are ended."""
        for state in ports:
            token = getattr(state, "recording", None)
            if token is not None and token >= FIRST_TOKEN:
                self._media.stop_record(state.port)

    # --- recording ------------------------------------------------------------------------------------------------------

    def _record(self, run: _Run) -> None:
        self._tokens = FIRST_TOKEN + (self._tokens - FIRST_TOKEN + 1) % 0x0FFFFFFF
        path = self._folder / f".{run.name}-{len(run.pieces)}.part"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise CommandError(f"{path}: cannot be written ({error.strerror}); check disk and rights") from None
        piece = _Piece(path, self._tokens, self._clock.now())
        try:
            answer = self._media.record(run.port.slot, descriptor, token=piece.token)
        except EngineBusy as error:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise CommandError(str(error)) from None
        run.pieces.append(piece)

        def answered(future: Any) -> None:
            os.close(descriptor)
            if not future.cancelled() and future.exception() is not None:
                piece.over = True
                self._note(run, self._clock.now(), "capture", "the port is recorded by a call: no sound until that is over")
                run.yielded = True
                self._finish_if_over(run)

        if hasattr(answer, "add_done_callback"):
            answer.add_done_callback(answered)
        else:
            os.close(descriptor)

    def _again(self, run: _Run) -> None:
        """The port was closed: go on with another piece."""
        if run.ending or run.yielded:
            return
        try:
            self._record(run)
        except CommandError as error:
            self._end(run, f"no more sound: {error}")

    def _on_media(self, event: Any) -> None:
        name = type(event).__name__
        if name == "MediaLost":
            for one in list(self._runs.values()):
                for piece in one.pieces:
                    piece.over = True
                self._end(one, "the media process was replaced")
            return
        here = [one for one in [*self._runs.values(), *self._closing] if one.port.slot == event.port]
        run: _Run | None = next(iter(here), None)
        if name == "Recorded":
            run = next((one for one in here if any(piece.token == event.token for piece in one.pieces)), run)
        if run is None:
            if name == "Recorded":
                self.free_again(event.port)
            return
        if name == "Recorded":
            self._recorded(run, event)
        elif name in ("PortHealth", "FskMessage", "AlertTone", "FaxTone"):
            names = [key for key in event.__struct_fields__ if key not in ("port", "at", "wall_ms")]
            fields = ", ".join(f"{key}={_plain(getattr(event, key))}" for key in names)
            self._note(run, event.at, "chip" if name == "PortHealth" else "heard", f"{name} {fields}")

    def _recorded(self, run: _Run, event: Any) -> None:
        piece = next((one for one in run.pieces if one.token == event.token and not one.over), None)
        if piece is None:
            self.free_again(event.port)
            return
        piece.over, piece.samples, piece.lost = True, event.samples, event.lost_samples
        piece.begin = event.at - (event.samples + event.lost_samples) * 1000 // RATE
        if run.ending:
            self._finish_if_over(run)
        else:
            self._again(run)

    def _poll(self, run: _Run) -> None:
        if run.ending:
            return
        self._copy_trace(run)
        if self._clock.now() >= run.end:
            self._end(run, "time is over")
            return
        with contextlib.suppress(OSError):
            if self._free() < self._reserve:
                self._end(run, "the disk runs low")
                return
        run.timer = self._clock.call_later(min(POLL_MS, run.end - self._clock.now()), lambda: self._poll(run))

    def _copy_trace(self, run: _Run) -> None:
        fresh = []
        for entry in reversed(run.port.trace):
            if entry is run.seen:
                break
            fresh.append(entry)
        for entry in reversed(fresh):
            self._note(run, entry.at, entry.direction, f"{entry.text}  [{entry.state}]" + (f" {entry.leg}" if entry.leg else ""))
        if fresh:
            run.seen = fresh[0]

    def _note(self, run: _Run, at: int, kind: str, text: str) -> None:
        if len(run.lines) < 20_000:
            run.lines.append((at, f"{kind:<8} {text}"))

    # --- the end --------------------------------------------------------------------------------------------------------

    def _end(self, run: _Run, why: str) -> None:
        if run.ending:
            return
        run.ending, run.end = why, self._clock.now()
        if run.timer is not None:
            run.timer.cancel()
        self._copy_trace(run)
        self._note(run, self._clock.now(), "capture", f"ends: {why}")
        self._runs.pop(run.port.slot, None)
        self._closing.append(run)
        if not run.yielded:
            self._media.stop_record(run.port.slot)
        self._finish_if_over(run)

    def _finish_if_over(self, run: _Run) -> None:
        if not run.ending or run not in self._closing or not all(piece.over for piece in run.pieces):
            return
        self._closing.remove(run)
        machine = run.port.machine
        if not machine.state.audio and not run.port.leg:
            self._media.close_line(run.port.slot)        # the recorder had opened it
        length = run.end - run.begin
        text = self._text(run)
        wav, txt = self._paths(run.name)

        def work() -> str:
            try:
                join([(piece.path, piece.begin - run.begin) for piece in run.pieces], wav, length)
                txt.write_text(text, "utf-8")
                return run.ending
            except OSError as error:
                return f"cannot be written ({error.strerror})"
            finally:
                for piece in run.pieces:
                    piece.path.unlink(missing_ok=True)

        def then(state: str) -> None:
            self._states[run.name] = "done" if state in ("time is over", "stopped") else state
            log.info("capture %s: %s", run.name, state)
            for fn in run.done:
                fn()

        self._background(work, then)

    def _text(self, run: _Run) -> str:
        """The timeline: seconds since the begin, what kind of thing, what it was."""
        head = [
            f"capture {run.name}",
            f"port    {run.port.endpoint} (slot {run.port.slot}), begins {_local(run.wall_ms, self._zone)}, engine {run.begin} ms",
            "sound   left = what the line says, right = what is sent to it, 8 kHz; second 0 of the sound is 0.000 below",
            "kinds   fact = measured or heard, want = asked by a call, do = told to the chip or engine, event = said to call control",
            "",
        ]
        rows = [f"{(at - run.begin) / 1000:10.3f}  {text}" for at, text in sorted(run.lines, key=lambda line: line[0])]
        return "\n".join([*head, *rows]) + "\n"

    # --- files ----------------------------------------------------------------------------------------------------------

    def _paths(self, name: str) -> tuple[Path, Path]:
        if not re.fullmatch(r"[0-9a-z-]{1,60}", name):
            raise CommandError(f"{name!r} is no name of a capture")
        return self._folder / f"{name}.wav", self._folder / f"{name}.txt"

    def _kept(self) -> list[Path]:
        try:
            return sorted(self._folder.glob("*.wav"))
        except OSError:
            return []

    def _free(self) -> int:
        disk = os.statvfs(self._folder if self._folder.exists() else self._folder.parent)
        return disk.f_bavail * disk.f_frsize

    def _room(self, wanted: int) -> None:
        """Twice the capture (its pieces and the joined file) and the reserve must fit; the oldest captures go."""
        kept = self._kept()
        sizes = {path: path.stat().st_size for path in kept}
        while kept and (len(kept) >= KEEP or sum(sizes[path] for path in kept) + wanted > KEEP_BYTES):
            old = kept.pop(0)
            old.unlink(missing_ok=True)
            old.with_suffix(".txt").unlink(missing_ok=True)
            log.info("%s: removed, captures keep %d files and %d MB", old, KEEP, KEEP_BYTES // MEGABYTE)
        try:
            free = self._free()
        except OSError as error:
            raise CommandError(f"{self._folder}: {error.strerror}; check the disk") from None
        if free < self._reserve + 2 * wanted:
            need = (self._reserve + 2 * wanted) // MEGABYTE
            raise CommandError(f"{free // MEGABYTE} MB are free, {need} are needed: delete captures or recordings, or capture less")

    def _sweep(self) -> None:
        """Pieces of captures that a power cut ended are of no use without their timeline."""
        for path in self._folder.glob(".*.part"):
            path.unlink(missing_ok=True)

    def _row(self, name: str, endpoint: str, run: _Run | None) -> cmd.CaptureRow:
        wav, _ = self._paths(name)
        if run is not None:
            seconds, size = (self._clock.now() - run.begin) / 1000, 0
        else:
            seconds, size = _seconds(wav), wav.stat().st_size // 1024 if wav.exists() else 0
        stamp = name[:15]
        started = f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]} {stamp[9:11]}:{stamp[11:13]}:{stamp[13:15]}"
        state = "recording" if run is not None and not run.ending else self._states.get(name, "done")
        return cmd.CaptureRow(name, endpoint or _endpoint(name), started, round(seconds, 1), size, state)


class SharedRecorder:
    """Media as calls see it: their recordings take the recorder of a port from a capture."""

    def __init__(self, media: Any, captures: Callable[[], Captures | None]) -> None:
        self._media, self._captures = media, captures

    def __getattr__(self, name: str) -> Any:
        return getattr(self._media, name)

    def record(self, port: int, file: int, *, token: int, key: bytes = b"", ident: bytes = b"", coded: str = "") -> Any:
        """As `Media.record`."""
        captures = self._captures()
        if captures is not None:
            captures.give_way(port)
        try:
            return self._media.record(port, file, token=token, key=key, ident=ident, coded=coded)
        except (EngineBusy, EngineRefused):
            if captures is not None:
                captures.free_again(port)
            raise


def join(pieces: list[tuple[Path, int]], target: Path, length_ms: int) -> None:
    """One stereo WAV of pieces and where (ms) they begin; silence fills what lies between. Written beside and then renamed."""
    part = target.with_suffix(".joining")
    at = 0
    with wave.open(str(part), "wb") as out:
        out.setparams((2, 2, RATE, 0, "NONE", ""))
        for path, begin_ms in pieces:
            try:
                data = path.read_bytes()[HEADER:]
            except FileNotFoundError:
                continue
            begin = max(at, begin_ms * RATE // 1000)
            out.writeframes(bytes(FRAME * (begin - at)))
            out.writeframes(data[: len(data) - len(data) % FRAME])
            at = begin + len(data) // FRAME
        out.writeframes(bytes(FRAME * max(0, length_ms * RATE // 1000 - at)))
    part.replace(target)


def _seconds(wav: Path) -> float:
    try:
        return max(0.0, (wav.stat().st_size - HEADER) / FRAME / RATE)
    except OSError:
        return 0.0


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _local(wall_ms: int, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(wall_ms / 1000, zone).isoformat(" ", "milliseconds")


def _endpoint(name: str) -> str:
    tail = name[16:]
    for word in ("line", "fxs"):
        if tail.startswith(word):
            return f"{word}/{tail.removeprefix(word)}"
    return tail
