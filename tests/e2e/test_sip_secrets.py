"""What a call leaves in files, logs, traces and captures tells nobody a key, an ICE password or a proof of a password."""

from __future__ import annotations

import base64
import json
import re
import secrets
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from firmware.sip.message import Request, Response, respond
from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.desk import Desk
from tests.e2e.test_sip_tls import tls_address
from tests.unit.sip_stage import SDP, authorize

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

IN_CALL = "in the call"
#: What an administrator asked to keep: the site file, passwords of telephones and keys of certificates, for root alone.
KEPT = {"secrets.json", "site.toml", "ca.key", "server.key"}


class Line:
    """A TLS connection with the face of the socket that `Desk` uses: one message at a time."""

    def __init__(self, plain: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._tls = context.wrap_socket(plain)
        self._data = b""

    def sendto(self, data: bytes, _: object) -> None:
        self._tls.sendall(data)

    def settimeout(self, seconds: float) -> None:
        self._tls.settimeout(seconds)

    def recv(self, _: int) -> bytes:
        while True:
            head, blank, rest = self._data.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            if blank and length is not None and len(rest) >= int(length[1]):
                whole = len(head) + 4 + int(length[1])
                message, self._data = self._data[:whole], self._data[whole:]
                return message
            more = self._tls.recv(65536)
            if not more:
                raise ConnectionError("the box has closed the connection")
            self._data += more

    def close(self) -> None:
        self._tls.close()


class SecureDesk(Desk):
    """A telephone over TLS that offers SDES and an ICE password, and remembers every secret that passes."""

    def __init__(self, box: Appliance, user: str, host: str) -> None:
        super().__init__(box, user, host)
        self.socket.close()
        address, port = tls_address(box).rsplit(":", 1)
        plain = socket.create_connection((address, int(port)), 10, source_address=(host, 0))
        self.source = plain.getsockname()
        self.socket = Line(plain)        # type: ignore[assignment]
        self.key = base64.b64encode(secrets.token_bytes(30)).decode()
        self.keys = {self.key}
        self.others = {secrets.token_hex(12), self.secret}
        self.pwd = secrets.token_hex(12)
        self.others.add(self.pwd)

    def make(self, method: str, number: str, call: str, tag: str = "", *, cseq: int = 0, body: bytes = b"", **extra: str) -> Request:
        sent = super().make(method, number, call, tag, cseq=cseq, body=body, **extra)
        sent.headers.set("Via", sent.headers.get("via").replace("/UDP", "/TLS"))
        return sent

    def ask(self, sent: Request) -> Response:
        self.proved(sent)
        answer = super().ask(sent)
        self.heard(answer.body)
        return answer

    def proved(self, sent: Request) -> None:
        """The proofs of a password in a request."""
        for name in ("authorization", "proxy-authorization"):
            self.others |= set(re.findall(r'\bresponse="([0-9a-f]+)"', sent.headers.get(name)))

    def heard(self, description: bytes) -> None:
        """The box's own secrets in a description."""
        text = description.decode()
        self.keys |= set(re.findall(r"inline:([A-Za-z0-9+/=]+)", text))
        self.others |= set(re.findall(r"a=ice-pwd:(\S+)", text))

    def describe(self, crypto: str = "1 AES_CM_128_HMAC_SHA1_80") -> bytes:
        text = SDP.replace(b"192.0.2.20", self.source[0].encode()).replace(b"RTP/AVP", b"RTP/SAVP")
        return text + f"a=crypto:{crypto} inline:{self.key}\r\na=ice-ufrag:evtj\r\na=ice-pwd:{self.pwd}\r\n".encode()


def pieces(desks: list[SecureDesk]) -> dict[str, bytes]:
    """Everything that may not be found, by what it is: text, and keys also as they are and in hexadecimal digits."""
    found = {text: text.encode() for desk in desks for text in (*desk.keys, *desk.others)}
    for key in {key for desk in desks for key in desk.keys}:
        raw = base64.b64decode(key + "=" * (-len(key) % 4))
        found |= {f"{key} as bytes": raw, f"{key} in hexadecimal": raw.hex().encode(), f"{key}, its first half": raw[:16]}
    return found


def written(box: Appliance, *, traced: bool) -> dict[str, bytes]:
    """Every file of the state folder, but those that are to hold secrets, and what the console can ask for, by name."""
    call = box.ctl("show calls")[0]["contact"]
    names = (call, "201", "202") if traced else ()
    out = {f"show trace of {name}": wait_until(partial(_trace, box, name), f"the trace of {name}") for name in names}
    assert not traced or any(b"a=crypto" in text for text in out.values())
    out |= {name: json.dumps(box.ctl(name)).encode() for name in ("show calls", "show phones", "show quality", "show status")}
    out["capture"] = _capture(box, call)
    assert out["capture"] or not traced
    for path in box.state.rglob("*"):
        if path.is_file() and path.name not in KEPT:
            with suppress(FileNotFoundError):           # what a file that is replaced whole was written into
                out[str(path.relative_to(box.state))] = path.read_bytes()
    assert {"run/journal/live.log", "calls.db", "state.db", "output.log"} <= set(out)
    return out


def _trace(box: Appliance, name: str) -> bytes:
    try:
        return json.dumps(box.ctl("show trace", call=name, full=True)).encode()
    except AssertionError:               # of one's own number once its leg is known
        return b""


def _capture(box: Appliance, call: str) -> bytes:
    """The packets of a call; b"" where nothing is kept of it: of one that a restart came upon before its first event was written down."""
    try:
        capture = box.ctl("capture call", call=call)
    except AssertionError:
        return b""
    return base64.b64decode(box.ctl("capture packets", name=capture["name"])["data"])


def check(box: Appliance, desks: list[SecureDesk], when: str) -> None:
    secret = pieces(desks)
    assert len(secret) > 10
    for where, data in written(box, traced=when == IN_CALL).items():
        for what, sought in secret.items():
            assert sought not in data, f"{when}: {where} holds {what}"


def test_no_secret_of_a_call_is_written_down(appliance: Callable[..., Appliance], network: str, tmp_path: Path) -> None:
    box = appliance()
    wait_until(lambda: box.ctl("show certificates"), "the certificate is made")
    anna, bo = SecureDesk(box, "201", network), SecureDesk(box, "202", network)
    try:
        anna.register()
        bo.register()
        challenge = anna.ask(anna.make("INVITE", "202", "c1", body=anna.describe()))
        anna.socket.sendto(anna.make("ACK", "202", "c1", challenge.to.tag, cseq=anna.cseq).render(), anna.server)
        invite = authorize(anna.make("INVITE", "202", "c1", body=anna.describe()), challenge, "201", anna.secret)
        anna.proved(invite)
        anna.socket.sendto(invite.render(), anna.server)
        asked = bo.seen("INVITE")
        bo.heard(asked.body)
        crypto = re.search(rb"a=crypto:(\d+ AES_CM_128_HMAC_SHA1_80)", asked.body)
        assert crypto is not None, asked.body
        bo.socket.sendto(
            respond(asked, 200, to_tag="desk", headers=(("Contact", f"<sip:202@{bo.source[0]}:{bo.source[1]};transport=tls>"),),
                    body=bo.describe(crypto[1].decode()), content_type="application/sdp").render(), bo.server,
        )  # fmt: skip
        answer = anna.listen(10)
        assert answer is not None and answer.status == 200, answer and answer.render()
        anna.heard(answer.body)
        anna.socket.sendto(anna.make("ACK", "202", "c1", answer.to.tag, cseq=anna.cseq).render(), anna.server)
        bo.seen("ACK")
        assert all(len(desk.keys) >= 2 for desk in (anna, bo)), "the box has offered and answered keys of its own"
        check(box, [anna, bo], IN_CALL)
        old = box.kill("core")
        wait_until(lambda: box.pid("core") != old and _calls(box), "core goes on with the call")
        check(box, [anna, bo], "after a restart of call control")
    finally:
        anna.close()
        bo.close()


def _calls(box: Appliance) -> bool:
    try:
        return bool(box.ctl("show calls"))
    except (OSError, ConnectionError):
        return False


def test_a_pin_that_is_dialled_in_one_go_is_written_nowhere(appliance: Callable[..., Appliance], network: str) -> None:
    """A log-in and an account code, each with its PIN in the Request-URI: plain, escaped, in the display name."""
    box = appliance()
    pins = {"201": "83614702", "202": "59260473"}
    desks = {user: Desk(box, user, network) for user in pins}
    try:
        for desk in desks.values():
            desk.register()
        desks["201"].call(f"*118001#{pins['201']}%23", "login")
        desks["202"].call(f"%2A59{pins['202']}%239255", "account")
        wait_until(lambda: len(box.ctl("show calls")) == 2, "both codes talk to their telephones")

        def search(when: str, names: list[str]) -> None:
            traces = {f"show trace of {name}": wait_until(partial(_trace, box, name), f"the trace of {name}") for name in names}
            assert not names or any(b"INVITE sip:*118001#-@" in text for text in traces.values())
            found = {**written(box, traced=False), **traces}
            assert found["capture"] or not names
            for where, data in found.items():
                for pin in pins.values():
                    assert pin.encode() not in data, f"{when}: {where} holds a PIN"

        calls = [row["contact"] for row in box.ctl("show calls")]
        search("in the call", calls)
        old = box.kill("core")
        wait_until(lambda: box.pid("core") != old and _calls(box), "core goes on with the calls")
        search("after a restart of call control", [])
    finally:
        for desk in desks.values():
            desk.close()
