"""A trunk whose carrier is a name: real DNS leads to servers that are down, busy or somebody else, and to one that takes the call."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e import sipp_carrier
from tests.e2e.appliance import DIE_WITH_TEST, Appliance, wait_until
from tests.e2e.baresip import Baresip
from tests.e2e.dnsmasq import Dnsmasq
from tests.e2e.test_trunks import carrier, site, until_usable
from tests.ports import free_port, taken

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

Start = Callable[..., Appliance]
Phone = Callable[..., Baresip]
NAME = "carrier.test"
CALLING = """
[trunks.other]
domain = "{name}"
template = "branch"
transport = "{transport}"
srtp = "{srtp}"
qualify_s = {qualify}
[[inbound]]
to = "hangup"
[[outbound]]
prefix = "8"
trunks = ["other"]
"""
CALLED = """
[trunks.other]
domain = "{host}:{port}"
template = "branch"
transport = "{transport}"
srtp = "{srtp}"
[[inbound]]
to = "hangup"
[[outbound]]
prefix = "8"
trunks = ["other"]
"""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def certificate(folder: Path, name: str, address: str) -> tuple[Path, Path]:
    """A certificate that proves a name, signed by itself, and its key."""
    key, chain = folder / f"{name}.key", folder / f"{name}.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
               "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}{address}", "-keyout", str(key),
               "-out", str(chain)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return chain, key


def pair(appliance: Start, folder: Path, records: list[str], *, network: str, stack: ExitStack, transport: str, srtp: str, qualify: int,
         ports: tuple[int, int], sip: tuple[str, str]) -> tuple[Appliance, Appliance, Dnsmasq]:  # fmt: skip
    """The branch that calls `NAME`, and the one that is behind it; `ports` are where they listen on this transport."""
    dns_port = free_port()
    dns = stack.enter_context(Dnsmasq(folder / "dns", records, host="127.0.0.1", port=dns_port))
    values = {"transport": transport, "srtp": srtp, "qualify": qualify, "name": NAME, "host": network, "port": ports[0]}
    boxes = []
    for index, text in enumerate((CALLING, CALLED)):
        path = site(folder, text.format(**values), 0, f"site{index}")
        path.write_text(path.read_text().replace("[sip]\nport = 0\n", f'[sip]\nname_servers = ["127.0.0.1:{dns_port}"]\n{sip[index]}'))
        boxes.append(appliance(config=path))
    return boxes[0], boxes[1], dns


def talk(here: Appliance, phone: Phone, there: Appliance, seconds: float = 2.0) -> list[str]:
    """Anna, here, calls Bo, there; both hear the other. What the calling box told of its speech meanwhile."""
    anna = phone(here, "201", hz=440)
    bo = phone(there, "202", hz=880, answer="auto")
    anna.dial("8202")
    anna.wait("CALL_ESTABLISHED")
    speech = [text for call in here.ctl("show calls") for text in call["speech"]]
    time.sleep(seconds)  # real time: real phones speak
    anna.hang_up()
    bo.wait("CALL_CLOSED")
    anna.wait("CALL_CLOSED")
    for listener, own, other in ((anna, 440, 880), (bo, 880, 440)):
        heard = listener.heard().part(0.7)
        assert heard.tone_dbm0(other) == pytest.approx(-10, abs=1.5), listener.user
        assert heard.tone_dbm0(own) < -40, listener.user
    return speech


def test_the_second_server_over_tls_with_encrypted_speech(
    appliance: Start, phone: Phone, network: str, tmp_path: Path, stack: ExitStack
) -> None:
    """One server is down, one shows the certificate of another name, the third proves to be the carrier."""
    chain, key = certificate(tmp_path, NAME, f",IP:{network}")
    foreign, foreign_key = certificate(tmp_path, "else.test", "")
    authority = tmp_path / "authorities.pem"
    authority.write_bytes(chain.read_bytes() + foreign.read_bytes())
    ports = free_port(network), free_port(network)
    closed, other = free_port(network), free_port(network)
    command = ["openssl", "s_server", "-accept", f"{network}:{other}", "-cert", str(foreign), "-key", str(foreign_key), "-quiet"]
    stranger = stack.enter_context(subprocess.Popen([*DIE_WITH_TEST, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE))
    stack.callback(stranger.kill)
    wait_until(lambda: taken(network, other, (socket.SOCK_STREAM,)), "the stranger listens")
    service = f"_sips._tcp.{NAME}"
    records = [f"naptr-record={NAME},1,1,S,SIPS+D2T,,{service}", f"address=/server.{NAME}/{network}", "local-ttl=60",
               *(f"srv-host={service},server.{NAME},{port},{rank},0" for rank, port in enumerate((closed, other, ports[1])))]  # fmt: skip
    files = f'tls_certificate = "{chain}"\ntls_key = "{key}"\ntls_carriers_ca = "{authority}"\n'
    here, there, dns = pair(
        appliance, tmp_path, records, network=network, stack=stack, transport="tls", srtp="required", qualify=0, ports=ports,
        sip=(f"port = 0\ntls_port = {ports[0]}\n{files}", f"port = 0\ntls_port = {ports[1]}\n{files}"),
    )  # fmt: skip
    until_usable(there, "other")
    speech = talk(here, phone, there)
    assert any("trunk/other" in text and "AES" in text.upper() for text in speech), speech
    assert dns.asked("SRV", service) == 1, "asked once, then known"
    wanted = "the log tells who did not prove the name"
    wait_until(lambda: any(f"{network}:{other}" in line["message"] and NAME in line["message"] for line in here.log("core")), wanted)


def test_the_third_server_over_udp(appliance: Start, phone: Phone, network: str, tmp_path: Path, stack: ExitStack) -> None:
    """Nobody listens at the first server, the second is overloaded; the next call goes to the third at once."""
    ports = free_port(network), free_port(network)
    closed, busy = free_port(network), free_port(network)
    service = f"_sip._udp.{NAME}"
    records = [f"address=/server.{NAME}/{network}", "local-ttl=60",
               *(f"srv-host={service},server.{NAME},{port},{rank},0" for rank, port in enumerate((closed, busy, ports[1])))]  # fmt: skip
    here, there, _ = pair(
        appliance, tmp_path, records, network=network, stack=stack, transport="udp", srtp="no", qualify=0, ports=ports,
        sip=(f"port = {ports[0]}\n", f"port = {ports[1]}\n"),
    )  # fmt: skip
    until_usable(there, "other")
    with carrier(tmp_path / "overloaded", sipp_carrier.OVERLOADED, network, busy):
        talk(here, phone, there)
    wait_until(lambda: not here.ctl("show calls"), "the call is gone")
