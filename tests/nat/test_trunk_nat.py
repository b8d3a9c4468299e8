"""A trunk from a box behind a router: what the carrier is told leads back to the box."""

from __future__ import annotations

import time

import pytest

from tests.e2e.appliance import Appliance, wait_until
from tests.nat.branch import PORTS, Net
from tests.nat.namespaces import forward, masquerade

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

TRUNK = """
[trunks.centre]
domain = "203.0.113.30:5060"
user = "203"
secret = "{secret}"
transport = "{transport}"
[[outbound]]
prefix = "7"
trunks = ["centre"]
"""


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_branch_behind_a_router_registers_at_the_centre(net: Net, transport: str) -> None:
    """The centre, out in the public network, has the branch as its extension 203; calls go both ways."""
    public, lan, router = net.switch(), net.switch(), net.machine(forward=True)
    far, server, desk, outside = net.machine(), net.machine(), net.machine(), net.machine()
    public.plug(router, "203.0.113.1/24", device="wan")
    public.plug(far, "203.0.113.30/24")
    public.plug(outside, "203.0.113.31/24")
    for machine, address in ((router, "192.168.1.1/24"), (server, "192.168.1.10/24"), (desk, "192.168.1.20/24")):
        lan.plug(machine, address)
    for machine in (server, desk):
        machine.route("192.168.1.1")
    router.nft(masquerade("wan") + forward("203.0.113.1", "192.168.1.10", PORTS, device="wan"))
    centre = net.box(far, name="centre")
    trunk = TRUNK.format(secret=centre.accounts()["203"], transport=transport)
    branch = net.box(server, name="branch", sip='external_address = "203.0.113.1"', end=trunk)
    wait_until(lambda: state(branch) == "idle", "the branch is registered", 30)
    (row,) = [row for row in centre.ctl("show phones") if row["extension"] == "203"]
    assert row["where"].startswith("203.0.113.1:") and row["transport"] == transport
    anna = net.phone(branch, desk, "201", "192.168.1.10", "192.168.1.20", 440)
    bo = net.phone(centre, outside, "202", "203.0.113.30", "203.0.113.31", 880)
    anna.dial("7202")
    anna.wait("CALL_ESTABLISHED")
    time.sleep(2.5)  # real time: real phones speak
    said = [line["text"] for line in branch.ctl("show trace", call="trunk/centre", full=True) if line["direction"] == "out"]
    bo.hang_up()
    anna.wait("CALL_CLOSED")
    bo.wait("CALL_CLOSED")
    assert said and not [text for text in said if "192.168" in text.partition(" ")[2]], "the inner address stays inside"
    assert [text for text in said if "c=IN IP4 203.0.113.1" in text]
    for listener, own, other in ((anna, 440, 880), (bo, 880, 440)):
        heard = listener.heard().part(0.7)
        assert heard.tone_dbm0(other) == pytest.approx(-10, abs=1.5), listener.user
        assert heard.tone_dbm0(own) < -40, f"{listener.user} hears itself"
    wait_until(lambda: not branch.ctl("show calls"), "the call is gone")


def state(box: Appliance) -> str:
    (row,) = box.ctl("show trunks")
    return str(row["available"])


