"""What an RTP socket hears beside RTP: STUN and DTLS reach the side, ICE-lite answers and nominates, keys of DTLS come into force."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from firmware.dsp import abi
from firmware.dsp.srtp import Srtp
from firmware.media.ice import IceLite
from firmware.media.side import Side
from firmware.sip import stun
from tests.unit.engine_stage import Phone, Stage

PWD = "0123456789abcdefghijkl"
OURS = "evtj"


class Loop:
    """The event loop, turned by hand."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], object]] = []

    def call_later(self, delay: float, callback: Callable[[], object]) -> Any:
        raise AssertionError("nothing here waits")

    def call_soon(self, callback: Callable[[], object]) -> None:
        self.soon.append(callback)


class Scene:
    """An engine with RTP ports, and the side."""

    def __init__(self) -> None:
        self.stage = Stage(rtp=3)
        self.loop = Loop()
        self.told: list[tuple[int, str, Mapping[str, Any]]] = []
        self.side = Side(self.stage.engine, self.loop, lambda port, what, facts: self.told.append((port, what, facts)))
        self.dtls: list[tuple[int, bytes, tuple[str, int]]] = []
        self.side.on_dtls(lambda *one: self.dtls.append(one))

    def turn(self, ticks: int = 2) -> None:
        """Let the engine hear, then the side."""
        self.stage.tick(ticks)
        self.side.ready()
        while self.loop.soon:
            self.loop.soon.pop(0)()
        self.stage.tick(2)

    def check(self, phone: Phone, *attributes: tuple[int, bytes], name: str = f"{OURS}:far", password: str | None = PWD) -> None:
        body = [(stun.USERNAME, name.encode()), (stun.PRIORITY, bytes(4)), *attributes]
        phone.socket.sendto(stun.build(stun.BINDING_REQUEST, b"transaction!", body, password), phone.target)

    def answer(self, phone: Phone) -> stun.Stun | None:
        phone.receive()
        for packet in phone.packets:
            if packet[0] < 4:
                phone.packets.remove(packet)
                return stun.parse(packet)
        return None


@pytest.fixture
def scene() -> Iterator[Scene]:
    one = Scene()
    yield one
    one.stage.close()


def ice_port(scene: Scene, phone: Phone | None = None) -> None:
    scene.stage.rtp(16, phone)
    scene.stage.tick()
    scene.side.asked(16, "ice", {"ufrag": OURS, "pwd": PWD, "remote_ufrag": "far"})


def code(message: stun.Stun | None) -> int:
    assert message is not None
    assert message.kind == stun.BINDING_ERROR
    return stun.read_error_code(message.attributes[stun.ERROR_CODE])


def test_a_proven_check_is_answered_with_its_address_and_a_nomination_moves_the_sound_there(scene: Scene) -> None:
    signalled, browser = Phone(scene.stage.local(16)), Phone(scene.stage.local(16))
    ice_port(scene, signalled)
    chosen: list[tuple[int, tuple[str, int]]] = []
    scene.side.on_nominated(lambda *one: chosen.append(one))
    scene.check(browser)
    scene.turn()
    answer = scene.answer(browser)
    assert answer is not None
    assert answer.kind == stun.BINDING_SUCCESS
    assert answer.genuine(PWD)
    assert answer.fingerprint
    mapped = stun.read_xor_address(answer.attributes[stun.XOR_MAPPED_ADDRESS], answer.transaction)
    assert mapped == ("127.0.0.1", browser.port)
    scene.stage.tick(10)
    browser.receive()
    assert browser.packets == []                               # not nominated yet
    scene.check(browser, (stun.USE_CANDIDATE, b""))
    scene.turn()
    assert chosen == [(16, ("127.0.0.1", browser.port))]
    assert scene.side.nominated(16) == ("127.0.0.1", browser.port)
    scene.answer(browser)
    scene.stage.tick(20)
    browser.receive()
    signalled.receive()
    heard = len(signalled.packets)
    assert len(browser.packets) >= 9
    signalled.raw(8, bytes(160))
    scene.stage.rtp(16, signalled, update=True)                # a re-INVITE: what ICE nominated holds
    scene.stage.tick(20)
    signalled.receive()
    assert len(signalled.packets) == heard
    state = scene.stage.snapshot()[16]
    assert state["remote"] == ("127.0.0.1", browser.port)
    assert (state["rx_packets"], state["foreign"]) == (0, 1)
    scene.side.asked(16, "ice", {"ufrag": "", "pwd": ""})
    scene.stage.tick(20)
    signalled.receive()
    assert len(signalled.packets) > heard                      # the SDP's address holds again


