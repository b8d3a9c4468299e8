"""Recording on behalf of the switchboard: a sealed file is opened beside the call, then media writes into it (L5).

Theory of operation. Opening may block (a full disk is cleared first), so it is done by `background`; the descriptor goes to media, which
keeps a copy of its own, with the file's key: media seals what it writes, so a recording goes on while core is replaced. What came of it is
given to the switchboard as `RecordingStarted` or `RecordingRefused`; a refusal for want of room or disk raises the alarm "recording", which
the next file that opens, or the next sweep that finds all well, clears. Every `SWEEP_MS` old files go, files whose end nobody told are
booked, and recordings that run are ended when the disk is short: configuration and records come first.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, TypeVar

from firmware.call import actions as do
from firmware.call.recording import NOTICE
from firmware.call.times import LocalTime
from firmware.config.schema.recording import Recording
from firmware.core.call_audio import CallMedia, on_failure, when_done
from firmware.core.call_executors import Executor
from firmware.core.recordings import Opened, RecordingRefusedError, Recordings
from firmware.errors import EngineBusy, EngineRefused

if TYPE_CHECKING:
    from firmware.core.calls import Calls

T = TypeVar("T")
#: Runs work that may block (opening a file) and hands its result to the second function on the core's thread.
Background = Callable[[Callable[[], Any], Callable[[Any], None]], None]
SWEEP_MS = 60_000

log = logging.getLogger("branchpbx.recordings")


def inline(work: Callable[[], T], then: Callable[[T], None]) -> None:
    """The `Background` that does it at once."""
    then(work())


class Recorder:
    """See the module docstring."""

    def __init__(
        self, calls: Calls, media: CallMedia, recordings: Recordings, local: Callable[[int], LocalTime], background: Background
    ) -> None:
        self._calls = calls
        self._media = media
        self.recordings = recordings
        self._local = local
        self.background = background
        self._opening: set[str] = set()

    def settings(self, settings: Recording) -> None:
        """Take over another configuration."""
        self.recordings.settings = settings

    def notices(self, clips: Collection[str]) -> None:
        """Learn in which languages the recording notice can be said; a missing one is an alarm where anything is to be recorded."""
        config, board = self._calls.board.config, self._calls.board
        have = frozenset(language for language in config.site.languages if f"{language}/{NOTICE}" in clips)
        board.notices = have
        wanted = bool(config.recording.rules) or any(queue.record for queue in config.queues.values())
        wanted = wanted or any(room.record for room in config.rooms.values())
        lacking = [language for language in config.site.languages if language not in have]
        named = ", ".join(lacking)
        text = f"the recording notice ({NOTICE}) is missing in {named}: calls that need it there are not recorded; build the prompts"
        self._calls.alarms.note("recording-notice", text if wanted and lacking else "")

    def executors(self) -> dict[type[do.Action], Executor]:
        """What is done for the actions of recording."""
        return {
            do.StartRecording: self._start,
            do.StopRecording: lambda contact, action: self._calls.audio.stop_record(action.leg),
            do.MaskRecording: self._mask,
            do.FinishRecording: self._finish,
        }

    def start(self) -> None:
        """Book what an earlier process left, and look after the disk from now on."""
        self._sweep()

    # --- a call -------------------------------------------------------------------------------------------------------

    def _start(self, contact: str, action: do.StartRecording) -> None:
        wall_ms = self._calls.clock.wall_ms()
        local = self._local(wall_ms)

        def work() -> Opened | RecordingRefusedError:
            try:
                return self.recordings.open(contact, action.leg, local, wall_ms, keep=action.keep, rule=action.rule)
            except RecordingRefusedError as error:
                return error

        self.background(work, lambda result: self._opened(action, result))

    def _opened(self, action: do.StartRecording, result: Opened | RecordingRefusedError) -> None:
        calls = self._calls
        now = calls.clock.now()
        if isinstance(result, RecordingRefusedError):
            calls.alarms.raise_("recording", str(result))
            calls.take(do.RecordingRefused(action.leg, now, action.token, str(result)))
            return
        calls.alarms.clear("recording")
        port = calls.audio.ports.get(action.leg, -1)
        try:
            if port < 0:
                raise EngineRefused(f"leg {action.leg} has no port any more")
            answer = self._media.record(
                port, result.descriptor, token=action.token, key=result.key, ident=result.ident, coded=result.coded
            )
        except (EngineBusy, EngineRefused) as error:
            os.close(result.descriptor)
            self._book(result.path, 0, ())
            calls.take(do.RecordingRefused(action.leg, now, action.token, str(error)))
        else:
            # Media keeps its own copy of the descriptor; ours may go once the command is answered.
            when_done(answer, lambda: os.close(result.descriptor))
            on_failure(answer, lambda: calls.take(do.Recorded(action.leg, calls.clock.now(), action.token, 0, 0)))
            calls.take(do.RecordingStarted(action.leg, now, action.token, result.path))

    def _mask(self, contact: str, action: do.MaskRecording) -> None:
        """A mask that media cannot set ends the recording: rather none than one that holds what it must not."""
        port = self._calls.audio.ports.get(action.leg, -1)
        if port < 0:
            return
        try:
            answer = self._media.mask(port, action.on)
        except (EngineBusy, EngineRefused) as error:
            log.warning("contact %s: the recording could not be masked (%s) and is ended", contact, error)
            self._calls.audio.stop_record(action.leg)
            return
        if action.on:
            on_failure(answer, lambda: self._calls.audio.stop_record(action.leg))

    def _finish(self, contact: str, action: do.FinishRecording) -> None:
        self._book(action.path, action.lost, action.masked)

    def _book(self, path: str, lost: int, masked: tuple[tuple[int, int], ...]) -> None:
        wall_ms = self._calls.clock.wall_ms()
        spans = " ".join(f"{begin}-{end}" for begin, end in masked)
        self._opening.add(path)         # not for the sweep meanwhile
        self.background(lambda: self.recordings.finish(path, lost, spans, wall_ms), lambda result: self._opening.discard(path))

    # --- the disk -----------------------------------------------------------------------------------------------------

    def _live(self) -> set[str]:
        """Paths that are being written, or booked just now."""
        written = {one.path for state in self._calls.board.contacts.values() for one in state.recordings if one.samples < 0}
        return written | self._opening

    def _sweep(self) -> None:
        """Now and every `SWEEP_MS`."""
        live, wall_ms = self._live(), self._calls.clock.wall_ms()
        young = wall_ms - SWEEP_MS                  # one that is being opened is not known to its contact yet

        def work() -> str:
            try:
                self.recordings.collect(live, wall_ms, young)
                return self.recordings.sweep(wall_ms)
            except RecordingRefusedError as error:
                return str(error)

        self.background(work, self._swept)
        self._calls.clock.call_later(SWEEP_MS, self._sweep)

    def _swept(self, problem: str) -> None:
        calls = self._calls
        if not problem:
            calls.alarms.clear("recording")
            return
        calls.alarms.raise_("recording", problem)
        for state in list(calls.board.contacts.values()):
            for one in state.recordings:
                if one.stopped < 0:
                    calls.audio.stop_record(one.leg)        # `Recorded` books it
