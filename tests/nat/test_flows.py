"""Several flows of one real phone (RFC 5626): it rings once, and on the flow that works."""

from __future__ import annotations

import pytest

from tests.e2e.appliance import Appliance, wait_until
from tests.nat.branch import SIP_PORT, Net
from tests.nat.packets import Ear, Packet

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

BOX, DESK = "10.5.0.1", "10.5.0.2"
CUT = "table ip cut {{\n chain in {{ type filter hook input priority 0; {kind} sport 5060 drop; }}\n}}\n"


def flows(box: Appliance) -> set[str]:
    return {row["transport"] for row in box.ctl("show phones") if row["extension"] == "201" and row["where"]}


def invited(ear: Ear) -> list[Packet]:
    """INVITEs that reached the phone, each as often as it came."""
    return [packet for packet in ear.packets() if packet.source == BOX and packet.body.startswith(b"INVITE ")]


def test_a_phone_with_two_flows_rings_once_and_where_it_can(net: Net) -> None:
    lan, server, desk, other = net.switch(), net.machine(), net.machine(), net.machine()
    for machine, address in ((server, BOX), (desk, DESK), (other, "10.5.0.3")):
        lan.plug(machine, f"{address}/24", device="eth")
    box = net.box(server)
    ways = "".join(f';outbound{number}="sip:{BOX}:{SIP_PORT};transport={kind}"' for number, kind in (("", "udp"), ("2", "tcp")))
    anna = net.phone(box, desk, "201", BOX, DESK, 440, account=f";sipnat=outbound{ways}")
    bo = net.phone(box, other, "202", BOX, "10.5.0.3", 880)
    wait_until(lambda: flows(box) == {"udp", "tcp"}, "both flows are registered")
    contacts = [row for row in box.ctl("show phones") if row["extension"] == "201"]
    assert len(contacts) == 2
    ear = Ear(desk, "eth")
    newest = ""
    for cut in (False, True):
        if cut:
            desk.nft(CUT.format(kind=newest))         # the flow used first says nothing any more
        start = len(anna.events)
        bo.dial("201")
        anna.wait("CALL_ESTABLISHED", start=start, timeout=20)
        bo.hang_up()
        anna.wait("CALL_CLOSED", start=start)
        wait_until(lambda: not box.ctl("show calls"), "the call is gone")
        kinds = [packet.kind for packet in invited(ear)]
        if not cut:
            assert len(set(kinds)) == 1, "one flow at a time"
            newest = kinds[0]
        else:
            assert {"udp", "tcp"} >= set(kinds) and set(kinds) - {newest}, "over the other one"
    assert len([event for event in anna.events if event["type"] == "CALL_ESTABLISHED"]) == 2, "once for each call"
    ear.close()
    desk.nft("delete table ip cut\n")        # so that the phone can say goodbye
