"""SIP plug and play without sockets: who asks, what is answered, how often, and what hostile datagrams do (nothing)."""

from __future__ import annotations

import itertools
import random

from firmware.sip.message import Request, Response
from firmware.sip.parse import parse_datagram
from firmware.sip.pnp import MOST, PATIENCE, PlugAndPlay

PHONE = ("192.168.1.40", 5060)
OWN = ("192.168.1.2", 5070)
URL = "https://192.168.1.2:8443/abc/"


def subscribe(mac: str = "001565aabbcc", call: str = "1@phone", event: str = "", user: str = "MAC%3A{mac}") -> bytes:
    """As a Yealink sends it."""
    event = event or 'ua-profile;profile-type="device";vendor="Yealink";model="T46U";version="108.86.0.20"'
    name = user.format(mac=mac)
    return (
        f"SUBSCRIBE sip:{name}@224.0.1.75 SIP/2.0\r\nVia: SIP/2.0/UDP 192.168.1.40:5060;branch=z9hG4bK{call}\r\nMax-Forwards: 20\r\n"
        f"From: <sip:{name}@224.0.1.75>;tag=f1\r\nTo: <sip:{name}@224.0.1.75>\r\nCall-ID: {call}\r\nCSeq: 1 SUBSCRIBE\r\n"
        f"Contact: <sip:{name}@192.168.1.40:5060>\r\nExpires: 0\r\nEvent: {event}\r\nAccept: application/url\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def machine() -> PlugAndPlay:
    counter = itertools.count(1)
    return PlugAndPlay(lambda digits: f"{next(counter):0{digits}x}")


def sent(pnp: PlugAndPlay) -> list[Request | Response]:
    out = pnp.output()
    assert all(one.destination == PHONE for one in out)
    return [message for one in out if isinstance(message := parse_datagram(one.data), (Request, Response))]


def test_a_telephone_is_told_where_its_settings_are() -> None:
    pnp = machine()
    pnp.receive(subscribe(), PHONE, 0, OWN)
    (asked,) = pnp.events()
    assert (asked.mac, asked.vendor, asked.model, asked.source) == ("001565aabbcc", "yealink", "T46U", PHONE)
    assert not pnp.output()
    pnp.offer(asked.key, URL, 0)
    accepted, notify = sent(pnp)
    assert isinstance(accepted, Response)
    assert accepted.status == 200
    assert isinstance(notify, Request)
    assert (notify.method, notify.body, notify.content_type) == ("NOTIFY", URL.encode(), "application/url")
    assert notify.from_.param("tag") == accepted.to.param("tag")
    assert notify.to.param("tag") == "f1"
    assert notify.uri == "sip:MAC%3A001565aabbcc@192.168.1.40:5060"


def test_the_notify_is_repeated_until_it_is_answered() -> None:
    pnp = machine()
    pnp.receive(subscribe(), PHONE, 0, OWN)
    pnp.offer(pnp.events()[0].key, URL, 0)
    notify = sent(pnp)[1]
    at = []
    while (due := pnp.deadline()) is not None and due <= 8000:
        pnp.expire(due)
        at += [due for _ in sent(pnp)]
    assert at == [500, 1500, 3500, 7500]
    lines = [f"{name}: {notify.headers.get(name.lower())}\r\n" for name in ("Via", "From", "To")]
    answer = "SIP/2.0 200 OK\r\n" + "".join(lines)
    pnp.receive((answer + "Call-ID: 1@phone\r\nCSeq: 1 NOTIFY\r\nContent-Length: 0\r\n\r\n").encode(), PHONE, 8000, OWN)
    assert pnp.deadline() == PATIENCE
    pnp.expire(PATIENCE)
    assert pnp.deadline() is None
    assert not pnp.output()


def test_a_repeated_subscribe_is_answered_again_and_starts_nothing() -> None:
    pnp = machine()
    pnp.receive(subscribe(), PHONE, 0, OWN)
    pnp.receive(subscribe(), PHONE, 100, OWN)
    (asked,) = pnp.events()
    pnp.offer(asked.key, URL, 200)
    first = sent(pnp)
    pnp.receive(subscribe(), PHONE, 300, OWN)
    (again,) = sent(pnp)
    assert again.render() == first[0].render()
    assert not pnp.events()
    pnp.offer(asked.key, "https://elsewhere/", 400)
    assert not pnp.output()


def test_whoever_is_not_offered_anything_hears_nothing() -> None:
    pnp = machine()
    pnp.receive(subscribe(), PHONE, 0, OWN)
    pnp.events()
    pnp.expire(PATIENCE)
    assert not pnp.output()
    assert pnp.deadline() is None


def test_addresses_in_other_forms() -> None:
    for user in ("MAC%3a{mac}", "{mac}", "MAC:{mac}", "MAC{mac}"):
        pnp = machine()
        pnp.receive(subscribe(user=user), PHONE, 0, OWN)
        assert [one.mac for one in pnp.events()] == ["001565aabbcc"], user


def test_what_is_no_request_for_settings_is_ignored() -> None:
    pnp = machine()
    for data in (
        b"", b"\r\n\r\n", b"SUBSCRIBE", subscribe(event="presence"), subscribe(user="anna"), subscribe().replace(b"SUBSCRIBE", b"INVITE"),
        subscribe().replace(b"CSeq: 1 SUBSCRIBE", b"CSeq: x"), subscribe().replace(b"To: ", b"To: <sip:x@y>;tag=1, "), b"\x00" * 2000,
    ):  # fmt: skip
        pnp.receive(data, PHONE, 0, OWN)
    assert not pnp.events()
    assert not pnp.output()


def test_a_flood_opens_a_bounded_number() -> None:
    pnp = machine()
    for number in range(MOST * 4):
        pnp.receive(subscribe(call=f"{number}@flood"), PHONE, 0, OWN)
    assert len(pnp.events()) == MOST


def test_mutated_requests_raise_nothing() -> None:
    rng = random.Random(7)
    pnp = machine()
    for _ in range(3000):
        data = bytearray(subscribe())
        for _ in range(rng.randint(1, 12)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        pnp.receive(bytes(data[: rng.randint(1, len(data))]), PHONE, 0, OWN)
        for asked in pnp.events():
            pnp.offer(asked.key, URL, 0)
        pnp.expire(PATIENCE)
    pnp.output()
