"""A SIPp watcher: it subscribes, reads the state out of each NOTIFY, and fails at one that was not expected."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.appliance import Appliance, wait_until

WATCH = """<?xml version="1.0" encoding="UTF-8"?>
<scenario name="a lamp">
  <send retrans="500"><![CDATA[
SUBSCRIBE sip:{watched}@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
From: <sip:{user}@[remote_ip]>;tag=[call_number]
To: <sip:{watched}@[remote_ip]>
Call-ID: [call_id]
CSeq: 1 SUBSCRIBE
Contact: <sip:{user}@[local_ip]:[local_port];transport=[transport]>
Event: {event}
Accept: {kind}
Expires: 300
Max-Forwards: 70
Content-Length: 0

]]></send>
  <recv response="407" auth="true"/>
  <send retrans="500"><![CDATA[
SUBSCRIBE sip:{watched}@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
From: <sip:{user}@[remote_ip]>;tag=[call_number]
To: <sip:{watched}@[remote_ip]>
Call-ID: [call_id]
CSeq: 2 SUBSCRIBE
Contact: <sip:{user}@[local_ip]:[local_port];transport=[transport]>
[authentication username={user} password={secret}]
Event: {event}
Accept: {kind}
Expires: 300
Max-Forwards: 70
Content-Length: 0

]]></send>
  <recv response="200"/>
{steps}
</scenario>
"""

# SIPp reads the state out of the body: an unexpected one fails the call. It logs which one it has seen (`Watcher.told`).
STEP = """  <recv request="NOTIFY"><action>
    <ereg regexp="{state}" search_in="body" check_it="true" assign_to="{n}"/>
    <log message="SEEN {n} [${n}]"/>
  </action></recv>
  <send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
"""


class Watcher:
    """A SIPp process and the folder of its files."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process, self.folder = process, folder

    def told(self, n: int) -> None:
        """Until SIPp has seen its state number `n`, or has ended: then its status tells."""
        log = self.folder / "log"

        def seen() -> bool:
            return self.process.poll() is not None or (log.exists() and f"SEEN {n} " in log.read_text(errors="replace"))

        wait_until(seen, f"state {n} of {self.folder.name} is told", 30)

    def all_told(self) -> None:
        """Until it has seen all states, and no other."""
        assert self.process.wait(30) == 0, (self.folder / "err").read_text(errors="replace")[-3000:]


@contextlib.contextmanager
def watch(
    box: Appliance, network: str, folder: Path, watched: str, states: list[str], *,
    event: str = "dialog", kind: str = "application/dialog-info+xml", transport: str = "u1",
) -> Iterator[Watcher]:  # fmt: skip
    """SIPp as 203 subscribes to `event` of `watched`; each NOTIFY is to hold its state of `states` (regular expressions)."""
    folder.mkdir()
    steps = "".join(STEP.format(state=state, n=n + 1) for n, state in enumerate(states))
    scenario = WATCH.format(watched=watched, user="203", secret=box.accounts()["203"], event=event, kind=kind, steps=steps)
    (folder / "scenario.xml").write_text(scenario)
    options = ["-m", "1", "-t", transport, "-nostdin", "-trace_err", "-error_file", "err", "-trace_logs", "-log_file", "log"]
    process = subprocess.Popen(
        ["sipp", box.sip, "-sf", "scenario.xml", "-i", network, *options],
        cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield Watcher(process, folder)
    finally:
        process.kill()
        process.wait()
