"""The console over SSH with a real client: keys, passwords, roles, and that nothing but the console can be started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from firmware.app.console_services import Services
from firmware.app.ssh import _rewrite, prepare
from firmware.app.ssh_watch import ADDRESSES, FORGIVEN_S, TOLD, Pauses, SshWatch
from firmware.config.model import load
from tests.ports import free_port
from tests.unit.console_stage import PASSWORD, SITE, Box, Person

ROOT = Path(__file__).parents[2]


class Reached:
    """A box whose SSH answers, and a client's key."""

    def __init__(self, folder: Path) -> None:
        self.key = folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True)
        self.port = free_port()
        public = " ".join(self.key.with_suffix(".pub").read_text().split()[:2])
        site = SITE.replace("[users.bo]", f'[users.bo]\nssh_keys = ["{public}"]') + f"\n[ssh]\nenabled = true\nport = {self.port}\n"
        self.folder = folder
        self.box = Box(folder / "box", site)
        self.daemon: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        command = prepare(self.box.state, "127.0.0.1", self.box.config)
        self.output = (self.folder / "daemon.log").open("ab")
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output, env=environment)
        until = time.monotonic() + 15
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < until and self.daemon.poll() is None, self.said()
                time.sleep(0.05)

    def said(self) -> str:
        return (self.folder / "daemon.log").read_text(errors="replace")

    def command(self, user: str, *more: str, key: bool = True) -> list[str]:
        options = ["StrictHostKeyChecking=accept-new", f"UserKnownHostsFile={self.folder}/known", "LogLevel=ERROR", "ConnectTimeout=10"]
        options += ["PreferredAuthentications=publickey" if key else "PreferredAuthentications=password", "NumberOfPasswordPrompts=1"]
        given = [part for option in options for part in ("-o", option)]
        identity = ["-i", str(self.key), "-o", "IdentitiesOnly=yes"] if key else []
        return ["ssh", "-F", "/dev/null", *given, *identity, "-p", str(self.port), *more[:1], f"{user}@127.0.0.1", *more[1:]]

    def ask(self, user: str, line: str, *, key: bool = True, password: str = "") -> subprocess.CompletedProcess[str]:
        script = self.folder / "askpass"
        script.write_text(f"#!/bin/sh\necho '{password}'\n")
        script.chmod(0o700)
        environment = {**os.environ, "SSH_ASKPASS": str(script), "SSH_ASKPASS_REQUIRE": "force"}
        environment.pop("SSH_AUTH_SOCK", None)
        return subprocess.run(
            self.command(user, "-T", line, key=key), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, env=environment,
            check=False,
        )  # fmt: skip

    def close(self) -> None:
        if self.daemon is not None:
            self.daemon.send_signal(signal.SIGTERM)
            self.daemon.wait(10)
        self.output.close()
        self.box.close()


@pytest.fixture(scope="module")
def reached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reached]:
    made = Reached(tmp_path_factory.mktemp("ssh"))
    yield made
    made.close()


def test_a_key_opens_the_console_with_its_users_role(reached: Reached) -> None:
    answer = reached.ask("bo", "show version")
    assert answer.returncode == 0 and "BranchPBX" in answer.stdout, (answer, reached.said())
    refused = reached.ask("bo", "show users")
    assert refused.returncode == 1 and "bo@ssh 127.0.0.1" in refused.stdout and "viewer" in refused.stdout
    assert ("bo", "viewer", "ssh 127.0.0.1", "ok") in reached.box.audit


def test_a_password_is_that_of_the_console(reached: Reached) -> None:
    answer = reached.ask("anna", "show users", key=False, password=PASSWORD)
    assert answer.returncode == 0 and "anna" in answer.stdout, (answer, reached.said())
    assert reached.ask("anna", "show users", key=False, password="guess").returncode == 255
    assert reached.ask("anna", "show users").returncode == 255, "bo's key is not anna's"


