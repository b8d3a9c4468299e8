"""Asterisk with app_queue: agents and callers are SIP telephones (`sip.py`), the logs are read from where it wrote them."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

from tests.far.programs import Asterisk

from . import trace as t
from .sip import Telephones

HOST = "127.0.0.1"
PJSIP = """[callers]
type=endpoint
context=in
disallow=all
allow=alaw
direct_media=no
dtmf_mode=info

[callers]
type=identify
endpoint=callers
match={host}

"""
SEAT = """[{phone}]
type=endpoint
context=in
disallow=all
allow=alaw
direct_media=no
aors={phone}

[{phone}]
type=aor
contact=sip:{phone}@{host}:{port}

"""
DIALPLAN = """[in]
exten => _q.,1,Answer()
 same => n,Queue(${EXTEN})
 same => n,Hangup()
exten => _2XXX,1,Dial(PJSIP/${EXTEN},30)
"""
#: What its sample configuration leaves as it is, and what its documentation recommends for a queue like ours.
AS_SHIPPED = "timeout=15\nretry=5\n"
TUNED = f"timeout={t.RING_S}\nretry=1\nautofill=yes\n"


def free_port() -> int:
    """A UDP port of loopback that nobody has now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((HOST, 0))
        port: int = one.getsockname()[1]
        return port


class Theirs:
    """One Asterisk with its own telephones. `queues` is queues.conf after [general]; `seats` are the telephones."""

    def __init__(
        self, folder: Path, crowd: t.Crowd, queues: str, seats: Mapping[str, str], *, general: str = "", rtp: int = 21000,
        dialplan: str = "",
    ) -> None:  # fmt: skip
        address = HOST, free_port()
        self.phones = Telephones(HOST, address, crowd)
        self.folder = folder
        pjsip = PJSIP.format(host=HOST) + "".join(SEAT.format(phone=phone, host=HOST, port=self.phones.port) for phone in seats)
        own = {
            "queues.conf": f"[general]\n{general}\n{queues}",
            "cdr.conf": "[general]\nenable=yes\n[csv]\nloguniqueid=yes\nloguserfield=yes\n",
            "logger.conf": "[general]\nqueue_log=yes\n[logfiles]\nconsole => error,warning\n", "musiconhold.conf": "[general]\n",
        }  # fmt: skip
        self.far = Asterisk(folder, address=address, pjsip=pjsip, extensions=DIALPLAN + dialplan, rtp=(rtp, rtp + 999), files=own)

    def start(self) -> None:
        """NotFetchedError where Asterisk cannot be had."""
        self.far.start()

    def version(self) -> str:
        """What was measured."""
        return self.far.ask("core show version").splitlines()[0].split(" built ")[0]

    def log(self) -> list[str]:
        """queue_log as it was written."""
        return (self.folder / "log" / "queue_log").read_text(encoding="utf-8").splitlines()

    def cdr(self) -> list[str]:
        """Master.csv, likewise."""
        path = self.folder / "log" / "cdr-csv" / "Master.csv"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def stop(self) -> None:
        self.far.stop()
        self.phones.close()


def queues_of(settings: str) -> str:
    """queues.conf of the trace: longest idle agent, one queue each."""
    members: dict[str, list[str]] = {}
    for phone, queue in t.agents().items():
        members.setdefault(queue, []).append(f"member => PJSIP/{phone}\n")
    return "".join(
        f"[{queue}]\nstrategy=leastrecent\nringinuse=no\nwrapuptime={t.WRAP_UP_S}\n{settings}{''.join(who)}\n"
        for queue, who in members.items()
    )  # fmt: skip
