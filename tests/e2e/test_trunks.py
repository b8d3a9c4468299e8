"""Trunks to real far ends: Asterisk as a carrier, another branch, SIPp as a carrier that behaves badly."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
import wave
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import sipp_carrier
from tests.e2e.appliance import DIE_WITH_TEST, Appliance, wait_until
from tests.e2e.baresip import Baresip
from tests.far.programs import Asterisk, NotFetchedError
from tests.ports import free_port, taken

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

Start = Callable[..., Appliance]
Phone = Callable[..., Baresip]
MILLIWATT = 1004.0

SITE = """
schema = 1
board = "world"
[sip]
port = {port}
[site]
name = "Trunk branch"
languages = ["en"]
company_clip = "company.demo"
[ports.fxo.1]
[extensions.201]
kind = "sip"
[extensions.202]
kind = "sip"
{more}
"""
CARRIER = """
[trunks.carrier]
domain = "{host}:{port}"
user = "02112345"
auth_user = "private-7"
secret = "carrier-secret"
qualify_s = 2
did_from = "to"
[[inbound]]
trunks = ["carrier"]
did = "88"
extension_digits = 3
to = "hangup"
[[inbound]]
trunks = ["carrier"]
did = "77"
to = "menu/main"
greeting = false
notice = false
[menus.main]
prompt = "ivr.main"
[menus.main.keys.1]
to = "extension/202"
[[inbound]]
to = "hangup"
[[outbound]]
prefix = "9"
trunks = ["carrier"]
"""
PJSIP = """
[private-7]
type=auth
auth_type=userpass
username=private-7
password=carrier-secret

[02112345]
type=aor
max_contacts=1
qualify_frequency=0

[02112345]
type=endpoint
context=branch
disallow=all
allow=alaw,ulaw
auth=private-7
aors=02112345
direct_media=no
identify_by=username,auth_username
"""
EXTENSIONS = """
[branch]
exten => 5551,1,Answer()
 same => n,Milliwatt()
exten => 5552,1,Progress()
 same => n,Playtones(1004)
 same => n,Wait(2)
 same => n,Hangup(17)
exten => 5553,1,Hangup(21)
exten => 5554,1,Answer()
 same => n,Echo()
exten => 5555,1,Wait(1)
 same => n,SendDTMF(1)
 same => n,Wait(10)
