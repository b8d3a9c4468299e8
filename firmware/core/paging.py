"""The loudspeaker in pages: an RTP port of the engine that only hears the mixer of the page, sent to the sound output (L5).

Theory of operation. `Loudspeaker(room, on)` opens an RTP port, joins it to the room's bridge without being heard there, and starts
`hal/speaker.py` behind it; `off` takes both away. A page that went on while core was replaced gets its loudspeaker again (`going_on`).
A device that cannot be opened is an alarm until it can.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol, Unpack

from firmware.call.paging import PLACE, Loudspeaker
from firmware.call.state import Phase
from firmware.config.schema.tree import Config
from firmware.core.calls import Calls
from firmware.errors import EngineBusy, HardwareError
from firmware.hal.speaker import SoundOutput
from firmware.media.rtp import RtpPath
from firmware.runtime.alarms import Alarms

log = logging.getLogger("branchpbx.speaker")
ALARM, TAG = "speaker", "speaker"


class Ports(Protocol):
    """The part of the media façade that is used."""

    def allocate_rtp(self, tag: str) -> Any: ...
    def open_rtp(self, port: int, **path: Unpack[RtpPath]) -> Any: ...
    def close_rtp(self, port: int) -> Any: ...
    def join(self, bridge: int, port: int, *, hear: bool = True, speak: bool = True, whisper: int | None = None) -> Any: ...


class Loudspeakers:
    """See the theory of operation. `host`: where the engine's RTP ports are."""

    def __init__(
        self, config: Callable[[], Config], calls: Calls, media: Ports, alarms: Alarms, host: str,
        output: Callable[[str, str, int], SoundOutput] = SoundOutput,
    ) -> None:  # fmt: skip
        self._config, self._calls, self._media, self._alarms = config, calls, media, alarms
        self._host = "127.0.0.1" if host in ("", "0.0.0.0") else host
        self._output = output
        self._open: dict[str, tuple[int, SoundOutput]] = {}
        calls.executors[Loudspeaker] = lambda contact, action: self.switch(action.room, action.on)

    def going_on(self) -> None:
        """Pages that an earlier core began are heard on."""
        for state in self._calls.board.contacts.values():
            page = self._config().pages.get(state.room.name.removeprefix(PLACE)) if state.room is not None else None
            if state.phase is Phase.PAGE and state.room is not None and page is not None and page.speaker:
                self.switch(state.room.name, True)

    def switch(self, room: str, on: bool) -> None:
        """Let a room out of the loudspeaker, or no longer."""
        if room in self._open and not on:
            port, output = self._open.pop(room)
            output.stop()
            self._media.close_rtp(port)
        elif on and room not in self._open:
            self._begin(room)

    def _begin(self, room: str) -> None:
        device = self._config().speaker.device
        if not device:
            log.warning("%s asks for the loudspeaker, but speaker.device names none", room)
            return
        try:
            port = self._media.allocate_rtp(TAG)
        except EngineBusy as error:
            log.error("%s is not heard from the loudspeaker: %s", room, error)
            return
        try:
            output = self._output(device, self._host, port.local_port)
        except HardwareError as error:
            self._media.close_rtp(port.port)
            self._alarms.raise_(ALARM, f"the loudspeaker is silent: {error}", f"扬声器无法使用:{error}")
            return
        self._alarms.clear(ALARM)
        output.start()
        self._media.open_rtp(
            port.port, remote=(self._host, output.port), codec="pcma", payload_type=8, dtmf_type=None, ptime_ms=20, send=True,
            receive=False, tag=TAG,
        )  # fmt: skip
        self._media.join(self._calls.audio.number(room), port.port, speak=False)
        self._open[room] = port.port, output
