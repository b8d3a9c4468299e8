"""The DHCP server of a small site with a real client: options of telephones, LLDP-MED on the wire, and silence beside another server."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from firmware.net.dhcp import discover_packet, offer_of
from firmware.store.configuration import ConfigurationStore
from tests.e2e.appliance import DIE_WITH_TEST, ROOT, alive, wait_until
from tests.nat.namespaces import Namespace

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

SO_BINDTODEVICE = 25
SITE = """
[provisioning]
enabled = true
[dhcp]
enabled = true
interface = "lan0"
first = "10.9.7.100"
last = "10.9.7.120"
router = "10.9.7.1"
voice_vlan = 100
"""


POLICY = r"Voice, Defined: +yes(.|\n)*?VLAN: +100(.|\n)*?Priority: +Voice(.|\n)*?DSCP Value: +46"


class Site:
    """Box and client on one cable; the server runs in the box's namespace."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.state = folder
        self.stack = stack
        self.box, self.client = Namespace(stack), Namespace(stack)
        self.box.cable(self.client, "10.9.7.2/24", "", device="lan0", far_device="cli0")
        self.commit(SITE)

    def commit(self, text: str) -> None:
        ConfigurationStore(self.state / "config").commit(text, "test", "")

    def serve(self, *options: str, become: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        log = (self.state / "dhcp.out").open("wb")
        command = [sys.executable, "-m", "firmware", "dhcp", "--state", str(self.state), *options]
        command = [*DIE_WITH_TEST, *self.box.prefix, *become, *command]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        self.stack.callback(log.close)
        self.stack.callback(process.wait, 15)
        self.stack.callback(process.terminate)
        return process

    def said(self) -> dict[str, Any]:
        path = self.state / "run" / "dhcp.json"
        return json.loads(path.read_bytes()) if path.is_file() else {"state": ""}

    def running(self, name: str) -> int:
        """The process of the server in the box's network: `dhcp` itself, or its dnsmasq."""
        own = Path(f"/proc/{self.box.pid}/ns/net").readlink()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                if name.encode() in words and (folder / "ns/net").readlink() == own:
                    return int(folder.name)
        raise AssertionError(f"{name} does not run")

    def serves(self) -> bool:
        """Whether its dnsmasq runs."""
        try:
            return self.running("dnsmasq") > 0
        except AssertionError:
            return False

    def lease(self) -> str:
        """What busybox's client is told; it asks for the options of telephones, too."""
        script = self.state / "script"
        script.write_text('#!/bin/sh\n[ "$1" = bound ] && env\nexit 0\n')
        script.chmod(0o755)
        return self.client.run(
            *"busybox udhcpc -i cli0 -f -q -n -t 5 -T 2 -O 66 -O 160 -s".split(), str(script)
        )


    def offered(self) -> dict[int, bytes]:
        """Options of an offer, as they are on the wire."""

        def ask() -> bytes:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                asking.settimeout(8)
                for option in (socket.SO_REUSEADDR, socket.SO_BROADCAST):
                    asking.setsockopt(socket.SOL_SOCKET, option, 1)
                asking.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, b"cli0\0")
                asking.bind(("0.0.0.0", 68))
                asking.sendto(discover_packet(b"\x02\x01\x02\x03\x04\x05", 77), ("255.255.255.255", 67))
                return asking.recv(2048)

        data = self.client.inside(ask)[240:]
        found: dict[int, bytes] = {}
        while data and data[0] != 255:
            found[data[0]] = data[2 : 2 + data[1]].rstrip(b"\0")
            data = data[2 + data[1] :]
        return found

    def announced(self) -> str:
        """What a telephone that speaks LLDP-MED (another lldpd, class III) is told of the network for voice."""
        control = Path(f"/run/branchpbx-test-{os.getpid()}.sock")
        self.stack.callback(control.unlink, missing_ok=True)
        process = subprocess.Popen(
            [*DIE_WITH_TEST, *self.client.prefix, "lldpd", "-d", "-u", str(control), "-I", "cli0", "-M", "3"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.stack.callback(process.wait, 5)
        self.stack.callback(process.terminate)

        self.control = control

        def heard() -> str:
            told = self.neighbours()
            return told if "Network Policy" in told else ""

        return str(wait_until(heard, "the policy of the network arrives", 40))

    def neighbours(self) -> str:
        """What that telephone knows of the box now."""
        asked = [*self.client.prefix, "lldpcli", "-u", str(self.control), "show", "neighbors", "details"]
        return subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False).stdout


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(stack, tmp_path)


def test_a_client_gets_an_address_and_what_telephones_need(site: Site) -> None:
    site.serve()
    wait_until(lambda: site.said()["state"] == "serving", "the server serves", 40)
    told = site.lease()
    assert re.search(r"^ip=10\.9\.7\.1[0-2][0-9]$", told, re.MULTILINE), told
    assert "router=10.9.7.1" in told
    assert "https://10.9.7.2:8443/" in told or b"https://10.9.7.2:8443/".hex() in told.lower()
    offered = site.offered()
    entrance = b"https://10.9.7.2:8443/"
    assert (offered[66], offered[160], offered[132], offered[43]) == (entrance, entrance, b"100", bytes([1, len(entrance)]) + entrance)
    assert rights(site.running("dhcp")) == {0, 1, 6, 10, 12, 13}
    heard = site.announced()
    assert re.search(POLICY, heard), heard
    site.commit(SITE.replace("enabled = true\ninterface", "enabled = false\ninterface"))
    wait_until(lambda: site.said()["state"] == "off", "it stops with the configuration", 30)
    wait_until(lambda: "Network Policy" not in site.neighbours(), "the policy is taken back, long before it is forgotten", 15)


def rights(pid: int) -> set[int]:
    """Capabilities that a process could ever get again."""
    status = Path(f"/proc/{pid}/status").read_text()
    masks = {name: int(value, 16) for name, value in re.findall(r"^Cap(Prm|Bnd):\s+(\w+)$", status, re.MULTILINE)}
    return {number for number in range(64) if (masks["Prm"] | masks["Bnd"]) >> number & 1}


def test_on_the_appliance_it_has_three_rights_and_ends_when_it_is_not_wanted(site: Site) -> None:
    """Started as the image's init does it, with the words of its script."""
    if len(Path("/proc/self/uid_map").read_text().splitlines()) == 1 and int(Path("/proc/self/uid_map").read_text().split()[2]) < 65535:
        pytest.skip("there is no second user here")
    assert "::respawn:/usr/lib/branchpbx/system/dhcp\n" in (ROOT / "buildroot/overlay/etc/inittab").read_text()
    script = (ROOT / "buildroot/overlay/usr/lib/branchpbx/system/dhcp").read_text()
    found = re.search(r"exec /usr/bin/(setpriv .*) \\\n", script)
    assert found is not None
    become = found[1].replace("id 100", "id 65534").split()
    folder = Path(tempfile.mkdtemp(prefix="branchpbx-dhcp-", dir="/tmp"))        # pytest's own folders are closed to other users
    site.stack.callback(shutil.rmtree, folder)
    site.state = folder
    site.commit(SITE)
    for path in (site.state, *site.state.rglob("*")):
        os.chown(path, 65534, 65534)
    process = site.serve("--while-wanted", become=become)
    wait_until(lambda: site.said()["state"] == "serving", "the server serves", 40)
    assert "(option 132 only)" not in site.said()["says"]
    heard = site.announced()
    assert re.search(POLICY, heard), heard
    assert re.search(r"^ip=10\.9\.7\.1[0-2][0-9]$", site.lease(), re.MULTILINE)
    for pid in (process.pid, site.running("dnsmasq")):
        assert rights(pid) == {10, 12, 13}
        assert Path(f"/proc/{pid}").stat().st_uid == 65534
    daemon = site.running("dnsmasq")
    process.kill()
    wait_until(lambda: not alive(daemon), "its daemon ends with it")
    process = site.serve("--while-wanted", become=become)
    wait_until(lambda: site.said()["state"] == "serving" and site.serves(), "it serves again", 40)
    site.commit(SITE.replace("enabled = true\ninterface", "enabled = false\ninterface"))
    for path in (site.state / "config").rglob("*"):
        os.chown(path, 65534, 65534)
    assert process.wait(20) == 0
    assert site.said()["state"] == "off"


def test_it_keeps_silent_beside_another_server(site: Site) -> None:
    other = [
        *DIE_WITH_TEST, *site.client.prefix, shutil.which("dnsmasq") or "dnsmasq", "-k", "--port=0", "--interface=cli0", "--pid-file=",
        "--user=root", "--dhcp-range=10.9.7.50,10.9.7.60", f"--dhcp-leasefile={site.state / 'other.leases'}", "--no-resolv", "--no-hosts",
        "--conf-file=/dev/null",
    ]  # fmt: skip
    site.client.run("ip", "addr", "add", "10.9.7.3/24", "dev", "cli0")
    process = subprocess.Popen(other, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    site.stack.callback(process.wait, 5)
    site.stack.callback(process.terminate)
    site.serve()
    wait_until(lambda: site.said()["state"] == "refused", "the other server is found", 40)
    assert "10.9.7.3" in site.said()["says"]
    assert "10.9.7.3" in site.said()["says_zh"]


def test_offers_are_read_and_noise_is_not() -> None:
    ours = discover_packet(bytes(6), 7)
    offer = b"\x02" + ours[1:240] + bytes([53, 1, 2, 54, 4, 10, 0, 0, 1, 255])
    assert offer_of(offer, 7) == "10.0.0.1"
    assert offer_of(offer, 8) == ""
    assert offer_of(ours, 7) == ""
    assert offer_of(offer.replace(bytes([53, 1, 2]), bytes([53, 1, 5])), 7) == ""
    for end in range(len(offer)):
        offer_of(offer[:end], 7)
