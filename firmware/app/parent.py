"""`branchpbx run`: the parent that holds what must survive any child, and keeps the children alive.

Theory of operation
-------------------
The parent makes the shared memory and the sockets, forks media, core and manage from one pre-imported image, starts the
simulated world by exec where the board asks for it, and then only watches: one poll over pid descriptors and a signal pipe,
no event loop, no thread. A child that ends or whose heartbeat stands still is started again after a back-off; it finds the
sockets and segments where its predecessor left them. Too many restarts of core or media restart them together; if that
happens again within ten minutes the appliance stops with status 70 (the box then restarts; `vital.py` feeds its watchdog). manage and the
world never take the calls down: they are tried again for ever. SIGTERM or SIGINT stop core, manage, media and the world in
that order; one that does not end in its time is killed, and a second signal kills at once. Children die with the parent.
On a board with line chips the parent holds RESET and the lifeline relay, which gets current while `hal/lifeline.py` allows it.
Invariants: one parent for each state folder (lock file); after `run` returns no child exists; a wrong configuration or a
port in use starts nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import logging
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from firmware.app import privilege
from firmware.app.handover import PROCESSES, Handover
from firmware.app.image import load_image
from firmware.app.lifeline import LifelineRelay
from firmware.app.site import ROOT, Site, effective
from firmware.app.sockets import (
    StartError,
    allow_files,
    reachable,
    rtp_sockets,
    sip_sockets,
    tls_listener,
    unix_listener,
    world_segment,
)
from firmware.app.start import Level, Start
from firmware.app.vital import Vital
from firmware.core.phones_vault import make_ledger, make_vault
from firmware.errors import PbxError
from firmware.hal.board import board_folder
from firmware.hal.lifeline import LifelineWord
from firmware.net.address import mark
from firmware.runtime import log as process_log
from firmware.runtime.health import stale
from firmware.store.files import write_atomic

if TYPE_CHECKING:
    from firmware.hal.seams import Parts

WEDGED_MS = 10_000
PERIOD_MS = 60_000
INTENSITY = 6
BACKOFF_MS = (0, 250, 500, 1000, 2000, 4000)
PATIENT_MS = 15_000
ESCALATION_MS = 600_000
STOP_MS = {"core": 6000, "manage": 2000, "media": 3000, "world": 2000}
STOP_ORDER = ("core", "manage", "media", "world")
START_ORDER = ("world", "media", "core", "manage")
EXIT_ESCALATED = 70
FRESH_MS = 3000  # a heartbeat that old is none, for the lifeline
START_MS, START_LOOK_MS = 15_000, 50  # so long after a start it is looked so often whether the lifeline may open
MAIL_MS = 300
FILES = 2000  # open at a time, beside the sockets of RTP: connections, databases, recordings

log = logging.getLogger("branchpbx.parent")
Main = Callable[[Handover], int]


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class Child:
    """One supervised process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pid = 0
        self.pidfd = -1
        self.starts = 0
        self.started_ms = 0
        self.retry_at: int | None = None
        self.planned = False             # its end was asked for: it is started again at once
        self.restarts: deque[int] = deque()

    @property
    def running(self) -> bool:
        """True while the process has not been reaped."""
        return self.pid != 0


