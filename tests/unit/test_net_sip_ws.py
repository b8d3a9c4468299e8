"""SIP over secure WebSocket on real sockets, with a client made by hand: upgrades right and wrong, frames, farewells, bounds."""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import os
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from firmware.net import sip_tcp, sip_tls, sip_ws
from firmware.net.sip_tls import SipTls
from firmware.net.sip_ws import SipWss, admits, origin_host
from firmware.sip import events as ev
from firmware.sip import ice
from firmware.sip.message import Response
from firmware.sip.parse import parse_datagram
from tests.unit.sip_stage import PBX, PHONE, Network, audio, authorize, make_endpoint, request
from tests.unit.test_net_sip_tls import Box, Stream, dial, run, until

PAGE = "https://box.example:8443"
TEXT, BINARY, CLOSE, PING, PONG, MORE = 1, 2, 8, 9, 10, 0
CONTACT = (("Contact", "<sip:k3j2@8f7d6s.invalid;transport=ws>"),)


class WsBox(Box):
    """The listener before a real endpoint; pages of box.example are let in."""

    ping_s = 30.0

    def listening(self, listener: socket.socket, server: ssl.SSLContext, client: ssl.SSLContext, handshake_s: float) -> SipTls:
        def admit(origin: str | None) -> bool:
            return admits(origin, ["box.example"], ["https://intranet.example"])

        loop = asyncio.get_running_loop()
        return SipWss(listener, self, loop, server, client, admit=admit, handshake_s=handshake_s, ping_s=self.ping_s)


def upgrade(*, origin: str | None = PAGE, protocol: str | None = "sip", key: str = "dGhlIHNhbXBsZSBub25jZQ==", version: str = "13",
            method: str = "GET", extra: str = "") -> bytes:  # fmt: skip
    lines = [f"{method} / HTTP/1.1", "Host: box.example", "Upgrade: websocket", "Connection: keep-alive, Upgrade",
             f"Sec-WebSocket-Key: {key}", f"Sec-WebSocket-Version: {version}"]  # fmt: skip
    if protocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {protocol}")
    if origin is not None:
        lines.append(f"Origin: {origin}")
    return ("\r\n".join(lines) + "\r\n" + extra + "\r\n").encode()


def frame(opcode: int, data: bytes = b"", *, fin: bool = True, masked: bool = True, rsv: int = 0) -> bytes:
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    flag = 0x80 if masked else 0
    if len(data) < 126:
        head += bytes([flag | len(data)])
    elif len(data) < 65536:
        head += bytes([flag | 126]) + struct.pack("!H", len(data))
    else:
        head += bytes([flag | 127]) + struct.pack("!Q", len(data))
    if not masked:
        return head + data
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))


async def take(stream: Stream) -> tuple[int, bytes]:
    """Next frame of the box: opcode and payload; never masked, never in pieces."""
    first, second = await asyncio.wait_for(stream[0].readexactly(2), 5)
    assert first & 0xF0 == 0x80 and second < 0x80
    size = second
    if size == 126:
        (size,) = struct.unpack("!H", await stream[0].readexactly(2))
    return first & 0x0F, await asyncio.wait_for(stream[0].readexactly(size), 5)


async def ask(box: WsBox, request_: bytes) -> tuple[int, bytes, Stream]:
    stream = await dial(box)
    stream[1].write(request_)
    head = await asyncio.wait_for(stream[0].readuntil(b"\r\n\r\n"), 5)
    return int(head.split()[1]), head, stream


async def enter(box: WsBox) -> Stream:
    status, head, stream = await ask(box, upgrade())
    assert status == 101 and b"sec-websocket-protocol: sip\r\n" in head.lower()
    return stream


async def over(stream: Stream) -> bytes:
    """What still comes before the end of the connection."""
    with suppress(ConnectionError):
        return await asyncio.wait_for(stream[0].read(), 8)
    return b""


def options() -> bytes:
    return request("OPTIONS", transport="WSS").render()


