"""One file on its way to the centre, resumable: the client of tus 1.0.0 without I/O (L1, pure; I6).

Theory of operation
-------------------
Source: "Resumable upload protocol 1.0.x", tus.io: core, and the extensions creation, termination and checksum. `request` says what to ask
next, `answered` and `broken` take what came of it and give events. The place to go on from is only ever what the server confirmed: after
each answer that says something else, and after each break, it is asked (HEAD) before another byte is sent. A file that the server no longer
knows begins anew, at most `MOST_LOST` times in one go, so that a server which forgets all is no endless loop.
Bodies are named by their place in the file (`begin`, `end`) and read by the shell. All instants and durations are integers.
Invariants: no byte is sent twice that was confirmed; `Confirmed` rises until the file is lost or complete; nothing follows `Done`, `Ended`.
"""

from __future__ import annotations

import base64
import re
from typing import Literal
from urllib.parse import urljoin, urlsplit

from msgspec import Struct

VERSION = "1.0.0"
MOST_LOST = 2
MOST_URL = 1000
LEAST_PIECE, MOST_PIECE = 16 << 10, 1 << 20
PIECE_S = 10
CHECKSUMS = ("sha256", "sha1")          # those that every Python has and a server may offer; the first one that it names is used
BLOCK = 4096

State = Literal["create", "query", "send", "end", "done", "ended"]
_NUMBER = re.compile(r"[0-9]{1,18}")


class Request(Struct, frozen=True):
    """What to ask: its body is bytes `begin` to `end` of the file, none where both are 0."""

    method: str
    url: str
    headers: dict[str, str]
    begin: int = 0
    end: int = 0


class Answer(Struct, frozen=True):
    """What came back; names of headers in small letters."""

    status: int
    headers: dict[str, str]


class Opened(Struct, frozen=True):
    """The server has made room for the file at this address."""

    url: str


class Confirmed(Struct, frozen=True):
    """So many bytes from the beginning are safe at the server."""

    offset: int


class Lost(Struct, frozen=True):
    """The server does not know the file (any more): it begins anew."""


class Done(Struct, frozen=True):
    """All of it is at the server."""


class Ended(Struct, frozen=True):
    """The server was told to forget it."""


class Fault(Struct, frozen=True):
    """It does not go on now; to be tried again after a pause, or, for this file, not at all (`final`)."""

    text: str
    text_zh: str
    final: bool = False


Event = Opened | Confirmed | Lost | Done | Ended | Fault


class Abilities(Struct, frozen=True):
    """What a server says of itself (OPTIONS): whether files can be taken back, which checksum it looks at, the largest file (0: any)."""

    termination: bool = False
    checksum: str = ""
    most: int = 0


def ask_abilities(url: str) -> Request:
    """The question for `abilities`."""
    return Request("OPTIONS", url, {})


def abilities(answer: Answer) -> Abilities | Fault:
    """What the server can, or why it is none of ours."""
    head = answer.headers
    if answer.status not in (200, 204):
        return _refused(answer.status)
    versions = [one.strip() for one in head.get("tus-version", head.get("tus-resumable", "")).split(",")]
    extensions = [one.strip() for one in head.get("tus-extension", "").split(",")]
    if VERSION not in versions or "creation" not in extensions:
        return Fault("what answers at recording.upload.url does not speak tus 1.0.0 with `creation`; check the address",
                     "recording.upload.url 处的服务不支持 tus 1.0.0 及 creation 扩展；请检查地址")  # fmt: skip
    offered = [one.strip() for one in head.get("tus-checksum-algorithm", "").split(",")] if "checksum" in extensions else []
    checksum = next((one for one in CHECKSUMS if one in offered), "")
    return Abilities("termination" in extensions, checksum, _number(head.get("tus-max-size", "")) or 0)


def same_machine(one: str, other: str) -> bool:
    """True where both addresses are of one service: scheme, host and port."""
    return urlsplit(one)[:2] == urlsplit(other)[:2]


