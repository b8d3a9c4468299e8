"""What the parent hands to each child by inheritance: everything that must outlive a child."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field

from firmware.config.board import Board
from firmware.config.schema.tree import Config

if TYPE_CHECKING:
    from firmware.dsp.ring import RingSegment
    from firmware.hal.lifeline import LifelineWord
    from firmware.hal.seams import Parts

PROCESSES = ("media", "core", "manage", "world")
PASS_S = 3.0


class Handover(Struct, eq=False):
    """Made once by the parent; children get it through fork and drop what they do not need.

    No dataclass: those are compiled at each start.
    """

    state: Path
    """State folder; `run`, `log`, `recordings` exist below it."""
    config: Config
    """Validated, with the generated secrets filled in."""
    board: Board
    bind: str
    speed: int
    """Percent of real time; 100 = real time, 0 = as fast as the product answers."""
    ring: RingSegment
    event_fd: int
    """eventfd: media writes, core reads."""
    channel_media: socket.socket
    channel_core: socket.socket
    """SOCK_SEQPACKET pair that carries recording files from core to media."""
    world_fd: int
    """Memory file of the world segment, or -1 where the board has real chips."""
    sip_udp: socket.socket
    sip_tcp: socket.socket
    rtp: list[socket.socket]
    """Bound non-blocking UDP sockets on even ports,"""
    rtcp: list[socket.socket]
    """and those on the odd ports above them, in the same order."""
    control: socket.socket
    manage: socket.socket
    sip_tls: socket.socket | None = None
    """TCP listener of SIP over TLS; None where it is switched off."""
    sip_wss: socket.socket | None = None
    """TCP listener of SIP over secure WebSocket; None where it is switched off."""
    lines: Parts | None = None
    """RESET, relay and LEDs, held by the parent; None where the board has no chips."""
    lifeline: LifelineWord | None = None
    """Where media and parent tell one another, and core, of the lifeline; None where the board has none."""
    keys_fd: int = -1
    """Memory file of SRTP keys of calls that run (`core/phones_vault.py`): for core alone,"""
    registrations_fd: int = -1
    """and that of registrations which were answered (`core/phones_ledger.py`)."""
    start: str = ""
    """Token of this start of the appliance: a trial of another one is over,"""
    sip_port: int | None = None
    """and the SIP port of its command line."""
    before: Config | None = None
    """The configuration that was in force before `config`: calls that began under it go on by it where theirs lacks an entry."""
    starts: dict[str, int] = field(default_factory=dict)
    """How often each process was started, this start included."""

    @property
    def sip_listeners(self) -> list[socket.socket]:
        """All sockets of SIP: for those that have no use of them."""
        return [self.sip_udp, self.sip_tcp, *(one for one in (self.sip_tls, self.sip_wss) if one is not None)]

    def leave_keys(self) -> None:
        """For those that have no use of the keys and registrations."""
        for descriptor in (self.keys_fd, self.registrations_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self.keys_fd = self.registrations_fd = -1

    def let_core_pass(self, what: str) -> None:
        """On a single processor media and management begin after core's first sign of life: telephones register by then."""
        if len(os.sched_getaffinity(0)) > 1 or self.starts.get(what, 0) > 1:
            return
        deadline = time.monotonic() + PASS_S
        while self.ring.heartbeat_ns("core") == 0 and time.monotonic() < deadline:
            time.sleep(0.005)

    @property
    def run_folder(self) -> Path:
        """Sockets, pids and the journal."""
        return self.state / "run"