async def register(stream: Stream, *, opcode: int = TEXT) -> bytes:
    stream[1].write(frame(opcode, request("REGISTER", transport="WSS", extra=CONTACT).render()))
    challenge = parse_datagram((await take(stream))[1])
    assert isinstance(challenge, Response)
    again = authorize(request("REGISTER", transport="WSS", extra=CONTACT, cseq=2, branch="b2"), challenge, "200", "pw200")
    stream[1].write(frame(opcode, again.render()))
    return (await take(stream))[1]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "tls"
    gc.collect()


# --- origins ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [
        (None, True),                                  # no browser: proven by its password
        ("https://box.example", True),
        ("https://BOX.example:8443", True),
        ("https://[2001:db8::1]:5062", True),
        ("https://192.0.2.1", True),
        ("https://intranet.example", True),
        ("https://Intranet.Example", True),
        ("http://lab.example:8080", True),
        ("http://box.example", False),                 # a page that anybody on the way may have written
        ("https://intranet.example:444", False),
        ("https://lab.example:8080", False),
        ("https://evil.example", False),
        ("https://box.example.evil.example", False),
        ("https://evil.example/box.example", False),
        ("https://box.example@evil.example", False),
        ("https://", False),
        ("null", False),
        ("", False),
    ],
)
def test_which_pages_are_let_in(origin: str | None, welcome: bool) -> None:
    own = ["box.example", "2001:db8::1", "192.0.2.1"]
    assert admits(origin, own, ["https://intranet.example", "http://lab.example:8080"]) is welcome


def test_the_host_of_an_origin() -> None:
    assert [origin_host(one) for one in ("https://a.b:1", "https://[::1]", "ftp://a", "https://a b")] == ["a.b", "::1", "", ""]


# --- upgrades ---------------------------------------------------------------------------------------------------------


def test_an_upgrade_is_answered_as_it_must_be(folder: Path) -> None:
    async def work() -> None:
        box = WsBox(folder)
        await box.shell.start()
        key = base64.b64encode(os.urandom(16)).decode()
        deflate = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
        status, head, stream = await ask(box, upgrade(key=key, protocol="chat, sip", extra=deflate))
        told = {name.lower(): value for name, _, value in (line.partition(": ") for line in head.decode().split("\r\n"))}
        want = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        assert status == 101 and told["sec-websocket-accept"] == want and told["sec-websocket-protocol"] == "sip"
        assert "sec-websocket-extensions" not in told, "nothing is compressed"
        assert box.made == [stream[1].get_extra_info("sockname")[:2]]
        stream[1].close()
        await box.shell.close()

    run(work)


@pytest.mark.parametrize(
    ("bytes_", "status"),
    [
        (upgrade(protocol=None), 400),
        (upgrade(protocol="chat"), 400),
        (upgrade(origin="https://evil.example"), 403),
        (upgrade(extra="Origin: https://evil.example\r\n"), 403),
        (upgrade(version="8"), 426),
        (upgrade(method="POST"), 400),
        (b"GET / HTTP/1.1\r\nHost: box.example\r\n\r\n", 400),
        (upgrade(extra="X: " + "a" * 60_000 + "\r\n"), 400),
    ],
)
def test_other_requests_are_refused_and_no_connection(folder: Path, bytes_: bytes, status: int) -> None:
    async def work() -> None:
        box = WsBox(folder)
        await box.shell.start()
        answered, _, stream = await ask(box, bytes_)
        assert answered == status
        await over(stream)
        assert not box.made and not box.got
        figures = box.shell.statistics()
        assert (figures["rejected"], figures["upgrades"], figures["connections"]) == (1, 0, 0)
        await box.shell.close()

    run(work)


@pytest.mark.parametrize(
    "junk", [options(), b"\x00" * 3000, b"\x16\x03\x01\x00\x05hello\r\n\r\n", upgrade().replace(b"box.example", b"xn--\xff")]
)
def test_what_is_no_http_ends(folder: Path, junk: bytes) -> None:
    async def work() -> None:
        box = WsBox(folder)
        await box.shell.start()
        stream = await dial(box)
        stream[1].write(junk)
        assert (await over(stream))[:9] in (b"", b"HTTP/1.1 ")
        assert not box.made and not box.got and box.shell.statistics()["upgrades"] == 0
        stream = await enter(box)
        stream[1].close()
        await box.shell.close()

    run(work)


