"""TLS as core runs it: its own certificates or files from elsewhere, what goes wrong with them, ports, and URIs that mean it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from firmware.app import sip_tls
from firmware.app.certify import Ask, answer, certify
from firmware.app.sip_tls import TlsPart, names_of
from firmware.app.sockets import StartError, tls_listener
from firmware.config.schema.system import Sip
from firmware.control.gate import Gate
from firmware.control.tls_commands import CertificateRow, ShowCertificates
from firmware.runtime.alarms import Alarms
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock
from firmware.sip import events as ev
from firmware.sip.dialog import literal_address
from firmware.sip.flow import Address, Outgoing
from firmware.sip.uri import parse_uri
from firmware.store.certificates import SERVER_LIFE, Paths, ensure
from tests.unit.sip_stage import PBX, PHONE, Network, audio, call, make_endpoint

LOCAL = "127.0.0.1"


class Owner:
    def __init__(self) -> None:
        self.lost: list[tuple[str, Address]] = []

    def receive(self, data: bytes, source: Address, transport: str, local: Address, waited_ms: int = 0) -> None:
        raise AssertionError("nobody sends anything")

    def connection_made(self, transport: str, remote: Address) -> None:
        """Not looked at."""

    def connection_lost(self, transport: str, remote: Address) -> None:
        self.lost.append((transport, remote))


class Stage:
    """One part on a listener of its own; `shown()` is the issuer of what a telephone is shown."""

    def __init__(self, state: Path, *, off: bool = False, wss: bool = False, **config: Any) -> None:
        self.listener = socket.create_server((LOCAL, 0))
        self.port = self.listener.getsockname()[1]
        self.wss = socket.create_server((LOCAL, 0)) if wss else None
        clock = ManualClock()
        self.bus, self.owner = Bus(), Owner()
        self.alarms = Alarms(self.bus, clock)
        self.gate = Gate(self.bus, clock)
        self.part = TlsPart(
            listener=None if off else self.listener, wss=self.wss, config=Sip(**config), state=state, bind=LOCAL, box="Branch",
            owner=self.owner, loop=asyncio.get_running_loop(), alarms=self.alarms, zone=UTC,
        )  # fmt: skip
        self.part.attach(self.gate)

    async def settled(self) -> None:
        await self.part.start()
        assert self.part._task is not None
        await self.part._task

    async def shown(self, ca: Path) -> bool:
        """True when the listener proves itself by this CA."""
        try:
            trusting = ssl.create_default_context(cafile=str(ca))
            _, writer = await asyncio.open_connection(LOCAL, self.port, ssl=trusting, server_hostname=LOCAL)
        except ssl.SSLCertVerificationError:
            return False
        writer.close()
        return True

    def rows(self) -> dict[str, CertificateRow]:
        return {row.use: row for row in self.gate._handlers[ShowCertificates](ShowCertificates())}

    def raised(self) -> dict[str, str]:
        return {kind: text for kind, text, _ in self.alarms.list()}

    async def close(self) -> None:
        await self.part.close()
        self.listener.close()
        if self.wss is not None:
            self.wss.close()


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def both() -> None:
        await asyncio.wait_for(work(), 30)

    asyncio.run(both())


def test_the_first_start_makes_certificates_and_the_next_one_uses_them(tmp_path: Path) -> None:
    async def work() -> None:
        for _ in range(2):
            stage = Stage(tmp_path)
            await stage.settled()
            assert await stage.shown(Paths(tmp_path / "tls").ca)
            row = stage.rows()["this box"]
            assert LOCAL in row.names.split(", ") and row.verdict_zh == "有效" and row.days > 800
            assert not stage.raised()
            kept.append(row.fingerprint)
            await stage.close()

    kept: list[str] = []
    run(work)
    assert kept[0] == kept[1]


@pytest.mark.parametrize("fault", ["", "missing", "garbage", "foreign key"])
def test_a_certificate_from_elsewhere_or_an_alarm_and_the_own_one(tmp_path: Path, fault: str) -> None:
    async def work() -> None:
        other = Paths(tmp_path / "elsewhere")
        ensure(other.folder, [LOCAL], "Elsewhere")
        if fault == "missing":
            other.server.unlink()
        elif fault == "garbage":
            other.server.write_bytes(b"no certificate")
        elif fault == "foreign key":
            other.server_key.write_bytes(other.ca_key.read_bytes())
        stage = Stage(tmp_path, tls_certificate=str(other.server), tls_key=str(other.server_key))
        await stage.settled()
        assert await stage.shown(other.ca) == (not fault)
        assert await stage.shown(Paths(tmp_path / "tls").ca) == bool(fault)
        assert list(stage.raised()) == (["tls:file:server"] if fault else [])
        if fault:
            assert "sip.tls_" in stage.raised()["tls:file:server"] and "证书" in stage.alarms.chinese("tls:file:server")
        await stage.close()

    run(work)


@pytest.mark.parametrize(("left", "verdict"), [(100, "valid"), (20, "expires soon"), (-2, "expired")])
def test_what_ends_soon_is_an_alarm_in_both_languages(tmp_path: Path, left: int, verdict: str) -> None:
    async def work() -> None:
        other = Paths(tmp_path / "elsewhere")
        ensure(other.folder, [LOCAL], "Elsewhere", datetime.now(UTC) + timedelta(days=left, hours=1) - SERVER_LIFE)
        stage = Stage(tmp_path, tls_certificate=str(other.server), tls_key=str(other.server_key))
        await stage.settled()
        assert stage.rows()["this box"].verdict_en == verdict
        assert list(stage.raised()) == ([] if verdict == "valid" else ["tls:expiry:server"])
        if verdict != "valid":
            assert str(other.server) in stage.raised()["tls:expiry:server"] and stage.alarms.chinese("tls:expiry:server")
        await stage.close()

    run(work)


def test_an_own_certificate_is_renewed_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        stage = Stage(tmp_path)
        await stage.settled()
        first = stage.rows()["this box"].fingerprint
        stage.part._hourly()
        assert stage.part._task is not None and stage.part._task.done(), "nothing is due"
        monkeypatch.setattr(sip_tls, "names_of", lambda *_: [LOCAL, "moved.example"])
        stage.part._hourly()
        await stage.part._task
        row = stage.rows()["this box"]
        assert row.fingerprint != first and "moved.example" in row.names
        assert await stage.shown(Paths(tmp_path / "tls").ca)
        await stage.close()

    run(work)


def test_a_folder_that_cannot_be_written_is_an_alarm_and_a_message_is_not_lost_in_silence(tmp_path: Path) -> None:
    async def work() -> None:
        (tmp_path / "tls").write_text("a file is in the way")
        stage = Stage(tmp_path)
        await stage.settled()
        assert "tls:own" in stage.raised() and stage.part.shell is None
        stage.part.send(Outgoing("tls", (LOCAL, 9), b"x"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert stage.owner.lost == [("tls", (LOCAL, 9))]
        await stage.close()

    run(work)


def test_switched_off_it_makes_nothing_and_reaches_nobody(tmp_path: Path) -> None:
    async def work() -> None:
        stage = Stage(tmp_path, off=True)
        await stage.part.start()
        stage.part.send(Outgoing("tls", (LOCAL, 9), b"x"))
        await asyncio.sleep(0.05)
        assert stage.owner.lost == [("tls", (LOCAL, 9))]
        assert stage.rows() == {} and not (tmp_path / "tls").exists()
        await stage.close()

    run(work)


@pytest.mark.parametrize("off", [False, True])
@pytest.mark.parametrize(
    ("origin", "status"),
    [(None, 101), (f"https://{LOCAL}:8443", 101), ("https://pbx.example", 101), ("https://intranet.example:444", 101),
     ("https://evil.example", 403), ("https://intranet.example", 403)],
)  # fmt: skip
def test_browsers_get_the_same_certificate_and_pages_of_the_box_are_let_in(
    tmp_path: Path, off: bool, origin: str | None, status: int
) -> None:
    async def work() -> None:
        names = {"tls_names": ["pbx.example"], "wss_origins": ["https://intranet.example:444"]}
        stage = Stage(tmp_path, off=off, wss=True, **names)
        await stage.settled()
        assert stage.wss is not None
        stage.port = stage.wss.getsockname()[1]
        assert await stage.shown(Paths(tmp_path / "tls").ca)
        trusting = ssl.create_default_context(cafile=str(Paths(tmp_path / "tls").ca))
        reader, writer = await asyncio.open_connection(LOCAL, stage.port, ssl=trusting, server_hostname=LOCAL)
        asked = {
            "Host": "pbx", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13", "Sec-WebSocket-Protocol": "sip", **({"Origin": origin} if origin else {}),
        }  # fmt: skip
        writer.write(("GET / HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in asked.items()) + "\r\n").encode())
        assert int((await reader.readuntil(b"\r\n\r\n")).split()[1]) == status
        writer.close()
        stage.part.send(Outgoing("wss", (LOCAL, 9), b"x"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert ("wss", (LOCAL, 9)) in stage.owner.lost
        await stage.close()

    run(work)


def test_certificates_are_made_in_another_process(tmp_path: Path) -> None:
    told = certify(Ask(str(tmp_path / "tls"), [LOCAL], "Branch", {"server": str(tmp_path / "tls/server.crt"), "ca": "/nowhere"}))
    assert told.changed and not told.problem
    server, ca = told.rows
    assert server.certificate is not None and server.certificate.names == [LOCAL]
    assert server.certificate.ends_ms > time.time() * 1000
    assert ca.certificate is None and "/nowhere" in ca.problem
    assert not answer(Ask(str(tmp_path / "tls"), [LOCAL], "Branch", {})).changed


def test_a_box_on_every_address_is_known_by_those_of_both_families(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"0.0.0.0": "192.0.2.1", "::": "2001:db8::1"}
    monkeypatch.setattr(sip_tls, "reachable", lambda bind: known.get(bind, bind))
    assert names_of("::", "box-7", ["203.0.113.7"]) == ["2001:db8::1", "192.0.2.1", "203.0.113.7", "box-7"]
    assert names_of("0.0.0.0", "box-7", []) == ["192.0.2.1", "box-7"]


def test_names_of_the_box() -> None:
    further = ["PBX.example", "2001:DB8::0001", "192.0.2.1"]
    assert names_of("192.0.2.1", "Box-7", further) == ["192.0.2.1", "pbx.example", "2001:db8::1", "box-7"]
    assert names_of("192.0.2.1", "localhost", []) == ["192.0.2.1"]


def test_the_tls_port_stands_beside_the_other_one() -> None:
    with socket.create_server((LOCAL, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=r"sip\.tls_port"):
            tls_listener(LOCAL, port, 5060)
        with pytest.raises(StartError, match=f"{LOCAL}:{port} is in use"):
            tls_listener(LOCAL, 0, port - 1)
    with tls_listener(LOCAL, 0, 0) as free:
        assert free.getsockname()[1] > 0
    with tls_listener(LOCAL, 0, port - 1) as beside:
        assert beside.getsockname()[1] == port
    with socket.create_server((LOCAL, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=r"SIP WSS port .* sip\.wss_port, or sip\.wss = false"):
            tls_listener(LOCAL, 0, port - 2, beside=2, what="wss")


# --- what URIs mean ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "transport", "port"),
    [
        ("sip:a@192.0.2.9", "udp", 5060),
        ("sip:a@192.0.2.9;transport=TLS", "tls", 5061),
        ("sip:a@192.0.2.9;transport=tcp", "tcp", 5060),
        ("sips:a@192.0.2.9", "tls", 5061),
        ("sips:a@192.0.2.9;transport=tcp", "tls", 5061),
        ("sips:a@192.0.2.9:5090;transport=tls", "tls", 5090),
        ("sips:a@192.0.2.9;transport=ws", "wss", 5060),
    ],
)
def test_transport_and_port_of_a_uri(text: str, transport: str, port: int) -> None:
    uri = parse_uri(text)
    assert uri.transport == transport
    assert literal_address(uri) == ("192.0.2.9", port)


def test_requests_over_tls_name_it_in_via_and_contact() -> None:
    network = Network(1, transport="tls")
    for address in (PBX, PHONE):
        network.add(address, make_endpoint(address[1], trusting="200"))
        network.endpoints[address].connection_made("tls", PHONE if address == PBX else PBX)
    call(network, PBX, PHONE)
    (invite,) = network.sent(PBX, "INVITE")
    assert invite.headers.get("via").startswith("SIP/2.0/TLS ")
    assert ";transport=tls>" in invite.headers.get("contact")


@pytest.mark.parametrize("scheme", ["sip", "sips"])
def test_a_sips_phone_gets_a_sips_contact(scheme: str) -> None:
    network = Network(1, transport="tls")
    for address in (PBX, PHONE):
        network.add(address, make_endpoint(address[1], trusting="200"))
        network.endpoints[address].connection_made("tls", PHONE if address == PBX else PBX)
    flow = network.flow(PBX, PHONE)
    network.send(PBX, ev.PlaceCall("c1", f"{scheme}:200@{PHONE[0]}", flow, audio(PBX).offer(), number="100"))
    (invite,) = network.sent(PBX, "INVITE")
    assert invite.contact is not None
    assert invite.contact.uri.scheme == scheme and (invite.contact.uri.param("transport") == "tls") == (scheme == "sip")


def test_the_schema_keeps_its_words() -> None:
    assert msgspec.convert({"tls_clients": "required", "tls_names": ["pbx.example", "2001:db8::1"]}, Sip).tls_clients == "required"
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"tls_names": ["no name"]}, Sip)


def test_the_certificate_names_how_the_box_is_known_outside(tmp_path: Path) -> None:
    async def work() -> None:
        stage = Stage(tmp_path, external_address="pbx.example", tls_names=["2001:db8::7"])
        await stage.settled()
        assert {"pbx.example", "2001:db8::7", LOCAL} <= set(stage.rows()["this box"].names.split(", "))
        await stage.close()

    run(work)
