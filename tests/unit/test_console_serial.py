"""The real console on a pseudo-terminal, looked at with a terminal emulator: what a person sees, at the pace of the line."""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.config.model import load
from firmware.surfaces.cli.port import Port
from firmware.surfaces.cli.session import Patience
from firmware.wire.detect import ATTENTION
from tests.unit.console_stage import PASSWORD, SITE, Box, Person, log_in, serial

ROOT = Path(__file__).parents[2]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path / "box")
    yield made
    made.close()


def test_a_person_logs_in_asks_and_leaves(box: Box) -> None:
    with serial(box) as person:
        log_in(person)
        person.sees("Anna, you are admin.")
        person.at("branch1# ")
        person.type("sh vers\r")
        person.sees("BranchPBX")
        person.at("branch1# ")
        person.type("exit\r")
        person.sees("logged out")
        person.at("login:")
    assert box.audit == [("anna", "admin", "ttyS0", "ok")]


def test_a_question_mark_helps_at_once_and_tab_completes(box: Box) -> None:
    with serial(box) as person:
        log_in(person)
        person.at("branch1# ")
        person.type("show vers?")
        person.sees("version  Product version")
        person.at("branch1# show vers")
        person.type("\t")
        person.at("branch1# show version")
        assert person.screen.cursor.x == len("branch1# show version ")
        person.type("\x15sh mem\t\r")
        person.sees("total")


def test_wrong_passwords_are_slowed_down_and_never_locked(box: Box) -> None:
    with serial(box) as person:
        for _ in range(2):
            log_in(person, password="guess")
            person.sees("wrong")
        log_in(person)
        person.at("branch1# ")
    assert [outcome for *_, outcome in box.audit] == ["wrong", "wrong", "ok"]
    assert PASSWORD not in "\n".join(person.rows)