def test_slow_upgrades_end_and_one_source_has_few(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sip_ws, "MAX_SHAKING_PER_SOURCE", 3)

    async def work() -> None:
        box = WsBox(folder, handshake_s=1.5)
        await box.shell.start()
        slow = [await dial(box) for _ in range(5)]
        for stream in slow[:3]:
            stream[1].write(b"GET / HTTP/1.1\r\n")
        await until(lambda: box.shell.statistics()["refused"] == 2, "what is beyond the bound is refused")
        assert box.shell.statistics()["upgrades"] == 3
        for stream in slow:
            assert await over(stream) == b""
        assert box.shell.statistics()["upgrades"] == 0 and not box.made
        stream = await enter(box)
        stream[1].close()
        await box.shell.close()

    run(work)


def test_the_oldest_upgrade_gives_way(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sip_ws, "MAX_SHAKING", 2)

    async def work() -> None:
        box = WsBox(folder)
        await box.shell.start()
        slow = [await dial(box) for _ in range(2)]
        await until(lambda: box.shell.statistics()["upgrades"] == 2, "both are waited for")
        stream = await enter(box)
        assert await over(slow[0]) == b""
        assert (await register(stream)).startswith(b"SIP/2.0 200")
        for each in (*slow, stream):
            each[1].close()
        await box.shell.close()

    run(work)


