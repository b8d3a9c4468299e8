"""A real phone registers, calls the echo test and hears itself: SIP and media, end to end."""

from __future__ import annotations

import base64
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.baresip import Baresip

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

Start = Callable[..., Appliance]
Phone = Callable[..., Baresip]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_phone_hears_itself_in_the_echo_test(appliance: Start, phone: Phone, transport: str) -> None:
    box = appliance()
    anna = phone(box, "201", hz=440, transport=transport)
    anna.dial("*43")
    anna.wait("CALL_ESTABLISHED")
    time.sleep(4)  # real time: a real phone speaks
    anna.hang_up()
    wait_until(lambda: not box.ctl("show calls"), "the call is gone")
    heard = anna.heard().part(0.5)
    assert heard.tone_dbm0(440) == pytest.approx(-10, abs=1)
    assert heard.longest_gap_ms(440, -20) <= 60


def test_wrong_password_is_refused(appliance: Start, phone: Phone) -> None:
    box = appliance()
    intruder = phone(box, "201", secret="wrong", wait=False)
    intruder.wait_for_registration("401")


@pytest.mark.parametrize("codec", ["PCMU/8000/1", "PCMA/8000/1"])
def test_two_phones_hear_each_other_and_nothing_of_themselves(appliance: Start, phone: Phone, codec: str, tmp_path: Path) -> None:
    box = appliance()
    anna = phone(box, "201", hz=440, codecs=codec)
    bo = phone(box, "202", hz=880, codecs=codec, answer="auto")
    anna.dial("202")
    anna.wait("CALL_ESTABLISHED")
    time.sleep(5)
    anna.hang_up()
    bo.wait("CALL_CLOSED")
    for listener, own, other in ((anna, 440, 880), (bo, 880, 440)):
        heard = listener.heard().part(0.5)
        assert heard.tone_dbm0(other) == pytest.approx(-10, abs=1), listener.user
        assert heard.tone_dbm0(own) < -45, f"{listener.user} hears itself"
        assert heard.longest_gap_ms(other, -20) <= 60, listener.user
    wait_until(lambda: not box.ctl("show calls"), "the call is gone")
    _told_on_one_time_axis(box, tmp_path)


def _told_on_one_time_axis(box: Appliance, folder: Path) -> None:
    """The trace of the last call has both legs' messages and figures; its file is read by tshark and holds no proof of a password."""
    contact = wait_until(lambda: box.ctl("show contacts"), "the record is written")[0]["contact"]
    wait_until(lambda: len(box.ctl("show contact", contact=contact)["legs"]) == 2, "both legs are written")
    rows = box.ctl("show trace", call=contact, full=True)
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)
    figures = [row for row in rows if row["source"] == "rtp"]
    assert len({row["leg"] for row in figures}) == 2 and all("lost 0" in row["text"] for row in figures), figures
    assert {"sip", "rtp", "call"} <= {row["source"] for row in rows}
    told = "".join(row["text"] for row in rows)
    assert 'response="*"' in told and told.count("response=") == told.count('response="*"')
    made = box.ctl("capture call", call=contact)
    assert made["sip"] == sum(row["source"] == "sip" for row in rows) and made["left_out"] == 0
    path = folder / made["name"]
    path.write_bytes(base64.b64decode(box.ctl("capture packets", name=made["name"])["data"]))
    assert path.stat().st_size == made["bytes"]
    command = ["tshark", "-r", str(path), "-T", "fields", "-e", "sip.Method", "-e", "sip.Status-Code", "-e", "syslog.msg"]
    read = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    assert len(read) == made["sip"] + made["rtp"] + made["line"] + made["call"]
    methods = [line.split("\t")[0] for line in read]
    assert methods.count("INVITE") >= 2, "from one telephone, to the other"
    assert "BYE" in methods and any("200" in line for line in read) and any("rtp fact" in line for line in read)


def test_called_phone_that_rejects_ends_the_call_with_busy(appliance: Start, phone: Phone) -> None:
    box = appliance()
    anna, bo = phone(box, "201"), phone(box, "202")
    anna.dial("202")
    bo.wait("CALL_INCOMING")
    bo.hang_up()
    closed = anna.wait("CALL_CLOSED")
    assert "486" in closed.get("param", "") or "603" in closed.get("param", ""), closed
    wait_until(lambda: not box.ctl("show calls"), "the call is gone")


def test_caller_who_gives_up_stops_the_ringing(appliance: Start, phone: Phone) -> None:
    box = appliance()
    anna, bo = phone(box, "201"), phone(box, "202")
    anna.dial("202")
    bo.wait("CALL_INCOMING")
    anna.hang_up()
    bo.wait("CALL_CLOSED", timeout=10)
    wait_until(lambda: not box.ctl("show calls"), "the call is gone")
