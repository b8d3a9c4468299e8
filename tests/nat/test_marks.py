"""DSCP and priority of what leaves the box, read at the far end of its cable and in its own queue."""

from __future__ import annotations

import re
import time

import pytest

from tests.nat.branch import Net
from tests.nat.packets import Ear

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

CS3, EF = 24, 46
# What a VLAN device writes into its tags is the priority that packets have when they leave (egress-qos-map).
# The kernel may acknowledge the first bytes of a connection before the box has it: what counts has something in it.
COUNTERS = """table ip marks {
 chain out { type filter hook postrouting priority 0;
  udp sport 5060 meta priority 0:3 counter comment "sip"
  tcp sport 5060 meta priority 0:3 counter comment "stream"
  udp sport 30000-30100 meta priority 0:5 counter comment "audio"
  udp sport { 5060, 30000-30100 } meta priority != { 0:3, 0:5 } counter comment "other"
  tcp sport 5060 ip length > 100 meta priority != 0:3 counter comment "other-stream"
 }
}
"""


def test_signalling_and_audio_are_marked(net: Net) -> None:
    lan, server, desk, other = net.switch(), net.machine(), net.machine(), net.machine()
    lan.plug(server, "10.5.0.1/24", device="lan")
    lan.plug(desk, "10.5.0.2/24", device="eth")
    lan.plug(other, "10.5.0.3/24", device="eth")
    server.nft(COUNTERS)
    box = net.box(server)
    ears = [Ear(machine, "eth") for machine in (desk, other)]
    anna = net.phone(box, desk, "201", "10.5.0.1", "10.5.0.2", 440)
    bo = net.phone(box, other, "202", "10.5.0.1", "10.5.0.3", 880, transport="tcp")
    anna.dial(bo.user)
    anna.wait("CALL_ESTABLISHED")
    time.sleep(1.5)  # real time: real phones speak
    bo.hang_up()
    anna.wait("CALL_CLOSED")
    seen = [packet for ear in ears for packet in ear.packets() if packet.source == "10.5.0.1" and packet.destination != "10.5.0.1"]
    for ear in ears:
        ear.close()
    signalling = {(one.kind, one.dscp) for one in seen if one.ports[0] == 5060 and one.body}
    audio = [one.dscp for one in seen if 30000 <= one.ports[0] < 30100]
    assert signalling == {("udp", CS3), ("tcp", CS3)}
    assert set(audio) == {EF} and len(audio) > 100
    rules = server.run("nft", "list", "ruleset")
    counted = {name: int(count) for count, name in re.findall(r'counter packets (\d+) .*comment "([a-z-]+)"', rules)}
    assert counted["sip"] > 3 and counted["stream"] > 3 and counted["audio"] > 100
    assert counted["other"] == counted["other-stream"] == 0