@pytest.mark.parametrize("module", [sip_tls, sip_ws, sip_tcp])
def test_one_source_has_so_many_connections(folder: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    """At the handshake, at the upgrade and when it is a connection of SIP: whichever comes first with the bound."""
    monkeypatch.setattr(module, "MAX_PER_SOURCE", 2)

    async def work() -> None:
        box = WsBox(folder)
        await box.shell.start()
        streams = [await enter(box) for _ in range(2)]
        with pytest.raises((ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)):
            third = await enter(box)
            await take(third)
        assert (box.shell.statistics()["refused"], len(box.made)) == (1, 2)
        for stream in streams:
            stream[1].write(frame(TEXT, options()))
            assert (await take(stream))[1].startswith(b"SIP/2.0 200")
            stream[1].close()
        await box.shell.close()

    run(work)


# --- messages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_browser_registers_and_is_forgotten_with_its_connection(folder: Path, opcode: int) -> None:
    async def work() -> None:
        box = WsBox(folder)
        await box.shell.start()
        stream = await enter(box)
        answer = await register(stream, opcode=opcode)
        assert answer.startswith(b"SIP/2.0 200") and b".invalid" in answer
        (binding,) = box.endpoint.registrar.bindings("200", box.now)
        assert (binding.flow.transport, binding.flow.remote) == ("wss", box.made[0])
        stored = box.endpoint.registrations()
        later = make_endpoint(1)
        later.restore_registrations(stored, box.now)
        assert not later.registrar.bindings("200", box.now), "nobody can be reached over a connection of another process"
        stream[1].transport.abort()
        await until(lambda: box.lost == [("wss", box.made[0])], "the loss is told")
        assert box.contacts() == 0
        await box.shell.close()

    run(work)


def test_one_message_in_pieces_and_several_at_once(folder: Path) -> None:
    async def work() -> None:
        box = WsBox(folder)
        await box.shell.start()
        stream = await enter(box)
        whole = options()
        pieces = frame(TEXT, whole[:7], fin=False) + frame(PING, b"?") + frame(MORE, b"", fin=False) + frame(MORE, whole[7:])
        for place in range(len(pieces)):           # byte by byte
            stream[1].write(pieces[place : place + 1])
            if place % 40 == 0:
                await asyncio.sleep(0)
        found = [await take(stream), await take(stream)]
        assert found[0] == (PONG, b"?") and found[1][0] == TEXT and found[1][1].startswith(b"SIP/2.0 200")
        assert [data for data, *_ in box.got] == [whole]
        stream[1].write(b"".join(frame(TEXT, options()) for _ in range(3)))
        assert [(await take(stream))[1][:11] for _ in range(3)] == [b"SIP/2.0 200"] * 3
        stream[1].close()
        await box.shell.close()

    run(work)


def test_content_length_is_not_needed_and_text_beyond_ascii_is_kept(folder: Path) -> None:
    async def work() -> None:
        box = WsBox(folder)
        await box.shell.start()
        stream = await enter(box)
        lines = [line for line in options().decode().split("\r\n") if not line.lower().startswith("content-length")]
        lines.insert(2, "Subject: 你好")
        stream[1].write(frame(TEXT, "\r\n".join(lines).encode()))
        opcode, answer = await take(stream)
        assert (opcode, answer[:11]) == (TEXT, b"SIP/2.0 200")
        # What is no UTF-8 comes, and goes, in a binary frame.
        strange = options().replace(b"From:", b"From: \"\xff\"")
        stream[1].write(frame(BINARY, strange))
        opcode, answer = await take(stream)
        assert opcode == BINARY and b"\xff" in answer
        stream[1].close()
        await box.shell.close()

    run(work)


def test_keep_alives_both_ways(folder: Path) -> None:
    async def work() -> None:
        WsBox.ping_s = 0.4
        try:
            box = WsBox(folder)
        finally:
            WsBox.ping_s = 30.0
        await box.shell.start()
        stream, silent = await enter(box), await enter(box)
        stream[1].write(frame(TEXT, b"\r\n\r\n"))
        assert await take(stream) == (TEXT, b"\r\n"), "RFC 5626 section 3.5.1"
        for _ in range(4):
            assert await take(stream) == (PING, b"")
            stream[1].write(frame(PONG))
        assert await over(silent) in (frame(PING, masked=False), b"")
        await until(lambda: len(box.lost) == 1, "who answers no ping is gone")
        stream[1].write(frame(TEXT, options()))
        assert (await take(stream))[1].startswith(b"SIP/2.0 200")
        stream[1].close()
        await box.shell.close()

    run(work)


def test_our_address_for_browsers_is_what_rfc_7118_knows() -> None:
    """There is no transport=wss in a URI (section 5.2.2), and no ICE password in a trace."""
    network = Network(1, transport="wss")
    for address in (PBX, PHONE):
        network.add(address, make_endpoint(address[1], trusting="200"))
        network.endpoints[address].connection_made("wss", PHONE if address == PBX else PBX)
    offer = msgspec.structs.replace(audio(PBX), dtls=":".join(["AB"] * 32), lite=ice.Secret("5eed" * 8), web=True)
    network.send(PBX, ev.PlaceCall("c1", f"sip:200@{PHONE[0]}", network.flow(PBX, PHONE), offer.offer(), number="100"))
    (invite,) = network.sent(PBX, "INVITE")
    assert invite.headers.get("via").startswith("SIP/2.0/WSS ") and ";transport=ws>" in invite.headers.get("contact")
    (line, *_) = network.endpoints[PBX].trace("c1")
    assert b"a=ice-pwd:*\r\n" in line.data and line.data.count(b"a=ice-ufrag:") == 1
    assert b"a=ice-pwd:*" not in invite.body


# --- farewells and faults ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "code"),
    [(struct.pack("!H", 1000), 1000), (struct.pack("!H", 1001) + b"bye", 1001), (b"", 0), (struct.pack("!H", 4321), 1000)],
)
def test_a_farewell_is_answered(folder: Path, sent: bytes, code: int) -> None:
    async def work() -> None:
        box = WsBox(folder)
        await box.shell.start()
        stream = await enter(box)
        stream[1].write(frame(CLOSE, sent) + frame(TEXT, options()))
        opcode, data = await take(stream)
        assert opcode == CLOSE and (struct.unpack("!H", data[:2])[0] if data else 0) == code
        assert await over(stream) == b""
        await until(lambda: len(box.lost) == 1, "the loss is told")
        assert not box.got, "after a farewell nothing counts"
        await box.shell.close()

    run(work)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, options(), masked=False), 1002),
        (frame(TEXT, b"\xff\xfe"), 1007),
        (frame(TEXT, options(), rsv=4), 1002),                      # compressed, though nobody agreed to it
        (frame(11, b"?"), 1002),
        (frame(MORE, b"?"), 1002),
        (frame(PING, b"?", fin=False), 1002),
        (frame(PING, b"?" * 126), 1002),
        (frame(CLOSE, b"?"), 1002),
        (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
        (frame(BINARY, b"x" * (sip_ws.MAX_MESSAGE + 1)), 1009),
        (frame(TEXT, b"", fin=False) + frame(MORE, b"", fin=False) * (sip_ws.MAX_FRAMES + 1), 1009),
        (frame(PING) * (sip_ws.MAX_PINGS + 1), 1008),
    ],
    ids=lambda value: "sent" if isinstance(value, bytes) else None,      # masks are random, names of tests are not
)
def test_faults_end_the_connection_with_their_code(folder: Path, sent: bytes, code: int) -> None:
    async def work() -> None:
        box = WsBox(folder)
        await box.shell.start()
        stream = await enter(box)
        stream[1].write(sent)
        opcode = PONG
        while opcode == PONG:
            opcode, data = await take(stream)
        assert (opcode, struct.unpack("!H", data[:2])[0]) == (CLOSE, code)
        stream[1].write(frame(CLOSE, data[:2]) + frame(TEXT, options()))
        await over(stream)
        await until(lambda: len(box.lost) == 1, "the loss is told")
        assert not box.got
        await box.shell.close()

    run(work)


