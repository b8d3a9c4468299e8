"""A telephone that asks for the same subscription over and over: bounded, without harm to its calls or to anybody else."""

from __future__ import annotations

from firmware.sip.message import Message, Response
from firmware.sip.pace import MOST, Pace
from firmware.sip.settings import Settings
from tests.unit.sip_stage import PHONE, request
from tests.unit.test_sip_events import DIALOG, Watcher

WAKING = 128 * 2                         # SUBSCRIBEs of a telephone with as many keys as one account may watch: each is challenged


def ask(phone: Watcher, number: int) -> list[Message]:
    sent = request("SUBSCRIBE", "sip:201@192.0.2.1", branch=f"flood{number}", call_id=f"flood{number}", cseq=1, extra=DIALOG)
    return phone.raw(sent)


def test_a_flood_of_one_telephone_is_bounded_and_its_calls_are_not(seed: int) -> None:
    phone = Watcher(seed)
    phone.endpoint._guard = None
    settings = Settings()
    answered = 0
    for number in range(6000):           # two seconds of three thousand
        if number % 3 == 0:
            phone.net.run(1)
        answered += bool(ask(phone, number))
    assert settings.subscribes_burst <= answered <= settings.subscribes_burst + settings.subscribes_s * 2 + 1
    assert phone.endpoint.counters["hurried"] == 6000 - answered
    (options,) = phone.raw(request("OPTIONS", branch="o", call_id="o", source=PHONE))
    assert isinstance(options, Response) and options.status == 200
    other = Watcher(seed, user="201", net=phone.net, house=phone.house)
    other.source = ("192.0.2.77", 5060)
    granted, _ = other.subscribe("202", call_id="other")
    assert granted.status == 200
    phone.net.run(1000)                  # a second of quiet, and it is heard again
    assert ask(phone, 9999)


def test_a_telephone_that_wakes_up_with_all_its_keys_is_let_in() -> None:
    pace = Pace(Settings().subscribes_s, Settings().subscribes_burst)
    assert all(pace.take(PHONE, 0) for _ in range(WAKING))
    assert all(Pace(0, 0).take(PHONE, 0) for _ in range(WAKING))


def test_the_table_is_bounded() -> None:
    pace = Pace(1, 2)
    for port in range(MOST * 2):
        assert pace.take(("192.0.2.9", port), 0)
    assert len(pace) == MOST