def test_a_second_nomination_moves_the_call_and_a_restart_keeps_it_until_another(scene: Scene) -> None:
    one, two = Phone(scene.stage.local(16)), Phone(scene.stage.local(16))
    ice_port(scene)
    scene.check(one, (stun.USE_CANDIDATE, b""))
    scene.turn()
    scene.side.asked(16, "ice", {"ufrag": "anew", "pwd": PWD, "remote_ufrag": ""})
    scene.check(one)
    scene.turn()
    scene.answer(one)
    assert code(scene.answer(one)) == 401                      # under the old user name
    assert scene.stage.snapshot()[16]["remote"] == ("127.0.0.1", one.port)
    scene.check(two, (stun.USE_CANDIDATE, b""), name="anew:whoever")
    scene.turn()
    assert scene.stage.snapshot()[16]["remote"] == ("127.0.0.1", two.port)


def test_what_is_not_proven_is_refused_or_not_answered(scene: Scene) -> None:
    phone = Phone(scene.stage.local(16))
    ice_port(scene)
    scene.check(phone, password="another password of them")
    scene.turn()
    assert code(scene.answer(phone)) == 401
    scene.check(phone, name="other:far")
    scene.turn()
    assert code(scene.answer(phone)) == 401
    scene.check(phone, name=f"{OURS}:else")
    scene.turn()
    assert code(scene.answer(phone)) == 401
    scene.check(phone, password=None)
    scene.turn()
    assert code(scene.answer(phone)) == 400
    scene.check(phone, (stun.ICE_CONTROLLED, bytes(8)))
    scene.turn()
    assert code(scene.answer(phone)) == 487
    scene.check(phone, (0x7F00, b"x"))
    scene.turn()
    refused = scene.answer(phone)
    assert code(refused) == 420
    assert refused is not None
    assert refused.attributes[stun.UNKNOWN_ATTRIBUTES] == b"\x7f\x00"
    message = stun.build(stun.BINDING_REQUEST, bytes(12), [(stun.USERNAME, b"evtj:far")], PWD)
    phone.socket.sendto(message[:-1] + bytes([message[-1] ^ 1]), phone.target)      # FINGERPRINT
    phone.socket.sendto(stun.build(stun.BINDING_INDICATION, bytes(12), [], PWD), phone.target)
    phone.socket.sendto(stun.build(stun.BINDING_SUCCESS, bytes(12), [], PWD), phone.target)
    scene.turn()
    assert scene.answer(phone) is None
    assert scene.side.nominated(16) is None
    phone.target = scene.stage.local(17)
    scene.stage.rtp(17, None)
    scene.check(phone)                                         # a port without ICE
    scene.turn()
    assert scene.answer(phone) is None


def test_dtls_comes_from_valid_addresses_only_and_what_is_rtp_does_not(scene: Scene) -> None:
    browser, stranger = Phone(scene.stage.local(16)), Phone(scene.stage.local(16))
    ice_port(scene)
    hello = b"\x16\xfe\xfd" + bytes(60)
    stranger.socket.sendto(hello, stranger.target)
    scene.check(browser)
    browser.socket.sendto(hello, browser.target)
    browser.socket.sendto(b"\x40" + bytes(30), browser.target)     # TURN channel: nobody's
    scene.turn()
    assert scene.dtls == [(16, hello, ("127.0.0.1", browser.port))]
    assert scene.stage.snapshot()[16]["malformed"] == 1
    plain = Phone(scene.stage.local(17))
    scene.stage.rtp(17, plain)
    scene.stage.tick()
    plain.socket.sendto(hello, plain.target)
    scene.turn()
    assert scene.dtls[1:] == [(17, hello, ("127.0.0.1", plain.port))]
    assert scene.side.send(17, b"\x16reply", ("127.0.0.1", plain.port))
    plain.receive()
    assert b"\x16reply" in plain.packets


