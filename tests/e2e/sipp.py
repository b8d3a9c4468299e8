"""A real SIPp, run with a scenario of ours: the strict tester and the load maker."""

from __future__ import annotations

import subprocess
from pathlib import Path

REGISTER = """<?xml version="1.0" encoding="UTF-8"?>
<scenario name="register with digest">
  <send retrans="500"><![CDATA[
REGISTER sip:[remote_ip] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
From: <sip:{user}@[remote_ip]>;tag=[call_number]
To: <sip:{user}@[remote_ip]>
Call-ID: [call_id]
CSeq: 1 REGISTER
Contact: <sip:{user}@[local_ip]:[local_port];transport=[transport]>
Max-Forwards: 70
Expires: 300
Content-Length: 0

]]></send>
  <recv response="401" auth="true"/>
  <send retrans="500"><![CDATA[
REGISTER sip:[remote_ip] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
From: <sip:{user}@[remote_ip]>;tag=[call_number]
To: <sip:{user}@[remote_ip]>
Call-ID: [call_id]
CSeq: 2 REGISTER
Contact: <sip:{user}@[local_ip]:[local_port];transport=[transport]>
[authentication username={user} password={secret}]
Max-Forwards: 70
Expires: 300
Content-Length: 0

]]></send>
  <recv response="200"/>
</scenario>
"""

CALL = """<?xml version="1.0" encoding="UTF-8"?>
<scenario name="authenticated call">
  <send retrans="500"><![CDATA[
INVITE sip:{to}@[remote_ip] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
From: <sip:{user}@[remote_ip]>;tag=[call_number]
To: <sip:{to}@[remote_ip]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:{user}@[local_ip]:[local_port];transport=[transport]>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

v=0
o=sipp 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 8 101
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
]]></send>
  <recv response="100" optional="true"/>
  <recv response="401" auth="true" optional="true" next="authenticate"/>
  <recv response="407" auth="true"/>
  <label id="authenticate"/>
  <send><![CDATA[
ACK sip:{to}@[remote_ip] SIP/2.0
[last_Via:]
From: <sip:{user}@[remote_ip]>;tag=[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
  <send retrans="500"><![CDATA[
INVITE sip:{to}@[remote_ip] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
From: <sip:{user}@[remote_ip]>;tag=[call_number]
To: <sip:{to}@[remote_ip]>
Call-ID: [call_id]
CSeq: 2 INVITE
Contact: <sip:{user}@[local_ip]:[local_port];transport=[transport]>
[authentication username={user} password={secret}]
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

v=0
o=sipp 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 8 101
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="183" optional="true"/>
  <recv response="200" rrs="true"/>
  <send><![CDATA[
ACK [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
From: <sip:{user}@[remote_ip]>;tag=[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: 2 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
  <nop><action><exec rtp_stream="{audio},-1,8"/></action></nop>
  <pause milliseconds="{talk_ms}"/>
  <send retrans="500"><![CDATA[
BYE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
From: <sip:{user}@[remote_ip]>;tag=[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: 3 BYE
Max-Forwards: 70
Content-Length: 0

]]></send>
  <recv response="200"/>
</scenario>
"""


def run_sipp(
    folder: Path,
    scenario: str,
    server: str,
    *,
    host: str,
    calls: int = 1,
    rate: int = 10,
    transport: str = "u1",
    timeout: float = 60,
    prefix: tuple[str, ...] = (),
    **values: object,
) -> str:
    """Run a scenario to its end; its screen. AssertionError with SIPp's own error file when a call failed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scenario.xml").write_text(scenario.format(**values))
    command = ["sipp", server, "-sf", "scenario.xml", "-i", host, "-mi", host, "-m", str(calls), "-r", str(rate), "-t", transport]
    command += ["-nostdin", "-trace_err", "-error_file", "errors.log"]
    done = subprocess.run([*prefix, *command], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False)
    errors = (folder / "errors.log").read_text(errors="replace") if (folder / "errors.log").exists() else ""
    assert done.returncode == 0, f"sipp ended with {done.returncode}:\n{errors[-3000:]}\n{done.stdout.decode(errors='replace')[-1500:]}"
    return done.stdout.decode(errors="replace")