def metadata(facts: dict[str, str]) -> str:
    """The header Upload-Metadata: names and base64 of their values."""
    return ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in facts.items() if value)


class Transfer:
    """See the theory of operation. `url`: where an earlier try has put it, "" for none; `piece`: bytes of one request."""

    def __init__(self, endpoint: str, size: int, facts: dict[str, str], *, url: str = "", piece: int = MOST_PIECE) -> None:
        self._endpoint = endpoint
        self._size = size
        self._facts = facts
        self.url = url
        self.piece = piece
        self.offset = 0
        self.state: State = "query" if url else "create"
        self._asked: Request | None = None
        self._lost = 0
        self._conflict = False

    def end(self) -> None:
        """The file shall not be at the server: it is told to forget it."""
        self.state = "end" if self.url else "ended"

    def request(self) -> Request | None:
        """What to ask next; None: nothing any more."""
        self._asked = self._next()
        return self._asked

    def _next(self) -> Request | None:
        if self.state == "create":
            return Request("POST", self._endpoint, {"Upload-Length": str(self._size), "Upload-Metadata": metadata(self._facts)})
        if self.state == "query":
            return Request("HEAD", self.url, {})
        if self.state == "send":
            until = min(self._size, self.offset + self.piece)
            headers = {"Upload-Offset": str(self.offset), "Content-Type": "application/offset+octet-stream"}
            return Request("PATCH", self.url, headers, self.offset, until)
        return Request("DELETE", self.url, {}) if self.state == "end" else None

    def broken(self, why: str) -> list[Event]:
        """No answer came: refused, timed out, cut."""
        if self.state == "send":
            self.state = "query"
        return [Fault(f"the centre is not reached: {why}", f"无法连接中心：{why}")]

    def answered(self, answer: Answer) -> list[Event]:
        """The answer to what was asked last."""
        if self._asked is None:
            return []
        method = self._asked.method
        if method == "POST":
            return self._created(answer)
        if method == "DELETE":
            if answer.status in (200, 204, 404, 410):
                self.state = "ended"
                return [Ended()]
            return [_refused(answer.status)]
        return self._told(answer) if method == "HEAD" else self._sent(answer, self._asked)

    def _created(self, answer: Answer) -> list[Event]:
        if answer.status != 201:
            return [_refused(answer.status)]
        place = urljoin(self._endpoint, answer.headers.get("location", ""))
        if not same_machine(place, self._endpoint) or place == self._endpoint or len(place) > MOST_URL:
            # The file, and the token, go to the machine that was configured and to no other.
            return [Fault("the centre names no place of its own for the file (Location); check the proxy in front of it",
                          "中心返回的文件地址（Location）不属于该中心；请检查其前置代理")]  # fmt: skip
        self.url, self.offset, self.state = place, 0, "send"
        events: list[Event] = [Opened(place)]
        return [*events, *self._at(0)]

    def _told(self, answer: Answer) -> list[Event]:
        if answer.status in (404, 410):
            return self._begin_anew()
        if answer.status not in (200, 204):
            return [_refused(answer.status)]
        offset, length = _number(answer.headers.get("upload-offset", "")), _number(answer.headers.get("upload-length", ""))
        if offset is None or offset > self._size or (length is not None and length != self._size):
            return self._begin_anew()           # another file lies there
        return self._at(offset)

    def _sent(self, answer: Answer, asked: Request) -> list[Event]:
        if answer.status in (404, 410):
            return self._begin_anew()
        self.state = "query"
        if answer.status == 409 and not self._conflict:         # it has another place in mind: it is asked
            self._conflict = True
            return []
        if answer.status == 460:
            return [Fault("a piece arrived changed at the centre (checksum)", "一段数据到达中心时校验不符")]
        if answer.status not in (200, 204):
            return [_refused(answer.status)]
        offset = _number(answer.headers.get("upload-offset", ""))
        if offset is None or not asked.begin < offset <= asked.end:
            return [Fault("the centre confirms another place than what was sent", "中心确认的位置与所发送的不符")]
        self._conflict = False
        return self._at(offset)

    def _at(self, offset: int) -> list[Event]:
        self.offset = offset
        if offset:
            self._lost = 0
        self.state = "done" if offset == self._size else "send"
        return [Confirmed(offset), Done()] if self.state == "done" else [Confirmed(offset)]

    def _begin_anew(self) -> list[Event]:
        self.url, self.offset, self.state = "", 0, "create"
        self._lost += 1
        if self._lost > MOST_LOST:
            self._lost = 0
            return [Lost(), Fault("the centre forgets files that it has begun to take", "中心丢失了已开始接收的文件")]
        return [Lost()]


