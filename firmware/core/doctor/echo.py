"""Echo doctor and line test: measuring what the gauges of calls cannot say (L5).

Theory of operation
-------------------
The echo report comes from the line book: medians of the last calls. `compare` finds the termination that fits the cable: the idle line is
lent and seized, one key breaks the dial tone (an exchange then waits in silence for the next; the trick of DAHDI's fxotune), and while
music plays into the line the canceller's estimate of the echo return loss is read for two settings of the chip. The present setting comes
first and is put back at the end, whatever happened; a person takes the better one (`doctor termination`), or `doctor tune` measures and
takes it at once; what was taken is given to the chip again after every restart.
The line test of a telephone jack opens the feed and measures what
stands there from outside, then feeds and measures voltage and leak.
Invariants: only an idle port is touched; it is given back with the settings and the feed it had; `LIMIT_MS` bounds everything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from firmware.config.schema.ports import FxoLine
from firmware.control import line_commands as cmd
from firmware.core.doctor.book import LineBook
from firmware.core.lines_port import LinePort
from firmware.errors import CommandError, EngineBusy, PbxError
from firmware.line import signals as s
from firmware.line.doctor import Compared, Finding, LoopTest, better_gain_db, better_setting, judge_echo
from firmware.line.doctor_texts import WEIGHT_WORDS, advise, say, word
from firmware.line.profiles import Profile
from firmware.runtime.clock import Clock

log = logging.getLogger("branchpbx.doctor")

SEIZE_MS = 1200
QUIET_KEY = "2"                  # first key of ordinary numbers everywhere, of no service number
KEY_MS = 700
LISTEN_MS = 1600
PER_SEIZURE = 2                  # an exchange waits at least 4 s for the second key
SETTINGS_MOST = 6
OPEN_MS = 500
FEED_MS = 700
MUSIC = "music.hold"
TERMINATION = "termination"
MEDIA_BACK_MS = 5000
LIKELY = ("0", "2", "3", "5", "10", "15")


class EchoMedia(Protocol):
    """What is needed of `firmware.media.Media`; `chip` is there on boards with line chips."""

    def subscribe(self, fn: Callable[[Any], None]) -> object: ...
    def open_line(self, slot: int, *, echo_tail_ms: int, rx_gain_db: float, tx_gain_db: float, tag: str, line: int = 0) -> Any: ...
    def drive(self, slot: int, code: int) -> Any: ...
    def detect(self, port: int, *, digits: bool, fsk: str = "", voice: bool = False, tones: Any = ()) -> Any: ...
    def send_dtmf(self, port: int, digits: str, *, on_ms: int = 100, off_ms: int = 100, level_dbm0: float = -9.0, token: int) -> Any: ...
    def play(self, port: int, clips: Any, *, token: int, loop: bool = False) -> Any: ...
    def stop(self, port: int) -> Any: ...
    def measure(self, port: int, *, levels: bool = True, activity: bool = False) -> Any: ...
    def meters(self, port: int) -> Any: ...


class EchoDoctor:
    """See the theory of operation."""

    def __init__(self, book: LineBook, media: EchoMedia, profile: Profile, clock: Clock) -> None:
        self._book, self._media, self._profile, self._clock = book, media, profile, clock
        self._taken: LinePort | None = None
        self._rung = False
        self._chosen: dict[str, int] = {}
        media.subscribe(self._on_media)

    async def echo(self, command: cmd.DoctorEcho) -> cmd.EchoReport:
        """Figures, judgments and settings; with `compare` the terminations."""
        port = self._book.port(command.line)
        if not command.compare:
            return self._report(port, [], [])
        compared, match = await self._compare(port)
        return self._report(port, compared, [match])

    async def tune(self, command: cmd.DoctorTune) -> cmd.EchoReport:
        """The terminations; the one that fits better than the present one by 3 dB at least is taken and kept."""
        port = self._book.port(command.line)
        compared, match = await self._compare(port)
        if match.code == "better-match":
            await self._keep(port, int(match.values["setting"]))
            match = Finding("taken-match", "good", match.values)
        return self._report(port, compared, [match])

    def _report(self, port: LinePort, compared: list[cmd.TerminationRow], found: list[Finding]) -> cmd.EchoReport:
        settings: list[str] = []
        jack = port.endpoint.rpartition("/")[2]
        view = self._book.echo(port.endpoint)
        findings = [*judge_echo(view), *found]
        if view is None and not found:
            findings = [Finding("no-echo-figures", "hint")]
        elif not findings:
            findings = [Finding("well", "good")]
        if view is not None and (change := better_gain_db(view)):
            table = "fxo" if isinstance(port.config, FxoLine) else "fxs"
            settings.append(f"set ports.{table}.{jack}.rx_gain_db {port.config.rx_gain_db + change:g}")
        rows = [row(finding, jack) for finding in findings]
        if view is None:
            return cmd.EchoReport(port.endpoint, 0, None, None, None, None, None, "", rows, settings, compared)
        words = f"{view.audible}/{view.words}"
        return cmd.EchoReport(
            port.endpoint, view.calls, view.erl_db, view.erle_db, view.delay_ms, view.noise_dbm0, view.level_dbm0 or None, words, rows,
            settings, compared,
        )  # fmt: skip

    # --- terminations ---------------------------------------------------------------------------------------------------

    async def _compare(self, port: LinePort) -> tuple[list[cmd.TerminationRow], Finding]:
        if not isinstance(port.config, FxoLine):
            raise CommandError("terminations are compared on outside lines")
        known = await self._chip(port, "impedance")
        present, names = str(known["setting"]), {str(key): str(name) for key, name in known["settings"].items()}
        order = [present, *(one for one in LIKELY if one in names and one != present)][:SETTINGS_MOST]
        tried: list[Compared] = []
        self._take(port)
        try:
            for at, setting in enumerate(order):
                if at % PER_SEIZURE == 0:
                    await self._quiet(port, again=at > 0)
                await self._chip(port, "impedance", setting=int(setting))
                loss = await self._return_loss(port)
                if loss > 0:
                    tried.append(Compared(setting, loss))
        finally:
            try:
                await self._chip(port, "impedance", setting=int(present))
            finally:
                await self._hang_up(port)
        rows = [cmd.TerminationRow(names.get(one.setting, one.setting), round(one.erl_db, 1), one.setting == present) for one in tried]
        best = better_setting(tried, present)
        if best is None:
            return rows, Finding("best-match", "good")
        now = next(one.erl_db for one in tried if one.setting == present)
        values = {"name": names.get(best.setting, ""), "setting": best.setting, "better": f"{best.erl_db - now:.0f}"}
        return rows, Finding("better-match", "warning", values)

    async def choose(self, command: cmd.DoctorTermination) -> cmd.Done:
        """Set a port's termination, and keep it."""
        port = self._book.port(command.line)
        number = None if command.setting == "country" else int(command.setting)
        answer = await self._keep(port, number)
        name = answer["settings"].get(str(answer["setting"]), "")
        return cmd.Done(f"{port.endpoint} is terminated with {name} ohm", f"{port.endpoint} 的阻抗为 {name} 欧")

    async def _keep(self, port: LinePort, number: int | None) -> Any:
        """This setting from now on, None: the country's; what the chip answered."""
        answer = await self._chip(port, "impedance", setting=number)
        if number is None:
            self._book.store.forget(port.endpoint, TERMINATION)
            self._chosen.pop(port.endpoint, None)
        else:
            self._chosen[port.endpoint] = number
            self._book.store.save(port.endpoint, TERMINATION, port.line, number, self._clock.wall_ms())
        return answer

    def start(self) -> None:
        """Media runs: give the chips what was chosen for their lines."""
        for endpoint, (line, number) in self._book.store.load(TERMINATION, int).items():
            port = self._book.lines.ports.get(endpoint)
            if port is not None and port.line == line:
                self._chosen[endpoint] = number
                self._restore(port)

    def _restore(self, port: LinePort) -> None:
        chip: Callable[..., Any] | None = getattr(self._media, "chip", None)
        if chip is None:
            return
        try:
            answer = chip(port.slot, "impedance", setting=self._chosen[port.endpoint])
        except EngineBusy as error:
            log.warning("%s: its termination is not set: %s", port.endpoint, error)
            return

        def answered(future: asyncio.Future[Any]) -> None:
            if not future.cancelled() and future.exception() is not None:
                log.warning("%s: its termination is not set: %s", port.endpoint, future.exception())

        asyncio.ensure_future(answer).add_done_callback(answered)

    def _on_media(self, event: Any) -> None:
        """A chip that came back, or another media process, has the country's."""
        name = type(event).__name__
        if name == "MediaLost":
            self._clock.call_later(MEDIA_BACK_MS, self._restore_all)
        elif name == "PortHealth" and not event.raised:
            for endpoint in self._chosen:
                port = self._book.lines.ports[endpoint]
                if port.slot == event.port:
                    self._restore(port)

    def _restore_all(self) -> None:
        for endpoint in self._chosen:
            self._restore(self._book.lines.ports[endpoint])

    async def _quiet(self, port: LinePort, *, again: bool) -> None:
        """Seize (anew: the exchange is patient for a few seconds only), and silence the dial tone with one key."""
        config, media = port.config, self._media
        if again:
            media.drive(port.slot, s.LINE_ON_HOOK)
            await pause(self._clock, self._profile.guard_ms)
            self._still_ours()
        media.open_line(port.slot, echo_tail_ms=config.echo_tail_ms, rx_gain_db=0.0, tx_gain_db=0.0, tag=port.endpoint)
        media.drive(port.slot, s.LINE_OFF_HOOK)
        await pause(self._clock, SEIZE_MS)
        self._still_ours()
        media.send_dtmf(port.slot, QUIET_KEY, token=0x5FFF0000)
        await pause(self._clock, KEY_MS)

    async def _return_loss(self, port: LinePort) -> float:
        media = self._media
        self._still_ours()
        # opened again: the canceller begins anew and has no memory of the last setting
        media.open_line(port.slot, echo_tail_ms=port.config.echo_tail_ms, rx_gain_db=0.0, tx_gain_db=0.0, tag=port.endpoint)
        media.measure(port.slot, levels=True)
        media.play(port.slot, [MUSIC], token=0x5FFF0001, loop=True)
        await pause(self._clock, LISTEN_MS)
        meters = media.meters(port.slot)
        media.stop(port.slot)
        return float(meters.erl_db) if meters is not None else 0.0

    async def _hang_up(self, port: LinePort) -> None:
        self._media.stop(port.slot)
        self._media.measure(port.slot, levels=False)
        self._media.drive(port.slot, s.LINE_ON_HOOK)
        if not self._rung:
            await pause(self._clock, self._profile.guard_ms)
        self._back(port)

    # --- telephone jacks --------------------------------------------------------------------------------------------------

    async def loop(self, command: cmd.DoctorLoop) -> LinePort:
        """Test an idle telephone jack; the port, whose view then has the figures."""
        port = self._book.port(command.line)
        if isinstance(port.config, FxoLine):
            raise CommandError(f"{port.endpoint} is an outside line; its feed is the exchange's: `doctor line {command.line}`")
        self._take(port)
        try:
            self._media.drive(port.slot, s.FEED_OPEN)
            await pause(self._clock, OPEN_MS)
            foreign = await self._chip(port, "measure")
            self._media.drive(port.slot, s.FEED_ACTIVE)
            await pause(self._clock, FEED_MS)
            fed = await self._chip(port, "line-test")
        finally:
            self._media.drive(port.slot, s.FEED_ACTIVE)
            self._back(port)
        self._book.tested(port, loop_test(foreign, fed))
        return port

    # --- inside -----------------------------------------------------------------------------------------------------------

    def _take(self, port: LinePort) -> None:
        if self._taken is not None:
            raise CommandError(f"{self._taken.endpoint} is being measured; try again in half a minute")
        self._rung = False
        port.lend(self._fact)
        self._taken = port

    def _back(self, port: LinePort) -> None:
        if self._taken is port:
            self._taken = None
            port.take_back()

    def _fact(self, fact: s.Fact) -> None:
        """A ring, or a lifted telephone, ends a measurement."""
        port = self._taken
        if port is not None and ((isinstance(fact, s.RingBurst) and fact.on) or (isinstance(fact, s.Loop) and fact.closed)):
            self._rung = True
            self._media.drive(port.slot, s.LINE_ON_HOOK if isinstance(port.config, FxoLine) else s.FEED_ACTIVE)
            self._back(port)
            port.fact(fact)

    def _still_ours(self) -> None:
        if self._taken is None:
            raise CommandError("a call came in: the measurement was broken off")

    async def _chip(self, port: LinePort, what: str, **args: Any) -> Any:
        chip: Callable[..., Any] | None = getattr(self._media, "chip", None)
        if chip is None:
            raise CommandError("this board has no line chips that could be asked")
        try:
            return await chip(port.slot, what, **args)
        except PbxError as error:
            raise CommandError(f"{port.endpoint}: the chip does not do that: {error}") from None


async def pause(clock: Clock, ms: int) -> None:
    """Wait by the engine's clock."""
    turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    clock.call_later(ms, lambda: None if turn.done() else turn.set_result(None))
    await turn


def loop_test(opened: dict[str, Any], fed: dict[str, Any]) -> LoopTest:
    """Figures of a line test: with the feed open, and fed."""
    volts, milliamps = abs(float(fed.get("volts", 0.0))), abs(float(fed.get("milliamps", 0.0)))
    closed = bool(fed.get("closed"))
    return LoopTest(
        feed_volts=None if closed else volts,
        loop_ohms=1000 * volts / milliamps if closed and milliamps else None,
        foreign_volts=abs(float(opened.get("volts", 0.0))),
        ren=fed.get("ren"),
        leak_kohms=volts / milliamps if not closed and milliamps > 0.3 else None,
    )


def row(finding: Finding, jack: str) -> cmd.FindingRow:
    """A finding for a screen."""
    return cmd.FindingRow(
        finding.code, word(WEIGHT_WORDS, finding.weight, "en"), word(WEIGHT_WORDS, finding.weight, "zh"),
        say(finding, "en"), say(finding, "zh"), advise(finding, "en", jack), advise(finding, "zh", jack),
    )  # fmt: skip
