"""Asterisk as two telephones that encrypt, by SDES over TLS and by DTLS over UDP: called and calling, each word coming back as an echo."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.audio import Sound
from tests.e2e.baresip import Baresip
from tests.e2e.test_sip_srtp import sound, speech
from tests.e2e.test_sip_tls import contacts, tls_address
from tests.far.programs import Asterisk, NotFetchedError
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

Start = Callable[..., Appliance]
Phone = Callable[..., Baresip]

TLS = """
[tls]
type=transport
protocol=tls
bind={host}:{port}
ca_list_file={authority}
verify_server=yes
method=tlsv1_2
"""
TELEPHONE = """
[telephone]
type=auth
auth_type=userpass
username={user}
password={secret}

[telephone]
type=registration
transport={transport}
outbound_auth=telephone
server_uri=sip:{server}\\;transport={transport}
client_uri=sip:{user}@{server}
contact_user={user}
line=yes
endpoint=telephone
retry_interval=1

[telephone]
type=aor
contact=sip:{server}\\;transport={transport}
qualify_frequency=0

[telephone]
type=endpoint
transport={transport}
context=echo
disallow=all
allow=alaw
outbound_auth=telephone
aors=telephone
from_user={user}
direct_media=no
{encryption}
"""
SDES = "media_encryption=sdes"
DTLS = "media_encryption=dtls\ndtls_auto_generate_cert=yes\ndtls_verify=fingerprint\ndtls_setup=actpass\nrtcp_mux=yes"
TWO_PORTS = DTLS.replace("rtcp_mux=yes", "rtcp_mux=no")   # reports on a port of their own: speech is keyed all the same
ECHO = "[echo]\nexten => _X.,1,Answer()\n same => n,Echo()\n"


def echoed(phone: Baresip) -> Sound:
    """What came back from when it was first heard on: keys may be agreed on after the answer."""
    heard = sound(phone)
    start = heard.first_heard_s(440, -20)
    assert start < heard.seconds - 1.5, "nothing came back"
    return heard.part(start + 0.2)


@pytest.mark.parametrize(
    ("transport", "encryption"), [("tls", SDES), ("udp", DTLS), ("udp", TWO_PORTS)], ids=["sdes", "dtls", "dtls-two-ports"]
)
def test_asterisk_as_a_telephone_that_encrypts(
    appliance: Start, phone: Phone, network: str, tmp_path: Path, transport: str, encryption: str
) -> None:
    box = appliance()
    authority = box.state / "tls" / "ca.crt"
    wait_until(lambda: box.ctl("show certificates"), "the certificate is made")
    server = tls_address(box) if transport == "tls" else box.sip
    account = TELEPHONE.format(user="202", secret=box.accounts()["202"], server=server, transport=transport, encryption=encryption)
    pjsip = TLS.format(host=network, port=free_port(network), authority=authority) + account
    try:
        far = Asterisk(tmp_path / "asterisk", address=(network, free_port(network)), pjsip=pjsip, extensions=ECHO).start()
    except NotFetchedError as reason:
        pytest.skip(f"not run: {reason}")
    try:
        wait_until(lambda: contacts(box, "202"), "Asterisk is registered", 40)    # it draws up to 10 s before the first try
        anna = phone(box, "201", hz=440, answer="auto")
        anna.dial("202")
        anna.wait("CALL_ESTABLISHED")
        wait_until(lambda: speech(box).get("202", "").startswith("A"), "keys are agreed on")
        time.sleep(2)  # real time: a real phone speaks
        told = speech(box)
        anna.hang_up()
        anna.wait("CALL_CLOSED")
        assert told["202"].startswith("A") and "not genuine" not in told["202"] and told["201"] == "clear"
        assert echoed(anna).tone_dbm0(440) == pytest.approx(-10, abs=1.5)
        wait_until(lambda: not box.ctl("show calls"), "the call is gone")
        since = len(anna.events)
        far.ask("channel originate PJSIP/201@telephone application Echo")
        anna.wait("CALL_ESTABLISHED", start=since)
        wait_until(lambda: speech(box).get("202", "").startswith("A"), "keys are agreed on again")
        time.sleep(2)
        told = speech(box)
        anna.hang_up()
        anna.wait("CALL_CLOSED", start=since)
        assert told["202"].startswith("A") and "not genuine" not in told["202"]
        assert echoed(anna).tone_dbm0(440) == pytest.approx(-10, abs=1.5)
    finally:
        far.stop()