def test_pauses_double_have_an_end_and_are_forgiven() -> None:
    patience = Patience()
    assert [patience.failed(1000 * n, 30) for n in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert patience.failed(4_000_000 + 7000, 30) == 1
    patience.succeeded()
    assert patience.failed(4_100_000, 30) == 1


def test_errors_and_tables_are_chinese_for_a_chinese_user(box: Box) -> None:
    with serial(box) as person:
        log_in(person, "bo")
        person.at("branch1> ")
        person.type("show nonsense\r")
        person.sees("错误：不认识“nonsense”")
        person.type("show users\r")
        person.sees("需要 supervisor 角色；bo@ttyS0 的角色是 viewer")
        person.type("show memory\r")
        person.sees("内存(kB)")
        person.type("番号席")
        person.at("branch1> 番号席")
        assert person.screen.cursor.x == len("branch1> ") + 6, "three wide characters are six columns"
        person.type("\x7f\x7f")
        person.at("branch1> 番")


def test_long_answers_are_paged_and_matched(box: Box) -> None:
    with serial(box) as person:
        log_in(person)
        person.at("branch1# ")
        person.type("show alarms\r")
        person.sees("--More--")
        assert sum("alarm number" in row for row in person.rows) <= 23
        person.type("\r")
        person.sees("--More--")
        person.type("q")
        person.at("branch1# ")
        person.type("show alarms | match 'number 59'\r")
        person.sees("alarm number 59")
        assert not any("--More--" in row for row in person.rows)
        person.type("show alarms\r")
        person.sees("--More--")
        person.type("show version\r")
        person.sees("product")
        assert not any("--More--" in row for row in person.rows), "what is typed next is not lost in the question"


def test_noise_breaks_and_floods_do_no_harm(box: Box) -> None:
    with serial(box) as person:
        person.at("login:")
        person.type(b"\0\0\xff\xfe\x80\x1b[9999999;;;;;zzz\x07\x1b[200~")
        person.type(bytes(byte for byte in os.urandom(2000) if byte not in b"\r\n\x1b\x03\x04"))
        person.type("\x15")
        person.type("\x03")
        person.until(lambda: person.row == "login:" and any("^C" in row for row in person.rows), "a new log-in", 90)
        log_in(person)
        person.at("branch1# ")
        person.type(b"\0" * 500 + b"\x81" * 3000 + b"\x1b")
        person.type(" show version\r")            # the space: whether the escape before it is alone or not is a matter of time
        person.sees("product")
        person.type("x" * 100_000)
        person.type("\x15\x03\x03")
        person.at("branch1# ", 90)
        person.type("show version\r")
        person.sees("product")


def test_ctrl_c_stops_what_runs_and_never_the_service(box: Box) -> None:
    with serial(box) as person:
        log_in(person)
        person.at("branch1# ")
        person.type("watch show version\r")
        person.sees("BranchPBX")
        person.type("\x03")
        person.at("branch1# ")
        person.type("half a line\x03")
        person.at("branch1# ")
        person.type("\x03" * 50)
        person.type("show version\r")
        person.sees("product")


def test_a_hang_up_ends_the_session_and_the_next_caller_logs_in(box: Box) -> None:
    with serial(box) as person:
        log_in(person)
        person.at("branch1# ")
    with serial(box) as person:
        person.at("login:")
        assert not any("branch1#" in row for row in person.rows)


def test_a_carrier_that_drops_ends_the_session_and_nobody_finds_it_open(box: Box, tmp_path: Path) -> None:
    """What the kernel does when DCD drops on a line that minds it (tty_hangup) is what TIOCVHANGUP does to this one; only root may."""
    person_end, service_end = pty.openpty()
    tty.setraw(service_end)
    port = os.ttyname(service_end)
    command = [sys.executable, "-m", "firmware", "console", "--state", str(box.state), "--tty", port, "--parent", str(os.getpid())]
    service = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=ROOT)
    try:
        person = Person(person_end)
        person.type("\r")
        log_in(person)
        person.at("branch1# ")
        person.type("configure\r")
        person.at("branch1(config)# ")
        try:
            fcntl.ioctl(service_end, termios.TIOCVHANGUP if hasattr(termios, "TIOCVHANGUP") else 0x5437)
        except PermissionError:
            pytest.skip("only root may hang a line up")
        person.screen.reset()
        person.type("\r")
        person.at("login:")
        assert service.poll() is None, "the service goes on"
        log_in(person)
        person.at("branch1# ")
    finally:
        service.terminate()
        service.wait(10)
        os.close(person_end)
        os.close(service_end)


def test_a_carrier_is_minded_where_it_is_wired() -> None:
    """The port is told to hang up without DCD (no CLOCAL), and to drop DTR at the end (HUPCL); three wires are told to mind neither."""
    person_end, service_end = pty.openpty()
    try:
        for carrier in (True, False):
            port = Port(service_end, service_end, baud=9600)
            port.make_raw(speed=9600, carrier=carrier)
            flags = termios.tcgetattr(service_end)[2]
            assert bool(flags & termios.CLOCAL) is not carrier and (not carrier or flags & termios.HUPCL)
            port.restore()
    finally:
        os.close(person_end)
        os.close(service_end)


def test_a_console_left_alone_is_logged_out(tmp_path: Path) -> None:
    box = Box(tmp_path / "box", SITE.replace("[console]", "[console]\nidle_s = 1"))
    try:
        with serial(box) as person:
            log_in(person)
            person.sees("no key for too long")
            person.at("login:")
    finally:
        box.close()


@pytest.mark.parametrize("line", ["watch show version", "trace 101", "walk"])
def test_what_goes_on_by_itself_is_logged_out_too(tmp_path: Path, line: str) -> None:
    """A screen that somebody left with `watch` on it is no way in for the next one."""
    box = Box(tmp_path / "box", SITE.replace("[console]", "[console]\nidle_s = 3"))
    try:
        with serial(box) as person:
            log_in(person)
            person.at("branch1# ")
            person.type(f"{line}\r")
            person.sees("no key for too long")
            person.at("login:")
    finally:
        box.close()


def test_two_people_work_at_once(box: Box) -> None:
    with serial(box) as one, serial(box) as two:
        log_in(one)
        log_in(two, "bo")
        one.at("branch1# ")
        two.at("branch1> ")
        one.type("show alarms\r")
        one.sees("--More--")
        two.type("show version\r")
        two.sees("产品")
        one.type("q")
        one.at("branch1# ")


