"""Coverage-guided fuzzing of SIP framing, parser, session descriptions and the whole endpoint, and of what stands beside them.

    .venv/bin/python -m tools.fuzz_sip --executions 1000000 --corpus build/fuzz-sip

Theory of operation
-------------------
There are five kinds of input, by the ending of their files: `sip` (messages of strangers: framing, parser, descriptions, endpoint over
UDP and TCP), and those of `fuzz_targets.py`: `call` (requests and answers in the middle of calls), `ws` (WebSocket), `side` (STUN and DTLS
at an RTP port), `wire` (the scripted mode of the serial line), `site` (site files, `set` and `delete` lines).
Inputs are mutated from a corpus: the torture messages, well-formed
messages, what is kept in tests/vectors/sip-fuzz, and whatever reached a new line before. Every eighth execution is traced; one that reaches
a line that none reached before joins the corpus. A failure is any exception but those that the interfaces name, a stream that is framed
otherwise when it is cut otherwise, or state that is left behind; its input is written beside the corpus. `--keep` writes the few inputs
that together reach every line that all of them reach.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from firmware.sip.endpoint import Endpoint  # noqa: E402
from firmware.sip.errors import SyntaxProblem, Unframeable  # noqa: E402
from firmware.sip.message import Request, Response  # noqa: E402
from firmware.sip.parse import StreamFramer, parse_datagram  # noqa: E402
from firmware.sip.sdp import parse_sdp  # noqa: E402
from firmware.sip.settings import Settings  # noqa: E402

if TYPE_CHECKING:
    from fuzz_configuration import SiteText
    from fuzz_targets import Aside, InCall, SerialLine, Socket, Target
else:
    from tools.fuzz_configuration import SiteText
    from tools.fuzz_targets import Aside, InCall, SerialLine, Socket, Target

KEPT = ROOT / "tests" / "vectors" / "sip-fuzz"
VECTORS = ROOT / "tests" / "vectors" / "sip-torture"
CODE = tuple(str(ROOT / "firmware" / part) for part in ("sip", "net/sip_ws.py", "media/ice.py", "media/side.py", "wire", "config"))
KINDS = ("sip", "call", "ws", "side", "wire", "site")
SHARES = (48, 26, 9, 5, 9, 3)         # of the executions, in per cent
TRACED = 8
LONGEST = 8192
SOURCE, PBX = ("198.51.100.7", 5060), ("192.0.2.1", 5060)
WORDS = (
    b"\r\n", b"\r\n\r\n", b"\r\n ", b";", b",", b"<", b">", b'"', b"%00", b"[::1]", b"sip:", b"sips:", b"SIP/2.0", b"z9hG4bK",
    b"tag=", b"INVITE", b"REGISTER", b"ACK", b"CANCEL", b"BYE", b"SUBSCRIBE", b"REFER", b"Content-Length: ", b"l: 0",
    b"Contact: *", b"Expires: 0", b"Event: dialog", b"Require: ", b"Replaces: ", b"RAck: 1 1 INVITE", b"Session-Expires: 90",
    b"a=rtpmap:", b"m=audio ", b"c=IN IP6 ::1", b"4294967296", b"-1", b"\x00", b"\xff",
)  # fmt: skip


class Fuzzer:
    """One run: `step` does one execution; `found` holds kind and input, `failures` the reason, too. To be closed."""

    def __init__(self, seed: int, corpus: dict[str, list[bytes]]) -> None:
        self.random = random.Random(seed)
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._aside, self._socket = Aside(), Socket(self._listener)
        self.targets: dict[str, Target] = {
            "call": InCall(), "ws": self._socket, "side": self._aside, "wire": SerialLine(), "site": SiteText(),
        }  # fmt: skip
        self.corpus = {kind: list(corpus.get(kind, ())) for kind in KINDS}
        for kind, target in self.targets.items():
            self.corpus[kind] += target.seeds()
        self.kinds = [kind for kind in KINDS if self.corpus[kind]]
        self.shares = [share for kind, share in zip(KINDS, SHARES, strict=True) if kind in self.kinds]
        self.lines: set[tuple[str, int]] = set()
        self.found: list[tuple[str, bytes]] = []
        self.failures: list[tuple[str, bytes, str]] = []
        self.executions = 0
        self._now = 0
        self._endpoints = [self._endpoint(), self._endpoint()]

    def close(self) -> None:
        """Give descriptors back."""
        self._aside.close()
        self._socket.close()
        self._listener.close()

    def _endpoint(self) -> Endpoint:
        return Endpoint(Settings(), {"200": "pw200"}, lambda digits: "".join(self.random.choice("0123456789abcdef") for _ in range(digits)))

    def step(self) -> None:
        """Mutate, run, and look whether something new was reached."""
        (kind,) = self.random.choices(self.kinds, self.shares)
        self.execute(kind, self.mutated(kind), traced=self.executions % TRACED == 0)

    def execute(self, kind: str, data: bytes, *, traced: bool) -> set[tuple[str, int]]:
        """Run one input; the lines that only it has reached, where it is traced."""
        self.executions += 1
        before = set(self.lines) if traced else set()
        if traced:
            sys.settrace(self._trace)
        try:
            if kind == "sip":
                self._run(data)
            else:
                self.targets[kind].run(data)
        except Exception as problem:
            self.failures.append((kind, data, f"{type(problem).__name__}: {problem}"))
            self._endpoints = [self._endpoint(), self._endpoint()]
        finally:
            if traced:
                sys.settrace(None)
        new = self.lines - before if traced else set()
        if new:
            self.corpus[kind].append(data)
            self.found.append((kind, data))
        return new

    def mutated(self, kind: str = "sip") -> bytes:
        """A corpus entry after one to eight random changes."""
        pick = self.random
        corpus = self.corpus[kind]
        data = bytearray(pick.choice(corpus))
        for _ in range(1 << pick.randrange(4)):
            at = pick.randrange(len(data) + 1)
            match pick.randrange(6):
                case 0:
                    data[at:at] = pick.choice(WORDS)
                case 1:
                    del data[at : at + pick.choice((1, 2, 8, 64))]
                case 2:
                    data[at : at + 1] = bytes([pick.randrange(256)])
                case 3:
                    other = pick.choice(corpus)
                    start = pick.randrange(len(other) + 1)
                    data[at:at] = other[start : start + pick.choice((4, 32, 256))]
                case 4:
                    data[at:at] = data[at : at + pick.choice((1, 16, 128))] * pick.choice((1, 2, 8))
                case _:
                    lines = bytes(data).split(b"\r\n")
                    pick.shuffle(lines)
                    data = bytearray(b"\r\n".join(lines) if pick.random() < 0.2 else data)
        return bytes(data[:LONGEST])

    def _run(self, data: bytes) -> None:
        try:
            message = parse_datagram(data)
            if message is not None:
                message.render()
        except Unframeable:
            message = None
        if _framed(data, [len(data)]) != _framed(data, [self.random.randrange(1, 80) for _ in range(40)]):
            raise AssertionError("framing depends on how the stream is cut")
        try:
            parse_sdp(message.body if message is not None and message.body else data)
        except SyntaxProblem:
            pass
        self._now += 50
        for endpoint, transport in zip(self._endpoints, ("udp", "tcp"), strict=True):
            endpoint.receive(data, SOURCE, transport, self._now, PBX)
            endpoint.output()
            endpoint.events()
            if transport == "tcp":
                endpoint.connection_lost("tcp", SOURCE, self._now)
            endpoint.expire(self._now)
            sizes = endpoint.statistics()
            if sizes["sessions"] or sizes["dialogs"] or sizes["connections"] or sizes["registered"] or sizes["transactions"] > 2000:
                raise AssertionError(f"a stranger left state behind: {sizes}")

    def _trace(self, frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        name = frame.f_code.co_filename
        if not name.startswith(CODE):
            return None
        lines = self.lines

        def local(inner: FrameType, what: str, _: Any) -> Any:
            if what == "line":
                lines.add((name, inner.f_lineno))
            return local

        return local


def _framed(data: bytes, sizes: list[int]) -> list[bytes]:
    framer, out, at = StreamFramer(), [], 0
    for size in [*sizes, len(data)]:
        for item in framer.feed(data[at : at + size]):
            out.append(item.render() if isinstance(item, Request | Response) else type(item).__name__.encode())
        at += size
    return [item for item in out if item != b"Ping"]     # a burst of keep-alives is answered once or several times


def seeds() -> dict[str, list[bytes]]:
    """The torture messages, and what earlier runs found, by kind."""
    corpus = {kind: [path.read_bytes() for path in sorted(KEPT.glob(f"*.{kind}"))] for kind in KINDS}
    corpus["sip"] += [path.read_bytes() for path in sorted(VECTORS.glob("*/*.dat"))]
    return corpus


def keep(corpus: dict[str, list[bytes]], folder: Path) -> int:
    """Write the inputs that reach what those before them, the well-formed ones first, do not; how many."""
    torture = {path.read_bytes() for path in VECTORS.glob("*/*.dat")}
    fuzzer = Fuzzer(0, {})
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.*"):
        if path.suffix[1:] in KINDS:
            path.unlink()
    count = 0
    try:
        given = [(kind, data) for kind in KINDS for data in fuzzer.corpus[kind]] + [("sip", data) for data in sorted(torture)]
        for kind, data in given:
            fuzzer.execute(kind, data, traced=True)
        for kind in KINDS:
            for data in sorted(corpus[kind], key=lambda one: (len(one), one)):
                if data not in torture and fuzzer.execute(kind, data, traced=True):
                    (folder / f"{hashlib.sha256(data).hexdigest()[:16]}.{kind}").write_bytes(data)
                    count += 1
    finally:
        fuzzer.close()
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--executions", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--corpus", type=Path, default=ROOT / "build" / "fuzz-sip")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--keep", action="store_true", help=f"renew {KEPT.relative_to(ROOT)} afterwards")
    options = parser.parse_args()
    options.corpus.mkdir(parents=True, exist_ok=True)
    corpus = seeds()
    for kind in KINDS:
        corpus[kind] += [path.read_bytes() for path in sorted(options.corpus.glob(f"*.{kind}"))]
    known = sum(len(inputs) for inputs in corpus.values())
    fuzzer = Fuzzer(options.seed, corpus)
    started = told = time.monotonic()
    while fuzzer.executions < options.executions and len(fuzzer.failures) < 20:
        fuzzer.step()
        if fuzzer.executions % 1024 == 0 and time.monotonic() - told > 60:
            told = time.monotonic()
            print(f"{fuzzer.executions} executions, {len(fuzzer.lines)} lines, {len(fuzzer.failures)} failures", flush=True)
    took = max(time.monotonic() - started, 0.001)
    fuzzer.close()
    for kind, data in fuzzer.found:
        (options.corpus / f"{hashlib.sha256(data).hexdigest()[:16]}.{kind}").write_bytes(data)
    for kind, data, why in fuzzer.failures:
        path = options.corpus / f"failure-{hashlib.sha256(data).hexdigest()[:16]}.{kind}.bin"
        path.write_bytes(data)
        print(f"{path}: {why}")
    facts = {
        "seed": options.seed, "executions": fuzzer.executions, "seconds": round(took, 1), "lines": len(fuzzer.lines), "known": known,
        "found": len(fuzzer.found), "failures": [why for _, _, why in fuzzer.failures],
    }  # fmt: skip
    if options.json is not None:
        options.json.write_text(json.dumps(facts, indent=2) + "\n")
    print(
        f"seed {options.seed}: {fuzzer.executions} executions ({fuzzer.executions / took:.0f}/s), {len(fuzzer.lines)} lines reached, "
        f"{len(fuzzer.found)} inputs added to {known}, {len(fuzzer.failures)} failures"
    )
    if options.keep:
        print(f"{keep(fuzzer.corpus, KEPT)} inputs kept in {KEPT.relative_to(ROOT)}")
    return 1 if fuzzer.failures else 0


if __name__ == "__main__":
    sys.exit(main())
