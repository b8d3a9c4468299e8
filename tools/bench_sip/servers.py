"""The two servers: `branchpbx run` with the load profile, and Asterisk with the same users, numbers and media settings.

Theory of operation. A server is started fresh for each measurement, on one core; SIPp, the RTP load and, with ours, the simulated world
that stands for the line hardware run on the other cores. CPU time is what the kernel accounts to all threads of the server's processes;
memory is their proportional set size.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from firmware.sim.sipwire import digest, parse
from tests.far.programs import Asterisk

from .scenarios import USERS
from .shared import pss_kb

ROOT = Path(__file__).resolve().parent.parent.parent
PROFILE = ROOT / "tests" / "load" / "office-200.toml"
HOST = "127.0.0.1"
START_S = 30.0


def cpu_ns(pid: int) -> int:
    """CPU time of a process so far, that of threads that have ended included: its CPU clock (clock_getcpuclockid)."""
    return time.clock_gettime_ns((~pid << 3) | 2)


def free_port(kind: int = socket.SOCK_DGRAM) -> int:
    """A port that nobody has now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def first_registration(server: tuple[str, int], user: str, alive: float = START_S) -> float:
    """CLOCK_MONOTONIC s when the first REGISTER of `user` with digest was answered 200; asked every 2 ms until somebody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind((HOST, 0))
        phone.connect(server)
        port = phone.getsockname()[1]
        aor = f"<sip:{user}@{HOST}>"

        def ask(cseq: int, extra: str = "") -> bytes:
            return (
                f"REGISTER sip:{HOST} SIP/2.0\r\nVia: SIP/2.0/UDP {HOST}:{port};branch=z9hG4bKs{cseq};rport\r\nFrom: {aor};tag=start\r\n"
                f"To: {aor}\r\nCall-ID: start-{port}\r\nCSeq: {cseq} REGISTER\r\nContact: <sip:{user}@{HOST}:{port}>\r\n{extra}"
                f"Expires: 60\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
            ).encode()

        end = time.monotonic() + alive
        request, cseq = ask(1), 1
        wait = 0.002
        while time.monotonic() < end:
            phone.settimeout(wait)
            try:
                phone.send(request)
                answer = parse(phone.recv(65535))
            except ConnectionRefusedError:
                time.sleep(0.002)
                continue
            except TimeoutError:
                wait = 0.02      # bound, but nobody reads yet
                continue
            if answer.status == 401 and cseq == 1:
                cseq = 2
                value = digest(answer.first("www-authenticate"), "REGISTER", f"sip:{HOST}", user, f"pw{user}", "c0ffee")
                request = ask(cseq, f"Authorization: {value}\r\n")
                wait = 0.5
            elif answer.status == 200 and answer.first("cseq").startswith("2 "):
                return time.monotonic()
    raise RuntimeError(f"no registration was answered within {alive:g} s")


class Server:
    """One of both. `start_s`: from the start of the program to the first registration answered."""

    name = ""
    start_s = 0.0
    sip: tuple[str, int]

    def pids(self) -> list[int]:
        """Processes whose CPU time counts."""
        raise NotImplementedError

    def memory_pids(self) -> list[int]:
        """Processes whose memory is compared."""
        return self.pids()

    def cpu(self) -> int:
        """CPU time so far, ns."""
        return sum(cpu_ns(pid) for pid in self.pids())

    def memory_mb(self) -> float:
        """Proportional set size of what is compared, MB."""
        return sum(pss_kb(pid) for pid in self.memory_pids()) / 1024

    def complete(self) -> None:
        """Wait until everything that a start begins is there: registrations are answered before."""

    def stop(self) -> None:
        """End it."""
        raise NotImplementedError


class Ours(Server):
    """`branchpbx run --config tests/load/office-200.toml`."""

    name = "BranchPBX"

    def __init__(self, folder: Path, core: int, others: set[int]) -> None:
        folder.mkdir(parents=True)
        self.state = folder / "state"
        self.sip = (HOST, free_port())
        self.output = (folder / "output.log").open("wb")
        command = [sys.executable, "-m", "firmware", "run", "--config", str(PROFILE), "--state", str(self.state), "--bind", HOST]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        began = time.monotonic()
        self.process = subprocess.Popen(
            ["taskset", "-c", str(core), *command, "--sip-port", str(self.sip[1])],
            cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        threading.Thread(target=self._move_world, args=(others,), daemon=True).start()
        try:
            self.start_s = first_registration(self.sip, USERS[0]) - began
            files = {name: self.state / "run" / f"{name}.pid" for name in ("parent", "media", "core", "manage", "world")}
            end = time.monotonic() + 20
            while not all(path.exists() for path in files.values()):
                if time.monotonic() > end:
                    raise RuntimeError(f"not every process has left its pid in {self.state / 'run'}")
                time.sleep(0.05)
            self.by_name = {name: int(path.read_text()) for name, path in files.items()}
            self._move_world(others)
        except BaseException:
            self.stop()
            raise

    def _move_world(self, others: set[int]) -> None:
        """The world stands for line cards: it runs on the other cores from its first moment on."""
        file = self.state / "run" / "world.pid"
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            try:
                for task in Path(f"/proc/{int(file.read_text())}/task").iterdir():
                    os.sched_setaffinity(int(task.name), others)
                return
            except (OSError, ValueError):
                time.sleep(0.002)

    def pids(self) -> list[int]:
        return [self.by_name[name] for name in ("parent", "media", "core", "manage")]

    def memory_pids(self) -> list[int]:
        return [self.by_name[name] for name in ("media", "core")]

    def manage_mb(self) -> float:
        """The management process, which Asterisk has no counterpart of."""
        return pss_kb(self.by_name["manage"]) / 1024

    def complete(self) -> None:
        ask = [sys.executable, "-m", "firmware", "ctl", "show status", "--state", str(self.state)]
        end = time.monotonic() + START_S
        while subprocess.run(ask, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode:
            if time.monotonic() > end:
                raise RuntimeError("call control does not answer `show status`")
            time.sleep(0.2)

    def by_process(self) -> dict[str, int]:
        """CPU time of each process, ns."""
        return {name: cpu_ns(self.by_name[name]) for name in ("parent", "media", "core", "manage")}

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.output.close()

    def complaints(self) -> list[str]:
        """What its processes logged as a warning or worse, the newest last."""
        return complaints(self.state / "log")

    def version(self) -> str:
        """What was measured."""
        endpoints = json.loads((self.state / "run" / "endpoints.json").read_text())
        return f"BranchPBX at {endpoints['bind']}"


def complaints(folder: Path, most: int = 12) -> list[str]:
    """The last lines of the logs of a folder that tell of trouble."""
    found = [line for path in folder.glob("*.log") for line in path.read_text("utf-8", "replace").splitlines()
             if any(f'"level":"{level}"' in line for level in ("warning", "error", "critical"))]  # fmt: skip
    return sorted(found)[-most:]


PJSIP = """[phone-endpoint](!)
type=endpoint
transport=udp
context=phones
disallow=all
allow=alaw,ulaw
direct_media=no
dtmf_mode=rfc4733
send_pai=no

