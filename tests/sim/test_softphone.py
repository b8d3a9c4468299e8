"""Simulated SIP telephones, two of them back to back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from firmware.sim.hearing import measure
from firmware.sim.signal import ToneSource, g711_decode, g711_encode
from firmware.sim.sipwire import digest, parse
from firmware.sim.softphone import Softphone
from tests.sim.stand_in import Box


@pytest.fixture
def pair() -> Iterator[tuple[Box, Softphone, Softphone]]:
    box = Box()
    world = box.town.world
    box.each_block.append(lambda: world.serve(0.0))
    anna, bo = (Softphone(world, name, "", ("127.0.0.1", 9)) for name in ("201", "202"))
    anna.server, bo.server = bo._sip.address, anna._sip.address
    yield box, anna, bo
    anna.close()
    bo.close()


def test_a_call_rings_is_answered_and_carries_both_voices(pair: tuple[Box, Softphone, Softphone]) -> None:
    box, anna, bo = pair
    call = anna.dial("202")
    assert box.until(lambda: bo.ringing, 500)
    assert bo.call is not None
    assert bo.call.number == "201"
    box.run(1000)
    assert call.status == 180
    bo.lift()
    assert box.until(lambda: anna.in_call, 500)
    anna.say(ToneSource([((1000.0,), -12.0, 0.0)]))
    bo.say(ToneSource([((700.0,), -16.0, 0.0)]))
    anna.record()
    bo.record()
    box.run(2000)
    assert measure(bo.tape(), 1000, 1.0, 1.9) == pytest.approx(-12.0, abs=0.3)
    assert measure(anna.tape(), 700, 1.0, 1.9) == pytest.approx(-16.0, abs=0.3)
    anna.press("19#")
    box.run(1500)
    assert "".join(key for key, _ in bo.digits_heard) == "19#"
    bo.hang_up()
    box.run(200)
    assert anna.past[0]["ended_by"] == "peer"
    assert bo.past[0]["ended_by"] == "me"
    assert anna.call is None


@pytest.mark.parametrize("ppm", [10_000.0, -10_000.0])
def test_a_card_whose_clock_drifts_hears_a_telephone_at_the_telephones_pace(pair: tuple[Box, Softphone, Softphone], ppm: float) -> None:
    box, anna, bo = pair
    anna.dial("202")
    assert box.until(lambda: bo.ringing, 500)
    bo.lift()
    assert box.until(lambda: anna.in_call, 500)
    box.town.faults.put("board", "", "drift", value=ppm)
    before = anna.voice.sent
    box.run(10_000)
    assert anna.voice.sent - before == pytest.approx(500 * (1 - ppm / 1e6), abs=1)


def test_a_call_that_is_given_up_stops_ringing(pair: tuple[Box, Softphone, Softphone]) -> None:
    box, anna, bo = pair
    anna.dial("202")
    assert box.until(lambda: bo.ringing, 500)
    anna.hang_up()
    box.run(300)
    assert not bo.ringing
    assert anna.past[0]["status"] == 487


def test_a_refused_call_ends_as_busy(pair: tuple[Box, Softphone, Softphone]) -> None:
    box, anna, bo = pair
    anna.dial("202")
    assert box.until(lambda: bo.ringing, 500)
    bo.hang_up()
    box.run(300)
    assert anna.past[0]["status"] == 486


def test_an_unanswered_request_is_repeated_and_given_up() -> None:
    box = Box()
    phone = Softphone(box.town.world, "201", "", ("127.0.0.1", 9))
    box.each_block.append(lambda: box.town.world.serve(0.0))
    phone.register()
    box.run(40_000)
    assert not phone.registered
    assert [n["ok"] for n in box.town.world.observations if n["what"] == "softphone-registered"] == [False]
    phone.close()


def test_digest_answers_match_the_examples_of_rfc_7616() -> None:
    nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
    opaque = "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"
    for algorithm, response in (
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ):
        challenge = f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, nonce="{nonce}", opaque="{opaque}"'
        answer = digest(challenge, "GET", "/dir/index.html", "Mufasa", "Circle of Life", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")
        assert f'response="{response}"' in answer


def test_g711_keeps_every_code_through_a_round_trip() -> None:
    codes = bytes(range(256))
    assert g711_encode(g711_decode(codes, True), True) == codes
    ulaw = g711_encode(g711_decode(codes, False), False)
    assert [i for i in range(256) if ulaw[i] != codes[i]] == [0x7F]  # the two zeros of mu-law


def test_a_folded_and_short_header_is_read() -> None:
    message = parse(b"INVITE sip:201@h SIP/2.0\r\nv: SIP/2.0/UDP h;branch=z1\r\nSubject: a\r\n b\r\ni: x@y\r\n\r\n")
    assert (message.first("via"), message.first("subject"), message.first("call-id")) == ("SIP/2.0/UDP h;branch=z1", "a b", "x@y")
