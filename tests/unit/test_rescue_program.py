"""The whole rescue program on MicroPython: a person and the host's tool at its serial line, servers in its network, any bundle."""

from __future__ import annotations

import http.server
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tools.provision.texts import ProvisionError
from tools.vm import bundle

from .rescue_stage import Box, failure, image, interpreter, signed


class Given(NamedTuple):
    """What all tests share."""

    tree: Path
    folder: Path
    keys: Path
    good: Path
    content: bytes
    old: bytes


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    tree = interpreter()
    folder = tmp_path_factory.mktemp("bundles")
    bundle.keys(folder / "keys")
    good, content = signed(folder, "1.2.0", folder / "keys")
    return Given(tree, folder, folder / "keys", good, content, image(folder, "1.1.0", mib=1).read_bytes())


@pytest.fixture
def box(given: Given, tmp_path: Path) -> Iterator[Box]:
    """A box whose slot A holds 1.1.0 and has failed three times; slot B is empty."""
    made = Box(tmp_path, given.tree, given.keys, a=given.old)
    yield made
    made.close()


def test_a_person_reads_why_it_runs_and_what_the_slots_hold_in_both_languages(box: Box) -> None:
    box.expect("no slot could be started")
    box.expect("slot A: version 1.1.0 for branchpbx-test; 0 tries left, next to start")
    box.expect("slot B: nothing that could start; 0 tries left")
    box.expect("> $")
    box.type("l")
    box.expect("系统分区 A：版本 1.1.0，适用于 branchpbx-test；剩余启动次数 0，下次启动")
    box.type("4")
    box.expect("kernel: hello")
    (box.folder / "run/net").write_text("fixed 192.168.77.77/24\n")
    box.expect("本机地址 192.168.77.77/24")


def test_a_bundle_over_the_serial_line_is_written_read_back_and_starts_next(box: Box, given: Given) -> None:
    tool = box.tool()
    assert tool.identity["mode"] == "rescue" and tool.role == "rescue"
    tool.put("bundle", "update.raucb", given.good.read_bytes())
    assert tool.call("install", source="serial") == {"slot": "B", "version": "1.2.0"}
    assert box.slots["B"].read_bytes().startswith(given.content)
    assert box.slots["A"].read_bytes().startswith(given.old)
    assert {name: box.variables()[name] for name in ("BOOT_ORDER", "BOOT_A_LEFT", "BOOT_B_LEFT")} == {
        "BOOT_ORDER": "B A", "BOOT_A_LEFT": "3", "BOOT_B_LEFT": "3",
    }  # fmt: skip
    status = tool.call("status")
    assert [(row["slot"], row["version"], row["first"]) for row in status["slots"]] == [("A", "1.1.0", False), ("B", "1.2.0", True)]
    tool.call("restart")
    tool.close()
    assert box.process is not None and box.process.wait(60) == 0
    assert (box.folder / "restarted").exists()


def test_a_transfer_that_broke_off_goes_on_where_it_ended(box: Box, given: Given) -> None:
    content = given.good.read_bytes()
    tool = box.tool()

    class Pulled(Exception): ...

    def pull(done: int, total: int) -> None:
        if done > total // 2:
            raise Pulled

    with pytest.raises(Pulled):
        tool.put("bundle", "update.raucb", content, pull)
    starts: list[int] = []
    again = box.tool()
    again.put("bundle", "update.raucb", content, lambda done, _: starts.append(done))
    assert starts and starts[0] > len(content) // 3, "it began anew"
    assert again.call("install", source="serial")["version"] == "1.2.0"


