"""The rescue's rules without I/O: slots and tries, manifests, hash trees, answers of servers, texts."""

from __future__ import annotations

import hashlib
import random
import string

import pytest

from firmware.rescue import bundle, fetching, slots
from firmware.rescue.menu import Menu
from firmware.rescue.texts import SAID, Refusal, say
from firmware.update import rules


@pytest.mark.parametrize(
    ("environment", "versions", "target"),
    [
        ({"BOOT_ORDER": "A B", "BOOT_A_LEFT": "0", "BOOT_B_LEFT": "0"}, {"A": "1.0", "B": ""}, "B"),
        ({"BOOT_ORDER": "B A", "BOOT_A_LEFT": "0", "BOOT_B_LEFT": "0"}, {"A": "1.0", "B": "1.1"}, "B"),  # the new one that did not start
        ({"BOOT_ORDER": "B A", "BOOT_A_LEFT": "0", "BOOT_B_LEFT": "3"}, {"A": "1.0", "B": "1.1"}, "A"),
        ({"BOOT_ORDER": "A B", "BOOT_A_LEFT": "3", "BOOT_B_LEFT": "3"}, {"A": "1.0", "B": "1.1"}, "B"),
        ({}, {"A": "", "B": ""}, "B"),
    ],
)
def test_the_slot_that_is_written_is_the_one_of_least_use(environment: dict[str, str], versions: dict[str, str], target: str) -> None:
    assert slots.target(environment, versions) == target


def test_a_slot_that_is_being_written_is_never_the_one_to_start() -> None:
    told = dict(slots.before("B"))
    assert told == {"BOOT_ORDER": "A B", "BOOT_B_LEFT": "0"}
    done = dict(slots.after("B", {"A": "", "B": "1.0"}, 3))
    assert done == {"BOOT_ORDER": "B A", "BOOT_A_LEFT": "0", "BOOT_B_LEFT": "3"}
    assert slots.after("B", {"A": "1.0"}, 3)[-1][0] == "BOOT_ORDER", "the order is the last to change"
    assert slots.leaving({"BOOT_A_LEFT": "2"}, {"A": "1.0", "B": "1.0"}, 3) == []
    assert slots.leaving({"BOOT_A_LEFT": "0"}, {"A": "1.0", "B": ""}, 3) == [("BOOT_A_LEFT", "3")]
    assert slots.left({"BOOT_A_LEFT": "zz"}, "A") == 0


@pytest.mark.parametrize(
    "one", ["1.0", "1.0.0", "0.9.9", "1.0.0-rc1", "1.0.0-rc2", "2.0+build", "x", "", "1", "1.2.3.4", "1.-2", "1234567.0"]
)
@pytest.mark.parametrize("other", ["1.0", "1.0.1", "1.0.0-rc1", "10.0", "x"])
def test_versions_are_ordered_as_the_update_agent_orders_them(one: str, other: str) -> None:
    mine, theirs = bundle.version_key(one), bundle.version_key(other)
    agent, agents = rules.version_key(one), rules.version_key(other)
    assert (mine is None) == (agent is None)
    if mine is not None and theirs is not None and agent is not None and agents is not None:
        assert (mine < theirs, mine == theirs) == (agent < agents, agent == agents)


