"""A real baresip as an ordinary SIP phone: driven over its control port, its microphone a file, its loudspeaker a file."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from tests.e2e.appliance import DIE_WITH_TEST
from tests.e2e.audio import Sound, read_wav
from tests.ports import free_port

CONFIG = """
sip_listen              {host}:{port}
audio_player            aufile,{dir}/player.wav
audio_source            aufile,{source}
audio_alert             aufile,{dir}/alert.wav
audio_buffer            20-160
audio_channels          1-{channels}
audio_srate             8000-{srate}
call_local_timeout      120
call_max_calls          4
rtp_tos                 184
module_path             {modules}
module                  stdio.so
module                  g711.so
{modules_wide}module                  aufile.so
module                  sndfile.so
module_tmp              uuid.so
module_tmp              account.so
module_app              ctrl_tcp.so
module_app              menu.so
ctrl_tcp_listen         127.0.0.1:{control}
snd_path                {dir}
"""

# G.722 and Opus; the microphone's file keeps its own rate, whatever the codec wants.
WIDE = """module                  g722.so
module                  opus.so
ausrc_srate             {rate}
ausrc_channels          1
auplay_srate            {rate}
auplay_channels         1
"""


def file_rate(path: Path) -> int:
    """Samples a second of a WAV file."""
    with wave.open(str(path), "rb") as file:
        return file.getframerate()


class Machine(Protocol):
    """Where a phone runs, when not here: a network namespace of a test."""

    prefix: tuple[str, ...]

    def inside(self, work: Callable[[], Any]) -> Any: ...


def closed(path: Path, patience_s: float = 10.0) -> Path:
    """`path` when its RIFF header tells its size: the client says that the call is over before the thread that writes has closed the file.

    The file of a client that was killed stays open for ever: it is taken as it is after `patience_s`.
    """
    until = time.monotonic() + patience_s
    while time.monotonic() < until and int.from_bytes(path.read_bytes()[4:8], "little") + 8 != path.stat().st_size:
        time.sleep(0.05)  # another program's file: nothing tells that it was closed
    return path


class Baresip:
    """One phone. `microphone` is the WAV it plays into calls; `heard()` is what it decoded from the far end; `wide` adds G.722 and Opus."""

    def __init__(
        self,
        folder: Path,
        *,
        user: str,
        secret: str,
        server: str,
        host: str,
        microphone: Path,
        transport: str = "udp",
        answer: str = "manual",
        register: bool = True,
        codecs: str = "",
        wide: bool = False,
        trusted: Path | None = None,
        mediaenc: str = "",
        where: Machine | None = None,
        more: str = "",
        account: str = "",
    ) -> None:
        self.folder = folder
        self.user = user
        self.server = server
        self.inside: Callable[[Callable[[], Any]], Any] = where.inside if where is not None else lambda work: work()
        self.control_port = self.inside(free_port)
        folder.mkdir(parents=True, exist_ok=True)
        modules = next(Path("/usr/lib").glob("**/baresip/modules"))
        config = CONFIG.format(
            host=f"[{host}]" if ":" in host else host, port=self.inside(lambda: free_port(host, 2)),
            dir=folder, source=microphone, modules=modules, control=self.control_port,
            srate=48000 if wide else 8000, channels=2 if wide else 1, modules_wide=WIDE.format(rate=file_rate(microphone)) if wide else "",
        )  # fmt: skip
        if trusted is not None:
            config += f"sip_cafile {trusted}\n"
        config += more
        (folder / "config").write_text(config)
        (folder / "contacts").write_text("")
        kept = 300 if register else 0
        account = f"<sip:{user}@{server};transport={transport}>;auth_pass={secret};answermode={answer};regint={kept}{account}"
        if mediaenc:             # "srtp" (RTP/AVP with keys), "srtp-mand" (RTP/SAVP), "dtls_srtp"
            config += f"module {mediaenc.partition('-')[0]}.so\n"
            (folder / "config").write_text(config)
            account += f";mediaenc={mediaenc}"
        if codecs:
            account += f";audio_codecs={codecs}"
        (folder / "accounts").write_text(account + "\n")
        self.log = (folder / "baresip.log").open("wb")
        self.process = subprocess.Popen(
            [*DIE_WITH_TEST, *(where.prefix if where is not None else ()), "baresip", "-f", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
        self.events: list[dict[str, Any]] = []
        self._buffer = b""
        self._responses = 0
        self.socket = self._connect()

    def _connect(self) -> socket.socket:
        deadline = time.monotonic() + 30
        while True:
            try:
                made: socket.socket = self.inside(lambda: socket.create_connection(("127.0.0.1", self.control_port), timeout=1))
                return made
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError(f"baresip did not start:\n{(self.folder / 'baresip.log').read_text(errors='replace')}") from None
                time.sleep(0.05)

    def _read(self, timeout: float) -> None:
        """Take in what the control port says within `timeout` seconds (netstrings of JSON)."""
        self.socket.settimeout(timeout)
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            return
        if not data:
            raise RuntimeError("baresip closed its control port")
        self._buffer += data
        while b":" in self._buffer:
            length, _, rest = self._buffer.partition(b":")
            size = int(length)
            if len(rest) < size + 1:
                break
            message = json.loads(rest[:size])
            self._buffer = rest[size + 1 :]
            if message.get("event"):
                self.events.append(message)
            else:
                self._responses += 1

    def command(self, name: str, params: str = "") -> None:
        """Send one command and wait until baresip has answered it."""
        body = json.dumps({"command": name, "params": params, "token": "t"}).encode()
        before = self._responses
        self.socket.sendall(str(len(body)).encode() + b":" + body + b",")
        deadline = time.monotonic() + 15
        while self._responses == before and time.monotonic() < deadline:
            self._read(0.2)

    def wait(self, kind: str, timeout: float = 20.0, start: int = 0) -> dict[str, Any]:
        """Wait for an event of this type among those from index `start` on; the test fails when it does not come."""
        deadline = time.monotonic() + timeout
        while True:
            for event in self.events[start:]:
                if event["type"] == kind:
                    return event
            left = deadline - time.monotonic()
            if left <= 0:
                seen = [event["type"] for event in self.events]
                raise AssertionError(f"{self.user}: no {kind} within {timeout} s; saw {seen}")
            self._read(min(left, 0.2))

    def wait_for_registration(self, status: str = "200 OK", timeout: float = 30.0) -> None:
        """Wait until the registrar's answer is in the log: the first one comes before anybody listens to events."""
        deadline = time.monotonic() + timeout
        log = self.folder / "baresip.log"
        while f" {status}" not in log.read_text(errors="replace"):
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.user}: REGISTER was not answered {status}:\n{log.read_text(errors='replace')[-1500:]}")
            self._read(0.05)

    def dial(self, number: str) -> None:
        self.command("dial", f"sip:{number}@{self.server}")

    def answer(self) -> None:
        self.command("accept")

    def hang_up(self) -> None:
        self.command("hangup")

    def hold(self) -> None:
        self.command("hold")

    def resume(self) -> None:
        self.command("resume")

    def keys(self, digits: str) -> None:
        """Press keys (RFC 4733), one after the other."""
        for digit in digits:
            self.command("sndcode", digit)
            time.sleep(0.12)  # a person's pace, seen by a real client in real time
            self.command("sndcode", "\x04")
            time.sleep(0.08)

    def heard(self, call: int = -1) -> Sound:
        """What this phone decoded in its call number `call` (files are dumped by the sndfile module)."""
        files = sorted(self.folder.glob("dump-*-dec.wav"))
        if not files:
            raise AssertionError(f"{self.user} decoded no audio")
        return read_wav(closed(files[call]))[0]

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.socket.close()
        self.log.close()