def test_a_flood_is_bounded_for_each_port_and_does_not_reach_into_the_next_call(scene: Scene) -> None:
    phone, other = Phone(scene.stage.local(16)), Phone(scene.stage.local(17))
    ice_port(scene)
    scene.stage.rtp(17, other)
    scene.stage.tick()
    for _ in range(10):
        for _ in range(20):
            phone.socket.sendto(b"\x16" + bytes(40), phone.target)
            phone.socket.sendto(b"\x16" + bytes(1600), phone.target)
        scene.stage.tick()
    scene.side.ready()
    while scene.loop.soon:
        scene.loop.soon.pop(0)()
    other.socket.sendto(b"\x16other", other.target)
    scene.stage.tick(2)
    scene.side.ready()
    while scene.loop.soon:
        scene.loop.soon.pop(0)()
    lost, refused = scene.stage.engine.side_figures
    assert refused[16] >= 300
    assert lost <= 64
    assert scene.dtls == [(17, b"\x16other", ("127.0.0.1", other.port))]
    scene.dtls.clear()
    other.socket.sendto(b"\x16late", other.target)
    scene.stage.tick(2)
    scene.stage.do("close", 17)
    scene.stage.tick(2)
    scene.side.ready()
    assert scene.dtls == []
    other.socket.sendto(b"\x16closed", other.target)
    scene.turn()
    assert scene.dtls == []


def test_keys_of_dtls_open_a_port_that_was_silent_until_then(scene: Scene) -> None:
    phone = Phone(scene.stage.local(16))
    body = abi.pack_rtp(("127.0.0.1", phone.port), "pcma", 8, 101, 20, True, True, "leg", suite="DTLS")
    done = scene.stage.do("open_rtp", 16, body)
    for _ in range(10):
        phone.raw(8, bytes(160))
    scene.stage.tick(20)
    phone.receive()
    state = scene.stage.snapshot()[16]
    assert scene.stage.done(done) == 0
    assert (phone.packets, state["rx_packets"], state["suite"]) == ([], 0, "DTLS")
    ours, theirs = bytes(range(30)), bytes(range(30, 60))
    with pytest.raises(ValueError, match="30 bytes"):
        scene.side.keys(16, "AES_CM_128_HMAC_SHA1_80", ours, b"")
    phone.socket.sendto(b"\x16finished", phone.target)
    scene.turn()
    scene.side.keys(16, "AES_CM_128_HMAC_SHA1_80", ours, theirs)
    sealer, opener = Srtp("AES_CM_128_HMAC_SHA1_80", theirs, False), Srtp("AES_CM_128_HMAC_SHA1_80", ours, True)
    scene.stage.tick(4)
    scene.stage.do("update_rtp", 16, body)                     # a re-INVITE: the keys stay
    for n in range(5):
        phone.socket.sendto(sealer.protect(struct.pack("!BBHII", 0x80, 8, n, n * 160, 7) + bytes(160)), phone.target)
        scene.stage.tick(2)
    phone.receive()
    assert len(phone.packets) >= 4
    assert not any(isinstance(opener.unprotect(packet), str) for packet in phone.packets)
    state = scene.stage.snapshot()[16]
    assert (state["rx_packets"], state["suite"]) == (5, "AES_CM_128_HMAC_SHA1_80")
    scene.stage.do("close", 16)
    scene.stage.tick()
    scene.side.keys(16, "AES_CM_128_HMAC_SHA1_80", theirs, ours)   # of the call that is over
    scene.stage.do("open_rtp", 16, body)
    scene.stage.tick(3)
    assert scene.stage.snapshot()[16]["suite"] == "DTLS"


