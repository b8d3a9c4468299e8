"""The SIPp scenarios that both servers get: registration and call with digest, and the phones that answer.

Theory of operation. Lines of an injection file are `user;digest;called` (SIPp takes its authentication words from there only); each call
takes the next one. The caller's clock of the
post-dial delay runs from the first INVITE, before the challenge, to the first ringing: what a person at the phone waits.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

USERS = tuple(str(number) for number in range(1000, 1200))
CALLERS, CALLED = USERS[:100], USERS[100:]


def line(user: str, called: str = "") -> str:
    """A line of the injection file."""
    return f"{user};[authentication username={user} password=pw{user}];{called}"


_VIA = "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport"
_SAME_VIA = "[last_Via:]"
_SAME_TO = "[last_To:]"
_SDP = """Content-Type: application/sdp
Content-Length: [len]

v=0
o=sipp 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 8 101
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=ptime:20
"""
_CONTACT = "Contact: <sip:[field0]@[local_ip]:[local_port]>\n"
_DIGEST = "[field1]\n"


def _message(
    start: str, to: str, cseq: str, *, extra: str = "", body: str = "Content-Length: 0\n", attributes: str = "", via: str = _VIA
) -> str:
    lines = [f"{start} SIP/2.0", via, "From: <sip:[field0]@[remote_ip]>;tag=[pid]x[call_number]", to, "Call-ID: [call_id]", f"CSeq: {cseq}"]
    return f"<send{attributes}><![CDATA[\n" + "\n".join(lines) + f"\n{extra}Max-Forwards: 70\n{body}\n]]></send>\n"


def _scenario(name: str, *steps: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<scenario name="{name}">\n{"".join(steps)}</scenario>\n'


_SELF = "To: <sip:[field0]@[remote_ip]>"
_PEER = "To: <sip:[field2]@[remote_ip]>"
_RETRANS = ' retrans="500"'

#: A challenge that comes again, because the request was sent again before its answer came.
_AGAIN = '<recv response="{}" optional="true"/>\n'

REGISTER = _scenario(
    "register",
    _message("REGISTER sip:[remote_ip]", _SELF, "1 REGISTER", extra=_CONTACT + "Expires: 3600\n", attributes=_RETRANS),
    '<recv response="401" auth="true"/>\n',
    _message("REGISTER sip:[remote_ip]", _SELF, "2 REGISTER", extra=_CONTACT + _DIGEST + "Expires: 3600\n", attributes=_RETRANS),
    _AGAIN.format(401),
    '<recv response="200" timeout="10000"/>\n',
)

def _call(name: str, *talk: str) -> str:
    """A call whose caller proves who he is; `talk`: what is between its ACK and its BYE."""
    return _scenario(
        name,
        _message("INVITE sip:[field2]@[remote_ip]:[remote_port]", _PEER, "1 INVITE", extra=_CONTACT, body=_SDP,
                 attributes=_RETRANS),
        '<recv response="100" optional="true"/>\n',
        '<recv response="401" auth="true" optional="true" next="1"/>\n',
        '<recv response="407" auth="true"/>\n<label id="1"/>\n',
        _message("ACK sip:[field2]@[remote_ip]:[remote_port]", _SAME_TO, "1 ACK", via=_SAME_VIA),
        _message("INVITE sip:[field2]@[remote_ip]:[remote_port]", _PEER, "2 INVITE", extra=_CONTACT + _DIGEST, body=_SDP,
                 attributes=_RETRANS),
        _AGAIN.format(401) + _AGAIN.format(407),
        '<recv response="100" optional="true"/>\n',
        '<recv response="183" optional="true"/>\n',
        '<recv response="180"/>\n',
        '<recv response="200" rrs="true" timeout="10000"/>\n',
        _message("ACK [next_url]", _SAME_TO, "2 ACK"),
        *talk,
        _message("BYE [next_url]", _SAME_TO, "3 BYE", attributes=_RETRANS),
        '<recv response="200" timeout="10000"/>\n',
    )  # fmt: skip


CALL = _call("call", '<pause milliseconds="100"/>\n')
#: For the closed loop: with a pause in it 30 calls in flight could never be more than 300 a second, however fast the server.
LOOP = _call("loop")

_ANSWER = """<send{attributes}><![CDATA[
SIP/2.0 {status}
[last_Via:]
[last_From:]
[last_To:]{tag}
[last_Call-ID:]
[last_CSeq:]
[last_Record-Route:]
Contact: <sip:phone@[local_ip]:[local_port]>
{body}
]]></send>
"""
ANSWER = _scenario(
    "answer",
    '<recv request="INVITE" crlf="true"/>\n',
    _ANSWER.format(status="180 Ringing", tag=";tag=[pid]a[call_number]", body="Content-Length: 0\n", attributes=""),
    _ANSWER.format(status="200 OK", tag=";tag=[pid]a[call_number]", body=_SDP, attributes=_RETRANS),
    '<recv request="ACK" crlf="true"/>\n',
    '<recv request="BYE"/>\n',
    _ANSWER.format(status="200 OK", tag="", body="Content-Length: 0\n", attributes=""),
)


class SippFailedError(Exception):
    """SIPp counted a failed call."""


@dataclass(frozen=True)
class Sipp:
    """SIPp in a folder of its own on some CPUs; every call is to `server`."""

    folder: Path
    host: str
    server: tuple[str, int]
    cpus: str

    def _command(self, scenario: str, name: str, port: int, *options: str) -> list[str]:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{name}.xml").write_text(scenario)
        command = ["taskset", "-c", self.cpus, "sipp", f"{self.server[0]}:{self.server[1]}", "-sf", f"{name}.xml"]
        command += ["-i", self.host, "-p", str(port), "-mi", self.host, "-t", "u1", "-nostdin", "-trace_err",
                    "-error_file", f"{name}.err", "-buff_size", "4000000",
                    "-timer_resol", "1"]  # fmt: skip
        return [*command, *options]

    def run(
        self, scenario: str, name: str, lines: Sequence[str], port: int, *, calls: int, rate: int, limit: int = 0, log: bool = False
    ) -> float:
        """Run `calls` calls to their end; seconds that it took. SippFailedError when one failed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{name}.csv").write_text("SEQUENTIAL\n" + "".join(f"{one}\n" for one in lines))
        options = ["-inf", f"{name}.csv", "-m", str(calls), "-r", str(rate), "-deadcall_wait", "0", "-timeout", "120"]
        options += ["-l", str(limit)] if limit else ["-l", "3000"]
        if log:
            options += ["-trace_shortmsg", "-shortmessage_file", f"{name}.messages"]
        began = time.monotonic()
        done = subprocess.run(
            self._command(scenario, name, port, *options), cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, check=False,
            timeout=180,
        )  # fmt: skip
        took = time.monotonic() - began
        if done.returncode != 0:
            errors = self.folder / f"{name}.err"
            text = errors.read_text(errors="replace")[:1500] if errors.exists() else ""
            raise SippFailedError(f"{name}: sipp ended with {done.returncode}\n{text}\n{done.stdout.decode(errors='replace')[-1800:]}")
        return took

    def delays_ms(self, name: str) -> list[float]:
        """Post-dial delays of the last `run(..., log=True)`, from the microseconds of its messages.

        SIPp's own response times come from the kernel's coarse clock, in steps of 4 ms: longer than what is measured.
        """
        began: dict[str, float] = {}
        delays = []
        for row in (self.folder / f"{name}.messages").read_text().splitlines():
            _, _, seconds, _, call, _, first = row.split("\t")[:7]
            if first.startswith("INVITE "):
                began.setdefault(call, float(seconds))
            elif first.startswith("SIP/2.0 180") and call in began:
                delays.append(1000.0 * (float(seconds) - began.pop(call)))
        return delays

    def phones(self, port: int) -> subprocess.Popen[bytes]:
        """The phones that answer at `port`; `hang_up` ends them."""
        command = self._command(ANSWER, "answer", port, "-deadcall_wait", "0")
        return subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def hang_up(phones: subprocess.Popen[bytes]) -> None:
    """End what `Sipp.phones` started."""
    phones.send_signal(signal.SIGKILL)
    phones.wait()