def _number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None


_WORDS = {
    401: ("the centre refuses the log-in; check recording.upload.token", "中心拒绝登录；请检查 recording.upload.token"),
    403: ("the centre refuses the log-in; check recording.upload.token", "中心拒绝登录；请检查 recording.upload.token"),
    404: ("there is no upload service at recording.upload.url", "recording.upload.url 处没有上传服务"),
    405: ("there is no upload service at recording.upload.url", "recording.upload.url 处没有上传服务"),
    409: ("the centre does not go on from where it says it is", "中心不从其所报的位置继续接收"),
    412: ("the centre speaks another version of tus", "中心使用的 tus 版本不同"),
    413: ("the file is larger than the centre takes", "文件超过中心允许的大小"),
    423: ("the centre is still busy with the piece before", "中心仍在处理上一段"),
    507: ("the centre's disk is full", "中心磁盘已满"),
}


TOO_LARGE = Fault(*_WORDS[413], final=True)


def _refused(status: int) -> Fault:
    text, chinese = _WORDS.get(status, (f"the centre answers {status}", f"中心应答 {status}"))
    return Fault(text, chinese, final=status == 413)


# --- pace, pauses, nights --------------------------------------------------------------------------------------------


def piece_of(kbit_s: int) -> int:
    """Bytes of a request that takes about `PIECE_S` seconds at this rate, in whole blocks."""
    return max(LEAST_PIECE, min(MOST_PIECE, kbit_s * 125 * PIECE_S)) // BLOCK * BLOCK


class Pace:
    """Keeps to a rate: each block waits until those before it have had their time, so nothing ever goes out in a burst."""

    def __init__(self, kbit_s: int) -> None:
        self.kbit_s = kbit_s
        self._free_us = 0

    def wait_us(self, size: int, now_us: int) -> int:
        """How long a block of so many bytes waits before it goes out."""
        start = max(self._free_us, now_us)
        self._free_us = start + -(-size * 8000 // self.kbit_s)
        return start - now_us


class Pauses:
    """Pauses between tries that failed: each twice the one before, from `first_s` to `most_s`."""

    def __init__(self, first_s: int = 30, most_s: int = 900) -> None:
        self._first, self._most = first_s, most_s
        self.failed = 0

    def next_s(self) -> int:
        """A try has failed: the pause before the next."""
        self.failed += 1
        return min(self._first << min(self.failed - 1, 20), self._most)


class Nights(Struct):
    """How many windows in a row ended with files waiting and none taken. Days as YYYY-MM-DD; kept by the shell."""

    day: str = ""
    """The window that is open, "" outside."""
    good: bool = False
    waited: bool = False
    ended: str = ""
    bad: int = 0

    def at(self, day: str, waiting: bool) -> bool:
        """The window of this day is open, "" for none; `waiting`: something waits. True when anything changed."""
        before = (self.day, self.waited, self.ended, self.bad)
        if self.day and self.day != day:
            if self.day != self.ended:          # an hour that the clock repeats does not count twice
                self.bad = 0 if self.good or not self.waited else self.bad + 1
            self.ended, self.day = self.day, ""
        if day and day != self.day:
            self.day, self.good, self.waited = day, False, False
        self.waited = self.waited or (bool(self.day) and waiting)
        return before != (self.day, self.waited, self.ended, self.bad)

    def well(self) -> None:
        """A file was taken."""
        self.good, self.bad = True, 0