def test_wrong_passwords_are_audited_and_slowed_down(
    reached: Reached, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The service as manage runs it, on a port of its own: each wrong password is told by name, stops its connection, and forgives."""
    audit: list[tuple[str, ...]] = []
    port = free_port()
    ssh = msgspec.structs.replace(reached.box.config.ssh, port=port)
    console = msgspec.structs.replace(reached.box.config.console, wrong_wait_s=3)
    config = msgspec.structs.replace(reached.box.config, ssh=ssh, console=console)
    services = Services(reached.box.state, "127.0.0.1", lambda: config, lambda *said: audit.append(said))
    stopped: list[bool] = []
    forgiven: list[bool] = []
    pauses: list[tuple[bool, float]] = []       # of a connection that came, or after a wrong password; seconds

    left, wrong = Pauses.left, Pauses.wrong

    def came(self: Pauses, address: str, now: float, most_s: float) -> float:
        pauses.append((True, left(self, address, now, most_s)))
        return pauses[-1][1]

    def refused(self: Pauses, address: str, now: float, most_s: float) -> float:
        pauses.append((False, wrong(self, address, now, most_s)))
        if len(pauses) > 6:                             # the third one's is long, so that nothing depends on this machine's pace
            self._known[address] = (3, now, now + 3600)
        return pauses[-1][1]

    monkeypatch.setattr(Pauses, "left", came)
    monkeypatch.setattr(Pauses, "wrong", refused)

    async def serve() -> None:
        running = asyncio.ensure_future(services.run())
        asked = asyncio.ensure_future(asyncio.to_thread(guess))
        while not asked.done():
            stopped.append(any(_state(pid) == "T" for pid in list(services._watch._stopped)))
            if forgiven:
                services._watch._pauses.right("127.0.0.1")
                services._watch.look(0.0, all_of_them=True)
            await asyncio.sleep(0.02)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await asked

    def guess() -> None:
        until = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.05)
        there, reached.port = reached.port, port
        try:
            for user in ("anna", "gone"):
                assert reached.ask(user, "show version", key=False, password="guess").returncode == 255
            asking = {**os.environ, "SSH_ASKPASS": str(reached.folder / "askpass"), "SSH_ASKPASS_REQUIRE": "force"}
            command = reached.command("anna", "-T", "show version", key=False)
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, env=asking) as one:
                while len(audit) < 3:
                    time.sleep(0.01)
                one.kill()                              # hangs up instead of waiting for the answer, and calls again
            with socket.create_connection(("127.0.0.1", port), 10):
                while not pauses[-1][0]:
                    time.sleep(0.01)
            forgiven.append(True)
            assert reached.ask("anna", "show version", key=False, password=PASSWORD).returncode == 0, "never a lock"
        finally:
            reached.port = there

    asyncio.run(serve())
    guessed = ("anna", "admin", "ssh 127.0.0.1", "wrong")
    assert audit == [guessed, ("?", "viewer", "ssh 127.0.0.1", "wrong"), guessed], capfd.readouterr().err
    assert any(stopped) and not services._watch._stopped
    assert [came for came, _ in pauses] == [True] * 2 + [False, True] * 3 + [True], pauses
    assert pauses[1] == (True, 0.0) and pauses[7] == (True, 3.0), "who calls again waits before the first try, not longer than configured"


def _state(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def test_pauses_double_by_address_have_an_end_and_are_forgiven() -> None:
    pauses = Pauses()
    assert [pauses.wrong("a", float(at), 30.0) for at in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert pauses.wrong("b", 7.0, 30.0) == 1.0 and pauses.wrong("a", 6.0 + FORGIVEN_S, 30.0) == 1.0
    pauses.wrong("b", 7.0, 30.0)
    pauses.right("b")
    assert pauses.wrong("b", 8.0, 30.0) == 1.0
    for number in range(2 * ADDRESSES):
        pauses.wrong(f"x{number}", 9.0, 30.0)
    assert pauses.wrong("b", 10.0, 30.0) == 1.0 and pauses.wrong(f"x{2 * ADDRESSES - 1}", 10.0, 30.0) == 2.0


def test_who_hangs_up_and_calls_again_waits_and_nobody_else(tmp_path: Path) -> None:
    """Connections are processes called dropbear, children of this one: each really stops and goes on."""
    shutil.copy(shutil.which("sleep") or "sleep", tmp_path / "dropbear")
    watch = SshWatch(lambda *_: None, lambda: 30.0)
    with contextlib.ExitStack() as stack:

        def connection(address: str, now: float) -> int:
            process = stack.enter_context(subprocess.Popen([str(tmp_path / "dropbear"), "60"]))
            stack.callback(process.kill)
            while Path(f"/proc/{process.pid}/comm").read_text().strip() != "dropbear":
                time.sleep(0.01)
            watch.heard(f"[{process.pid}] Nov 23 12:00:00 Child connection from {address}:4022\n", os.getpid(), now)
            return process.pid

        def guess(pid: int, now: float) -> None:
            watch.heard(f"[{pid}] Nov 23 12:00:00 Bad password attempt for 'anna'\n", os.getpid(), now)
            assert os.waitpid(pid, os.WUNTRACED)[0] == pid

        first = connection("10.0.0.9", 0.0)
        assert not watch._stopped
        guess(first, 0.0)
        again, other = connection("10.0.0.9", 0.25), connection("10.0.0.8", 0.25)
        assert os.WIFSTOPPED(os.waitpid(again, os.WUNTRACED)[1]) and watch._stopped == {first: 1.0, again: 1.0}, other
        watch.look(0.9)
        assert again in watch._stopped
        watch.look(1.0)
        assert os.WIFCONTINUED(os.waitpid(again, os.WCONTINUED)[1]) and not watch._stopped
        for number in range(8):                 # whoever goes on from there makes nobody wait longer than the longest pause
            guess(again, 10.0 + 40 * number)
            watch.look(49.0 + 40 * number)
            os.waitpid(again, os.WCONTINUED)
        late = connection("10.0.0.9", 290.0 + 1)
        assert watch._stopped == {late: 320.0}
        watch.heard(f"[{again}] Nov 23 12:05:00 Password auth succeeded for 'anna' from 10.0.0.9:4022\n", os.getpid(), 292.0)
        connection("10.0.0.9", 293.0)
        assert watch._stopped == {late: 320.0}, "the right password ends the pauses of its source"
        guess(connection("2001:db8:1:2::1", 400.0), 400.0)
        near, far = connection("2001:db8:1:2:ffff::9", 400.5), connection("2001:db8:1:3::1", 400.5)
        assert near in watch._stopped and far not in watch._stopped
        watch.look(0.0, all_of_them=True)
        assert not watch._stopped


def test_a_flood_of_guesses_pushes_nothing_out_of_the_trail_and_a_line_stops_no_other_process() -> None:
    audit: list[tuple[str, ...]] = []
    watch = SshWatch(lambda *said: audit.append(said), lambda: 30.0)
    own = os.getpid()                       # this process would not go on if it were taken for a dropbear
    line = f"[{own}] Nov 23 12:00:00 Bad password attempt for 'anna' from ::ffff:10.0.0.9:4022\n"
    for number in range(1000):
        watch.heard(line, os.getppid(), number / 100)
    assert audit == [("anna", "ssh 10.0.0.9", "wrong")] * TOLD
    watch.heard(line, own, 100.0)
    assert audit[TOLD:] == [("anna", "ssh 10.0.0.9", "wrong"), ("?", "ssh", f"wrong, {1000 - TOLD} times more")]
    for strange in ("", "[x] y", "[1] Nov 23 Exit before auth from <1.2.3.4:5>: (user 'a', 2 fails)", "[1] " + "x" * 100_000):
        watch.heard(strange, own, 200.0)
    assert len(audit) == TOLD + 2


@pytest.mark.parametrize("user", ["root", "nobody", "console", "sshd"])
def test_users_of_the_system_are_nobody_here(reached: Reached, user: str) -> None:
    assert reached.ask(user, "show version", key=False, password=PASSWORD).returncode == 255


@pytest.mark.parametrize("line", ["/bin/sh", "show version; id", "`id`", "$(id)", "sh -c id", "scp -t /tmp/x", "version && id"])
def test_nothing_but_the_console_can_be_started(reached: Reached, line: str) -> None:
    answer = reached.ask("bo", line)
    assert answer.returncode == 1 and "uid=" not in answer.stdout + answer.stderr, answer


def test_forwarding_is_refused(reached: Reached) -> None:
    local = free_port()
    client = subprocess.Popen(reached.command("bo", f"-NL127.0.0.1:{local}:127.0.0.1:{reached.port}"), stderr=subprocess.PIPE)
    try:
        until = time.monotonic() + 10
        while True:
            try:
                link = socket.create_connection(("127.0.0.1", local), 1)
                break
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.05)
        with link:
            link.settimeout(10)
            assert link.recv(64) == b"", "the far end of a forwarded port would greet with SSH-2.0"
    finally:
        client.terminate()
        client.communicate()


def test_a_person_sees_the_same_console(reached: Reached) -> None:
    pid, descriptor = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "vt100"
        command = reached.command("bo", "-tt")
        os.execvp(command[0], command)
    person = Person(descriptor)
    try:
        person.at("branch1> ", 30)
        person.type("show vers?")
        person.sees("version")
        person.at("branch1> show vers")
        person.type("\t\r")
        person.sees("BranchPBX")
        person.type("exit\r")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        os.close(descriptor)


def test_the_daemon_has_no_rights_and_sees_no_other_users(reached: Reached) -> None:
    assert reached.daemon is not None
    status = Path(f"/proc/{reached.daemon.pid}/status").read_text()
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(facts["CapEff"], 16) == 0 and int(facts["CapPrm"], 16) == 0 and facts["NoNewPrivs"].strip() == "1"
    seen = Path("/proc", str(reached.daemon.pid), "root", "etc", "passwd").read_text()
    assert {line.split(":")[0] for line in seen.splitlines()} == {"anna", "bo"}


def test_a_user_who_is_gone_is_refused_at_once_and_the_host_key_stays(reached: Reached) -> None:
    key = (reached.box.state / "ssh/host_key").read_bytes()
    without = load(SITE.replace("[users.bo]", "[users.chen]").encode(), file="x")
    prepare(reached.box.state, "127.0.0.1", without)
    try:
        assert reached.ask("bo", "show version").returncode == 255
    finally:
        prepare(reached.box.state, "127.0.0.1", reached.box.config)
    assert reached.ask("bo", "show version").returncode == 0 and (reached.box.state / "ssh/host_key").read_bytes() == key
    assert (reached.box.state / "ssh").stat().st_mode & 0o077 == 0


def test_files_are_changed_in_place(tmp_path: Path) -> None:
    path = tmp_path / "passwd"
    for text in ("long line\n", "short\n", ""):
        _rewrite(path, text)
        inode = path.stat().st_ino
        assert path.read_text() == text and path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_ino == inode


def test_the_host_key_is_named(reached: Reached) -> None:
    from firmware.app.ssh import host_fingerprint

    told = subprocess.run(["ssh-keygen", "-lf", str(reached.folder / "known")], capture_output=True, text=True, check=True).stdout
    assert told.split()[1] in host_fingerprint(reached.box.state)
