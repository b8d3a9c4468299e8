"""SIP over TLS on real sockets: certificates right and wrong, handshakes that stand still, streams in pieces, connections that end."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from firmware.net import sip_tls, tls, tls_door
from firmware.net.sip_tls import SipTls
from firmware.sip.endpoint import Endpoint
from firmware.sip.flow import Address
from firmware.sip.message import Response
from firmware.sip.parse import parse_datagram
from firmware.store.certificates import RENEW_AT, SERVER_LIFE, Paths, describe, ensure
from tests.unit.sip_stage import authorize, make_endpoint, request

LOCAL = "127.0.0.1"


class Box:
    """A TLS listener before a real endpoint, in real time."""

    def __init__(self, folder: Path, *, handshake_s: float = 5.0, clients: tls.Clients = "no", client_ca: Path | None = None,
                 carriers: ssl.SSLContext | None = None) -> None:  # fmt: skip
        self.paths = Paths(folder)
        if not self.paths.complete():
            ensure(folder, [LOCAL, "box.example"], "Test")
        self.endpoint: Endpoint = make_endpoint(1)
        self.now = 1000
        self.lost: list[tuple[str, Address]] = []
        self.made: list[Address] = []
        self.got: list[tuple[bytes, Address, str, Address]] = []
        listener = socket.create_server((LOCAL, 0))
        self.port = listener.getsockname()[1]
        server = tls.server_context(self.paths.server, self.paths.server_key, clients=clients, client_ca=client_ca or self.paths.ca)
        client = carriers or tls.client_context(self.paths.ca)
        self.shell: SipTls = self.listening(listener, server, client, handshake_s)

    def listening(self, listener: socket.socket, server: ssl.SSLContext, client: ssl.SSLContext, handshake_s: float) -> SipTls:
        return SipTls(listener, self, asyncio.get_running_loop(), server, client, handshake_s=handshake_s)

    def receive(self, data: bytes, source: Address, transport: str, local: Address, waited_ms: int = 0) -> None:
        self.got.append((data, source, transport, local))
        self.now += 1
        self.endpoint.receive(data, source, transport, self.now, local)
        self._flush()

    def connection_made(self, transport: str, remote: Address) -> None:
        self.made.append(remote)
        self.endpoint.connection_made(transport, remote)

    def connection_lost(self, transport: str, remote: Address) -> None:
        self.lost.append((transport, remote))
        self.endpoint.connection_lost(transport, remote, self.now)
        self._flush()

    def _flush(self) -> None:
        for out in self.endpoint.output():
            self.shell.send(out.data, out.destination, close=out.close)

    def contacts(self) -> int:
        return len(self.endpoint.registrar.bindings("200", self.now))


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def trusting(box: Box, **chain: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(box.paths.ca))
    if chain:
        context.load_cert_chain(chain["certificate"], chain["key"])
    return context


async def dial(box: Box, context: ssl.SSLContext | None = None, name: str = LOCAL) -> Stream:
    return await asyncio.open_connection(LOCAL, box.port, ssl=context or trusting(box), server_hostname=name)


async def answer(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)


async def until(condition: Callable[[], bool], what: str) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(what)


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def both() -> None:
        await asyncio.wait_for(work(), 30)

    asyncio.run(both())


def options() -> bytes:
    return request("OPTIONS", transport="TLS").render()


async def register(stream: Stream, secret: str = "pw200") -> bytes:
    reader, writer = stream
    contact = (("Contact", "<sip:200@10.0.0.9:5061;transport=tls>"),)
    writer.write(request("REGISTER", transport="TLS", extra=contact).render())
    challenge = parse_datagram(await answer(reader))
    assert isinstance(challenge, Response)
    again = request("REGISTER", transport="TLS", extra=contact, cseq=2, branch="b2")
    writer.write(authorize(again, challenge, "200", secret).render())
    return await answer(reader)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "tls"
    gc.collect()


# --- certificates -----------------------------------------------------------------------------------------------------


def test_certificates_are_made_once_and_kept_safe(folder: Path) -> None:
    assert ensure(folder, [LOCAL, "box.example", "fe80::1"], "Test")
    paths = Paths(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(before) == {"ca.crt", "ca.key", "server.crt", "server.key"}
    assert [path.stat().st_mode & 0o777 for path in (folder, paths.ca_key, paths.server_key)] == [0o700, 0o600, 0o600]
    assert not ensure(folder, [LOCAL, "box.example", "fe80::1"], "Test")
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}
    told = describe(paths.server)
    assert told.names == [LOCAL, "box.example", "fe80::1"]
    assert told.issuer == describe(paths.ca).subject
    assert len(told.fingerprint) == 95


def test_a_server_certificate_is_renewed_and_its_authority_stays(folder: Path) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    names = [LOCAL]
    ensure(folder, names, "Test", start)
    paths = Paths(folder)
    authority, server = paths.ca.read_bytes(), paths.server.read_bytes()
    assert not ensure(folder, names, "Test", start + SERVER_LIFE - RENEW_AT - timedelta(days=1))
    due = start + SERVER_LIFE - RENEW_AT + timedelta(days=1)
    assert ensure(folder, names, "Test", due)
    assert paths.ca.read_bytes() == authority and paths.server.read_bytes() != server
    server = paths.server.read_bytes()
    assert ensure(folder, ["10.1.1.1"], "Test", due) and describe(paths.server).names == ["10.1.1.1"]
    assert paths.ca.read_bytes() == authority and paths.server.read_bytes() != server


@pytest.mark.parametrize("damage", [b"", b"garbage", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_damaged_key_is_moved_aside_and_the_pair_made_anew(folder: Path, damage: bytes) -> None:
    ensure(folder, [LOCAL], "Test")
    paths = Paths(folder)
    authority = paths.ca.read_bytes()
    paths.server_key.write_bytes(damage)
    paths.ca_key.chmod(0o644)
    assert ensure(folder, [LOCAL], "Test")
    assert paths.ca.read_bytes() == authority and paths.ca_key.stat().st_mode & 0o077 == 0
    tls.server_context(paths.server, paths.server_key)
    assert (folder / "server.key.unusable").read_bytes() == damage


# --- handshakes -------------------------------------------------------------------------------------------------------


def test_a_phone_that_trusts_the_box_is_answered(folder: Path) -> None:
    async def work() -> None:
        box = Box(folder)
        await box.shell.start()
        for name in (LOCAL, "box.example"):
            reader, writer = await dial(box, name=name)
            found = writer.get_extra_info("ssl_object")
            assert found.version() == "TLSv1.3" and found.cipher()[2] >= 128
            writer.write(options())
            assert (await answer(reader)).startswith(b"SIP/2.0 200")
            assert box.got[-1][2:] == ("tls", (LOCAL, box.port))
            writer.close()
        await box.shell.close()

    run(work)


@pytest.mark.parametrize(
    ("version", "ciphers", "works"),
    [
        (ssl.TLSVersion.TLSv1_2, "ECDHE+AESGCM", True),
        (ssl.TLSVersion.TLSv1_2, "AES128-SHA:ECDHE-ECDSA-AES128-SHA", False),
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0", False),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_versions_and_weak_ciphers_are_refused(folder: Path, version: ssl.TLSVersion, ciphers: str, works: bool) -> None:
    async def work() -> None:
        box = Box(folder)
        await box.shell.start()
        context = trusting(box)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = version
        context.set_ciphers(ciphers)
        if works:
            _, writer = await dial(box, context)
            assert writer.get_extra_info("ssl_object").version() == "TLSv1.2"
            writer.close()
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await dial(box, context)
            await until(lambda: box.shell.statistics()["failed"] == 1, "the failure is counted")
            assert not box.made
        await box.shell.close()

    run(work)


def test_a_phone_that_trusts_another_authority_goes_away(folder: Path, tmp_path: Path) -> None:
    async def work() -> None:
        box = Box(folder)
        await box.shell.start()
        ensure(tmp_path / "other", [LOCAL], "Other")
        with pytest.raises(ssl.SSLCertVerificationError):
            await dial(box, ssl.create_default_context(cafile=str(Paths(tmp_path / "other").ca)))
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            await dial(box, name="elsewhere.example")
        _, writer = await dial(box)
        writer.close()
        await box.shell.close()

    run(work)


@pytest.mark.parametrize("shown", ["none", "right", "foreign", "expired"])
@pytest.mark.parametrize("clients", ["optional", "required"])
def test_client_certificates(folder: Path, tmp_path: Path, clients: tls.Clients, shown: str) -> None:
    async def work() -> None:
        phone = Paths(tmp_path / "phones")
        long_ago = datetime.now(UTC) - SERVER_LIFE - timedelta(days=30)
        ensure(phone.folder, ["phone.example"], "Phones", long_ago if shown == "expired" else None)
        if shown == "foreign":
            ensure(tmp_path / "other", [LOCAL], "Other")
        box = Box(folder, clients=clients, client_ca=Paths(tmp_path / "other").ca if shown == "foreign" else phone.ca)
        await box.shell.start()
        context = trusting(box) if shown == "none" else trusting(box, certificate=phone.server, key=phone.server_key)
        welcome = shown == "right" or (shown == "none" and clients == "optional")
        if welcome:
            reader, writer = await dial(box, context)
            writer.write(options())
            assert (await answer(reader)).startswith(b"SIP/2.0 200")
            writer.close()
        else:
            with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):    # TLS 1.3 tells the client afterwards
                reader, writer = await dial(box, context)
                writer.write(options())
                await answer(reader)
            assert not box.got
        await box.shell.close()

    run(work)


@pytest.mark.parametrize(
    "junk", [b"OPTIONS sip:x SIP/2.0\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(200), b"\x00" * 5000, b"GET / HTTP/1.0\r\n\r\n"]
)
def test_garbage_is_no_connection(folder: Path, junk: bytes) -> None:
    async def work() -> None:
        box = Box(folder, handshake_s=1.0)
        await box.shell.start()
        reader, writer = await asyncio.open_connection(LOCAL, box.port)
        writer.write(junk)
        with suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 5)      # an alert at most, then the end
        await until(lambda: box.shell.statistics()["failed"] == 1, "the failure is counted")
        assert not box.made and not box.got and box.shell.statistics()["handshakes"] == 0
        writer.close()
        await box.shell.close()

    run(work)


def test_slow_handshakes_end_and_one_source_has_few(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sip_tls, "MAX_SHAKING_PER_SOURCE", 4)

    async def work() -> None:
        box = Box(folder, handshake_s=1.0)
        await box.shell.start()
        slow = [await asyncio.open_connection(LOCAL, box.port) for _ in range(10)]
        await until(lambda: box.shell.statistics()["refused"] == 6, "what is beyond the bound is refused")
        assert box.shell.statistics()["handshakes"] == 4
        for _ in range(4):                      # a byte of a record now and then is no progress
            for _, writer in slow[:4]:
                if not writer.transport.is_closing():
                    writer.write(b"\x16")
            await asyncio.sleep(0.2)
        await until(lambda: box.shell.statistics()["handshakes"] == 0, "handshakes end in their time")
        for reader, _ in slow:
            with suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 5) == b""
        reader, writer = await dial(box)
        writer.write(options())
        assert (await answer(reader)).startswith(b"SIP/2.0 200")
        writer.close()
        for _, each in slow:
            each.close()
        await box.shell.close()

    run(work)


def test_the_oldest_handshake_gives_way_so_that_phones_get_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sip_tls, "MAX_SHAKING", 3)

    async def work() -> None:
        box = Box(folder, handshake_s=20.0)
        await box.shell.start()
        slow = [await asyncio.open_connection(LOCAL, box.port) for _ in range(5)]
        await until(lambda: box.shell.statistics()["refused"] == 2, "the oldest two are gone")
        for reader, _ in slow[:2]:
            with suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 5) == b""
        reader, writer = await dial(box)
        writer.write(options())
        assert (await answer(reader)).startswith(b"SIP/2.0 200")
        assert box.shell.statistics()["handshakes"] == 2
        writer.close()
        for _, each in slow:
            each.close()
        await box.shell.close()
        assert box.shell.statistics()["handshakes"] == 0

    run(work)


def test_a_source_that_shakes_hands_without_end_is_slowed_down(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sip_tls, "BURST", 3)
    monkeypatch.setattr(sip_tls, "RATE", 0.0)
    monkeypatch.setattr(tls_door, "MOST_SOURCES", 2)

    async def work() -> None:
        box = Box(folder)
        await box.shell.start()
        for _ in range(3):
            _, writer = await dial(box)
            writer.close()
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await dial(box)
        assert (box.shell.statistics()["refused"], len(box.made)) == (1, 3)
        context = trusting(box)
        for number in range(2, 8):                # others are not kept waiting, and what is remembered has a bound
            other = (f"127.0.0.{number}", 0)
            _, writer = await asyncio.open_connection(LOCAL, box.port, ssl=context, server_hostname=LOCAL, local_addr=other)
            writer.close()
        assert box.shell.door is not None and box.shell.door.remembered == 2
        await box.shell.close()

    run(work)


# --- connections ------------------------------------------------------------------------------------------------------


def test_byte_by_byte_and_many_at_once(folder: Path) -> None:
    async def work() -> None:
        box = Box(folder)
        await box.shell.start()
        reader, writer = await dial(box)
        for byte in options():
            writer.write(bytes((byte,)))
            await writer.drain()
        assert (await answer(reader)).startswith(b"SIP/2.0 200")
        writer.write(options() * 20)
        for _ in range(20):
            assert (await answer(reader)).startswith(b"SIP/2.0 200")
        large = request("OPTIONS", transport="TLS")
        large.headers.add("Subject", "x" * 30_000)       # several records of TLS
        writer.write(large.render())
        assert (await answer(reader)).startswith(b"SIP/2.0 200")
        writer.close()
        await box.shell.close()

    run(work)


def test_keep_alive_is_answered_and_a_framing_error_closes(folder: Path) -> None:
    async def work() -> None:
        box = Box(folder)
        await box.shell.start()
        reader, writer = await dial(box)
        writer.write(b"\r\n\r\n")
        assert await asyncio.wait_for(reader.readexactly(2), 5) == b"\r\n"
        broken = options().replace(b"Content-Length: 0", b"Content-Length: x")
        writer.write(broken)
        assert (await answer(reader)).startswith(b"SIP/2.0 400")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        await until(lambda: len(box.lost) == 1, "the connection is gone")
        await box.shell.close()

    run(work)


@pytest.mark.parametrize("how", ["close", "abort", "half a message"])
def test_a_phone_is_reached_over_its_connection_and_unregistered_with_it(folder: Path, how: str) -> None:
    async def work() -> None:
        box = Box(folder)
        await box.shell.start()
        stream = reader, writer = await dial(box)
        assert (await register(stream)).startswith(b"SIP/2.0 200")
        (binding,) = box.endpoint.registrar.bindings("200", box.now)
        assert binding.flow.transport == "tls" and binding.flow.remote == writer.get_extra_info("sockname")
        box.shell.send(options(), binding.flow.remote)
        assert (await answer(reader)).startswith(b"OPTIONS")
        if how == "abort":
            writer.transport.abort()
        else:
            if how == "half a message":
                writer.write(options()[:90])
                await writer.drain()
            writer.close()
        await until(lambda: box.contacts() == 0, "the registration ends with the connection")
        assert box.lost == [("tls", binding.flow.remote)]
        assert box.shell.statistics()["connections"] == 0
        await box.shell.close()

    run(work)


def test_registrations_over_tls_do_not_outlive_the_process(folder: Path) -> None:
    async def work() -> None:
        box = Box(folder)
        await box.shell.start()
        stream = await dial(box)
        assert (await register(stream)).startswith(b"SIP/2.0 200")
        kept = box.endpoint.registrations()
        later = make_endpoint(2)
        later.restore_registrations(kept, box.now)
        assert later.registrar.users() == []
        stream[1].close()
        await box.shell.close()

    run(work)


def test_another_certificate_serves_the_next_handshake_and_disturbs_nobody(folder: Path) -> None:
    async def work() -> None:
        box = Box(folder)
        await box.shell.start()
        reader, writer = await dial(box)
        before = writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]
        assert ensure(folder, [LOCAL, "new.example"], "Test")
        box.shell.use(tls.server_context(box.paths.server, box.paths.server_key), tls.client_context(box.paths.ca))
        _, second = await dial(box, name="new.example")
        assert second.get_extra_info("ssl_object").getpeercert()["serialNumber"] != before
        writer.write(options())
        assert (await answer(reader)).startswith(b"SIP/2.0 200")
        for each in (writer, second):
            each.close()
        await box.shell.close()

    run(work)


# --- to carriers ------------------------------------------------------------------------------------------------------


def far_end(folder: Path, seen: list[str], *, start: datetime | None = None, client_ca: Path | None = None) -> ssl.SSLContext:
    ensure(folder, [LOCAL, "sip.carrier.example"], "Carrier", start)
    paths = Paths(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(paths.server, paths.server_key)
    context.sni_callback = lambda _object, name, _context: seen.append(name or "")
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_a_carrier_is_verified_by_name_and_shown_our_certificate(folder: Path, tmp_path: Path) -> None:
    async def work() -> None:
        own = Paths(folder)
        ensure(folder, [LOCAL], "Test")
        names: list[str] = []
        heard: list[bytes] = []
        peers: list[asyncio.StreamWriter] = []

        async def carrier(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peers.append(writer)
            while data := await reader.read(4096):
                heard.append(data)

        server = await asyncio.start_server(carrier, LOCAL, 0, ssl=far_end(tmp_path / "carrier", names, client_ca=own.ca))
        where = server.sockets[0].getsockname()
        context = tls.client_context(Paths(tmp_path / "carrier").ca, chain=own.server, key=own.server_key)
        box = Box(folder, carriers=context)
        await box.shell.start()
        for _ in range(3):
            box.shell.send(options(), where, name="sip.carrier.example")
        await until(lambda: b"".join(heard) == options() * 3, "all three over one connection")
        assert (len(peers), names) == (1, ["sip.carrier.example"])
        assert peers[0].get_extra_info("ssl_object").getpeercert()["subjectAltName"] == (("IP Address", LOCAL),)
        box.shell.send(options(), where, name="other.example")      # proven to be another
        await asyncio.sleep(0.1)
        assert len(b"".join(heard)) == 3 * len(options()) and box.shell.dropped_out == 1
        peers[0].write(options())
        await until(lambda: bool(box.got), "the carrier's request arrives")
        assert box.got[0][3] == (LOCAL, box.port), "Via and Contact name the listener"
        await box.shell.close()
        server.close()

    run(work)


def test_a_connection_serves_all_names_of_its_certificate_and_no_other(folder: Path, tmp_path: Path) -> None:
    async def work() -> None:
        heard: list[bytes] = []
        peers: list[asyncio.StreamWriter] = []

        async def carrier(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peers.append(writer)
            while data := await reader.read(4096):
                heard.append(data)

        ensure(tmp_path / "carrier", [LOCAL, "a.example", "b.example"], "Carrier")
        paths = Paths(tmp_path / "carrier")
        context = tls.server_context(paths.server, paths.server_key)
        server = await asyncio.start_server(carrier, LOCAL, 0, ssl=context)
        where = server.sockets[0].getsockname()
        ensure(folder, [LOCAL], "Test")
        box = Box(folder, carriers=tls.client_context(paths.ca))
        await box.shell.start()
        # While the connection for one name comes up, nothing for another may join it.
        for name in ("a.example", "else.example", "a.example", "b.example"):
            box.shell.send(options(), where, name=name)
        await until(lambda: b"".join(heard) == options() * 2, "what is for the first name")
        assert box.shell.dropped_out == 2
        for name in ("b.example", "B.example", "a.example", "else.example", "example", ""):
            box.shell.send(options(), where, name=name)
        await until(lambda: b"".join(heard) == options() * 6, "all but what is for somebody else")
        assert len(peers) == 1 and box.shell.dropped_out == 4
        await box.shell.close()
        server.close()

    run(work)


@pytest.mark.parametrize("fault", ["foreign", "expired", "name", "address", "silent", "nobody"])
def test_nothing_is_sent_to_a_carrier_that_cannot_prove_itself(folder: Path, tmp_path: Path, fault: str) -> None:
    async def work() -> None:
        heard: list[bytes] = []

        async def carrier(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            heard.append(await reader.read(4096))

        long_ago = datetime.now(UTC) - SERVER_LIFE - timedelta(days=30)
        context = far_end(tmp_path / "carrier", [], start=long_ago if fault == "expired" else None)
        host = "127.0.0.2" if fault == "address" else LOCAL
        server = await asyncio.start_server(carrier, host, 0, ssl=None if fault == "silent" else context)
        where = server.sockets[0].getsockname()
        if fault == "nobody":
            server.close()
            await server.wait_closed()
        ensure(folder, [LOCAL], "Test")
        trusted = Paths(folder).ca if fault == "foreign" else Paths(tmp_path / "carrier").ca
        box = Box(folder, carriers=tls.client_context(trusted), handshake_s=1.0)
        await box.shell.start()
        name = {"name": "sip.other.example", "address": ""}.get(fault, "sip.carrier.example")
        box.shell.send(options(), where, name=name)
        await until(lambda: box.lost == [("tls", where)], "the sender is told")
        assert options() not in b"".join(heard) and not box.made
        await box.shell.close()
        server.close()

    run(work)