def test_a_frame_that_announces_much_holds_no_memory(folder: Path) -> None:
    async def work() -> None:
        box = WsBox(folder)
        await box.shell.start()
        stream = await enter(box)
        stream[1].write(b"\x82\xff" + struct.pack("!Q", 2**40) + b"mask" + b"x" * 200_000)
        opcode, data = await take(stream)
        assert (opcode, data[:2]) == (CLOSE, struct.pack("!H", 1009))
        await over(stream)                       # it does not close: nor is it waited for
        await until(lambda: box.shell.statistics()["connections"] == 0, "the connection is gone")
        await box.shell.close()

    run(work)


def test_a_source_that_is_kept_off_is_told_and_closed(folder: Path) -> None:
    async def work() -> None:
        box = WsBox(folder)
        await box.shell.start()
        stream = await enter(box)
        box.endpoint._guard = Deny()  # type: ignore[assignment]
        stream[1].write(frame(TEXT, options()))
        opcode, data = await take(stream)
        assert (opcode, data) == (CLOSE, struct.pack("!H", 1008))
        stream[1].write(frame(CLOSE, data))
        assert await over(stream) == b""
        await box.shell.close()

    run(work)


class Deny:
    """A guard that lets nobody in."""

    def admit(self, source: str, now: int) -> bool:
        return False

    def peek(self, source: str, now: int) -> bool:
        return False


def test_who_does_not_read_is_cut_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        box = WsBox(folder)
        await box.shell.start()
        stream = await enter(box)
        stream[1].transport.pause_reading()  # type: ignore[attr-defined]
        await until(lambda: bool(box.made), "the connection is made")
        for _ in range(400):
            box.shell.send(b"x" * 60_000, box.made[0])
            await asyncio.sleep(0)
            if box.shell.overrun:
                break
        assert box.shell.overrun == 1
        await until(lambda: len(box.lost) == 1, "the loss is told")
        stream[1].transport.abort()
        await box.shell.close()

    run(work)


def test_the_end_of_the_shell_is_a_farewell_and_nobody_is_called(folder: Path) -> None:
    async def work() -> None:
        box = WsBox(folder)
        await box.shell.start()
        stream, waiting = await enter(box), await dial(box)
        box.shell.send(b"hello", ("192.0.2.7", 1234))
        await until(lambda: box.lost == [("wss", ("192.0.2.7", 1234))], "a browser that is gone cannot be called")
        await until(lambda: box.shell.statistics()["upgrades"] == 1, "one still waits")
        await box.shell.close()
        assert await take(stream) == (CLOSE, struct.pack("!H", 1001))
        assert await over(stream) == b"" == await over(waiting)
        await until(lambda: box.shell.statistics()["upgrades"] == 0 == box.shell.statistics()["connections"], "nothing is left")

    run(work)
