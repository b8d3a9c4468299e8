"""What the parent hands to each child by inheritance: everything that must outlive a child."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from firmware.config.board import Board
from firmware.config.schema.tree import Config

if TYPE_CHECKING:
    from firmware.dsp.ring import RingSegment

PROCESSES = ("media", "core", "manage", "world")


@dataclass
class Handover:
    """Made once by the parent; children get it through fork and drop what they do not need."""

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
    """Bound non-blocking UDP sockets on even ports."""
    control: socket.socket
    manage: socket.socket
    starts: dict[str, int] = field(default_factory=dict)
    """How often each process was started, this start included."""

    @property
    def run_folder(self) -> Path:
        """Sockets, pids and the journal."""
        return self.state / "run"
