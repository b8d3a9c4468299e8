"""Branches that register at a centre: a real Kamailio as registrar and proxy between two appliances."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.baresip import Baresip
from tests.e2e.test_trunks import site, trunk, until_usable
from tests.far.programs import Kamailio, NotFetchedError
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

Start = Callable[..., Appliance]
Phone = Callable[..., Baresip]

MODULES = ("tm", "sl", "rr", "pv", "maxfwd", "siputils", "textops", "usrloc", "registrar", "auth")
PARAMETERS = """
modparam("auth", "algorithm", "SHA-256")
modparam("usrloc", "db_mode", 0)
modparam("registrar", "min_expires", 60)
modparam("registrar", "max_expires", 120)
"""
SCRIPT = """
request_route {
    if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
    if (is_method("OPTIONS")) { sl_send_reply("200", "OK"); exit; }
    if (is_method("CANCEL")) { if (t_check_trans()) { t_relay(); } exit; }
    if (has_totag()) {
        if (loose_route()) { t_relay(); exit; }
        if (is_method("ACK") && t_check_trans()) { t_relay(); exit; }
        if (!is_method("ACK")) { sl_send_reply("481", "No Dialog"); }
        exit;
    }
    if (is_method("REGISTER")) {
        if (!pv_auth_check("$fd", "branch-secret", "0", "0")) { auth_challenge("$fd", "0"); exit; }
        save("location");
        exit;
    }
    if (!is_method("INVITE")) { sl_send_reply("405", "Method Not Allowed"); exit; }
    if (!pv_auth_check("$fd", "branch-secret", "0", "0")) { auth_challenge("$fd", "0"); exit; }
    consume_credentials();
    record_route();
    if ($rU =~ "^201$") { $rU = "north"; } else { $rU = "south"; }
    if (!lookup("location")) { sl_send_reply("404", "Not Registered"); exit; }
    t_relay();
}
"""
BRANCH = """
[trunks.centre]
domain = "centre.example"
proxy = "{host}:{port}"
user = "{name}"
auth_user = "{name}-auth"
secret = "branch-secret"
qualify_s = 2
did_from = "to"
progress_s = 5
break_out = "internal"
caller_id = "pai"
caller_shown = "extension"
number = "7"
trusted = true
[[inbound]]
to = "hangup"
[[outbound]]
prefix = "8"
trunks = ["centre"]
"""


def test_branches_reach_each_other_through_a_registrar_that_wants_sha_256(
    appliance: Start, phone: Phone, network: str, tmp_path: Path
) -> None:
    port = free_port(network)
    far = Kamailio(tmp_path / "kamailio", address=(network, port), modules=MODULES, parameters=PARAMETERS, script=SCRIPT)
    try:
        far.start()
    except NotFetchedError as reason:
        pytest.skip(f"not run: {reason}")
    try:
        north, south = (
            appliance(config=site(tmp_path, BRANCH.format(host=network, port=port, name=name), 0, name)) for name in ("north", "south")
        )
        for box in (north, south):
            assert 60 <= until_usable(box, "centre")["registered_s"] <= 120
        wait_until(lambda: "kamailio" in trunk(north, "centre")["server"].lower(), "the centre is known by its name")
        anna = phone(north, "201", hz=440, answer="auto")
        bo = phone(south, "202", hz=880, answer="auto")
        for caller, called, number in ((anna, bo, "8202"), (bo, anna, "8201")):
            since = len(caller.events), len(called.events)
            caller.dial(number)
            caller.wait("CALL_ESTABLISHED", start=since[0])
            time.sleep(2)  # real time: real phones speak
            (call,) = (north if called is anna else south).ctl("show calls")
            assert call["caller"] == "7" + caller.user
            called.hang_up()
            caller.wait("CALL_CLOSED", start=since[0])
            for listener, own, other in ((anna, 440, 880), (bo, 880, 440)):
                heard = listener.heard().part(0.5)
                assert heard.tone_dbm0(other) == pytest.approx(-10, abs=1.5), listener.user
                assert heard.tone_dbm0(own) < -40, listener.user
            wait_until(lambda: not north.ctl("show calls") and not south.ctl("show calls"), "the call is gone")
        south.stop()
        anna.dial("8202")
        used = "the line is used once the centre has not rung anybody"
        wait_until(lambda: any("line/1" in leg for call in north.ctl("show calls") for leg in call["legs"]), used, 25)
        anna.hang_up()
    finally:
        far.stop()