def test_what_is_not_signed_whole_or_for_this_board_is_refused_and_nothing_is_written(box: Box, given: Given) -> None:
    bundle.keys(given.folder / "others")
    content = bytearray(given.good.read_bytes())
    flipped, in_tree, in_manifest = bytearray(content), bytearray(content), bytearray(content)
    flipped[len(content) // 3] ^= 4
    length = struct.unpack(">Q", content[-8:])[0]
    in_tree[-8 - length - 4000] ^= 1
    at = content.rfind(b"compatible=")
    in_manifest[at + 12] ^= 1
    cases = {
        "cut short": (bytes(content[: len(content) // 2]), "damaged"),
        "empty": (b"x", "damaged"),
        "without signature": (bytes(content[: -8 - length]) + b"\0" * 8, "damaged"),
        "signed by somebody else": (signed(given.folder, "1.3.0", given.folder / "others")[0].read_bytes(), "signature"),
        "for another board": (signed(given.folder, "1.3.1", given.keys, "branchpbx-other")[0].read_bytes(), "wrong_board"),
        "older than what is there": (signed(given.folder, "1.0.0", given.keys)[0].read_bytes(), "older"),
        "a bit turned in the content": (bytes(flipped), "damaged"),
        "a bit turned in the hashes": (bytes(in_tree), "damaged"),
        "a bit turned in the manifest": (bytes(in_manifest), "signature"),
        "larger than a slot": (signed(given.folder, "1.4.0", given.keys, mib=9)[0].read_bytes(), "slot_small"),
    }
    before = box.untouched()
    tool = box.tool()
    for name, (data, kind) in cases.items():
        tool.put("bundle", "update.raucb", data)
        error = failure(tool, "install", source="serial")
        assert (error.kind, len(str(error)) > 10) == (kind, True), (name, error)
        assert box.untouched() == before, name
    assert not (box.folder / "sets").exists()
    # An older version may be meant.
    tool.put("bundle", "update.raucb", cases["older than what is there"][0])
    assert tool.call("install", source="serial", older=True)["version"] == "1.0.0"


def test_after_a_cut_in_the_middle_of_writing_the_slot_is_not_started_and_the_rescue_goes_on(given: Given, tmp_path: Path) -> None:
    box = Box(tmp_path, given.tree, given.keys, a=given.old, environment="BOOT_ORDER=B A\nBOOT_A_LEFT=0\nBOOT_B_LEFT=3\n")
    try:
        (tmp_path / "hold").touch()  # nothing goes beyond the read-back, however late the cut comes
        tool = box.tool()
        tool.put("bundle", "update.raucb", given.good.read_bytes())
        tool._request({"command": "install", "args": {"source": "serial"}})
        end = time.monotonic() + 120
        with box.slots["B"].open("rb", buffering=0) as slot:
            while slot.read(4) != b"hsqs" and time.monotonic() < end:
                slot.seek(0)
                tool.turn()
        box.cut()
        assert {name: box.variables()[name] for name in ("BOOT_ORDER", "BOOT_B_LEFT")} == {"BOOT_ORDER": "A B", "BOOT_B_LEFT": "0"}
        assert box.slots["A"].read_bytes().startswith(given.old)
        (tmp_path / "hold").unlink()
        box.start()
        tool = box.tool()
        tool.put("bundle", "update.raucb", given.good.read_bytes())
        assert tool.call("install", source="serial") == {"slot": "B", "version": "1.2.0"}
        assert box.slots["B"].read_bytes().startswith(given.content)
        assert box.variables()["BOOT_ORDER"] == "B A"
    finally:
        box.close()


class Server(http.server.BaseHTTPRequestHandler):
    """Gives one file, with parts; the first answer breaks off."""

    content = b""
    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.headers.get("Range", ""))
        begin = int(self.headers["Range"][6:-1]) if "Range" in self.headers else 0
        if self.path != "/update.raucb":
            self.send_error(404)
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(self.content) - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(self.content) - 1}/{len(self.content)}")
        self.end_headers()
        self.wfile.write(self.content[begin : len(self.content) if begin else len(self.content) // 2])

    def log_message(self, format: str, *args: Any) -> None: ...


def test_a_person_installs_from_a_laptop_by_http_though_the_connection_breaks(box: Box, given: Given) -> None:
    Server.content, Server.asked = given.good.read_bytes(), []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        box.expect("> $")
        box.type("2")
        box.expect("Address of the bundle")
        box.type(f"http://127.0.0.1:{server.server_port}/none\r")
        box.expect("answers 404")
        box.type("2")
        box.type(f"http://127.0.0.1:{server.server_port}/update.raucbx\x7f\r")
        box.expect("Version 1.2.0 is in slot B; it was read back and starts next")
        server.shutdown()
        thread.join(10)
    assert len(Server.asked) == 3 and Server.asked[2].startswith("bytes="), Server.asked
    assert box.slots["B"].read_bytes().startswith(given.content)
    box.type("8")
    box.expect("Restarting")
    assert box.process is not None and box.process.wait(60) == 0


def tftp_server(content: bytes, sock: socket.socket, drop: int) -> None:
    """One read request, blocks of the size that is asked for; packet `drop` is lost once."""
    packet, client = sock.recvfrom(2048)
    options = packet[2:].split(b"\0")
    size = int(options[options.index(b"blksize") + 1])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.bind(("127.0.0.1", 0))
        line.settimeout(20)
        line.sendto(b"\0\x06blksize\0%d\0tsize\0%d\0" % (size, len(content)), client)
        number = 0
        while True:
            answer, _ = line.recvfrom(2048)
            if struct.unpack(">HH", answer[:4]) != (4, number & 0xFFFF):
                continue
            if number and len(content) < number * size:
                return
            number += 1
            if number == drop:
                drop = 0
                answer, _ = line.recvfrom(2048)  # it asks again by its last packet
            line.sendto(struct.pack(">HH", 3, number & 0xFFFF) + content[(number - 1) * size : number * size], client)


def test_it_takes_a_bundle_by_tftp_though_a_packet_is_lost(box: Box, given: Given) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=tftp_server, args=(given.good.read_bytes(), sock, 40), daemon=True)
        thread.start()
        tool = box.tool()
        assert tool.call("install", source=f"tftp://127.0.0.1:{sock.getsockname()[1]}/update.raucb")["slot"] == "B"
        thread.join(20)
    assert box.slots["B"].read_bytes().startswith(given.content)


def test_state_is_checked_and_a_factory_reset_wants_its_word(box: Box) -> None:
    tool = box.tool()
    assert failure(tool, "factory reset", confirm="yes").kind == "confirm"
    before = (box.folder / "state").read_bytes()
    assert failure(tool, "sing").kind == "unknown"
    assert failure(tool, "install", source="file:///etc/passwd").kind == "source"
    assert failure(tool, "install", source="http://127.0.0.1:1/x.raucb").kind == "unreachable"
    assert (box.folder / "state").read_bytes() == before
    assert tool.call("factory reset", confirm="RESET") == {"reset": True}
    assert (box.folder / "state").read_bytes() != before
    with pytest.raises(ProvisionError):
        tool.put("site", "site.toml", b"x")


def test_a_box_that_nobody_looks_after_gives_the_slots_their_tries_again_and_restarts(given: Given, tmp_path: Path) -> None:
    box = Box(tmp_path, given.tree, given.keys, a=given.old, wait_s=2)
    try:
        assert box.process is not None and box.process.wait(60) == 0
        assert (tmp_path / "restarted").exists()
        assert box.variables()["BOOT_A_LEFT"] == "3" and box.variables()["BOOT_B_LEFT"] == "0"
    finally:
        box.close()
