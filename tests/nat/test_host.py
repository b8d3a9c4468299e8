"""The box's own addresses with a real kernel, a real DHCP client and server: put there, changed, tried and taken back."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from firmware.config.model import load
from firmware.store.configuration import ConfigurationStore, boot_ms
from tests.e2e.appliance import DIE_WITH_TEST, wait_until
from tests.nat.namespaces import Namespace

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]
ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "buildroot/overlay/usr/lib/branchpbx/system/network"
FIXED = """
[host]
name_servers = ["10.9.8.1"]
[host.interfaces.lan]
device = "lan0"
address = "10.9.8.10/24"
gateway = "10.9.8.1"
"""


class Site:
    """Box and router on one cable."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.folder, self.stack = folder, stack
        self.box, self.router = Namespace(stack), Namespace(stack)
        self.box.cable(self.router, "", "10.9.8.1/24", device="lan0", far_device="rt0")
        self.store = ConfigurationStore(folder / "config")
        stack.callback(self.end_clients)

    def end_clients(self) -> None:
        for path in (self.folder / "run").glob("udhcpc.*.pid"):
            os.kill(int(path.read_text()), 9)

    def apply(self) -> int:
        command = [*self.box.prefix, sys.executable, "-m", "firmware", "host", "--state", str(self.folder), "--device", "lan0"]
        command += ["--no-clock", "--run", str(self.folder / "run")]
        command += ["--resolv", str(self.folder / "resolv.conf"), "--script", str(SCRIPT)]
        return subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode

    def addresses(self, device: str = "lan0") -> list[str]:
        found = json.loads(self.box.run("ip", "-j", "-4", "addr", "show", "dev", device))
        return [f"{one['local']}/{one['prefixlen']}" for each in found for one in each["addr_info"]]

    def router_of(self) -> str:
        return next((str(one["gateway"]) for one in json.loads(self.box.run("ip", "-j", "route")) if one["dst"] == "default"), "")

    def names(self) -> str:
        path = self.folder / "resolv.conf"          # the client's script writes it last
        return path.read_text() if path.exists() else ""

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["what"]: row for row in json.loads((self.folder / "run/status.json").read_text())}

    def serve_dhcp(self) -> None:
        command = "/usr/sbin/dnsmasq --keep-in-foreground --port=0 --interface=rt0 --bind-interfaces --user=root --pid-file= "
        command += "--no-hosts --dhcp-range=10.9.8.100,10.9.8.120,1h --dhcp-option=3,10.9.8.1 --dhcp-option=6,10.9.8.3 "
        command += f"--no-ping --conf-file=/dev/null --dhcp-leasefile={self.folder / 'leases'}"
        with (self.folder / "dnsmasq.log").open("wb") as log:
            program = [*DIE_WITH_TEST, *self.router.prefix, *command.split()]
            process = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.stack.callback(process.wait, 5)
        self.stack.callback(process.terminate)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(stack, tmp_path)


def test_dhcp_unless_configured_then_fixed_and_back(site: Site) -> None:
    site.serve_dhcp()
    assert site.apply() == 0
    wait_until(lambda: site.router_of() == "10.9.8.1", "an address by DHCP", 30)
    assert site.addresses()[0].startswith("10.9.8.1")
    wait_until(lambda: site.names() == "nameserver 10.9.8.3\n", "name servers by DHCP")

    load(FIXED.encode(), file="site.toml")
    site.store.commit(FIXED, "anna", "")
    assert site.apply() == 0
    assert site.addresses() == ["10.9.8.10/24"] and site.router_of() == "10.9.8.1" and site.names() == "nameserver 10.9.8.1\n"
    assert site.rows()["lan"]["state"] == "ok" and not list((site.folder / "run").glob("udhcpc.*.pid"))
    assert site.router.run("busybox", "ping", "-c", "1", "-W", "2", "10.9.8.10")

    # A trial with a wrong address: there while it lasts, gone by itself when nobody confirms, with nobody there to take it back.
    elsewhere = FIXED.replace("10.9.8.10/24", "10.77.0.2/24").replace('gateway = "10.9.8.1"', "")
    site.store.attempt(elsewhere, "anna", "", seconds=600, start="test")
    assert site.apply() == 0 and site.addresses() == ["10.77.0.2/24"] and site.router_of() == ""
    trial = msgspec.structs.replace(site.store.book.trial, until_ms=boot_ms() - 1)      # its time is over, and nobody takes it back
    seal = {"trial": trial, "sum": hashlib.sha256(msgspec.json.encode(trial)).hexdigest()}
    (site.folder / "config/trial.json").write_bytes(msgspec.json.encode(seal))
    assert site.apply() == 0 and site.addresses() == ["10.9.8.10/24"] and site.router_of() == "10.9.8.1"

    site.store.over("it was not confirmed in time")
    site.store.commit("[site]\nname = 'x'\n", "anna", "")
    assert site.apply() == 0
    wait_until(lambda: site.names() == "nameserver 10.9.8.3\n", "name servers by DHCP again", 30)
    assert site.addresses() != ["10.9.8.10/24"]


def test_what_did_not_change_is_not_touched_and_what_fails_is_told(site: Site) -> None:
    site.store.commit(FIXED, "anna", "")
    assert site.apply() == 0
    site.box.run("ip", "addr", "add", "10.55.0.1/32", "dev", "lan0")        # would go with a flush
    site.store.commit(FIXED + '[host.interfaces.voice]\ndevice = "no-such0"\naddress = "10.9.9.1/24"\n', "anna", "")
    assert site.apply() == 1
    assert "10.55.0.1/32" in site.addresses()
    assert site.rows()["lan"]["state"] == "ok" and site.rows()["voice"]["state"] == "fault"
    assert "no-such0" in site.rows()["voice"]["says"] and site.rows()["voice"]["says_zh"].startswith("失败")
    # An interrupted run left an address and no note of it: the next one builds from nothing.
    (site.folder / "run/applied.json").unlink()
    site.store.commit(FIXED.replace("10.9.8.10", "10.9.8.11"), "anna", "")
    assert site.apply() == 0 and site.addresses() == ["10.9.8.11/24"]
