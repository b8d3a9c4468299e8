"""NOTIFY check-sync: to each registered contact of one extension, over its own flow, and to nobody else."""

from __future__ import annotations

from firmware.sip.check_sync import check_sync
from firmware.sip.flow import Flow
from firmware.sip.message import Request
from firmware.sip.parse import parse_datagram
from firmware.sip.registrar import Registration
from tests.unit.sip_stage import make_endpoint, request


def test_each_contact_is_asked_over_its_own_flow() -> None:
    endpoint = make_endpoint(3)
    flows = [Flow("udp", ("192.0.2.20", port), ("192.0.2.1", 5060)) for port in (5062, 5064)]
    for number, flow in enumerate(flows):
        asked = request("REGISTER", call_id=f"r{number}", extra=(("Contact", f"<sip:200@192.0.2.20:{flow.remote[1]}>"), ("Expires", "600")))
        assert isinstance(endpoint.registrar.register("200", asked, flow, 0), Registration)
    contacts = check_sync(endpoint.registrar, endpoint.transactions, endpoint.token, "200", 10)
    assert sorted(contacts) == ["sip:200@192.0.2.20:5062", "sip:200@192.0.2.20:5064"]
    sent = {out.destination: parse_datagram(out.data) for out in endpoint.output()}
    assert set(sent) == {flow.remote for flow in flows}
    for destination, message in sent.items():
        assert isinstance(message, Request)
        assert message.method == "NOTIFY"
        assert message.uri == f"sip:200@192.0.2.20:{destination[1]}"
        assert message.headers.get("event") == "check-sync;reboot=false"
        assert message.headers.get("subscription-state").startswith("terminated")
    assert check_sync(endpoint.registrar, endpoint.transactions, endpoint.token, "201", 10) == []
