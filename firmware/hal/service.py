"""The ports of a board in operation: started, watched, recovered, asked (L3).

Theory of operation
-------------------
`start` runs before the engine does: a fresh board is reset and brought up, ports that run under an earlier media process are attached
without a write. A port that fails is brought up once more at once (a machine that is busy at start costs nobody a minute of his line);
one that fails twice stays out with its error until the next patrol of those that are out. The others come into service.
`run` is the life of one thread, the only one that touches chips by hand while the native scanner serves them. It sleeps in the engine's
`hardware_wait` and wakes for what the scanner flagged, for a request, for a look that a `Keeper` wants soon, and for the patrol (each
port every ten seconds). Before a look the driver is told what the scanner has last made of feed or hook; right after a change, and during
pulses or a flash, no look is taken. Whatever writes to a chip does so while the scanner holds off (`hold_chip`); a port that is out stays
held, so that nobody drives it.
Time is the engine's, also while a remedy sleeps: with a virtual clock health belongs to its tick like everything else.
Invariants: no port's trouble delays another's by more than one remedy; a stop ends every sleep with an error; nothing here raises.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from firmware.errors import HardwareError, PbxError
from firmware.hal.api import FxoPort, FxsPort
from firmware.hal.bus import Clock
from firmware.hal.cards import Card
from firmware.hal.health import HealthEvent, Keeper, Limits, is_feed_port
from firmware.hal.scan import Framing, ScanPlan

log = logging.getLogger("branchpbx.hal")

LIMITS = Limits(patrol_ms=10_000, rest_ms=60_000)
SETTLE_MS = 200  # after a drive, before a look believes the chip
ATTACH_MS = 500  # from the first clock until links and converters that lost it are back
IDLE_MS = 60_000


class EngineFace(Protocol):
    """What this module needs of `dsp.engine.Engine`."""

    def hold_chip(self, slot: int, on: bool) -> bool: ...
    def hardware_wait(self, until: int) -> list[tuple[int, str, int, int]]: ...
    def hardware_wake(self) -> None: ...
    def standing_drive(self, slot: int) -> int: ...
    def post_health(
        self, slot: int, kind: str, raised: bool, final: bool, step: str, text: str, register: int, read: int, attempt: int, state: str
    ) -> None: ...


class ScannerFace(EngineFace, Protocol):
    """And what it is told before it starts."""

    @property
    def now(self) -> int: ...
    def scan(
        self, slot: int, kind: str, plan: object, *, chain: int, framing: str, position: int, base: Mapping[int, int]
    ) -> int: ...
    def spidev(self, chain: int, fd: int, speed_hz: int = ..., /) -> None: ...


class ScanEntry(msgspec.Struct, frozen=True):
    """What the engine is told of a port before it starts (`Engine.scan`)."""

    slot: int
    kind: Literal["fxo", "fxs"]
    plan: ScanPlan
    chain: int
    framing: Framing
    position: int


class Request(msgspec.Struct):
    """Something core asks a chip; `answer` gets a result or an error text."""

    slot: int
    what: str
    args: dict[str, Any]
    answer: Callable[[Any, str], None]


class ServiceClock:
    """Time of drivers: the bench's before the engine runs, then the engine's."""

    def __init__(self, bench: Clock) -> None:
        self._clock = bench

    def now(self) -> int:
        """Milliseconds."""
        return self._clock.now()

    def sleep(self, ms: int, /) -> None:
        """Let them pass."""
        self._clock.sleep(ms)

    def switch(self, clock: Clock) -> None:
        """From now on another clock."""
        self._clock = clock


class Port:
    """A port with its keeper."""

    def __init__(self, card: Card, jack: str, port: FxoPort | FxsPort) -> None:
        self.card, self.jack, self.chip = card, jack, port
        self.slot = port.slot
        self.error: HardwareError | None = None
        self.keeper: Keeper | None = None
        self.code = -1
        self.driven = False
        """The scanner has driven it: from then on a code of -1 means that pulses or a timed drive run."""
        self.held = False

    @property
    def up(self) -> bool:
        """In service."""
        return self.error is None if self.keeper is None else self.keeper.state != "out"


class ChipService:
    """See the theory of operation above. `clock` is the one the cards were made with."""

    def __init__(self, cards: Sequence[Card], clock: ServiceClock, limits: Limits = LIMITS) -> None:
        self.cards = list(cards)
        self._clock = clock
        self._limits = limits
        self.ports = {port.slot: Port(card, jack, port) for card in cards for jack, port in card.ports.items()}
        self._engine: EngineFace | None = None
        self._engine_now: Callable[[], int] = lambda: 0
        self._flagged: list[tuple[int, str, int, int]] = []
        self._requests: queue.SimpleQueue[Request | Literal["again"]] = queue.SimpleQueue()
        self._stopping = False
        self.on_calibration: Callable[[], None] = lambda: None
        """Called when a chip measured itself again."""

    # --- before the engine --------------------------------------------------------------------------------------------------

    def start(self, *, fresh: bool) -> None:
        """Bring the board up (`fresh`) or take running ports over; who cannot be taken over is brought up. Clocks run already."""
        for card in self.cards:
            if fresh:
                failed = self._bring_up(card)
            else:
                if card is self.cards[0]:
                    self._clock.sleep(ATTACH_MS)
                card.attach()
                lost = len(card.faults)
                failed = self._bring_up(card) if lost == len(card.ports) else self._once_more(card, self._once_more(card, card.faults))
            for jack, port in card.ports.items():
                self.ports[port.slot].error = failed.get(jack)

    def _bring_up(self, card: Card) -> dict[str, HardwareError]:
        """From RESET; then once more who failed, all together from RESET where nobody is up. Returns who stays out."""
        failed = card.bring_up()
        if len(failed) == len(card.ports):
            log.warning("board %s: no port of %s came up, the chain is reset once more", card.board.name, card.chain.spi)
            return card.bring_up()
        return self._once_more(card, failed)

    @staticmethod
    def _once_more(card: Card, failed: Mapping[str, HardwareError]) -> dict[str, HardwareError]:
        """Bring these up, each alone."""
        still = {}
        for jack in failed:
            try:
                card.ports[jack].reinitialise()
            except HardwareError as error:
                log.error("%s", error)
                still[jack] = error
        return still

    def scans(self) -> list[ScanEntry]:
        """What the scanner serves: every port, those that are out, too (they are held until they come back)."""
        return [
            ScanEntry(port.slot, card.ports[jack].where.kind, card.plan, chain, card.framing, position)
            for chain, card in enumerate(self.cards)
            for position, (jack, port) in enumerate(card.ports.items())
        ]

    def base(self, slot: int) -> dict[int, int]:
        """Present values of the registers that drives write: single bits of some change, others tell which drive stands."""
        port = self.ports[slot]
        wanted = {write.register for writes in port.card.plan.drives.values() for write in writes}
        registers = port.card.registers(port.jack)
        return {register: registers.read(register) for register in sorted(wanted)} if port.error is None else dict.fromkeys(wanted, 0)

    def calibrations(self) -> dict[str, tuple[int, ...]]:
        """What the FXS chips measured, by jack."""
        return {
            port.jack: port.chip.calibration
            for port in self.ports.values()
            if is_feed_port(port.chip) and port.chip.calibration is not None
        }  # fmt: skip

    # --- the thread ---------------------------------------------------------------------------------------------------------

    def run(self, engine: EngineFace, now: Callable[[], int]) -> None:
        """Serve until `stop`; `now` is the engine's time in ms. Never raises."""
        self._engine, self._engine_now = engine, now
        self._clock.switch(self)
        try:
            self._keep()
            while not self._stopping:
                self._requested()
                self._look_around()
                self._wait(min([keeper.due for keeper in self._kept()] + [self.now() + IDLE_MS]))
        except Exception:
            if not self._stopping:
                log.exception("the chips are no longer watched")

    def stop(self) -> None:
        """End `run`, also within a remedy. From any thread."""
        self._stopping = True
        if self._engine is not None:
            self._engine.hardware_wake()

    def ask(self, request: Request) -> None:
        """Put a request to the thread. From any thread."""
        self._requests.put(request)
        if self._engine is not None:
            self._engine.hardware_wake()

    def tell_again(self) -> None:
        """A core that has just started is told what stands. From any thread."""
        self._requests.put("again")
        if self._engine is not None:
            self._engine.hardware_wake()

    def now(self) -> int:
        """Engine ms."""
        return self._engine_now()

    def sleep(self, ms: int, /) -> None:
        """Let engine time pass; OSError when everything stops."""
        until = self.now() + ms
        while not self._stopping and self.now() < until:
            self._wait(until)
        if self._stopping:
            raise OSError(errno.ECANCELED, "the media process stops")

    def _wait(self, until: int) -> None:
        assert self._engine is not None
        self._flagged += self._engine.hardware_wait(max(until, self.now() + 1))

    def _kept(self) -> list[Keeper]:
        return [port.keeper for port in self.ports.values() if port.keeper is not None]

    def _keep(self) -> None:
        for port in self.ports.values():
            port.keeper = Keeper(port.chip, self._clock, self._limits, work=lambda port=port: self._hold(port))  # type: ignore[misc]
            if port.error is not None:
                port.keeper.put_out(port.error)
                self._hold_off(port, True)
                self._post(port, port.keeper.poll())

    def _look_around(self) -> None:
        flagged, self._flagged = self._flagged, []
        for slot, fault, register, value in flagged:
            port = self.ports.get(slot)
            if port is not None and port.keeper is not None:
                log.debug("%s: scanner saw %s, register %d reads %d", port.chip.where, fault, register, value)
                port.keeper.nudge()
        for port in self.ports.values():
            if self._stopping:
                return
            if port.keeper is not None and port.keeper.due <= self.now():
                self._look(port, port.keeper)

    def _look(self, port: Port, keeper: Keeper) -> None:
        assert self._engine is not None
        if keeper.state == "out":
            self._try_again(port, keeper)
            return
        code = self._engine.standing_drive(port.slot)
        if code != port.code or (code < 0 and port.driven):
            port.code, port.driven = code, port.driven or code >= 0
            keeper.postpone(SETTLE_MS)
            return
        if code >= 0:
            port.chip.assume(code)
        known = port.chip.calibration if is_feed_port(port.chip) else None
        events = keeper.poll()
        self._hold_off(port, not port.up)
        self._post(port, events)
        if keeper.state == "well":
            port.error = None
        if is_feed_port(port.chip) and port.chip.calibration != known:
            self.on_calibration()

    def _try_again(self, port: Port, keeper: Keeper) -> None:
        """A port that was out: a chain that did not even count its chips begins with RESET, if nobody on it works."""
        card = port.card
        others = [other for other in self.ports.values() if other.card is card]
        if port.error is not None and all(not other.up for other in others):
            failed = card.bring_up()
            for other in others:
                other.error = failed.get(other.jack)
                if other.error is None and other.keeper is not None:
                    other.keeper.retry()
        keeper.retry()
        self._post(port, keeper.poll())
        self._hold_off(port, not port.up)

    @contextlib.contextmanager
    def _hold(self, port: Port) -> Iterator[None]:
        """Keep the scanner off a chip; a port that is out afterwards stays held (`_look` lets go)."""
        self._hold_off(port, True)
        yield

    def _hold_off(self, port: Port, on: bool) -> None:
        assert self._engine is not None
        if port.held != on:
            self._engine.hold_chip(port.slot, on)
            port.held = on

    def _post(self, port: Port, events: Sequence[HealthEvent]) -> None:
        assert self._engine is not None and port.keeper is not None
        for event in events:
            self._engine.post_health(
                port.slot, event.kind, event.raised, event.final, event.step, event.text, event.register, event.read, event.attempt,
                port.keeper.state,
            )  # fmt: skip

    # --- requests -----------------------------------------------------------------------------------------------------------

    def _requested(self) -> None:
        while True:
            try:
                request = self._requests.get_nowait()
            except queue.Empty:
                return
            if request == "again":
                for port in self.ports.values():
                    if port.keeper is not None and port.keeper.standing is not None:
                        self._post(port, (port.keeper.standing,))
                continue
            try:
                result, error = self._do(request), ""
            except (PbxError, OSError, ValueError, TypeError, KeyError) as failure:
                result, error = None, str(failure)
            request.answer(result, error)

    def _do(self, request: Request) -> Any:
        if request.what == "health":
            return [self._health(port) for port in self.ports.values()]
        port = self.ports.get(request.slot)
        if port is None or port.keeper is None:
            raise HardwareError(f"slot {request.slot} has no line chip; the board file has slots {sorted(self.ports)}")
        if request.what == "retry":
            self._try_again(port, port.keeper)
            return self._health(port)
        if not port.up:
            raise HardwareError(f"{port.chip.where} is out of service; see show alarms, then retry")
        return self._act(port, request)

    def _act(self, port: Port, request: Request) -> Any:
        what, args, chip = request.what, request.args, port.chip
        if what == "measure":
            return msgspec.to_builtins(chip.measure())
        if what == "registers":
            registers = port.card.registers(port.jack)
            first, count = int(args.get("first", 0)), int(args.get("count", 1))
            if not (0 <= first < 128 and 1 <= count <= 128 - first):
                raise ValueError(f"registers are 0 to 127, not {count} from {first}")
            return [registers.read(register) for register in range(first, first + count)]
        if what == "line-test":
            facts = msgspec.to_builtins(chip.measure())
            faults = [msgspec.to_builtins(fault) for fault in chip.check()]
            powers = list(chip.transistor_powers()) if is_feed_port(chip) else []
            return {**facts, "faults": faults, "transistor_milliwatts": powers}
        if what == "impedance" and "setting" not in args:
            return self._terminations(port)
        if what not in ("gain", "hybrid", "impedance"):
            raise ValueError(f"{what!r} is no request; known are measure, line-test, registers, gain, hybrid, impedance, retry, health")
        try:
            with self._hold(port):
                if what == "gain":
                    chip.set_gain(to_line_db=float(args["to_line_db"]), from_line_db=float(args["from_line_db"]))
                elif what == "impedance":
                    chip.set_termination(None if args["setting"] is None else int(args["setting"]))
                elif is_feed_port(chip):
                    raise ValueError("an FXS chip has no hybrid to be set")
                else:
                    chip.set_hybrid([int(value) for value in args["coefficients"]])  # type: ignore[union-attr]
        finally:
            self._hold_off(port, on=False)
        return self._terminations(port) if what == "impedance" else None

    @staticmethod
    def _terminations(port: Port) -> dict[str, Any]:
        return {"setting": port.chip.termination, "settings": {str(number): name for number, name in enumerate(port.chip.terminations)}}

    @staticmethod
    def _health(port: Port) -> dict[str, Any]:
        keeper = port.keeper
        standing = keeper.standing if keeper is not None else None
        return {
            "slot": port.slot, "kind": port.chip.where.kind, "jack": port.jack, "state": keeper.state if keeper is not None else "out",
            "fault": standing.kind if standing is not None else "", "step": standing.step if standing is not None else "",
            "text": standing.text if standing is not None else "", "recoveries": keeper.recoveries if keeper is not None else 0,
            "garbage": keeper.garbage_looks if keeper is not None else 0,
        }  # fmt: skip