def test_a_browser_that_moves_is_heard_before_it_nominates_and_spoken_to_only_then(scene: Scene) -> None:
    one, two, stranger = Phone(scene.stage.local(16)), Phone(scene.stage.local(16)), Phone(scene.stage.local(16))
    ours, theirs = bytes(range(30)), bytes(range(30, 60))
    suite = "AES_CM_128_HMAC_SHA1_80"
    body = abi.pack_rtp(None, "pcma", 8, 101, 20, True, True, "leg", suite=suite, send_key=ours, receive_key=theirs)
    scene.stage.do("open_rtp", 16, body)
    scene.stage.tick()
    scene.side.asked(16, "ice", {"ufrag": OURS, "pwd": PWD})
    scene.check(one, (stun.USE_CANDIDATE, b""))
    scene.turn()
    sealer = Srtp(suite, theirs, False)

    def speak(phone: Phone, first: int, count: int) -> None:
        for n in range(first, first + count):
            phone.socket.sendto(sealer.protect(struct.pack("!BBHII", 0x80, 8, n, n * 160, 7) + bytes(160)), phone.target)
            stranger.raw(8, bytes(160))
            scene.stage.tick(2)

    speak(one, 0, 10)
    speak(two, 10, 10)                                         # one packet is lost, within 30 ms of the last from the old address
    state = scene.stage.snapshot()[16]
    assert state["rx_packets"] >= 18
    assert state["remote"] == ("127.0.0.1", one.port)
    two.receive()
    assert not [packet for packet in two.packets if packet[0] == 0x80]
    scene.check(two, (stun.USE_CANDIDATE, b""))
    scene.turn()
    speak(two, 20, 5)
    state = scene.stage.snapshot()[16]
    assert (state["rx_packets"] >= 23, state["remote"]) == (True, ("127.0.0.1", two.port))
    stranger.receive()
    assert stranger.packets == []


def test_requests_that_are_wrong_are_refused(scene: Scene) -> None:
    for what, args in (("ice", {"ufrag": "abc", "pwd": PWD}), ("ice", {"ufrag": "abcd", "pwd": "short"}), ("dance", {})):
        with pytest.raises(ValueError, match=r"characters|knows no"):
            scene.side.asked(16, what, args)


def test_addresses_of_checks_are_bounded() -> None:
    agent = IceLite(OURS, PWD)
    chosen = ("192.0.2.1", 1000)
    for udp in range(1000, 1100):
        more = [(stun.USE_CANDIDATE, b"")] if udp == 1000 else []
        message = stun.parse(stun.build(stun.BINDING_REQUEST, bytes(12), [(stun.USERNAME, b"evtj:x"), *more], PWD))
        assert message is not None
        assert agent.check(message, ("192.0.2.1", udp)) is not None
    assert len(agent.valid) == 16
    assert chosen in agent.valid


def test_the_eventfd_tells_when_something_came(scene: Scene) -> None:
    phone = Phone(scene.stage.local(16))
    scene.stage.rtp(16, phone)
    scene.stage.tick()
    wake = select.poll()
    wake.register(scene.stage.engine.side_fd, select.POLLIN)
    assert wake.poll(0) == []
    phone.socket.sendto(b"\x16x", phone.target)
    scene.stage.tick(2)
    assert [fd for fd, _ in wake.poll(0)] == [scene.stage.engine.side_fd]
    scene.side.ready()
    assert wake.poll(0) == []


def test_ipv6_phones_are_heard_checked_and_spoken_to() -> None:
    far = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    far.bind(("::1", 0))
    far.setblocking(False)
    stage = Stage(rtp=1, family=socket.AF_INET6)
    try:
        side = Side(stage.engine, Loop(), lambda *_: None)
        stage.do("open_rtp", 16, abi.pack_rtp(("::1", far.getsockname()[1]), "pcma", 8, 101, 20, True, True, "leg"))
        stage.tick(5)
        side.asked(16, "ice", {"ufrag": OURS, "pwd": PWD})
        target = ("::1", stage.sockets[0].getsockname()[1])
        far.sendto(stun.build(stun.BINDING_REQUEST, b"transaction!", [(stun.USERNAME, b"evtj:x")], PWD), target)
        far.sendto(struct.pack("!BBHII", 0x80, 8, 1, 160, 7) + bytes(160), target)
        stage.tick(2)
        side.ready()
        packets = []
        while True:
            try:
                packets.append(far.recv(2000))
            except BlockingIOError:
                break
        assert any(packet[0] == 0x80 for packet in packets)
        (answer,) = [stun.parse(packet) for packet in packets if packet[0] < 4]
        assert answer is not None
        mapped = stun.read_xor_address(answer.attributes[stun.XOR_MAPPED_ADDRESS], answer.transaction)
        assert mapped == ("::1", far.getsockname()[1])
        state = stage.snapshot()[16]
        assert (state["remote"], state["rx_packets"]) == (("::1", far.getsockname()[1]), 1)
    finally:
        stage.close()
        far.close()
