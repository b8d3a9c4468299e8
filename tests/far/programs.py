"""Asterisk and Kamailio as far ends, run from where `tools/far_ends.sh` unpacked them.

Theory of operation. The programs belong to other suites of the distribution than this machine, so each is started through the dynamic
linker of its own tree, with the libraries of that tree; all of its paths are set in the configuration that is written here. It runs in
the network namespace of whoever starts it, writes into its own folder only and dies with its starter. `start` returns when the program
answers OPTIONS at its address; `stop` ends it and returns what it said.

    with Asterisk(tmp_path / "asterisk", address=("10.9.0.2", 5070), pjsip=..., extensions=...) as far:
        print(far.ask("pjsip show registrations"))
    with Kamailio(tmp_path / "kamailio", address=("10.9.0.2", 5070), modules=("tm", "sl"), script=...) as far: ...
"""

from __future__ import annotations

import os
import platform
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0
STOP_S = 10.0
Address = tuple[str, int]


class NotFetchedError(Exception):
    """The distribution's suite could not be fetched: whatever needs the program is not run."""


def prepare(*names: str) -> None:
    """Unpack programs if that was not done yet. NotFetchedError when their suite cannot be fetched, else AssertionError."""
    script = str(ROOT / "tools" / "far_ends.sh")
    done = subprocess.run([script, *names], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode == 3:
        reasons = [path.read_text().strip() for name in names if (path := ROOT / "build" / "far" / f"{name}.missing").exists()]
        raise NotFetchedError("; ".join(reasons))
    if done.returncode != 0:
        raise AssertionError(f"tools/far_ends.sh {' '.join(names)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


class FarEnd:
    """One program in a folder of its own. `wrap`: words before its command, such as taskset; `probe`: wait until it answers."""

    name = ""
    program = ""

    def __init__(self, folder: Path, address: Address, wrap: Sequence[str] = (), probe: bool = True) -> None:
        self.probe = probe
        self.folder = folder
        self.address = address
        self.wrap = tuple(wrap)
        self.tree = ROOT / "build" / "far" / self.name
        self.process: subprocess.Popen[bytes] | None = None
        self.began = 0.0            # CLOCK_MONOTONIC s of its start
        self.started_s = 0.0        # from then to its first answer
        folder.mkdir(parents=True, exist_ok=True)

    def command(self, *arguments: str) -> list[str]:
        """The program through its own dynamic linker."""
        machine = platform.machine()
        libraries = [self.tree / part / f"{machine}-linux-gnu{inner}" for inner in ("", *self.inner) for part in ("lib", "usr/lib")]
        linker = next(path for part in libraries if (path := part / f"ld-linux-{machine.replace('_', '-')}.so.2").exists())
        found = ":".join(str(path) for path in libraries if path.is_dir())
        return [str(linker), "--library-path", found, str(self.tree / self.program), *arguments]

    inner: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """Options of the program in the foreground."""
        raise NotImplementedError

    def start(self) -> Self:
        """Start it and wait until it answers; AssertionError with what it said when it does not."""
        prepare(self.name)
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8"}
        self.began = time.monotonic()
        with (self.folder / "output.log").open("ab") as output:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *self.wrap, *self.command(*self.arguments())],
                cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        if not self.probe:
            return self
        try:
            self._wait(self.began)
        except BaseException:
            self.stop()
            raise
        self.started_s = time.monotonic() - self.began
        return self

    def _wait(self, began: float) -> None:
        assert self.process is not None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((self.address[0], 0))
            probe.settimeout(0.05)
            host, port = probe.getsockname()
            ping = (
                f"OPTIONS sip:{self.address[0]}:{self.address[1]} SIP/2.0\r\n"
                f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bKprobe{port};rport\r\n"
                f"From: <sip:probe@{host}>;tag=1\r\nTo: <sip:{self.address[0]}>\r\nCall-ID: probe-{port}@{host}\r\nCSeq: 1 OPTIONS\r\n"
                f"Contact: <sip:probe@{host}:{port}>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
            ).encode()
            while time.monotonic() < began + START_S:
                if self.process.poll() is not None:
                    raise AssertionError(f"{self.name} ended with status {self.process.returncode}:\n{self.said()}")
                try:
                    probe.sendto(ping, self.address)
                    if probe.recv(65535).startswith(b"SIP/2.0 "):
                        return
                except ConnectionRefusedError:
                    time.sleep(0.01)
                except TimeoutError:
                    pass
        raise AssertionError(f"{self.name} did not answer within {START_S:.0f} s:\n{self.said()}")

    def said(self) -> str:
        """The end of its output."""
        return (self.folder / "output.log").read_text(errors="replace")[-4000:]

    def pids(self) -> list[int]:
        """Its processes."""
        assert self.process is not None
        own = self.process.pid
        return [int(path.name) for path in Path("/proc").glob("[0-9]*") if _session(path) == own]

    def stop(self) -> str:
        """End it; what it said last."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
                try:
                    self.process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    pass
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
            self.process = None
        return self.said()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def _session(path: Path) -> int:
    try:
        return int((path / "stat").read_text().rpartition(")")[2].split()[3])
    except (OSError, IndexError):
        return -1


class Asterisk(FarEnd):
    """Asterisk with chan_pjsip. `pjsip` and `extensions` are those files; a transport on UDP at `address` named "udp" is added.

    `rtp` are its first and last port; `files` other files of its configuration by name, which replace those made here.
    """

    name = "asterisk"
    program = "usr/sbin/asterisk"
    inner = ("/pulseaudio",)

    def __init__(
        self,
        folder: Path,
        *,
        address: Address,
        pjsip: str,
        extensions: str,
        rtp: tuple[int, int] = (20000, 20999),
        files: Mapping[str, str] | None = None,
        wrap: Sequence[str] = (),
        probe: bool = True,
    ) -> None:
        super().__init__(folder, address, wrap, probe)
        etc = folder / "etc"
        libraries = self.tree / "usr" / "lib" / f"{platform.machine()}-linux-gnu" / "asterisk" / "modules"
        share = self.tree / "usr" / "share" / "asterisk"
        places = {
            "astetcdir": etc, "astmoddir": libraries, "astvarlibdir": folder / "lib", "astdbdir": folder / "lib",
            "astkeydir": folder / "lib", "astdatadir": share,
            "astagidir": share / "agi-bin", "astspooldir": folder / "spool", "astrundir": folder / "run",
            "astlogdir": folder / "log", "astsbindir": self.tree / "usr" / "sbin", "astcachedir": folder / "cache",
        }  # fmt: skip
        for path in (etc, *(folder / part for part in ("lib", "spool", "run", "log", "log/cdr-csv", "cache"))):
            path.mkdir(parents=True, exist_ok=True)
        texts = {
            "asterisk.conf": "[directories]\n" + "".join(f"{key} => {path}\n" for key, path in places.items()),
            "modules.conf": "[modules]\nautoload=yes\nnoload => chan_console.so\nnoload => chan_websocket.so\nnoload => pbx_lua.so\n",
            "logger.conf": "[general]\n[logfiles]\nconsole => error,warning\n",
            "rtp.conf": f"[general]\nrtpstart={rtp[0]}\nrtpend={rtp[1]}\n",
            "pjsip.conf": f"[udp]\ntype=transport\nprotocol=udp\nbind={address[0]}:{address[1]}\n\n{pjsip}",
            "extensions.conf": extensions,
            "http.conf": "[general]\nenabled=no\n",
            "manager.conf": "[general]\nenabled=no\n",
        } | dict(files or {})
        for name, text in texts.items():
            (etc / name).write_text(text)

    def arguments(self) -> list[str]:
        return ["-f", "-C", str(self.folder / "etc" / "asterisk.conf")]

    def ask(self, line: str) -> str:
        """Answer to a line of its console."""
        command = self.command("-C", str(self.folder / "etc" / "asterisk.conf"), "-rx", line)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=True)
        return done.stdout.decode(errors="replace")


class Kamailio(FarEnd):
    """Kamailio with a script of routes. `modules` are loaded in this order, `parameters` are `modparam` lines."""

    name = "kamailio"
    program = "usr/sbin/kamailio"
    inner = ("/kamailio",)

    def __init__(
        self, folder: Path, *, address: Address, modules: Sequence[str], script: str, parameters: str = "", children: int = 1,
        listen: Sequence[str] = (), wrap: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__(folder, address, wrap)
        libraries = self.tree / "usr" / "lib" / f"{platform.machine()}-linux-gnu" / "kamailio" / "modules"
        lines = [
            "#!KAMAILIO", "debug=1", "log_stderror=yes", f"children={children}", "auto_aliases=no", "dns=no", "rev_dns=no",
            *(f"listen={one}" for one in listen or (f"udp:{address[0]}:{address[1]}",)),
            f'mpath="{libraries}/"', *(f'loadmodule "{one}.so"' for one in modules),
        ]  # fmt: skip
        (folder / "kamailio.cfg").write_text("\n".join([*lines, parameters, script]) + "\n")

    def arguments(self) -> list[str]:
        return ["-DD", "-E", "-f", str(self.folder / "kamailio.cfg"), "-Y", str(self.folder), "-m", "32", "-M", "4"]