[phone-auth](!)
type=auth
auth_type=digest
supported_algorithms_uas=MD5,SHA-256

[phone-aor](!)
type=aor
max_contacts=1
remove_existing=yes

"""
USER = """[{user}](phone-endpoint)
auth={user}
aors={user}
[{user}](phone-auth)
username={user}
password=pw{user}
[{user}](phone-aor)

"""
DIALPLAN = """[phones]
exten => _1[01]XX,1,Dial(PJSIP/${EXTEN},60)
exten => _91[01]XX,1,MixMonitor(${UNIQUEID}.wav)
 same => n,Dial(PJSIP/${EXTEN:1},60)
exten => 600,1,Answer()
 same => n,Echo()
exten => _75X,1,ConfBridge(${EXTEN})
"""


class Theirs(Server):
    """Asterisk of the distribution, all modules of its package that load without a database of their own; media always relayed."""

    name = "Asterisk"

    def __init__(self, folder: Path, core: int, others: set[int]) -> None:
        self.sip = (HOST, free_port())
        pjsip = PJSIP + "".join(USER.format(user=user) for user in USERS)
        files = {"cdr.conf": "[general]\nenable=yes\n", "confbridge.conf": "[general]\n"}
        self.far = Asterisk(
            folder, address=self.sip, pjsip=pjsip, extensions=DIALPLAN, rtp=(30000, 31999), files=files, wrap=("taskset", "-c", str(core)),
            probe=False,
        )  # fmt: skip
        self.far.start()
        try:
            self.start_s = first_registration(self.sip, USERS[0]) - self.far.began
        except BaseException:
            self.stop()
            raise
        self._pids = self.far.pids()

    def pids(self) -> list[int]:
        return self._pids

    def stop(self) -> None:
        self.far.stop()

    def version(self) -> str:
        """What was measured."""
        return self.far.ask("core show version").splitlines()[0].split(" built ")[0]
