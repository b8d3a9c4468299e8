"""Composition of the media process's line chips: the board's seam, its cards, their thread, what is kept, what core asks.

Theory of operation: `prepare` runs between the making of the engine and its start: clocks, then chips (the first media process of an
appliance resets them, a later one takes them over), then the scanner's plans. `begin` starts the thread that watches. What FXS chips
measure of themselves is kept in `DIR/chips.json`: the next start is quicker, and a lifted telephone does not spoil it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from firmware.app.handover import Handover
from firmware.config.board import Board
from firmware.config.country import site_profile
from firmware.errors import HardwareError
from firmware.hal.api import Ringing
from firmware.hal.cards import PortSettings
from firmware.hal.lifeline import LifelineWord
from firmware.hal.seams import ChipSeam, DeviceSeam, open_cards
from firmware.hal.service import ChipService, Request, ScannerFace, ServiceClock
from firmware.hal.world import WorldSeam
from firmware.store.files import write_atomic

WORLD_S = 10.0  # the world starts beside us
JOIN_S = 2.0
KEPT = "chips.json"
TELL_S = 60.0  # between two lines of the log about the sound device

log = logging.getLogger("branchpbx.media")


class Kept(msgspec.Struct):
    """`DIR/chips.json`: what FXS chips measured, by jack. Another board's is not used."""

    board: str = ""
    fxs: dict[str, tuple[int, ...]] = {}


def chips_of(handover: Handover) -> Chips | None:
    """The line chips of the board; None where it has none."""
    board = handover.board
    if not board.chains:
        return None
    seam: ChipSeam
    if board.seam == "world":
        from firmware.dsp.chip_mail import ChipMail

        seam = WorldSeam(ChipMail(handover.world_fd, 0), board.pcm)
    else:
        from firmware.hal.gpio import BoardLines

        if not isinstance(handover.lines, BoardLines):
            raise HardwareError("the GPIO lines of the board are not held; restart the appliance")
        seam = DeviceSeam(board, handover.lines)
    profile = site_profile(handover.config)
    kept = read_kept(handover.state / KEPT, board)
    ringing = Ringing(hertz=float(profile.ring_hz))
    settings = {
        (chain.kind, jack): PortSettings(
            country=profile.electrical, ringing=ringing, calibration=kept.fxs.get(jack) if chain.kind == "fxs" else None
        )
        for chain in board.chains
        for jack in chain.jacks
    }
    clock = ServiceClock(seam.bench_clock())
    service = ChipService(open_cards(board, seam, clock, settings), clock)
    return Chips(board, seam, service, handover.state / KEPT, kept, handover.lifeline, fresh=handover.starts.get("media", 1) == 1)


def read_kept(path: Path, board: Board) -> Kept:
    """What an earlier start measured; nothing where the file is absent, broken or of another board."""
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=Kept)
    except FileNotFoundError:
        return Kept(board.name)
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("%s cannot be used (%s); the chips measure themselves again", path, error)
        return Kept(board.name)
    return kept if kept.board == board.name else Kept(board.name)