class Parent:
    """See the theory of operation above.

    `mains`: what the children run, by name; by default `firmware.app.<name>.main` and the simulated world.
    """

    def __init__(
        self,
        site: Site,
        state: Path,
        bind: str,
        *,
        wall_base_ms: int | None = None,
        speed: int = 100,
        start: Start | None = None,
        mains: Mapping[str, Main] | None = None,
        wedged_ms: int = WEDGED_MS,
        backoff_ms: Sequence[int] = BACKOFF_MS,
    ) -> None:
        if site.config is None or site.board is None:
            raise ValueError("the site has problems; refuse it before a parent is made")
        self._site = site
        self._config = site.config
        self._board = site.board
        self._state = state.absolute()
        self._bind = bind
        self._wall_base_ms = wall_base_ms
        self._speed = speed
        self._begin = start
        self._anew = False
        self._hup = False
        self._mains = mains
        self._wedged_ms = wedged_ms
        self._backoff_ms = backoff_ms
        self._run = self._state / "run"
        self._children = {name: Child(name) for name in PROCESSES if name != "world" or site.board.seam == "world"}
        self._lock = -1
        self._wake_read = -1
        self._wake_write = -1
        self._stopping = False
        self._escalations: deque[int] = deque()
        self._signals = 0
        self._status = 0
        self._handover: Handover | None = None
        self._relay = LifelineRelay()
        self._vital = Vital(self._run)
        self._noted = False              # what the processes of the start were built with is written

    @property
    def anew(self) -> bool:
        """Whether it ended in order to begin anew with another configuration."""
        return self._anew and self._signals == 0

    def run(self) -> int:
        """Start, supervise until told to stop, end every child; the exit status. Raises StartError and StoreError."""
        self._prepare_folders()
        self._take_lock()
        try:
            process_log.configure("parent", self._state / "log", stderr=True)
            self._watch_signals()
            if self._begin is not None:
                self._config = self._begin.take(self._site)
            handover = self._handover = self._make_handover()
            self._write_endpoints(handover)
            log.info("started: state %s, SIP %s:%d", self._state, self._bind, handover.sip_udp.getsockname()[1])
            self._write_pid("parent", os.getpid())
            try:
                for name in START_ORDER:
                    if name == "manage":
                        handover.let_core_pass("manage")
                        self._note_start(handover)
                    if self._mains is None:
                        load_image(name)
                    if name in self._children and not self._stopping:
                        self._start(self._children[name])
                self._supervise()
            finally:
                self._stop_all()
            log.info("stopped with status %d", self._status)
        finally:
            self._tidy()
        return self._status

    # --- what is made once --------------------------------------------------------------------------------------------

    def _prepare_folders(self) -> None:
        try:
            self._state.mkdir(parents=True, exist_ok=True)
            for folder in ("run", "log", "recordings"):
                (self._state / folder).mkdir(exist_ok=True)
            self._run.chmod(0o700)
        except OSError as error:
            raise StartError(
                f"{self._state}: cannot be used as state folder ({error.strerror}); give --state a folder you may write"
            ) from error

    def _take_lock(self) -> None:
        self._lock = os.open(self._run / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            self._lock = -1
            holder = ""
            with contextlib.suppress(OSError):
                holder = f" (process {(self._run / 'parent.pid').read_text().strip()})"
            raise StartError(
                f"{self._state}: an appliance runs on this state folder already{holder}; stop it, or give another --state DIR"
            ) from None

    def _make_handover(self) -> Handover:
        from firmware.dsp.ring import RingSegment

        config = self._config if self._begin is not None else effective(self._config, self._state, None)
        sip_udp, sip_tcp = sip_sockets(self._bind, config.sip.port)
        sip_tls = tls_listener(self._bind, config.sip.tls_port, config.sip.port) if config.sip.tls else None
        sip_wss = tls_listener(self._bind, config.sip.wss_port, config.sip.port, beside=2, what="wss") if config.sip.wss else None
        allow_files(FILES + 2 * config.rtp.calls)
        rtp, rtcp = rtp_sockets(self._bind, config.rtp)
        control = unix_listener(self._run / "control.sock")
        manage = unix_listener(self._run / "manage.sock")
        world_fd = world_segment(self._speed, self._wall_base_ms, len(self._board.chains)) if self._board.seam == "world" else -1
        for each in (sip_udp, sip_tcp, sip_tls, sip_wss):
            if each is not None:
                mark(each, config.sip.dscp)
        for each in (*rtp, *rtcp):
            mark(each, config.rtp.dscp)
        lines = self._lines(world_fd)
        channel_media, channel_core = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return Handover(
            state=self._state,
            config=config,
            board=self._board,
            bind=self._bind,
            speed=self._speed,
            ring=RingSegment.create(),
            event_fd=os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC),
            channel_media=channel_media,
            channel_core=channel_core,
            world_fd=world_fd,
            sip_udp=sip_udp,
            sip_tcp=sip_tcp,
            sip_tls=sip_tls,
            sip_wss=sip_wss,
            rtp=rtp,
            rtcp=rtcp,
            control=control,
            manage=manage,
            lines=lines,
            lifeline=LifelineWord() if self._board.lifeline is not None else None,
            keys_fd=make_vault(),
            registrations_fd=make_ledger(),
        )

    def _lines(self, world_fd: int) -> Parts | None:
        """RESET, relay and LEDs of the board; HardwareError when they cannot be had."""
        if not self._board.chains:
            return None
        if self._board.seam == "world":
            from firmware.dsp.chip_mail import ChipMail
            from firmware.hal.world import WorldLines

            return WorldLines(self._board, ChipMail(world_fd, 1, MAIL_MS))
        from firmware.hal.gpio import BoardLines

        return BoardLines(self._board)

    def _write_endpoints(self, handover: Handover) -> None:
        ports = [each.getsockname()[1] for each in handover.rtp]
        facts = {
            "bind": self._bind,
            "address": reachable(self._bind),
            "sip_port": handover.sip_udp.getsockname()[1],
            "sip_tls_port": handover.sip_tls.getsockname()[1] if handover.sip_tls is not None else 0,
            "sip_wss_port": handover.sip_wss.getsockname()[1] if handover.sip_wss is not None else 0,
            "rtp_first": ports[0],
            "rtp_last": ports[-1],
            "control": str(self._run / "control.sock"),
            "manage": str(self._run / "manage.sock"),
            "world": str(self._run / "world.sock") if "world" in self._children else "",
            "config": str(Path(self._site.file).absolute()),
            "board": self._board.name,
            "speed": self._speed,
        }
        write_atomic(self._run / "endpoints.json", json.dumps(facts, indent=2).encode() + b"\n", durable=False)

    # --- children -----------------------------------------------------------------------------------------------------

    def _start(self, child: Child) -> None:
        handover = self._handover
        assert handover is not None
        child.starts += 1
        child.retry_at = None
        handover.starts[child.name] = child.starts
        if self._begin is not None:
            self._begin.refresh(handover, child.name)
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        signals = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        if child.name == "core":
            handover.ring.set_core_present(True)
        pid = os.fork()
        if pid == 0:
            self._be(child.name, handover, parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        child.pid = pid
        child.pidfd = os.pidfd_open(pid)
        child.started_ms = _now_ms()
        self._write_pid(child.name, pid)
        log.info("%s started: pid %d, start %d", child.name, pid, child.starts)
        if self._begin is not None and self._noted:
            self._begin.note(handover, child.name)

    def _note_start(self, handover: Handover) -> None:
        """What world, media and core were built with: management is the first to ask, core should not wait for it."""
        self._noted = True
        for child in self._children.values():
            if self._begin is not None and child.running:
                self._begin.note(handover, child.name)

    def _be(self, name: str, handover: Handover, parent: int) -> None:
        """The child's side of fork; never returns."""
        status = 1
        try:
            privilege.die_with_parent(parent)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C at a terminal reaches the whole group; the parent decides
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            for descriptor in (self._lock, self._wake_read, self._wake_write, *(each.pidfd for each in self._children.values())):
                if descriptor >= 0:
                    os.close(descriptor)
            privilege.name_process(f"branchpbx-{name}"[:15])
            process_log.configure(name, handover.state / "log", stderr=True, background=name != "world")
            privilege.drop(name, handover.state)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
            if name == "media" and self._mains is None:
                handover.let_core_pass("media")
            if self._mains is not None:
                status = self._mains[name](handover)
            else:
                status = _exec_world(handover) if name == "world" else _main_of(name)(handover)
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else 1
        except BaseException:
            logging.getLogger(f"branchpbx.{name}").critical("%s ended by an error", name, exc_info=True)
        finally:
            with contextlib.suppress(BaseException):
                for handler in logging.getLogger().handlers:
                    handler.flush()
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _write_pid(self, name: str, pid: int) -> None:
        with contextlib.suppress(OSError):
            write_atomic(self._run / f"{name}.pid", f"{pid}\n".encode(), durable=False)

    # --- supervision --------------------------------------------------------------------------------------------------

    def _watch_signals(self) -> None:
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            self._hup = True
            return
        self._signals += 1
        self._stopping = True

    def _renew(self, level: Level | None) -> None:
        """Management wants processes that are built with the configuration in force (`app/start.py`)."""
        log.info("new processes are wanted: %s", level or "nothing")
        if level == "appliance":
            self._anew = self._stopping = True
            return
        for name in ("core", "media") if level == "media" else ("core",) if level == "control" else ():
            child = self._children[name]
            if child.running and not child.planned:
                child.planned = True
                _kill(child.pid, signal.SIGUSR1 if name == "core" else signal.SIGTERM)

    def _supervise(self) -> None:
        handover = self._handover
        assert handover is not None
        while not self._stopping:
            self._wait(self._next_ms())
            if self._hup:
                self._hup = False
                self._renew(self._begin.wanted(self._run) if self._begin is not None else None)
            handover.ring.beat("parent")
            now = _now_ms()
            for child in self._children.values():
                if child.running:
                    self._check_heartbeat(child, now)
                elif child.retry_at is not None and now >= child.retry_at and not self._stopping:
                    self._start(child)
            if not self._stopping:
                self._vital.keep(now, self._lives("core", now))
                self._relay.keep(handover, now, self._lives("core", now), self._lives("media", now), self._stopping)

    def _lives(self, name: str, now: int) -> bool:
        """True while a process runs and shows its heartbeat."""
        handover, child = self._handover, self._children[name]
        assert handover is not None
        beat = handover.ring.heartbeat_ns(name) // 1_000_000
        return child.running and beat >= child.started_ms and now - beat < FRESH_MS

    def _next_ms(self) -> int:
        """Milliseconds until something may be due; at most a second, for the heartbeats."""
        now = _now_ms()
        starting = any(now - child.started_ms < START_MS for child in self._children.values())
        most = START_LOOK_MS if starting and self._board.lifeline is not None and self._relay.state != "energised" else 1000
        return max(0, min([most] + [child.retry_at - now for child in self._children.values() if child.retry_at is not None]))

    def _wait(self, timeout_ms: int) -> None:
        """Wait for a signal or the end of a child; handle ends."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        by_descriptor = {child.pidfd: child for child in self._children.values() if child.running}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll(timeout_ms):
            if descriptor == self._wake_read:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_read, 512)
            else:
                self._ended(by_descriptor[descriptor])

    def _check_heartbeat(self, child: Child, now: int) -> None:
        handover = self._handover
        assert handover is not None
        if child.name == "world":
            return  # it has no part in calls' signalling; its end is seen by its pid
        if stale(handover.ring.heartbeat_ns(child.name), child.started_ms * 1_000_000, now * 1_000_000, self._wedged_ms):
            log.error("%s (pid %d) shows no heartbeat for %d ms: killed", child.name, child.pid, self._wedged_ms)
            child.started_ms = now
            _kill(child.pid, signal.SIGKILL)

    def _ended(self, child: Child) -> None:
        try:
            _, raw = os.waitpid(child.pid, 0)
            status = os.waitstatus_to_exitcode(raw)
        except ChildProcessError:
            status = 0
        pid, child.pid = child.pid, 0
        os.close(child.pidfd)
        child.pidfd = -1
        handover = self._handover
        assert handover is not None
        if child.name == "core":
            handover.ring.set_core_present(False)
        if child.name == "media" and handover.lifeline is not None:
            handover.lifeline.pair_ready = False
        if self._stopping:
            return
        if child.planned:
            child.planned, child.retry_at = False, _now_ms()
            return
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
        log.error("%s (pid %d) ended with %s; it is started again", child.name, pid, how)
        now = _now_ms()
        child.restarts.append(now)
        while child.restarts and now - child.restarts[0] > PERIOD_MS:
            child.restarts.popleft()
        recent = len(child.restarts)
        if recent <= INTENSITY:
            child.retry_at = now + self._backoff_ms[min(recent, len(self._backoff_ms)) - 1]
        elif child.name in ("core", "media"):
            self._escalate(child, now)
        else:
            log.error("%s failed %d times within a minute; the next try is in %d s", child.name, recent, PATIENT_MS // 1000)
            child.retry_at = now + PATIENT_MS

    def _escalate(self, cause: Child, now: int) -> None:
        while self._escalations and now - self._escalations[0] > ESCALATION_MS:
            self._escalations.popleft()
        self._escalations.append(now)
        if len(self._escalations) > 1:
            log.critical("%s keeps failing: the appliance stops; see %s", cause.name, self._state / "log" / f"{cause.name}.log")
            self._status = EXIT_ESCALATED
            self._stopping = True
            return
        log.critical("%s failed %d times within a minute: core and media are restarted together", cause.name, len(cause.restarts))
        for name in ("core", "media"):
            child = self._children[name]
            child.restarts.clear()
            if child.running:
                _kill(child.pid, signal.SIGKILL)
        cause.retry_at = now + self._backoff_ms[-1]

    # --- the end ------------------------------------------------------------------------------------------------------

    def _stop_all(self) -> None:
        self._stopping = True
        for child in self._children.values():
            child.retry_at = None
        for name in STOP_ORDER:
            child = self._children.get(name)  # type: ignore[assignment]
            if name == "world":
                self._relay.release(self._handover)       # after media has left the lines, and while the world still answers
            if child is not None and child.running:
                self._stop_one(child)
        self._relay.release(self._handover)

    def _stop_one(self, child: Child) -> None:
        if self._wake_read < 0:
            _kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)
            child.pid = 0
            return
        _kill(child.pid, signal.SIGTERM)
        deadline = _now_ms() + STOP_MS[child.name]
        while child.running:
            left = deadline - _now_ms()
            if left <= 0 or self._signals > 1:
                log.error(
                    "%s (pid %d) does not end%s: killed", child.name, child.pid, "" if left > 0 else f" within {STOP_MS[child.name]} ms"
                )
                _kill(child.pid, signal.SIGKILL)
                self._ended(child)
                return
            self._wait(left)

    def _tidy(self) -> None:
        """Remove what would mislead the next start, release what is held."""
        if self._wake_read >= 0:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            os.close(self._wake_read)
            os.close(self._wake_write)
        for name in (
            "parent.pid",
            *(f"{process}.pid" for process in PROCESSES),
            "control.sock",
            "manage.sock",
            "world.sock",
            "endpoints.json",
        ):
            with contextlib.suppress(OSError):
                (self._run / name).unlink()
        handover = self._handover
        if handover is not None:
            held = (*handover.sip_listeners, *handover.rtp, *handover.rtcp, handover.control, handover.manage)
            for each in (*held, handover.channel_core, handover.channel_media):
                each.close()
            os.close(handover.event_fd)
            handover.leave_keys()
            if handover.world_fd >= 0:
                os.close(handover.world_fd)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _main_of(name: str) -> Main:
    """Entry point of a forked child: `firmware.app.<name>.main`, imported in the child."""
    main: Main = importlib.import_module(f"firmware.app.{name}").main
    return main


def _exec_world(handover: Handover) -> int:
    """Become the simulated world, which inherits nothing but its segment (`BRANCHPBX_WORLD_FD`)."""
    os.set_inheritable(handover.world_fd, True)
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    file = str((board_folder(handover.board.name) / "board.toml").absolute())
    environment = {**os.environ, "BRANCHPBX_WORLD_FD": str(handover.world_fd), "BRANCHPBX_BOARD_FILE": file, "PYTHONPATH": path}
    arguments = [sys.executable, "-m", "firmware", "sim", "world", "--state", str(handover.state)]
    os.execve(sys.executable, arguments, environment)
    return 1


def run(site: Site, state: Path, bind: str, *, wall_base_ms: int | None, speed: int, start: Start | None = None) -> int:
    """Run an appliance until it is told to stop; status 1 with a message when it cannot start."""
    try:
        parent = Parent(site, state, bind, wall_base_ms=wall_base_ms, speed=speed, start=start)
        status = parent.run()
        if parent.anew and start is not None:
            os.execve(sys.executable, sys.orig_argv, start.environment())
        return status
    except PbxError as error:
        sys.stderr.write(f"branchpbx: {error}\n")
        return 1
