"""Recorded calls heard by telephone: found in the catalogue, unsealed in memory, spoken to one leg (L5; I2, I5).

Theory of operation
-------------------
The pure part (`call/replay.py`) says whose calls and which part of which recording; here the catalogue is asked and the sealed file read,
both beside the event loop. A part is unsealed, both channels become one, and media gets it through a descriptor of memory: nothing in clear
is ever in a file. While one part is heard the next one is made ready, so that they follow without a pause. A leg has at most two parts in
media, named by its port, so that what a core which was killed left there is overwritten by the next one; they go with the leg. Whatever is
found or heard is written to the access log, with telephone and agent.
"""

from __future__ import annotations

import array
import io
import logging
import wave
from operator import add
from typing import TYPE_CHECKING, Any

from firmware.call import voicemail_actions as vm
from firmware.call.model import LegEnded
from firmware.core.call_recorder import Background
from firmware.core.recordings import Recordings
from firmware.errors import EngineBusy, EngineRefused, HardwareError, PbxError
from firmware.store.recordings import Found
from firmware.store.vault import RATE

if TYPE_CHECKING:
    from firmware.core.calls import Calls

log = logging.getLogger("branchpbx.recordings")
LOOKED_AT = 400                 # recordings of an agent that are looked through for those of the queues asked for


class ReplayPart:
    """See the theory of operation."""

    def __init__(self, calls: Calls, media: Any, recordings: Recordings, background: Background) -> None:
        self._calls = calls
        self._media = media
        self._recordings = recordings
        self._background = background
        self._next: dict[str, tuple[str, int, str]] = {}         # leg -> path, place and clip that is ready
        self._clips: dict[str, list[str]] = {}                   # leg -> clips in media, the latest last
        calls.executors.update({vm.FindRecordings: self._find, vm.PlayRecording: self._play})
        calls.bus.subscribe(LegEnded, lambda event: self._over(event.leg))

    def _find(self, contact: str, action: vm.FindRecordings) -> None:
        store, wall = self._recordings.store, self._calls.clock.wall_ms()

        def work() -> tuple[vm.Kept, ...]:
            store.flush()
            rows = store.find(Found(agent=action.agent, lines=LOOKED_AT if action.queues else action.most))
            fitting = [row for row in rows if not action.queues or row["queue"] in action.queues][: action.most]
            store.seen(action.by, "list", "", wall, f"{len(fitting)} found agent={action.agent}, by telephone")
            return tuple(
                vm.Kept(
                    row["path"], row["contact"], row["started_ms"], row["frames"] * 1000 // RATE,
                    (row["called"] if row["kind"] == "outbound" else row["caller"]) or "",
                )
                for row in fitting
            )  # fmt: skip

        self._background(work, lambda found: self._calls.take(vm.RecordingsFound(action.leg, self._calls.clock.now(), action.token, found)))

    # --- playing ------------------------------------------------------------------------------------------------------

    def _play(self, contact: str, action: vm.PlayRecording) -> None:
        if action.first:
            self._recordings.store.seen(action.by, "replay", action.path, self._calls.clock.wall_ms(), "by telephone")
        ready = self._next.pop(action.leg, None)
        if ready is not None and ready[:2] == (action.path, action.at_ms):
            self._speak(contact, action, ready[2])
            return
        self._prepare(contact, action, action.at_ms, lambda clip: self._speak(contact, action, clip))

    def _prepare(self, contact: str, action: vm.PlayRecording, at_ms: int, then: Any) -> None:
        """Unseal a part and have media load it; `then(clip)`. What fails is told to the caller unless it was made ready ahead."""
        port = self._calls.audio.ports.get(action.leg, -1)
        if port < 0:
            return
        ahead = at_ms != action.at_ms

        def failed(reason: object) -> None:
            if not ahead:
                log.warning("%s: cannot be played: %s", action.path, reason)
                self._calls.take(vm.Unplayable(action.leg, self._calls.clock.now(), action.token, str(reason)))

        def work() -> bytes | Exception:
            try:
                samples = self._recordings.sealed(action.path).span(at_ms, action.ms)
            except (PbxError, OSError) as error:
                return error
            return to_mono(samples) if samples else HardwareError("nothing of it can be read from there on")

        def done(result: bytes | Exception) -> None:
            if not isinstance(result, bytes):
                failed(result)
                return
            if action.leg not in self._calls.audio.ports:
                return
            used = self._clips.setdefault(action.leg, [])
            name = f"replay/{port}/0" if not used or used[-1].endswith("/1") else f"replay/{port}/1"
            try:
                answer = self._media.load_clip(name, result)
            except (EngineBusy, EngineRefused) as error:
                failed(error)
                return
            used[:] = [*used[-1:], name]
            answer.add_done_callback(
                lambda future: then(name) if not future.cancelled() and future.exception() is None else failed("media did not take it")
            )

        self._background(work, done)

    def _speak(self, contact: str, action: vm.PlayRecording, clip: str) -> None:
        """Play it, unless the person did something else meanwhile; then make the next part ready."""
        state = self._calls.state(contact)
        play = state.plays.get(action.leg) if state is not None else None
        if play is None or play.token != action.token:
            return
        self._calls.audio.recording(vm.PlayFile(action.leg, action.token, "", ""), clip)
        following = action.at_ms + action.ms

        def ready(name: str) -> None:
            self._next[action.leg] = (action.path, following, name)

        self._prepare(contact, action, following, ready)

    def _over(self, leg: str) -> None:
        self._next.pop(leg, None)
        for clip in self._clips.pop(leg, ()):
            self._media.drop_clip(clip)


def to_mono(samples: bytes) -> bytes:
    """A WAV of one channel, as it was heard, from samples of two."""
    both = array.array("h", samples)
    left, right = both[::2], both[1::2]
    try:
        mono = array.array("h", map(add, left, right))
    except OverflowError:
        mono = array.array("h", (max(-32768, min(32767, a + b)) for a, b in zip(left, right, strict=True)))
    target = io.BytesIO()
    with wave.open(target, "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", ""))
        out.writeframes(mono.tobytes())
    return target.getvalue()
