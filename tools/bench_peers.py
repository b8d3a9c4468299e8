"""What the appliance is compared with: rtpengine, the media relay of Debian, and the least a relay in C can do.

Theory of operation. A peer carries calls between two RTP streams of the same load, on the same CPU, measured the same way.
rtpengine is driven by its own control protocol ("ng": bencode in UDP): an offer and an answer for each call; with another codec on
each side it decodes and encodes as our mixer does. It runs in user space (no kernel table), as our media process does.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from bench_appliance import cpu_ns, pin, pss_kb
from load_sip import PCMA, PCMU, Load, Stream, media_of

HERE = Path(__file__).resolve().parent
NAMES = {PCMU: "PCMU", PCMA: "PCMA"}


class Peer:
    """A process that carries `pairs` calls; `connect` joins two streams of the load."""

    name = ""
    process: subprocess.Popen[bytes]

    def cpu(self) -> int:
        """CPU time so far, ns."""
        return cpu_ns(self.process.pid)

    def memory(self) -> int:
        """Proportional set size, kB."""
        return pss_kb(self.process.pid)

    def pin(self, cpus: set[int]) -> None:
        """Keep it on these CPUs."""
        pin(self.process.pid, cpus)

    def connect(self, a: Stream, b: Stream) -> None:
        """Make a call of two streams."""
        raise NotImplementedError

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(10)


class UdpRelay(Peer):
    """`udp_relay.c`: recvfrom and sendto, nothing else."""

    name = "bare UDP relay in C"

    def __init__(self, folder: Path, pairs: int) -> None:
        program = folder / "udp_relay"
        subprocess.run(["cc", "-O2", "-o", str(program), str(HERE / "udp_relay.c")], check=True)
        self.process = subprocess.Popen([str(program), str(pairs)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self._ports = [int(self.process.stdout.readline()) for _ in range(2 * pairs)]

    def connect(self, a: Stream, b: Stream) -> None:
        a.remote, b.remote = ("127.0.0.1", self._ports.pop(0)), ("127.0.0.1", self._ports.pop(0))


class RtpEngine(Peer):
    """rtpengine of the distribution."""

    def __init__(self, folder: Path) -> None:
        self._control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._control.bind(("127.0.0.1", 0))
        self._control.settimeout(2)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            self._address: tuple[str, int] = probe.getsockname()
        self.name = version()
        command = ["rtpengine", "--config-file=none", "--foreground", "--table=-1", "--interface=127.0.0.1"]
        command += ["--log-level=3", "--log-stderr", f"--listen-ng=127.0.0.1:{self._address[1]}", "--num-threads=1"]
        command += ["--port-min=42000", "--port-max=44000"]
        self._log = (folder / "rtpengine.log").open("wb")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log)
        self._count = 0
        end = time.monotonic() + 10
        while True:
            try:
                if self._ask({"command": "ping"}).get("result") == "pong":
                    return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    self.stop()
                    raise RuntimeError(f"rtpengine does not start; see {folder / 'rtpengine.log'}") from None
                time.sleep(0.2)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self._count += 1
        cookie = f"c{self._count} ".encode()
        self._control.sendto(cookie + bencode(request), self._address)
        while True:
            data = self._control.recv(65536)
            if data.startswith(cookie):
                answer: dict[str, Any] = bdecode(data[len(cookie) :])[0]
                return answer

    def connect(self, a: Stream, b: Stream) -> None:
        ident = {"call-id": f"bench-{self._count}", "from-tag": "a", "ICE": "remove"}
        offer: dict[str, Any] = {"command": "offer", "sdp": sdp(a), **ident}
        if a.law != b.law:
            offer["codec"] = {"mask": ["all"], "transcode": [NAMES[b.law]]}
        b.remote = media_of(self._checked(offer))
        a.remote = media_of(self._checked({"command": "answer", "to-tag": "b", "sdp": sdp(b), **ident}))

    def _checked(self, request: dict[str, Any]) -> bytes:
        answer = self._ask(request)
        if answer.get("result") != "ok":
            raise RuntimeError(f"rtpengine refuses the {request['command']}: {answer}")
        return str(answer["sdp"]).encode()

    def stop(self) -> None:
        super().stop()
        self._control.close()
        self._log.close()


def version() -> str:
    """Name and version of the rtpengine that is installed, empty where there is none."""
    if shutil.which("rtpengine") is None:
        return ""
    said = subprocess.run(["rtpengine", "--version"], capture_output=True, text=True, check=False)
    return f"rtpengine {(said.stdout or said.stderr).strip().removeprefix('Version: ')}"


def sdp(stream: Stream) -> str:
    """A session description of one stream."""
    return (
        "v=0\r\no=load 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        f"m=audio {stream.port} RTP/AVP {stream.law}\r\na=rtpmap:{stream.law} {NAMES[stream.law]}/8000\r\na=sendrecv\r\na=ptime:20\r\n"
    )


def streams(load: Load, pairs: int, laws: tuple[int, int]) -> list[tuple[Stream, Stream]]:
    """Pairs of new streams."""
    return [(load.stream(laws[0]), load.stream(laws[1])) for _ in range(pairs)]


def bencode(value: Any) -> bytes:
    """Bencoding of str, int, list, dict."""
    if isinstance(value, str):
        raw = value.encode()
        return b"%d:%s" % (len(raw), raw)
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"


def bdecode(data: bytes, at: int = 0) -> tuple[Any, int]:
    """A bencoded value and where it ends."""
    first = data[at : at + 1]
    if first == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    if first in (b"l", b"d"):
        items = []
        at += 1
        while data[at : at + 1] != b"e":
            item, at = bdecode(data, at)
            items.append(item)
        return (items if first == b"l" else dict(zip(items[::2], items[1::2], strict=True))), at + 1
    colon = data.index(b":", at)
    end = colon + 1 + int(data[at:colon])
    return data[colon + 1 : end].decode("utf-8", "replace"), end
