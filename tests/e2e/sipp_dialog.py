"""A SIPp caller that wants everything a carrier may want: reliable 180, session timer, UPDATE, hold by re-INVITE."""

from __future__ import annotations

_HEAD = """Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
From: <sip:{user}@[remote_ip]>;tag=[call_number]
"""
_LINES = "Call-ID: [call_id]\nContact: <sip:{user}@[local_ip]:[local_port];transport=[transport]>\nMax-Forwards: 70\n"
_SDP = """Content-Type: application/sdp
Content-Length: [len]

v=0
o=sipp 1 VERSION IN IP4 [local_ip]
s=-
c=IN IP4 [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 8 101
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=DIRECTION
"""
_TIMER = "Supported: timer\nSession-Expires: 90;refresher=uac\nAllow: INVITE, ACK, CANCEL, BYE, UPDATE, PRACK\n"


def _sdp(version: int = 1, direction: str = "sendrecv") -> str:
    return _SDP.replace("VERSION", str(version)).replace("DIRECTION", direction)


def _send(method: str, cseq: int, *, target: str = "[next_url]", to: str = "[last_To:]", extra: str = "", body: str = "") -> str:
    repeat = "" if method == "ACK" else ' retrans="500"'
    text = f"{method} {target} SIP/2.0\n{_HEAD}{to}\nCSeq: {cseq} {method}\n{_LINES}{extra}{body or 'Content-Length: 0' + chr(10)}\n"
    return f"  <send{repeat}><![CDATA[\n{text}]]></send>\n"


def _expect(status: int, *checks: tuple[str, str], keep: str = "") -> str:
    """A response; each check is (header, regular expression that must match); `keep` saves the number in RSeq as variable 1."""
    actions = "".join(
        f'<ereg regexp="{pattern}" search_in="hdr" header="{name}:" check_it="true" assign_to="{9 + index}"/>'
        for index, (name, pattern) in enumerate(checks)
    )
    if keep:
        actions += f'<ereg regexp="[0-9]+" search_in="hdr" header="{keep}:" check_it="true" assign_to="1"/>'
    return f'  <recv response="{status}" rrs="true"><action>{actions}</action></recv>\n'


def _expect_direction(direction: str) -> str:
    check = f'<ereg regexp="a={direction}" search_in="body" check_it="true" assign_to="9"/>'
    return f'  <recv response="200" rrs="true"><action>{check}</action></recv>\n'


_PROOF = "[authentication username={user} password={secret}]\n"
ACKNOWLEDGED = "acknowledged"      # file that the caller makes in its folder when its PRACK was answered
_OUTSIDE = {"target": "sip:{to}@[remote_ip]", "to": "To: <sip:{to}@[remote_ip]>"}

CALL = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<scenario name="a demanding caller">\n'
    + _send("INVITE", 1, body=_sdp(), **_OUTSIDE)
    + '  <recv response="407" auth="true"/>\n'
    + _send("ACK", 1, target="sip:{to}@[remote_ip]").replace(_HEAD.splitlines()[0], "[last_Via:]")
    + _send("INVITE", 2, extra="Require: 100rel\n" + _TIMER + _PROOF, body=_sdp(), **_OUTSIDE)
    + '  <recv response="100" optional="true"/>\n'
    + _expect(180, ("Require", "100rel"), keep="RSeq")
    + _send("PRACK", 3, extra="RAck: [$1] 2 INVITE\n")
    + f'  <recv response="200"/>\n  <nop><action><exec command="touch {ACKNOWLEDGED}"/></action></nop>\n'
    + _expect(200, ("Session-Expires", "90;refresher=uac"), ("Require", "timer"))
    + _send("ACK", 2)
    + '  <pause milliseconds="500"/>\n'
    + _send("UPDATE", 4, extra=_TIMER)
    + _expect(200, ("Session-Expires", "90;refresher=uac"))
    + _send("UPDATE", 5, extra=_TIMER.replace("90;", "60;"))
    + _expect(422, ("Min-SE", "90"))
    + _send("INVITE", 6, extra=_TIMER, body=_sdp(2, "sendonly"))
    + '  <recv response="100" optional="true"/>\n'
    + _expect_direction("recvonly")
    + _send("ACK", 6)
    + _send("UPDATE", 7, extra=_TIMER, body=_sdp(3))
    + _expect_direction("sendrecv")
    + _send("BYE", 8)
    + '  <recv response="200"/>\n  <Reference variables="1,9,10"/>\n</scenario>\n'
)
