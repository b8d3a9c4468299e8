"""Addresses of the box: what the checks refuse, what is done for what is right, what the wizard asks."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from firmware.app.host import rows_of
from firmware.config.model import check, load
from firmware.config.problems_zh import chinese
from firmware.config.schema.host import Host, Interface
from firmware.net import addresses
from firmware.surfaces.cli.screen import PlainScreen
from firmware.surfaces.cli.setup import Setup

LAN = '[host.interfaces.lan]\naddress = "192.168.1.10/24"\ngateway = "192.168.1.1"\n'


def wrong(text: str) -> dict[str, str]:
    _, found = check(text.encode(), file="site.toml")
    for problem in found:
        for said in (problem.message, problem.remedy):
            assert chinese(said) != said, f"{said!r} has no Chinese"
    return {problem.path: problem.message for problem in found if problem.path.startswith(("host", "dhcp"))}


def test_a_fixed_address_and_a_vlan_are_right() -> None:
    assert wrong(LAN + '[host.interfaces.voice]\nvlan = 100\naddress = "10.0.100.2/24"\n[host.interfaces.wan]\ndevice = "eth1"\n') == {}


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        ('[host.interfaces.lan]\naddress = "192.168.1.300/24"\n', "host.interfaces.lan.address", "is not an address with its network"),
        ('[host.interfaces.lan]\naddress = "192.168.1.0/24"\n', "host.interfaces.lan.address", "is the network itself"),
        ('[host.interfaces.lan]\naddress = "192.168.1.255/24"\n', "host.interfaces.lan.address", "is the network itself"),
        ('[host.interfaces.lan]\naddress = "192.168.1.1/32"\n', "host.interfaces.lan.address", "length 32"),
        ('[host.interfaces.lan]\naddress = "224.0.0.9/24"\n', "host.interfaces.lan.address", "no address of a machine"),
        ('[host.interfaces.lan]\naddress = "127.0.0.9/24"\n', "host.interfaces.lan.address", "no address of a machine"),
        (LAN.replace("192.168.1.1\"", "192.168.2.1\""), "host.interfaces.lan.gateway", "no other machine of 192.168.1.0/24"),
        (LAN.replace("192.168.1.1\"", "192.168.1.10\""), "host.interfaces.lan.gateway", "no other machine"),
        ('[host.interfaces.lan]\ngateway = "192.168.1.1"\n', "host.interfaces.lan.gateway", "beside an address by DHCP"),
        (LAN + '[host.interfaces.b]\n', "host.interfaces.b.device", "is that of lan, too"),
        (LAN + '[host.interfaces.b]\nvlan = 5\naddress = "192.168.1.77/25"\n', "host.interfaces.b.address", "lies in the network of lan"),
        (
            LAN + '[host.interfaces.b]\nvlan = 5\naddress = "10.0.0.2/24"\ngateway = "10.0.0.1"\n', "host.interfaces.b.gateway",
            "second router",
        ),
        ('[host]\nname_servers = ["1.2.3.400"]\n', "host.name_servers[0]", "is not an address"),
        ('[host.interfaces."a b"]\n', "host.interfaces.a b", "name that cannot be used"),
        ('[dhcp]\nenabled = true\nfirst = "10.0.0.5"\nlast = "10.0.0.9"\n[host.interfaces.lan]\n', "dhcp.interface", "by DHCP"),
    ],
)  # fmt: skip
def test_what_would_lock_everybody_out_is_refused(text: str, path: str, said: str) -> None:
    found = wrong(text)
    assert said in found.get(path, ""), found


def test_a_vlan_is_a_device_of_its_own_with_address_and_route() -> None:
    [link] = addresses.links(Host(interfaces={"v": Interface(vlan=7, address="10.0.7.2/24", gateway="10.0.7.1")}), "eth0")
    assert addresses.up(link) == [
        ("ip", "link", "set", "dev", "eth0", "up"),
        ("ip", "link", "add", "link", "eth0", "name", "eth0.7", "type", "vlan", "id", "7"),
        ("ip", "link", "set", "dev", "eth0.7", "up"),
        ("ip", "addr", "add", "10.0.7.2/24", "broadcast", "+", "dev", "eth0.7"),
        ("ip", "route", "replace", "default", "via", "10.0.7.1", "dev", "eth0.7"),
    ]
    assert addresses.down(link)[-1] == ("ip", "link", "del", "dev", "eth0.7")


def test_without_connections_the_first_device_asks() -> None:
    [link] = addresses.links(Host(), "eth0")
    assert (link.device, link.address) == ("eth0", "") and addresses.links(Host(), "") == []


def test_the_clock_opens_no_port_and_takes_names_and_addresses(tmp_path: Path) -> None:
    text = addresses.chrony_conf(["ntp.example.net", "10.0.0.1"], str(tmp_path), "nobody")
    assert "pool ntp.example.net iburst" in text and "server 10.0.0.1 iburst" in text
    assert "\nport 0\n" in text and "\ncmdport 0\n" in text
    if shutil.which("chronyd"):
        (tmp_path / "chrony.conf").write_text(text)
        shown = subprocess.run(["chronyd", "-p", "-f", str(tmp_path / "chrony.conf")], capture_output=True, text=True, check=True).stdout
        assert "pool ntp.example.net iburst" in shown


def test_a_machine_with_a_system_of_its_own_has_nothing_to_tell(tmp_path: Path) -> None:
    assert rows_of(tmp_path) == []
    (tmp_path / "status.json").write_text("no json")
    assert rows_of(tmp_path) == []


class FakeBox:
    """Answers of the box to the step about the network."""

    def __init__(self, state: str) -> None:
        self.set: dict[str, str] = {}
        self.deleted: list[str] = []
        self.state = state

    def ask(self, path: str, args: dict[str, Any]) -> Any:
        if path == "show addresses":
            return [{"what": "clock", "state": self.state, "device": "", "now": "", "says": "", "says_zh": ""}]
        if path == "show interfaces":
            return [{"interface": "eth0", "state": "up", "address": "", "mac": "02:00:00:00:00:01"}]
        if path == "set":
            self.set[args["setting"]] = args["value"]
            return {"problems": []}
        if path == "delete":
            self.deleted.append(args["setting"])
        return [] if path == "show routes" else ""


def answered(box: FakeBox, keys: str) -> str:
    out = io.StringIO()
    Setup(box.ask, PlainScreen(out, io.StringIO(keys)))._network()
    return out.getvalue()


def test_the_wizard_asks_for_a_fixed_address_on_a_box_of_ours() -> None:
    box = FakeBox("ok")
    answered(box, "f\n\n20\n192.168.1.10/24\n\n\n\n\n")
    assert box.set == {
        "host.interfaces.lan.device": '"eth0"', "host.interfaces.lan.vlan": "20", "host.interfaces.lan.address": '"192.168.1.10/24"',
        "host.interfaces.lan.gateway": '"192.168.1.1"', "host.name_servers": '["192.168.1.1"]', "host.time_servers": '["pool.ntp.org"]',
    }  # fmt: skip
    box = FakeBox("ok")
    answered(box, "d\n\n10.0.0.1, 10.0.0.2\n")
    assert box.deleted == ["host.interfaces"] and box.set == {"host.time_servers": '["10.0.0.1","10.0.0.2"]'}


def test_the_wizard_leaves_the_addresses_of_other_machines_alone() -> None:
    box = FakeBox("foreign")
    answered(box, "f\n\n")
    assert box.set == {}


def test_the_site_file_of_docs_is_right() -> None:
    assert load(LAN.encode(), file="site.toml").host.interfaces["lan"].gateway == "192.168.1.1"
