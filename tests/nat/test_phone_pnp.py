"""SIP plug and play over a real network: a telephone asks 224.0.1.75 and is told where its settings are."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.appliance import SITE, Appliance, wait_until
from tests.nat.namespaces import Namespace
from tests.unit.test_sip_pnp import subscribe

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

BOX, PHONE = "10.9.8.2", "10.9.8.40"
MAC = "001565aabbcc"


@pytest.fixture
def network(tmp_path: Path) -> Iterator[tuple[Appliance, Namespace]]:
    with ExitStack() as stack:
        here, there = Namespace(stack), Namespace(stack)
        here.cable(there, f"{BOX}/24", f"{PHONE}/24", device="lan0", far_device="phone0")
        here.run("ip", "route", "add", "224.0.0.0/4", "dev", "lan0")
        there.run("ip", "route", "add", "224.0.0.0/4", "dev", "phone0")
        site = tmp_path / "pnp.toml"
        service = "[provisioning]\nenabled = true\nport = 0\n"
        site.write_text(f'{SITE.read_text()}\n{service}[phones.{MAC}]\nvendor = "yealink"\nextensions = ["201"]\n')
        box = Appliance(tmp_path / "box", bind="0.0.0.0", config=site, prefix=here.prefix)
        stack.callback(box.stop)
        yield box.start(), there


def asked(there: Namespace, data: bytes, answers: int) -> list[tuple[bytes, str]]:
    """What a telephone gets that sends `data` to the group; NOTIFY is answered."""

    def ask() -> list[tuple[bytes, str]]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
            phone.bind((PHONE, 5060))
            phone.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, struct.pack("b", 4))
            phone.settimeout(10 if answers > 1 else 3)
            phone.sendto(data, ("224.0.1.75", 5060))
            heard: list[tuple[bytes, str]] = []
            while len(heard) < answers:
                try:
                    got, source = phone.recvfrom(4096)
                except TimeoutError:
                    break
                heard.append((got, source[0]))
                if got.startswith(b"NOTIFY "):
                    kept = [line for line in got.split(b"\r\n") if line.split(b":")[0] in (b"Via", b"From", b"To", b"Call-ID", b"CSeq")]
                    phone.sendto(b"\r\n".join([b"SIP/2.0 200 OK", *kept, b"Content-Length: 0", b"", b""]), source)
            return heard

    return there.inside(ask)


def test_a_telephone_finds_the_box_by_itself(network: tuple[Appliance, Namespace]) -> None:
    box, there = network
    path = box.state / "run" / "provisioning.json"
    told = wait_until(lambda: json.loads(path.read_bytes()) if path.is_file() else None, "the service listens", 20)
    assert told["pnp"]
    accepted, notify = asked(there, subscribe(mac=MAC), 2)
    assert accepted[0].startswith(b"SIP/2.0 200 ")
    assert notify[0].startswith(b"NOTIFY ")
    assert {accepted[1], notify[1]} == {BOX}
    url = notify[0].partition(b"\r\n\r\n")[2].decode()
    assert url.startswith(f"https://{BOX}:{told['https']}/")
    assert asked(there, subscribe(mac="001565000099", call="2@phone"), 1) == []      # a stranger; call control says nothing, either
    assert [row["phone"] for row in box.manage("phone list") if row["state"].startswith("unknown")] == ["001565000099"]