def test_output_keeps_to_9600_baud_and_ctrl_c_is_felt_at_once(box: Box) -> None:
    with serial(box, baud=9600) as person:
        log_in(person)
        person.at("branch1# ")
        person.type("terminal length 200\r")
        person.at("branch1# ")
        before, began = person.received, time.monotonic()
        person.type("show alarms\r")
        person.sees("alarm number 40")
        rate = (person.received - before) / (time.monotonic() - began)
        assert rate < 960 * 1.3, f"{rate:.0f} bytes a second are more than the line carries"
        person.type("\x03")
        person.at("branch1# ")
        assert not any("alarm number 59" in row for row in person.rows)


def test_a_paste_at_9600_baud_loses_nothing(box: Box) -> None:
    """Forty lines, each a command that answers: none of their characters is lost, and none is eaten by a question."""
    lines = [f"show version | match product-{number}" for number in range(40)]
    with serial(box, baud=9600, rows=24) as person:
        log_in(person)
        person.at("branch1# ")
        person.type("".join(line + "\r" for line in lines), baud=9600)
        person.sees("product-39", 60)
        person.at("branch1# ", 90)
        seen = [
            "".join(row[x].data for x in range(80)).rstrip() for row in person.screen.history.top
        ] + person.rows
        typed = [row.removeprefix("branch1# ") for row in seen if "| match" in row]
        assert typed == lines


def test_a_dumb_terminal_gets_text_and_nothing_else(tmp_path: Path) -> None:
    """Whatever is asked, no escape sequence is sent: carriage return, backspace, line feed, bell and text must do."""
    box = Box(tmp_path / "box", SITE.replace("[console]", '[console]\nterminal = "dumb"'))
    seen = bytearray()
    try:
        with serial(box) as person:
            feed = person.stream.feed
            person.stream.feed = lambda data: (seen.extend(data), feed(data))[1]
            log_in(person)
            person.at("branch1# ")
            person.type("show ver\x02\x02\x02s?")
            person.until(lambda: person.row == "branch1# show sver", "the line again", 60)
            person.type("\x0c\x05\x15show alarms\r")
            person.sees("--More--")
            person.type(" q")
            person.until(lambda: person.row == "branch1#", "the prompt", 60)
            person.type("watch show version\r")
            person.sees("python")
            person.type("\x03")
            person.at("branch1# ")
    finally:
        box.close()
    assert seen and b"\x1b" not in seen


def test_a_tool_that_calls_gets_the_line_and_a_person_has_it_back(box: Box) -> None:
    with serial(box) as person:
        log_in(person)
        person.at("branch1# ")
        person.type(ATTENTION)
        person.type("\r\r\r")
        person.until(lambda: person.row == "login:", "the session of the person ended with the call", 90)
        log_in(person)
        person.at("branch1# ")


def test_one_line_on_a_terminal_is_watched_in_place(box: Box) -> None:
    """`branchpbx cli -c 'watch ...'` in a window: rows change where they stand; ^C ends it."""
    pid, descriptor = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-m", "firmware", "cli", "--state", str(box.state), "-c", "watch show version"])
    try:
        person = Person(descriptor)
        person.sees("product")
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            person.look(0.2)
        assert sum("product" in row for row in person.rows) == 1, "painted in place"
        person.type("\x03")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        os.close(descriptor)


def test_rights_are_those_of_now(box: Box) -> None:
    with serial(box) as person:
        log_in(person)
        person.at("branch1# ")
        was = box.config
        swapped = SITE.replace('"admin"', '"x"').replace('"viewer"', '"admin"').replace('"x"', '"viewer"')
        box.config = load(swapped.encode(), file="x")
        person.type("\r")
        person.at("branch1> ")
        person.type("show users\r")
        person.sees("needs the role supervisor")
        person.at("branch1> ")
        box.config = load(b"", file="x")
        person.type("show version\r")
        person.sees("no user of this console any more")
        box.config = was
