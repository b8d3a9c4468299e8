"""SIPp as a carrier that behaves as real ones do when they are at their worst; see `sipp.py` for how it is run."""

from __future__ import annotations

_ECHO = "[last_Via:]\n[last_From:]\n[last_To:];tag=[call_number]\n[last_Call-ID:]\n[last_CSeq:]\n"
_CONTACT = "Contact: <sip:carrier@[local_ip]:[local_port];transport=[transport]>\n"
_SDP = """Content-Type: application/sdp
Content-Length: [len]

v=0
o=carrier 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 8 101
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
"""


def _scenario(name: str, *steps: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<scenario name="{name}">\n' + "".join(steps) + "</scenario>\n"


def _send(text: str, repeat: bool = False) -> str:
    flag = ' retrans="500"' if repeat else ""
    return f"  <send{flag}><![CDATA[\n{text}\n]]></send>\n"


def _answer(status: str, extra: str = "", body: str = "Content-Length: 0\n", repeat: bool = False) -> str:
    return _send(f"SIP/2.0 {status}\n{_ECHO}{extra}{body}", repeat)


#: Overloaded: every call is sent away with the wish to be left alone for a while.
OVERLOADED = _scenario(
    "503 with Retry-After",
    '  <recv request="INVITE"/>\n',
    _answer("503 Service Unavailable", "Retry-After: 25 (maintenance);duration=60\n"),
    '  <recv request="ACK"/>\n',
)

#: Challenges the INVITE and the BYE by two algorithms, checks the first proof, answers after an early description, echoes the audio.
CHALLENGING = _scenario(
    "challenges and early audio",
    '  <recv request="INVITE"><action><ereg regexp="sip:[^@]+@{domain}" search_in="msg" check_it="true" assign_to="1"/></action></recv>\n',
    _answer(
        "407 Proxy Authentication Required",
        'Proxy-Authenticate: Basic realm="x"\nProxy-Authenticate: Digest realm="c", nonce="n1", algorithm=AKAv2-MD5, qop="auth"\n'
        'Proxy-Authenticate: Digest realm="c", nonce="n1", algorithm=MD5, qop="auth,auth-int", opaque="o"\n',
    ),
    '  <recv request="ACK"/>\n',
    '  <recv request="INVITE"><action><verifyauth assign_to="2" username="{user}" password="{secret}"/>'
    '<ereg regexp="nc=00000001" search_in="hdr" header="Proxy-Authorization:" check_it="true" assign_to="1"/></action></recv>\n',
    _answer("100 Trying"),
    _answer("183 Session Progress", _CONTACT, _SDP),
    '  <pause milliseconds="300"/>\n',
    _answer("200 OK", _CONTACT + "Allow: INVITE, ACK, BYE, CANCEL\n", _SDP, True),
    '  <recv request="ACK"/>\n',
    '  <recv request="BYE"/>\n',
    _answer("407 Proxy Authentication Required", 'Proxy-Authenticate: Digest realm="c", nonce="n2", qop="auth", stale=true\n'),
    '  <recv request="BYE"><action><ereg regexp="n2" search_in="hdr" header="Proxy-Authorization:" check_it="true" assign_to="1"/>'
    "</action></recv>\n",
    _answer("200 OK"),
    '  <Reference variables="1,2"/>\n',
)

#: Calls in without a description, so that ours is in the 200 and the carrier's in the ACK; echoes the audio.
LATE = _scenario(
    "late offer",
    _send(
        "INVITE sip:{to}@[remote_ip]:[remote_port] SIP/2.0\nVia: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\n"
        'From: "Somebody" <sip:0815@[local_ip]>;tag=[call_number]\nTo: <sip:{to}@[remote_ip]>\nCall-ID: [call_id]\nCSeq: 1 INVITE\n'
        + _CONTACT
        + "P-Asserted-Identity: <sip:0900@[local_ip]>\nMax-Forwards: 70\nContent-Length: 0\n",
        True,
    ),
    '  <recv response="100" optional="true"/>\n  <recv response="180" optional="true"/>\n',
    '  <recv response="200" rrs="true"><action><ereg regexp="m=audio" search_in="body" check_it="true" assign_to="1"/></action></recv>\n',
    _send(
        "ACK [next_url] SIP/2.0\nVia: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\n"
        'From: "Somebody" <sip:0815@[local_ip]>;tag=[call_number]\n[last_To:]\nCall-ID: [call_id]\nCSeq: 1 ACK\n' + _CONTACT
        + "Max-Forwards: 70\n" + _SDP
    ),
    '  <pause milliseconds="2500"/>\n',
    _send(
        "BYE [next_url] SIP/2.0\nVia: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\n"
        'From: "Somebody" <sip:0815@[local_ip]>;tag=[call_number]\n[last_To:]\nCall-ID: [call_id]\nCSeq: 2 BYE\nMax-Forwards: 70\n'
        "Content-Length: 0\n",
        True,
    ),
    '  <recv response="200"/>\n  <Reference variables="1"/>\n',
)  # fmt: skip

#: A registrar with challenges of several kinds, too brief an interval, a stale nonce, and another time than was asked for.
REGISTRAR = _scenario(
    "a moody registrar",
    '  <recv request="REGISTER"/>\n',
    _answer(
        "401 Unauthorized",
        'WWW-Authenticate: Digest realm="c", nonce="r1", algorithm=MD5, qop="auth"\n'
        'WWW-Authenticate: Digest realm="c", nonce="r1", algorithm=SHA-256, qop="auth"\n',
    ),
    '  <recv request="REGISTER"><action><ereg regexp="algorithm=SHA-256" search_in="hdr" header="Authorization:" check_it="true" '
    'assign_to="1"/></action></recv>\n',
    _answer("401 Unauthorized", 'WWW-Authenticate: Digest realm="c", nonce="r2", algorithm=MD5, qop="auth", stale=true\n'),
    '  <recv request="REGISTER"><action><ereg regexp="r2" search_in="hdr" header="Authorization:" check_it="true" assign_to="1"/>'
    "</action></recv>\n",
    _answer("423 Interval Too Brief", "Min-Expires: 900\n"),
    '  <recv request="REGISTER"><action><ereg regexp="900" search_in="hdr" header="Expires:" check_it="true" assign_to="1"/>'
    "</action></recv>\n",
    _answer("200 OK", "[last_Contact:];expires=65\nExpires: 900\n"),
    '  <Reference variables="1"/>\n',
)