def tree(content: bytes, salt: bytes) -> tuple[bytes, bytes]:
    """(root, hash tree) of a payload, made the other way round than the rescue checks it."""
    level, stored = content, b""
    while len(level) > bundle.BLOCK:
        hashes = b"".join(hashlib.sha256(salt + level[at : at + bundle.BLOCK]).digest() for at in range(0, len(level), bundle.BLOCK))
        level = hashes.ljust(-(-len(hashes) // bundle.BLOCK) * bundle.BLOCK, b"\0")
        stored = level + stored
    return hashlib.sha256(salt + level).digest(), stored


def manifest(root: bytes, salted: bytes, length: int, **changed: str) -> str:
    values = {
        "format": "verity",
        "hash": root.hex(),
        "salt": salted.hex(),
        "size": str(length),
        "sha256": "00" * 32,
        "name": "root.img",
    } | changed
    return (
        f"[update]\ncompatible=x\nversion=1.0\n[bundle]\nformat={values['format']}\nverity-hash={values['hash']}\n"
        f"verity-salt={values['salt']}\nverity-size={values['size']}\n[image.rootfs]\nsha256={values['sha256']}\nfilename={values['name']}\n"
    )


@pytest.mark.parametrize("blocks", [2, 128, 129, 300])
def test_each_bit_of_payload_and_tree_is_covered(blocks: int) -> None:
    chance = random.Random(blocks)
    content, salt = chance.randbytes(blocks * bundle.BLOCK), chance.randbytes(32)
    root, stored = tree(content, salt)
    whole = content + stored
    facts = bundle.manifest(manifest(root, salt, len(stored)), len(whole))
    assert list(bundle.verified(lambda at, count: whole[at : at + count], facts))[-1] == len(content)
    for _ in range(6):
        at = chance.randrange(len(whole))
        wrong = bytearray(whole)
        wrong[at] ^= 1 << chance.randrange(8)
        with pytest.raises(Refusal) as caught:
            list(bundle.verified(lambda start, count, wrong=wrong: bytes(wrong[start : start + count]), facts))  # type: ignore[misc]
        assert caught.value.code == "damaged", at


@pytest.mark.parametrize(
    ("changed", "code"),
    [({"format": "plain"}, "format"), ({"hash": "12"}, "format"), ({"salt": "zz"}, "format"), ({"size": "0"}, "format"),
     ({"size": "4096"}, "damaged"),
     ({"name": "../x"}, "format"), ({"name": ""}, "format"), ({"sha256": ""}, "format"), ({"size": "99999999999"}, "format")],
)  # fmt: skip
def test_a_manifest_that_says_too_little_is_refused(changed: dict[str, str], code: str) -> None:
    content = bytes(300 * bundle.BLOCK)
    root, stored = tree(content, bytes(32))
    with pytest.raises(Refusal) as caught:
        bundle.manifest(manifest(root, bytes(32), len(stored), **changed), len(content) + len(stored))
    assert caught.value.code == code


@pytest.mark.parametrize("end", [b"", bytes(8), b"\xff" * 8, (70000).to_bytes(8, "big"), (9000).to_bytes(8, "big")])
def test_where_the_signature_should_be_is_not_believed(end: bytes) -> None:
    with pytest.raises(Refusal):
        bundle.signature_place(10_000, end)


@pytest.mark.parametrize(
    "source",
    ["ftp://x/y", "http://", "http://x", "http://x/", "http://x:0/y", "http://x:99999/y", "http://x y/z", "http://x/a b", "http://x/a\r\nb",
     "tftp:///y", "", "usb0", "http://" + "x" * 600 + "/y", "http://$(reboot)/y"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(source: str) -> None:
    with pytest.raises(Refusal):
        fetching.address(source)


def test_addresses_are_taken_apart() -> None:
    assert fetching.address("http://laptop.local:8000/a/b.raucb") == ("http", "laptop.local", 8000, "/a/b.raucb")
    assert fetching.address("TFTP://10.0.0.1/b") == ("tftp", "10.0.0.1", 69, "/b")


def test_an_answer_comes_in_any_pieces_and_its_length_is_bounded() -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    for size in (1, 7, len(whole)):
        answer = fetching.Answer(0, 100)
        got = b"".join(answer.receive(whole[at : at + size]) for at in range(0, len(whole), size))
        assert (got, answer.size, answer.offset) == (b"hello", 5, 0)
    refused = {
        b"HTTP/1.1 404 No\r\n\r\n": "answered", b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n": "too_big",
        b"SSH-2.0-x\r\n\r\n": "damaged",
        b"HTTP/1.1 200 OK\r\n\r\n": "damaged", b"HTTP/1.1 206 OK\r\nContent-Length: 5\r\nContent-Range: bytes 7-11/12\r\n\r\n": "damaged",
        b"x" * 9000: "damaged", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n": "damaged",
    }  # fmt: skip
    for text, code in refused.items():
        with pytest.raises(Refusal) as caught:
            fetching.Answer(3, 100).receive(text)
        assert caught.value.code == code, text


def test_random_answers_and_packets_raise_nothing_else() -> None:
    chance = random.Random(8)
    for _ in range(2000):
        noise = chance.choice([b"", b"HTTP/1.1 ", b"\0\3\0\1", b"\0\6", b"\0\5"]) + chance.randbytes(chance.randrange(60))
        machine = fetching.Tftp("x", 1000, 0)
        try:
            machine.output(0)
            machine.receive(noise)
            fetching.Answer(0, 1000).receive(noise + b"\r\n\r\n")
        except Refusal as refusal:
            assert refusal.said("en") and refusal.said("zh")


def test_tftp_gives_up_after_some_tries() -> None:
    machine, now, sent = fetching.Tftp("x", 1000, 0), 0, 0
    with pytest.raises(Refusal):
        while True:
            sent += bool(machine.output(now))
            now += 500
    assert sent == fetching.TRIES + 1


def test_each_text_names_the_same_facts_in_both_languages() -> None:
    for code, (english, chinese) in SAID.items():
        fields = [{name for _, name, _, _ in string.Formatter().parse(text) if name} for text in (english, chinese)]
        assert fields[0] == fields[1], code
        assert any(ord(char) > 0x2E80 for char in chinese), code
    assert say("busy", "zh", {"what": "install"}).startswith("install")


def test_what_a_person_types_never_grows_and_a_reset_wants_the_word() -> None:
    menu = Menu(15)
    menu.receive(b"6" + b"reset\r")
    assert not menu.wishes()
    menu.receive(b"6RESEX\x7fT\r")
    assert menu.wishes() == [("factory reset", {"confirm": "RESET"})]
    menu.receive(b"2" + b"x" * 5000 + b"\x03")
    assert not menu.wishes() and len(menu.output()) < 3000
    menu.receive(b"2http://10.0.0.1/x\r")
    assert menu.wishes() == [("install", {"source": "http://10.0.0.1/x", "older": False})]
    menu.refused(Refusal("older", version="1.0", newest="1.1"))
    menu.receive(b"yes\r")
    assert menu.wishes() == [("install", {"source": "last", "older": True})]