class Chips:
    """The line chips of one media process."""

    def __init__(
        self, board: Board, seam: ChipSeam, service: ChipService, path: Path, kept: Kept, lifeline: LifelineWord | None, *, fresh: bool
    ) -> None:
        self.service = service
        self._board, self._seam, self._path, self._kept = board, seam, path, kept
        self._lifeline = lifeline
        self._fresh = fresh
        self._thread: threading.Thread | None = None
        self._told: dict[str, int] = {}
        self._tell_at = 0.0
        service.on_calibration = self._keep

    def prepare_beside(self, engine: ScannerFace, alive: Callable[[], object]) -> Callable[[], None]:
        """`prepare` in a thread, while the caller loads clips (chips are waited for, not computed); call the result to join it."""
        failed: list[BaseException] = []

        def work() -> None:
            try:
                self.prepare(engine, alive)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=work, name="bring-up", daemon=True)
        thread.start()

        def join() -> None:
            thread.join()
            if failed:
                raise failed[0]

        return join

    def prepare(self, engine: ScannerFace, alive: Callable[[], object]) -> None:
        """Bring the chips up or take them over and tell the scanner; `alive` is called while the world is waited for."""
        deadline = time.monotonic() + WORLD_S
        while not self._seam.answers():
            alive()
            if time.monotonic() > deadline:
                raise HardwareError(f"the simulated world does not answer within {WORLD_S:.0f} s; see log/world.log")
        began = time.monotonic()
        try:
            self._seam.start_clocks()
        except HardwareError as error:
            log.error("%s; no line comes into service, calls over the network go on", error)
        self._seam.bind(engine)
        alive()
        self.service.start(fresh=self._fresh)
        self._keep()
        for number, chain in enumerate(self._board.chains):
            fd = self._seam.scanner_fd(chain)
            if fd >= 0:
                engine.spidev(number, fd, chain.speed_hz)
        for entry in self.service.scans():
            engine.scan(
                entry.slot, entry.kind, entry.plan, chain=entry.chain, framing=entry.framing, position=entry.position,
                base=self.service.base(entry.slot),
            )  # fmt: skip
        self.beat()
        out = [f"{port.chip.where.kind.upper()} {port.jack}" for port in self.service.ports.values() if not port.up]
        log.info(
            "line chips: %d ports %s in %.0f ms%s", len(self.service.ports), "brought up" if self._fresh else "taken over",
            (time.monotonic() - began) * 1000, f", out of service: {', '.join(out)}" if out else "",
        )  # fmt: skip

    def begin(self, engine: ScannerFace) -> None:
        """Watch the chips from now on."""
        self._thread = threading.Thread(target=self.service.run, args=(engine, lambda: engine.now), name="chips", daemon=True)
        self._thread.start()

    def beat(self) -> None:
        """Tell the parent when both ports of the lifeline came up, and the log what the sound device lost. Called with the heartbeat."""
        self._tell_losses()
        word, lifeline = self._lifeline, self._board.lifeline
        if word is None or lifeline is None or word.pair_ready:
            return
        slots = (self._board.fxo_slot(lifeline.fxo), self._board.fxs_slot(lifeline.fxs))
        word.pair_ready = all(self.service.ports[slot].up for slot in slots)

    def _tell_losses(self) -> None:
        """A line for what changed since the last one; the figures that come of it by themselves (`seen`) are left out."""
        now = time.monotonic()
        figures = {name: value for name, value in self._seam.figures().items() if name != "seen"} if now >= self._tell_at else self._told
        if figures != self._told and any(value > 0 for value in figures.values()):
            log.info("sound device: %s", ", ".join(f"{name} {value}" for name, value in figures.items()))
            self._told, self._tell_at = figures, now + TELL_S

    def stop(self) -> None:
        """End the thread; the engine may stop now."""
        self.service.stop()
        if self._thread is not None:
            self._thread.join(JOIN_S)

    def rest(self) -> None:
        """Leave every line: on hook or open, chips in RESET. After the engine has stopped."""
        if not self._seam.answers():
            return
        for card in self.service.cards:
            with contextlib.suppress(OSError):
                card.power_down()

    def asked(self, message: dict[str, Any], reply: Callable[[bytes], None]) -> None:
        """A request of core; the answer goes out when the thread has it."""
        number, slot, what, args = message["id"], message["slot"], message["what"], message["args"]
        if not (isinstance(number, str) and isinstance(slot, int) and isinstance(what, str) and isinstance(args, dict)):
            raise ValueError("a chip request has id, slot, what and args")

        def answer(result: object, error: str) -> None:
            reply(json.dumps({"answer": number, "result": result, "error": error}).encode())

        self.service.ask(Request(slot, what, args, answer))

    def _keep(self) -> None:
        measured = self.service.calibrations()
        if not measured or measured == self._kept.fxs:
            return
        self._kept = Kept(self._board.name, {**self._kept.fxs, **measured})
        try:
            write_atomic(self._path, msgspec.json.format(msgspec.json.encode(self._kept), indent=2) + b"\n")
        except OSError as error:
            log.error("%s cannot be written (%s); the chips measure themselves again at the next start", self._path, error)
