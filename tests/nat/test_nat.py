"""Calls through routers that translate addresses: real phones on both sides, audio both ways, and addresses that stay where they belong."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.e2e.appliance import wait_until
from tests.nat.branch import PORTS, Net, talk
from tests.nat.namespaces import forward, masquerade

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

# What nobody within asked for stays outside, as in every router at home.
GUARDED = """table ip guard {
 chain through { type filter hook forward priority 0; iifname "wan" ct state != { established, related } drop; }
}
"""


@pytest.mark.parametrize("secure", [False, True], ids=["udp", "tls-srtp"])
def test_phone_behind_a_router(net: Net, secure: bool) -> None:
    """The box is in the public network; one phone is there, too, one behind a router that translates addresses."""
    public, router, home, outside = net.switch(), net.machine(forward=True), net.machine(), net.machine()
    server = net.machine()
    public.plug(server, "198.51.100.10/24")
    public.plug(outside, "198.51.100.30/24")
    public.plug(router, "198.51.100.1/24", device="wan")
    router.cable(home, "192.168.1.1/24", "192.168.1.20/24")
    home.route("192.168.1.1")
    router.nft(masquerade("wan"))
    box = net.box(server)
    options: dict[str, Any] = {}
    if secure:
        wait_until(lambda: box.ctl("show certificates"), "the certificate is made")
        port = json.loads((box.state / "run" / "endpoints.json").read_text())["sip_tls_port"]
        options = {"transport": "tls", "mediaenc": "srtp-mand", "port": port, "trusted": box.state / "tls" / "ca.crt"}
    anna = net.phone(box, home, "201", "198.51.100.10", "192.168.1.20", 440, **options)
    bo = net.phone(box, outside, "202", "198.51.100.10", "198.51.100.30", 880)
    (where,) = [row["where"] for row in box.ctl("show phones") if row["extension"] == "201"]
    assert where.startswith("198.51.100.1:"), "the phone is known where it is seen"
    talk(box, anna, bo, (440, 880))
    talk(box, bo, anna, (880, 440))


def test_box_behind_a_router(net: Net) -> None:
    """The router sends the ports to the box. A phone beside the box never hears of the public address, one outside of no other."""
    public, lan, router = net.switch(), net.switch(), net.machine(forward=True)
    server, desk, outside = net.machine(), net.machine(), net.machine()
    public.plug(router, "203.0.113.1/24", device="wan")
    public.plug(outside, "203.0.113.30/24")
    lan.plug(router, "192.168.1.1/24", device="lan")
    lan.plug(server, "192.168.1.10/24")
    lan.plug(desk, "192.168.1.20/24")
    server.route("192.168.1.1")
    desk.route("192.168.1.1")
    router.nft(masquerade("wan") + forward("203.0.113.1", "192.168.1.10", PORTS, device="wan"))
    box = net.box(server, sip='external_address = "203.0.113.1"')
    anna = net.phone(box, desk, "201", "192.168.1.10", "192.168.1.20", 440)
    bo = net.phone(box, outside, "202", "203.0.113.1", "203.0.113.30", 880)
    shown = {row["network_en"]: (row["told"], row["phones"]) for row in box.ctl("show networks")}
    assert shown == {"public network": ("203.0.113.1", 1), "elsewhere": ("", 1)}
    for caller, callee, hz in ((anna, bo, (440, 880)), (bo, anna, (880, 440))):
        traces = dict(zip((caller, callee), talk(box, caller, callee, hz), strict=True))
        assert "203.0.113" not in traces[anna] and "192.168.1.10" in traces[anna]
        assert "192.168" not in traces[bo] and "203.0.113.1" in traces[bo]


def test_hairpin(net: Net) -> None:
    """A phone beside the box uses the public name of it: the router sends it back inside, in its own name."""
    public, lan, router = net.switch(), net.switch(), net.machine(forward=True)
    server, desk, roamer = net.machine(), net.machine(), net.machine()
    public.plug(router, "203.0.113.1/24", device="wan")
    lan.plug(router, "192.168.1.1/24", device="lan")
    for machine, address in ((server, "192.168.1.10/24"), (desk, "192.168.1.20/24"), (roamer, "192.168.1.21/24")):
        lan.plug(machine, address)
        machine.route("192.168.1.1")
    router.nft(masquerade("wan") + forward("203.0.113.1", "192.168.1.10", PORTS, hairpin=True))
    box = net.box(server, sip='external_address = "203.0.113.1"')
    anna = net.phone(box, desk, "201", "192.168.1.10", "192.168.1.20", 440)
    bo = net.phone(box, roamer, "202", "203.0.113.1", "192.168.1.21", 880)
    (where,) = [row["where"] for row in box.ctl("show phones") if row["extension"] == "202"]
    assert where.startswith("192.168.1.1:"), "it is seen as the router"
    talk(box, anna, bo, (440, 880))
    talk(box, bo, anna, (880, 440))


def test_two_networks(net: Net) -> None:
    """The box stands in two networks that do not reach one another; a third, behind a VPN router, is told the address named for it."""
    first, second, server, router = net.switch(), net.switch(), net.machine(), net.machine(forward=True)
    one, two, three = net.machine(), net.machine(), net.machine()
    first.plug(server, "10.1.0.10/24")
    second.plug(server, "10.2.0.10/24")
    first.plug(one, "10.1.0.20/24")
    second.plug(two, "10.2.0.20/24")
    second.plug(router, "10.2.0.1/24", device="in")
    router.cable(three, "10.8.0.1/24", "10.8.0.20/24", device="tunnel")
    three.route("10.8.0.1")
    server.route("10.2.0.1", "10.8.0.0/24")
    # Over the tunnel the box has an address of its own, which the router translates.
    router.nft(forward("10.8.0.9", "10.2.0.10", PORTS, device="tunnel"))
    router.run("ip", "addr", "add", "10.8.0.9/32", "dev", "tunnel")
    three.route("10.8.0.1", "10.8.0.9/32")
    box = net.box(server, more='[networks.tunnel]\nsubnets = ["10.8.0.0/24"]\naddress = "10.8.0.9"\n')
    anna = net.phone(box, one, "201", "10.1.0.10", "10.1.0.20", 440)
    bo = net.phone(box, two, "202", "10.2.0.10", "10.2.0.20", 880)
    chen = net.phone(box, three, "203", "10.8.0.9", "10.8.0.20", 620)
    to_anna, to_bo = talk(box, anna, bo, (440, 880))
    assert "10.2.0" not in to_anna and "10.1.0" not in to_bo
    to_chen, to_anna = talk(box, chen, anna, (620, 440))
    assert "10.2.0.10" not in to_chen and "10.8.0.9" in to_chen and "10.8" not in to_anna


@pytest.mark.parametrize("every", [1, 0])
def test_a_router_that_forgets_soon(net: Net, every: int) -> None:
    """A router that forgets after three seconds, and a phone that sends no keep-alives: ours keep it reachable, and nothing else does."""
    public, router, home, outside, server = net.switch(), net.machine(forward=True), net.machine(), net.machine(), net.machine()
    public.plug(server, "198.51.100.10/24")
    public.plug(outside, "198.51.100.30/24")
    public.plug(router, "198.51.100.1/24", device="wan")
    router.cable(home, "192.168.1.1/24", "192.168.1.20/24")
    home.route("192.168.1.1")
    router.nft(masquerade("wan") + GUARDED)
    for name in ("udp_timeout", "udp_timeout_stream"):
        router.run("sh", "-c", f"echo 3 >/proc/sys/net/netfilter/nf_conntrack_{name}")
    box = net.box(server, sip=f"keep_alive_s = {every}")
    anna = net.phone(box, home, "201", "198.51.100.10", "192.168.1.20", 440)
    bo = net.phone(box, outside, "202", "198.51.100.10", "198.51.100.30", 880)
    time.sleep(6)  # real time: the router's memory
    bo.dial("201")
    if every:
        anna.wait("CALL_ESTABLISHED")
    else:
        with pytest.raises(AssertionError, match="no CALL_INCOMING"):
            anna.wait("CALL_INCOMING", timeout=3)
    bo.hang_up()
    wait_until(lambda: not box.ctl("show calls"), "the call is gone")