"""


def site(tmp_path: Path, more: str, port: int = 0, name: str = "site") -> Path:
    path = tmp_path / f"{name}.toml"
    path.write_text(SITE.format(port=port, more=more))
    return path


def trunk(box: Appliance, name: str) -> dict[str, Any]:
    return next(row for row in box.ctl("show trunks") if row["trunk"] == name)


def until_usable(box: Appliance, name: str) -> dict[str, Any]:
    wait_until(lambda: trunk(box, name)["available"] == "idle", f"trunk {name} is usable: {box.ctl('show trunks')}", 30)
    return trunk(box, name)


def test_a_registering_trunk_to_asterisk_carries_calls_both_ways(appliance: Start, phone: Phone, network: str, tmp_path: Path) -> None:
    port = free_port(network)
    try:
        far = Asterisk(tmp_path / "asterisk", address=(network, port), pjsip=PJSIP, extensions=EXTENSIONS).start()
    except NotFetchedError as reason:
        pytest.skip(f"not run: {reason}")
    try:
        box = appliance(config=site(tmp_path, CARRIER.format(host=network, port=port)))
        row = until_usable(box, "carrier")
        assert row["state_en"] == "registered" and row["registered_s"] > 60 and row["address"].startswith(f"{network}:{port}")
        wait_until(lambda: trunk(box, "carrier")["round_trip_ms"] >= 0, "OPTIONS are answered")
        anna = phone(box, "201", hz=440)
        bo = phone(box, "202", hz=880, answer="auto")
        # Out: the far end's own tone, then our own back from its echo.
        anna.dial("95551")
        anna.wait("CALL_ESTABLISHED")
        assert trunk(box, "carrier")["calls"] == 1
        time.sleep(2)  # real time: a real far end speaks
        anna.hang_up()
        anna.wait("CALL_CLOSED")
        assert anna.heard().part(0.5).tone_dbm0(MILLIWATT) > -12
        since = len(anna.events)
        anna.dial("95554")
        anna.wait("CALL_ESTABLISHED", start=since)
        time.sleep(2)
        anna.hang_up()
        anna.wait("CALL_CLOSED", start=since)
        assert anna.heard().part(0.7).tone_dbm0(440) == pytest.approx(-10, abs=1.5)
        # An announcement before the answer is heard.
        since = len(anna.events)
        anna.dial("95552")
        anna.wait("CALL_CLOSED", start=since)
        wait_until(lambda: _tone(anna, MILLIWATT) > -30, "the announcement was heard")
        # What the called party says is told, and no other way is tried.
        since = len(anna.events)
        anna.dial("95553")
        anna.wait("CALL_CLOSED", start=since)
        # In: the called number leads to the telephone.
        far.ask("channel originate PJSIP/88202@02112345 application Echo")
        bo.wait("CALL_ESTABLISHED")
        time.sleep(2)
        bo.hang_up()
        bo.wait("CALL_CLOSED")
        assert bo.heard().part(0.7).tone_dbm0(880) == pytest.approx(-10, abs=1.5)
        # In: a menu, left by a key of the caller.
        since = len(bo.events)
        far.ask("channel originate PJSIP/7700@02112345 extension 5555@branch")
        bo.wait("CALL_ESTABLISHED", start=since)
        bo.hang_up()
        bo.wait("CALL_CLOSED", start=since)
    finally:
        far.stop()
    wait_until(lambda: trunk(box, "carrier")["round_trip_ms"] < 0, "the trunk notices the silence", 30)


PEER = """
[trunks.other]
domain = "{host}:{port}"
template = "branch"
transport = "tcp"
srtp = "no"
qualify_s = 1
[[inbound]]
to = "hangup"
[[outbound]]
prefix = "8"
trunks = ["other"]
group = "pstn"
first = "trunks"
"""


def test_two_branches_call_each_other_and_one_falls_back_to_its_line_when_the_other_is_gone(
    appliance: Start, phone: Phone, network: str, tmp_path: Path
) -> None:
    ports = [free_port(network), free_port(network)]
    here, there = (
        appliance(config=site(tmp_path, PEER.format(host=network, port=ports[1 - index]), ports[index], f"site{index}")) for index in (0, 1)
    )
    for box in (here, there):
        until_usable(box, "other")
    anna = phone(here, "201", hz=440)
    bo = phone(there, "202", hz=880, answer="auto")
    anna.dial("8202")
    anna.wait("CALL_ESTABLISHED")
    time.sleep(1.5)
    here.kill("core")                    # call control restarts; the conversation goes on
    wait_until(lambda: _calls(here), "the call is known again", 15)
    time.sleep(1.5)
    anna.hang_up()
    bo.wait("CALL_CLOSED")
    for listener, own, other in ((anna, 440, 880), (bo, 880, 440)):
        heard = listener.heard().part(0.5)
        assert heard.tone_dbm0(other) == pytest.approx(-10, abs=1.5), listener.user
        assert heard.tone_dbm0(own) < -40 and heard.longest_gap_ms(other, -20) <= 100, listener.user
    there.stop()
    wait_until(lambda: trunk(here, "other")["available"] == "fault", "the loss of the other branch is noticed", 20)
    here.world({"do": "number", "number": "5550", "kind": "answer", "answer_after": 1, "say": "tone:560"})
    anna.dial("85550")
    wait_until(lambda: any("line/1" in leg for call in here.ctl("show calls") for leg in call["legs"]), "the line is used instead", 20)
    anna.hang_up()


STATIC = """
[trunks.first]
kind = "static"
domain = "{host}:{first}"
user = "02112345"
auth_user = "private-7"
secret = "carrier-secret"
qualify_s = 0
trusted = true
[trunks.second]
kind = "static"
domain = "{host}:{second}"
auth_user = "private-7"
secret = "carrier-secret"
qualify_s = 0
[trunks.third]
domain = "{host}:{third}"
user = "02112345"
auth_user = "private-7"
secret = "carrier-secret"
expires_s = 60
qualify_s = 0
[[inbound]]
extension_digits = 3
to = "hangup"
[[outbound]]
prefix = "9"
trunks = ["first", "second"]
"""


@contextlib.contextmanager
def carrier(folder: Path, scenario: str, host: str, port: int, server: str = "", **values: object) -> Iterator[subprocess.Popen[bytes]]:
    """SIPp as the far end at a port, for one call (which it begins where there is a `server`); it must end by itself and well."""
    folder.mkdir()
    (folder / "scenario.xml").write_text(scenario.format(**values))
    command = [
        "sipp", *([server] if server else []), "-sf", "scenario.xml", "-i", host, "-mi", host, "-p", str(port), "-m", "1", "-t", "u1",
        "-nostdin", "-rtp_echo", "-mp", str(free_port(host, 4)), "-trace_err", "-error_file", "errors.log",
    ]  # fmt: skip
    process = subprocess.Popen([*DIE_WITH_TEST, *command], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: taken(host, port, (socket.SOCK_DGRAM,)), "sipp listens")
        yield process
        errors = folder / "errors.log"
        assert process.wait(30) == 0, errors.read_text(errors="replace") if errors.exists() else "sipp failed"
    finally:
        process.kill()
        process.wait()


def test_carriers_at_their_worst(appliance: Start, phone: Phone, network: str, tmp_path: Path) -> None:
    first, second, third = (free_port(network) for _ in range(3))
    with carrier(tmp_path / "registrar", sipp_carrier.REGISTRAR, network, third):
        box = appliance(config=site(tmp_path, STATIC.format(host=network, first=first, second=second, third=third)))
        assert until_usable(box, "third")["registered_s"] <= 65
    anna = phone(box, "201", hz=440, answer="auto")
    # The first carrier is overloaded: the call goes to the second one, which wants to know who we are, twice.
    values = {"user": "private-7", "secret": "carrier-secret", "domain": f"{network}:{second}"}
    with (
        carrier(tmp_path / "overloaded", sipp_carrier.OVERLOADED, network, first),
        carrier(tmp_path / "challenging", sipp_carrier.CHALLENGING, network, second, **values),
    ):
        anna.dial("90123")
        anna.wait("CALL_ESTABLISHED")
        time.sleep(2)  # real time: the carrier sends our voice back
        row = trunk(box, "first")
        assert row["available"] == "busy" and 15 <= row["retry_s"] <= 25
        anna.hang_up()
        anna.wait("CALL_CLOSED")
    assert anna.heard().part(0.7).tone_dbm0(440) == pytest.approx(-10, abs=1.5)
    # A carrier that offers nothing and wants our offer.
    since = len(anna.events)
    with carrier(tmp_path / "late", sipp_carrier.LATE, network, first, server=box.sip, to="88201"):
        anna.wait("CALL_ESTABLISHED", start=since)
        assert [leg for call in box.ctl("show calls") for leg in call["legs"] if "trunk/first" in leg]
        assert [call["caller"] for call in box.ctl("show calls")] == ["0900"], "the trusted identity counts"
    anna.wait("CALL_CLOSED", start=since)
    assert anna.heard().part(0.7).tone_dbm0(440) == pytest.approx(-10, abs=1.5)
    wait_until(lambda: not box.ctl("show calls"), "all calls are gone")


def _tone(phone: Baresip, hz: float) -> float:
    """Level of a tone in what a phone heard last, whose file may still be being written."""
    try:
        return phone.heard().tone_dbm0(hz)
    except (wave.Error, EOFError):
        return -120.0


SECURE = """
[trunks.other]
domain = "{host}:{port}"
template = "branch"
srtp = "required"
[[inbound]]
to = "hangup"
[[outbound]]
prefix = "8"
trunks = ["other"]
"""


def test_two_branches_call_each_other_over_tls_with_encrypted_speech(
    appliance: Start, phone: Phone, network: str, tmp_path: Path
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=branches", "-addext", f"subjectAltName=IP:{network}", "-keyout", str(key), "-out", str(certificate),
    ]  # fmt: skip
    subprocess.run(make, check=True, capture_output=True)
    ports = [free_port(network), free_port(network)]
    boxes = []
    for index in (0, 1):
        text = SECURE.format(host=network, port=ports[1 - index])
        path = site(tmp_path, text, 0, f"site{index}")
        files = f'tls_certificate = "{certificate}"\ntls_key = "{key}"\ntls_carriers_ca = "{certificate}"\n'
        path.write_text(path.read_text().replace("[sip]\n", f"[sip]\ntls_port = {ports[index]}\n{files}"))
        boxes.append(appliance(config=path))
    here, there = boxes
    for box in boxes:
        until_usable(box, "other")
    anna = phone(here, "201", hz=440)
    bo = phone(there, "202", hz=880, answer="auto")
    anna.dial("8202")
    anna.wait("CALL_ESTABLISHED")
    for box in boxes:
        wait_until(partial(_encrypted, box), "it is encrypted")
    time.sleep(2)  # real time: real phones speak
    anna.hang_up()
    bo.wait("CALL_CLOSED")
    for listener, own, other in ((anna, 440, 880), (bo, 880, 440)):
        heard = listener.heard().part(0.5)
        assert heard.tone_dbm0(other) == pytest.approx(-10, abs=1.5), listener.user
        assert heard.tone_dbm0(own) < -40, listener.user


def _encrypted(box: Appliance) -> bool:
    """The only call of the box has encrypted speech on its trunk."""
    (call,) = box.ctl("show calls")
    return any("trunk/other" in speech and "AES" in speech.upper() for speech in call["speech"])


def _calls(box: Appliance) -> Any:
    try:
        return box.ctl("show calls")
    except (OSError, AssertionError):
        return None
